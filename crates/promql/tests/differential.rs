//! Random series in a real Prometheus, pushed to it by remote write, and in memory here; random
//! expressions over them have the same answers. What is random follows from a seed, which is told.
//!
//! The packaged Prometheus is of series 2, whose ranges hold both their ends: samples lie 1 to 400 ms
//! behind whole seconds and instants 500 ms, so that none lies on such an end. `FIELDPOST_SEED` sets
//! the seed, `FIELDPOST_SOAK` multiplies the number of expressions.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code)]
mod compare;
#[allow(dead_code)]
mod script;

use std::net::SocketAddr;

use compare::{Tolerance, difference, escaped, ours, theirs};
use fieldpost_bed::{Connection, Prometheus};
use fieldpost_formats::remote_write::{Encoder, Version};
use fieldpost_formats::{Limits, PushedSeries, Sample};
use fieldpost_model::ABSENT;
use fieldpost_promql::{Engine, Labels, METRIC_NAME, Range};
use script::load::Memory;
use serde_json::Value as Json;

/// Where nobody says otherwise.
const SEED: u64 = 20_261_122;
/// Expressions that are tried.
const N_EXPRESSIONS: usize = 2_000;
/// Instant of the first samples, seconds.
const START_S: i64 = 1_700_000_000;
/// Length of the series, seconds.
const LENGTH_S: i64 = 7_200;
/// Sums of many numbers differ in their last digits.
const TOLERANCE: Tolerance = Tolerance { part: 1e-9, least: 1e-7 };
/// Differences that are told.
const N_TOLD_MAX: usize = 10;

/// Numbers that look random and follow from a seed (a linear congruential generator).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// The samples of a series: each in its own time.
fn samples(
    random: &mut Random,
    every_s: i64,
    mut value: impl FnMut(&mut Random, i64) -> Option<f64>,
) -> Vec<(i64, f64)> {
    let mut samples = Vec::new();
    for n in 0..LENGTH_S / every_s {
        let late_ms = 1 + random.below(400) as i64 + 1_000 * random.below(3.min(every_s as usize / 5)) as i64;
        let at_ms = (START_S + n * every_s) * 1_000 + late_ms;
        samples.extend(value(random, n).map(|value| (at_ms, value)));
    }
    samples
}

fn data(random: &mut Random) -> Memory {
    let mut memory = Memory::default();
    let mut push = |name: &str, labels: &[(&str, &str)], samples: Vec<(i64, f64)>| {
        memory.push(Labels::new(labels.iter().copied().chain([(METRIC_NAME, name)])), samples);
    };
    for host in ["a", "b", "c"] {
        for room in ["hall", "attic"] {
            let gauge = samples(random, 15, |random, _| Some(random.next() * 600.0 - 200.0));
            push("gauge", &[("host", host), ("room", room)], gauge);
        }
        for code in ["200", "500"] {
            let mut total = 1e6 + random.next() * 1e5;
            let counter = samples(random, 15, |random, _| {
                total += random.next() * 40.0;
                // It begins anew, far from nothing: there the series of Prometheus differ.
                if random.below(120) == 0 {
                    total = 1e5 + random.next() * 100.0;
                }
                Some(total)
            });
            push("work_total", &[("host", host), ("code", code)], counter);
        }
        let mut counts = [1e5, 3e5, 6e5, 9e5];
        let columns: Vec<[f64; 4]> = (0..LENGTH_S / 30)
            .map(|_| {
                let mut more = 0.0;
                for count in &mut counts {
                    more += (random.next() * 9.0).floor();
                    *count += more;
                }
                counts
            })
            .collect();
        for (place, bound) in ["0.1", "0.5", "2", "+Inf"].into_iter().enumerate() {
            let bucket = samples(random, 30, |_, n| Some(columns[n as usize][place]));
            push("took_bucket", &[("host", host), ("le", bound)], bucket);
        }
        let (mut here, mut until) = (true, 0);
        let gappy = samples(random, 15, |random, n| {
            if n >= until {
                (here, until) = (!here, n + 3 + random.below(60) as i64);
            }
            here.then(|| 1e4 + n as f64 * 1.25 + random.next())
        });
        push("gappy", &[("host", host)], gappy);
        let strange = samples(random, 15, |random, _| {
            Some(match random.below(12) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                _ => random.next() * 10.0 - 3.0,
            })
        });
        push("strange", &[("host", host)], strange);
        // It ends by the marker and comes back.
        let mut ended = false;
        let ends = samples(random, 15, |random, n| {
            if random.below(25) == 0 {
                ended = !ended;
                return ended.then_some(ABSENT);
            }
            (!ended).then(|| n as f64 * 0.75 + random.next())
        });
        push("ends", &[("host", host), ("room", "hall")], ends);
        let slow = samples(random, 120, |random, _| Some(random.next() * 50.0));
        push("slow", &[("host", host)], slow);
    }
    memory
}

