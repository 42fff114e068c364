//! The same samples in a real Prometheus and in memory here: every expression of a table has the
//! same answer, and every wrong text is refused in the same words. Prometheus is Debian's, of
//! series 2, whose ranges hold both their ends; samples and instants are chosen so that none lies
//! on such an end.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod compare;
#[allow(dead_code)]
mod script;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use compare::{Tolerance, difference, escaped, ours, theirs};
use fieldpost_bed::{Prometheus, Scratch, get, peer};
use fieldpost_promql::{Engine, Labels, METRIC_NAME, Range};
use script::load::Memory;
use serde_json::Value as Json;

/// Instant of the first sample, milliseconds; samples lie 7 ms beside whole seconds.
const START_MS: i64 = 1_700_000_000_007;
/// Between two samples.
const STEP_MS: i64 = 15_000;
/// Samples of a series without gaps.
const N_SAMPLES: i64 = 480;
/// When is asked, seconds: in the middle, at the start, and after the end of some series.
const INSTANTS_S: [f64; 3] = [1_700_003_603.5, 1_700_000_122.5, 1_700_007_103.5];
/// Over which range, and how far apart, seconds.
const RANGE_S: (f64, f64, f64) = (1_699_999_903.5, 1_700_007_303.5, 93.0);
/// Numbers that differ by a lesser part are equal.
const TOLERANCE: Tolerance = Tolerance { part: 1e-12, least: 0.0 };

/// Numbers that look random and are always the same (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }
}

fn labels(name: &str, more: &[(&str, &str)]) -> Labels {
    Labels::new(more.iter().copied().chain([(METRIC_NAME, name)]))
}

/// A series with the number that a function gives for each sample; none: no sample.
fn fill(memory: &mut Memory, labels: Labels, mut value: impl FnMut(i64) -> Option<f64>) {
    let samples = (0..N_SAMPLES).filter_map(|n| Some((START_MS + n * STEP_MS, value(n)?)));
    memory.push(labels, samples.collect::<Vec<_>>());
}

fn data() -> Memory {
    let mut memory = Memory::default();
    let mut random = Numbers(7);
    for (number, instance) in ["a:9100", "b:9100", "c:9100"].into_iter().enumerate() {
        for room in ["kitchen", "bath", "attic"] {
            fill(&mut memory, labels("temperature", &[("instance", instance), ("room", room)]), |_| {
                Some((random.next() * 600.0).round() / 10.0 - 25.0)
            });
        }
        for code in ["200", "404", "500"] {
            let job = if number == 2 { "web" } else { "api" };
            let mut total = 1e6;
            fill(
                &mut memory,
                labels("requests_total", &[("instance", instance), ("job", job), ("code", code)]),
                |n| {
                    total += (random.next() * 40.0).floor();
                    if n % 170 == 100 {
                        total = 90_000.0;
                    }
                    Some(total)
                },
            );
        }
        let mut counts = [1e5, 2e5, 3e5, 4e5, 5e5];
        let bounds = ["0.1", "0.5", "1", "2.5", "+Inf"];
        let mut columns = vec![Vec::new(); 5];
        for _ in 0..N_SAMPLES {
            let mut more = 0.0;
            for (count, column) in counts.iter_mut().zip(&mut columns) {
                more += (random.next() * 9.0).floor();
                *count += more;
                column.push(*count);
            }
        }
        for (bound, column) in bounds.iter().zip(&columns) {
            fill(
                &mut memory,
                labels("latency_seconds_bucket", &[("instance", instance), ("le", bound)]),
                |n| Some(column[n as usize]),
            );
        }
        fill(&mut memory, labels("latency_seconds_count", &[("instance", instance)]), |n| {
            Some(columns[4][n as usize])
        });
        fill(&mut memory, labels("latency_seconds_sum", &[("instance", instance)]), |n| {
            Some(columns[4][n as usize] * 0.7 + 0.3)
        });
        fill(&mut memory, labels("flat_by_instance", &[("instance", instance)]), |_| {
            Some(3.0 + number as f64)
        });
        let version = if number == 1 { "1.3" } else { "1.2" };
        fill(&mut memory, labels("build_info", &[("instance", instance), ("version", version)]), |_| {
            Some(1.0)
        });
        fill(&mut memory, labels("steps", &[("instance", instance)]), |n| Some((n / 60) as f64));
    }
    odd_series(&mut memory, &mut random);
    memory
}

/// Series that are not always there, or hold what is no plain number.
fn odd_series(memory: &mut Memory, random: &mut Numbers) {
    fill(memory, labels("flat", &[]), |_| Some(4.25));
    fill(memory, labels("job:requests:rate5m", &[("job", "api")]), |n| Some(n as f64 / 7.0));
    fill(memory, labels("gappy", &[("job", "x")]), |n| (n % 110 < 50).then_some(n as f64 * 3.5 + 1e4));
    fill(memory, labels("gappy", &[("job", "y")]), |n| {
        (n % 7 < 3).then(|| 1e5 + n as f64 * 10.0 + random.next() * 9.0)
    });
    fill(memory, labels("short", &[("job", "x")]), |n| (100..250).contains(&n).then_some(n as f64));
    for (number, job) in ["x", "y", "z"].into_iter().enumerate() {
        fill(memory, labels("nan_now", &[("job", job)]), |n| {
            let is_nan = number == 1 || (number == 2 && n % 5 == 0);
            Some(if is_nan { f64::NAN } else { (n % 31) as f64 - 9.5 * number as f64 })
        });
        fill(memory, labels("extremes", &[("job", job)]), |n| match (number, n % 40) {
            (0, 3) => Some(f64::INFINITY),
            (1, 9) => Some(f64::NEG_INFINITY),
            (2, _) => Some(1e300 * (1.0 + n as f64)),
            _ => Some(n as f64 * 1e15 + 0.125),
        });
    }
}