const GAUGES: &[&str] = &["gauge", "gappy", "ends", "slow", "strange"];
const COUNTERS: &[&str] = &["work_total", "took_bucket"];

/// Writes expressions.
struct Writer<'a> {
    random: &'a mut Random,
}

impl Writer<'_> {
    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        self.random.one(of)
    }

    fn number(&mut self) -> String {
        match self.random.below(6) {
            0 => "0".to_owned(),
            1 => format!("-{:.3}", self.random.next() * 100.0),
            2 => "1e3".to_owned(),
            _ => format!("{:.4}", self.random.next() * 300.0),
        }
    }

    /// A selector without what moves it in time.
    fn bare(&mut self, names: &[&str]) -> String {
        let name = self.one(names);
        let braces = [
            "",
            "",
            "",
            "{host=\"a\"}",
            "{host!=\"b\"}",
            "{host=~\"a|c\"}",
            "{host!~\"b.*\"}",
            "{room!=\"\"}",
            "{room=\"\"}",
        ];
        format!("{name}{}", self.one(&braces))
    }

    fn moved(&mut self) -> String {
        let back = ["", "", "", "", " offset 37s", " offset 10m", " offset -90s", " @ start()", " @ end()"];
        match self.random.below(12) {
            0 => format!(" @ {}.5", START_S + self.random.below(LENGTH_S as usize) as i64),
            1 => format!(" @ {}.5 offset 3m", START_S + self.random.below(LENGTH_S as usize) as i64),
            _ => self.one(&back).to_owned(),
        }
    }

    /// What a function gets that looks at the instants of samples: with `@` it loses some in Prometheus 2.
    fn timed(&mut self) -> String {
        format!("timestamp({}{})", self.bare(GAUGES), self.one(&["", " offset 37s", " offset -90s"]))
    }

    fn selector(&mut self, names: &[&str]) -> String {
        self.bare(names) + &self.moved()
    }

    /// A range of samples or of what is evaluated for it.
    fn range(&mut self, names: &[&str], depth: usize) -> String {
        let span = self.one(&["1m", "2m", "5m", "5m", "17m", "1h"]);
        if depth == 0 || self.random.below(4) > 0 {
            return format!("{}[{span}]{}", self.bare(names), self.moved());
        }
        let inner = self.plain(depth - 1);
        let step = self.one(&["", "10s", "30s", "77s"]);
        format!("({inner})[{span}:{step}]{}", self.moved())
    }

    /// A vector without ranges of what is evaluated: those within each other end at the same instants.
    fn plain(&mut self, depth: usize) -> String {
        match self.random.below(4) {
            0 => self.selector(GAUGES),
            1 => format!("rate({}[2m])", self.bare(COUNTERS)),
            2 if depth > 0 => format!("sum by (host) ({})", self.plain(depth - 1)),
            _ => format!("{} * {}", self.selector(GAUGES), self.number()),
        }
    }

    fn grouping(&mut self) -> &'static str {
        self.one(&[
            "",
            "by (host)",
            "by (host, room)",
            "by (nothing)",
            "without (host)",
            "without (code, le)",
            "by (code)",
        ])
    }

    fn over_time(&mut self, depth: usize) -> String {
        let any = ["avg", "min", "max", "sum", "count", "stddev", "stdvar", "last", "present"];
        match self.random.below(9) {
            0 | 1 => format!("{}({})", self.one(&["rate", "increase", "irate"]), self.range(COUNTERS, 0)),
            2 => format!("{}({})", self.one(&["delta", "idelta", "deriv"]), self.range(GAUGES, depth)),
            // Of samples as they are: sums differ in their last digits, and would fall or not by them.
            3 => format!("{}({})", self.one(&["changes", "resets"]), self.range(GAUGES, 0)),
            4 => {
                let part = self.one(&["0", "0.5", "0.9", "1", "0.333"]);
                format!("quantile_over_time({part}, {})", self.range(GAUGES, depth))
            }
            5 => {
                // With `@` its window moves in Prometheus 2, though it must not.
                let (names, back) =
                    (["gauge", "gappy", "slow"], self.one(&["", " offset 37s", " offset -90s"]));
                format!("predict_linear({}[5m]{back}, {})", self.bare(&names), self.one(&["600", "-60"]))
            }
            6 => format!("absent_over_time({})", self.range(GAUGES, 0)),
            _ => format!("{}_over_time({})", self.one(&any), self.range(GAUGES, depth)),
        }
    }

    fn aggregated(&mut self, depth: usize) -> String {
        let op = self.one(&["sum", "avg", "min", "max", "count", "group"]);
        match self.random.below(7) {
            3 => {
                // Of finite numbers: of one that is infinite Prometheus 2 says 0.
                let op = self.one(&["stddev", "stdvar"]);
                format!("{op} {} ({})", self.grouping(), self.selector(&["gauge", "gappy", "ends"]))
            }
            0 => {
                let (op, k, grouping) =
                    (self.one(&["topk", "bottomk"]), self.one(&["1", "2", "4"]), self.grouping());
                // Of numbers that are all different: of equal ones any may be chosen.
                format!("{op} {grouping} ({k}, {})", self.selector(&["gauge"]))
            }
            1 => {
                let (part, grouping) = (self.one(&["0", "0.25", "0.5", "0.99", "1"]), self.grouping());
                format!("quantile {grouping} ({part}, {})", self.vector(depth - 1))
            }
            2 => format!("count_values(\"n\", count_over_time({}))", self.range(GAUGES, 0)),
            _ => format!("{op} {} ({})", self.grouping(), self.vector(depth - 1)),
        }
    }

    fn paired(&mut self, depth: usize) -> String {
        let sum = self.one(&["+", "-", "*", "/"]);
        let order = self.one(&[">", "<", ">=", "<=", "> bool", "< bool"]);
        let set = self.one(&["and", "or", "unless"]);
        let by_host = |own: &mut Self| format!("sum by (host) ({})", own.vector(depth - 1));
        match self.random.below(8) {
            0 => format!("({}) {sum} {}", self.vector(depth - 1), self.number()),
            1 => format!("{} {sum} ({})", self.number(), self.vector(depth - 1)),
            2 => format!("({}) {order} {}", self.vector(depth - 1), self.number()),
            3 => format!("{} {sum} on (host) group_left () {}", self.selector(&["gauge"]), by_host(self)),
            4 => {
                format!("{} {sum} on (host) group_right () {}", by_host(self), self.selector(&["work_total"]))
            }
            5 => format!("{} {sum} {}", by_host(self), by_host(self)),
            6 => {
                let on = self.one(&["", "on (host)", "ignoring (room, code)", "on ()"]);
                format!("({}) {set} {on} ({})", self.vector(depth - 1), self.vector(depth - 1))
            }
            _ => {
                format!("{} {order} ignoring (room) {}", self.selector(&["gappy"]), self.selector(&["ends"]))
            }
        }
    }

    fn called(&mut self, depth: usize) -> String {
        let function = self.one(&["abs", "sqrt", "ln", "log2", "log10", "sgn", "exp", "-", "atan", "deg"]);
        match self.random.below(10) {
            0 => format!(
                "histogram_quantile({}, {})",
                self.one(&["0.5", "0.9", "0", "1", "0.01"]),
                "sum by (le, host) (rate(took_bucket[5m]))"
            ),
            1 => format!("histogram_quantile(0.75, rate({}[3m]))", self.bare(&["took_bucket"])),
            2 => format!("clamp({}, -20, {})", self.vector(depth - 1), self.number()),
            3 => format!("{}({}, 7.5)", self.one(&["clamp_min", "clamp_max"]), self.vector(depth - 1)),
            4 => format!("label_replace({}, \"to\", \"x-$1\", \"host\", \"(a|b)\")", self.vector(depth - 1)),
            5 => format!("label_join({}, \"both\", \"/\", \"host\", \"room\")", self.vector(depth - 1)),
            6 => format!("{}({})", self.one(&["floor", "ceil", "round", "absent"]), self.selector(GAUGES)),
            7 => {
                let part = self.one(&["hour", "minute", "day_of_week", "month", "-"]);
                format!("{part}({})", self.timed())
            }
            8 => format!("{} % {}", self.selector(GAUGES), self.number()),
            _ => format!("{function}({})", self.vector(depth - 1)),
        }
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.selector(GAUGES);
        }
        match self.random.below(10) {
            0 => self.selector(&["gauge", "work_total", "ends"]),
            1..=3 => self.over_time(depth - 1),
            4 | 5 => self.aggregated(depth),
            6 | 7 => self.paired(depth),
            _ => self.called(depth),
        }
    }

    fn expression(&mut self) -> String {
        match self.random.below(30) {
            0 => format!("scalar({}) + time()", self.vector(1)),
            1 => format!("vector({})", self.number()),
            2 => format!("{{__name__=~\"{}\"}}", self.one(&["gauge|slow", "g.*", ".*_total", "ends|gappy"])),
            _ => {
                let depth = 1 + self.random.below(3);
                self.vector(depth)
            }
        }
    }
}

fn push(address: SocketAddr, memory: &Memory) {
    let mut encoder = Encoder::new(Version::V1, Limits { labels_max: 100, ..Limits::default() });
    for (labels, samples) in memory.iter() {
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        let sample = |(at, value): (&i64, &f64)| Sample { time_ms: *at, value: *value, start_ms: None };
        let samples: Vec<Sample> = samples.iter().map(sample).collect();
        encoder.push(PushedSeries { labels: &pairs, metadata: None, samples: &samples }).unwrap();
    }
    let headers = [("Content-Type", Version::V1.content_type()), ("Content-Encoding", "snappy")];
    let mut connection = Connection::open(address).unwrap();
    let answer = connection.post_with("/api/v1/write", &headers, &encoder.finish().unwrap()).unwrap();
    assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
}

/// What to multiply the number of expressions by.
fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Compares one answer; what differs.
fn compared(own: Result<compare::Series, String>, answer: &Json) -> Option<String> {
    match (own, answer["status"].as_str()) {
        (Ok(own), Some("success")) => difference(own, theirs(&answer["data"]), false, TOLERANCE),
        (Err(_), Some("error")) => None,
        (Ok(_), _) => Some(format!("answered here, theirs {}", answer["error"])),
        (Err(own), _) => Some(format!("refused here ({own}), answered there")),
    }
}