fn open_metrics(memory: &Memory) -> String {
    let mut text = String::new();
    for (labels, samples) in memory.iter() {
        let pairs = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={value:?}")).collect();
        for (at_ms, value) in samples {
            let value = match *value {
                value if value.is_nan() => "NaN".to_owned(),
                value if value.is_infinite() => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
                value => format!("{value}"),
            };
            let (name, pairs) = (labels.get(METRIC_NAME), pairs.join(","));
            let (seconds, rest) = (at_ms / 1000, at_ms % 1000);
            writeln!(text, "{name}{{{pairs}}} {value} {seconds}.{rest:03}").unwrap();
        }
    }
    text.push_str("# EOF\n");
    text
}

fn prometheus(memory: &Memory) -> Prometheus {
    let scratch = Scratch::new().unwrap();
    let metrics = scratch.write("metrics.txt", &open_metrics(memory)).unwrap();
    let promtool = peer("prometheus", "usr/bin/promtool").unwrap();
    let made = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([&metrics, &scratch.path().join("tsdb")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = "scrape_configs: []\n";
    Prometheus::start_in(scratch, config, &["--storage.tsdb.retention.time=100y"]).unwrap()
}

fn ask(address: SocketAddr, path: &str) -> Json {
    serde_json::from_slice(&get(address, path).unwrap().body).unwrap()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn answers_are_those_of_a_real_prometheus() {
    let memory = data();
    let prometheus = prometheus(&memory);
    let address = prometheus.address;
    let engine = Engine::default();
    let (mut n_answers, mut faults) = (0, Vec::new());
    for expr in lines(include_str!("expressions.txt")) {
        let query = escaped(expr);
        let is_ordered = ["sort", "topk", "bottomk"].iter().any(|word| expr.starts_with(word));
        for at_s in INSTANTS_S {
            let answer = ask(address, &format!("/api/v1/query?query={query}&time={at_s}"));
            let own = engine.instant(&memory, expr, (at_s * 1000.0) as i64, &|| false);
            n_answers += 1;
            match (own, answer["status"].as_str()) {
                (Ok(own), Some("success")) => {
                    let told = difference(ours(&own.value), theirs(&answer["data"]), is_ordered, TOLERANCE);
                    faults.extend(told.map(|told| format!("{expr} at {at_s}: {told}")));
                }
                (own, _) => {
                    let own = own.map(|answer| ours(&answer.value));
                    faults.push(format!("{expr} at {at_s}: ours {own:?}, theirs {answer}"));
                }
            }
        }
        let (from_s, to_s, step_s) = RANGE_S;
        let answer = ask(
            address,
            &format!("/api/v1/query_range?query={query}&start={from_s}&end={to_s}&step={step_s}"),
        );
        let ms = |seconds: f64| (seconds * 1000.0) as i64;
        let range = Range { from_ms: ms(from_s), to_ms: ms(to_s), step_ms: ms(step_s) };
        n_answers += 1;
        match (engine.range(&memory, expr, range, &|| false), answer["status"].as_str()) {
            (Ok(own), Some("success")) => {
                let told = difference(ours(&own.value), theirs(&answer["data"]), false, TOLERANCE);
                faults.extend(told.map(|told| format!("{expr} over a range: {told}")));
            }
            (Err(_), Some("error")) => {}
            (own, _) => {
                let own = own.map(|answer| ours(&answer.value));
                faults.push(format!("{expr} over a range: ours {own:?}, theirs {answer}"));
            }
        }
    }
    println!("{n_answers} answers compared");
    assert!(faults.is_empty(), "{} of {n_answers} answers differ:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn wrong_texts_are_refused_as_by_a_real_prometheus() {
    let memory = data();
    let prometheus = prometheus(&memory);
    let address = prometheus.address;
    let at_s = INSTANTS_S[0];
    let mut faults = Vec::new();
    for expr in lines(include_str!("errors.txt")) {
        let answer = ask(address, &format!("/api/v1/query?query={}&time={at_s}", escaped(expr)));
        let theirs = answer["error"].as_str().unwrap_or("no error");
        let theirs = theirs.strip_prefix("invalid parameter \"query\": ").unwrap_or(theirs);
        let own = match Engine::default().instant(&memory, expr, (at_s * 1000.0) as i64, &|| false) {
            Ok(answer) => format!("no error but {:?}", ours(&answer.value)),
            Err(error) => error.to_string(),
        };
        if own != theirs {
            faults.push(format!("{expr}\n    ours   {own}\n    theirs {theirs}"));
        }
    }
    assert!(faults.is_empty(), "{} refusals differ:\n{}", faults.len(), faults.join("\n"));
}