#[test]
fn random_expressions_over_random_series_have_the_answers_of_a_real_prometheus() {
    let seed = from_environment("FIELDPOST_SEED", SEED);
    println!("FIELDPOST_SEED={seed}");
    let mut random = Random(seed);
    let memory = data(&mut random);
    let arguments = ["--storage.tsdb.retention.time=100y", "--web.enable-remote-write-receiver"];
    let prometheus = Prometheus::start("scrape_configs: []\n", &arguments).unwrap();
    let address = prometheus.address;
    push(address, &memory);
    let engine = Engine::default();
    let mut connection = Connection::open(address).unwrap();
    let mut ask =
        |path: String| -> Json { serde_json::from_slice(&connection.get(&path, &[]).unwrap().body).unwrap() };
    let (mut n_values, mut faults) = (0, Vec::new());
    let n_expressions = N_EXPRESSIONS * from_environment("FIELDPOST_SOAK", 1) as usize;
    for _ in 0..n_expressions {
        let expr = Writer { random: &mut random }.expression();
        let query = escaped(&expr);
        let at_s = START_S + 300 + random.below(LENGTH_S as usize) as i64;
        let answer = ask(format!("/api/v1/query?query={query}&time={at_s}.5"));
        let own = engine.instant(&memory, &expr, at_s * 1_000 + 500, &|| false);
        n_values += answer["data"]["result"].as_array().map_or(0, Vec::len);
        let own = own.map(|answer| ours(&answer.value)).map_err(|error| error.to_string());
        faults.extend(compared(own, &answer).map(|told| format!("{expr}\n  at {at_s}.5: {told}")));

        let from_s = START_S - 60 + random.below(3_600) as i64;
        let (to_s, step_s) = (from_s + 600 + random.below(4_000) as i64, 13 + random.below(200) as i64);
        let answer =
            ask(format!("/api/v1/query_range?query={query}&start={from_s}.5&end={to_s}.5&step={step_s}"));
        let range =
            Range { from_ms: from_s * 1_000 + 500, to_ms: to_s * 1_000 + 500, step_ms: step_s * 1_000 };
        let own = engine.range(&memory, &expr, range, &|| false);
        n_values += answer["data"]["result"].as_array().map_or(0, Vec::len);
        let own = own.map(|answer| ours(&answer.value)).map_err(|error| error.to_string());
        let place = format!("from {from_s}.5 to {to_s}.5 by {step_s}");
        faults.extend(compared(own, &answer).map(|told| format!("{expr}\n  {place}: {told}")));
    }
    println!("{n_expressions} expressions, {n_values} series compared");
    assert!(n_values > n_expressions, "most expressions have no answer at all");
    let told: Vec<&str> = faults.iter().take(N_TOLD_MAX).map(String::as_str).collect();
    assert!(faults.is_empty(), "FIELDPOST_SEED={seed}: {} answers differ\n{}", faults.len(), told.join("\n"));
}
