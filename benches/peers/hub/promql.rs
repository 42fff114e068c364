//! PromQL over a day of five hosts, and over the newest minutes of a thousand: the same samples, pushed by
//! remote write, asked by the same requests of the hub, of VictoriaMetrics and of Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fieldpost_bed::{Connection, Hub, now_ms};
use fieldpost_formats::remote_write::{CONTENT_ENCODING, Encoder, Version};
use fieldpost_formats::{Limits, PushedSeries, Sample};
use fieldpost_store::hub::{HubStore, HubStoreOptions};
use serde_json::Value;

use crate::cpu::{Meter, median, memory_mib};
use crate::rivals;
use crate::table::Row;
use crate::victoria::Victoria;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Hosts with a hundred series each.
const N_HOSTS: usize = 5;
/// Agents of which one series is there, for the last ten minutes.
const N_AGENTS: usize = 1_000;
/// Samples of each series that go in one request.
const N_TOGETHER: i64 = 60;
/// How often each question is asked, after a first time.
const N_ASKED: usize = 5;
/// Between two points of an answer.
const STEP_S: i64 = 60;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(900);
/// All series come under one token, which may have 50 000 unless it is set.
const ONE_TOKEN: &str = "limits:\n  series_per_agent: 1000000\n";

/// What is asked: a name for people, over the whole span or at its end, and the question.
const QUESTIONS: [(&str, bool, &str); 8] = [
    ("rate of CPU by mode", true, "sum by (mode) (rate(node_cpu_seconds_total[5m]))"),
    ("rate of CPU by instance", true, "sum by (instance) (rate(node_cpu_seconds_total[5m]))"),
    ("share of memory", true, "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"),
    ("topk of traffic", true, "topk(10, rate(node_network_receive_bytes_total[5m]))"),
    ("quantile_over_time", true, "quantile_over_time(0.95, node_load1[10m])"),
    ("one series", true, "node_load1{instance=\"host-3\"}"),
    ("rate by mode, now", false, "sum by (mode) (rate(node_cpu_seconds_total[5m]))"),
    ("1 000 agents, now", false, "sum by (rack) (rate(agent_work_total[5m]))"),
];

/// A series: name, labels, and whether it only grows.
struct Series {
    labels: Vec<(String, String)>,
    grows: bool,
    seed: u64,
    is_recent: bool,
}

/// Series and the span of their samples.
struct Data {
    series: Vec<Series>,
    from_ms: i64,
    to_ms: i64,
    every_ms: i64,
}

impl Data {
    /// What five hosts have in so long a time; and a thousand agents in its last ten minutes.
    fn new(length_ms: i64, every_ms: i64) -> Self {
        let to_ms = (now_ms() - 60_000) / 60_000 * 60_000;
        let mut series = Vec::new();
        let mut add = |name: &str, labels: &[(&str, &str)], grows: bool, is_recent: bool| {
            let own = labels.iter().copied().chain([("__name__", name), ("job", "node")]);
            let mut labels: Vec<_> = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            labels.sort();
            series.push(Series { labels, grows, seed: series.len() as u64 + 1, is_recent });
        };
        for host in 0..N_HOSTS {
            let instance = format!("host-{host}");
            let of =
                |name: &'static str, value: &str| [("instance", instance.clone()), (name, value.to_owned())];
            for cpu in 0..8 {
                for mode in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"] {
                    let cpu = cpu.to_string();
                    let labels = [("instance", instance.as_str()), ("cpu", &cpu), ("mode", mode)];
                    add("node_cpu_seconds_total", &labels, true, false);
                }
            }
            for device in 0..10 {
                let labels = of("device", &format!("eth{device}"));
                let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
                add("node_network_receive_bytes_total", &labels, true, false);
                add("node_network_transmit_bytes_total", &labels, true, false);
            }
            let labels = [("instance", instance.as_str())];
            for name in ["node_load1", "node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes"] {
                add(name, &labels, false, false);
            }
            for device in 0..13 {
                let labels = of("device", &format!("sd{device}"));
                let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
                add("node_disk_io_time_seconds_total", &labels, true, false);
            }
        }
        for agent in 0..N_AGENTS {
            let (instance, rack) = (format!("agent-{agent:04}"), format!("r{}", agent / 50));
            add("agent_work_total", &[("instance", &instance), ("rack", &rack)], true, true);
        }
        Self { series, from_ms: to_ms - length_ms, to_ms, every_ms }
    }

    /// Requests in the order of their time: each has so many samples of every series.
    fn each_request(&self, mut send: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        let (mut n_samples, mut from_ms) = (0, self.from_ms);
        while from_ms < self.to_ms {
            let until_ms = (from_ms + N_TOGETHER * self.every_ms).min(self.to_ms);
            let mut encoder = Encoder::new(Version::V1, Limits::default());
            for series in &self.series {
                if series.is_recent && until_ms <= self.to_ms - 600_000 {
                    continue;
                }
                let labels: Vec<(&str, &str)> =
                    series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let times =
                    (0..).map(|n| from_ms + n * self.every_ms).take_while(|time_ms| *time_ms < until_ms);
                let samples: Vec<Sample> = times.map(|time_ms| self.sample(series, time_ms)).collect();
                n_samples += samples.len() as u64;
                let pushed = PushedSeries { labels: &labels, metadata: None, samples: &samples };
                encoder.push(pushed).map_err(|fault| anyhow::anyhow!("{fault}"))?;
            }
            send(&encoder.finish().context("a request cannot be compressed")?)?;
            from_ms = until_ms;
        }
        Ok(n_samples)
    }

    /// A number that looks like a measured one, and is always the same.
    fn sample(&self, series: &Series, time_ms: i64) -> Sample {
        let n = ((time_ms - self.from_ms) / self.every_ms).unsigned_abs();
        let noise =
            (n ^ series.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 48;
        let value = match series.grows {
            true => 1e4 + (n * (3 + series.seed % 7)) as f64 + (noise % 300) as f64 / 100.0,
            false => 4e9 + ((n / 7) as f64).sin() * 1e8 + (noise * 4_096) as f64,
        };
        Sample { time_ms, value, start_ms: None }
    }
}

/// One of the three.
struct Asked<'a> {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    token: Option<&'a str>,
    /// Appended to each question.
    more: &'static str,
}

/// VictoriaMetrics keeps what it has answered, and answers the same question from there: asked with this it
/// has to work, as it has for whoever asks first.
const NO_CACHE: &str = "&nocache=1";

/// What a question cost.
struct Cost {
    ms: f64,
    cpu_ms: f64,
    n_series: usize,
}

impl Asked<'_> {
    fn bearer(&self) -> Option<String> {
        self.token.map(|token| format!("Bearer {token}"))
    }

    fn push(&self, data: &Data, token: Option<&str>) -> anyhow::Result<u64> {
        let mut connection = Connection::open(self.address)?;
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers =
            vec![("Content-Type", Version::V1.content_type()), ("Content-Encoding", CONTENT_ENCODING)];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        data.each_request(|body| {
            loop {
                let answer = connection.post_with("/api/v1/write", &headers, body)?;
                match answer.status {
                    200..=299 => return Ok(()),
                    503 => std::thread::sleep(Duration::from_millis(20)),
                    status => {
                        anyhow::bail!("{} answers {status}: {}", self.name, answer.text().unwrap_or_default())
                    }
                }
            }
        })
    }

    /// Asks the first time, then again and again.
    fn ask(&self, path: &str) -> anyhow::Result<Cost> {
        let bearer = self.bearer();
        let headers: Vec<(&str, &str)> =
            bearer.as_deref().map(|b| ("Authorization", b)).into_iter().collect();
        let mut connection = Connection::open(self.address)?;
        let mut ask = || -> anyhow::Result<Value> {
            let answer = connection.get(path, &headers)?;
            serde_json::from_str(answer.ok()?).context("no JSON")
        };
        let first = ask()?;
        let found = first["data"]["result"].as_array().or(first["data"].as_array()).map_or(0, Vec::len);
        let meter = Meter::new(self.pid);
        let before = meter.coarse();
        let mut took = Vec::new();
        for _ in 0..N_ASKED {
            let start = Instant::now();
            ask()?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let cpu_ms = (meter.coarse() - before).as_secs_f64() * 1e3 / N_ASKED as f64;
        Ok(Cost { ms: median(took), cpu_ms, n_series: found })
    }

    fn ask_all(&self, data: &Data) -> anyhow::Result<Vec<Cost>> {
        let mut costs: Vec<Cost> = Vec::new();
        for (what, is_range, query) in QUESTIONS {
            let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let (from_s, to_s) = (data.from_ms / 1_000 + 600, data.to_ms / 1_000 - 1);
            let path = match is_range {
                true => format!("/api/v1/query_range?query={query}&start={from_s}&end={to_s}&step={STEP_S}"),
                false => format!("/api/v1/query?query={query}&time={to_s}"),
            };
            let path = path + self.more;
            costs.push(self.ask(&path).with_context(|| format!("{}: {what}", self.name))?);
        }
        let (from_s, to_s) = (data.from_ms / 1_000, data.to_ms / 1_000);
        costs.push(self.ask(&format!("/api/v1/label/mode/values?start={from_s}&end={to_s}"))?);
        let told: Vec<String> = costs.iter().map(|cost| format!("{:.1}", cost.ms)).collect();
        let memory = memory_mib(self.pid).0;
        eprintln!("hub-promql: {}: {} ms; resident {memory:.0} MiB", self.name, told.join(", "));
        Ok(costs)
    }
}

/// A day at 10 s and at 1 s; a short span makes it an hour at 10 s.
pub fn rows(span: Duration) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let runs: &[(i64, i64)] = match span.as_secs() {
        ..30 => &[(2 * HOUR_MS, 10_000)],
        30..60 => &[(DAY_MS, 10_000)],
        _ => &[(DAY_MS, 10_000), (DAY_MS, 1_000)],
    };
    for (length_ms, every_ms) in runs {
        rows.extend(beside(&Data::new(*length_ms, *every_ms))?);
    }
    Ok(rows)
}

fn beside(data: &Data) -> anyhow::Result<Vec<Row>> {
    let hub = of_hub(data)?;
    let victoria = Victoria::start()?;
    let rival = victoria.rival();
    let (address, pid) = (rival.address, rival.process.pid());
    let asked = Asked { name: "VictoriaMetrics", address, pid, token: None, more: NO_CACHE };
    asked.push(data, None)?;
    asked.ask("/internal/force_flush").ok();
    let victoria_costs = asked.ask_all(data)?;
    let again = Asked { name: "VictoriaMetrics once more", more: "", ..asked }.ask_all(data)?;
    let rival = rivals::prometheus_receiver()?;
    let (address, pid) = (rival.address, rival.process.pid());
    let asked = Asked { name: "Prometheus", address, pid, token: None, more: "" };
    asked.push(data, None)?;
    let prometheus_costs = asked.ask_all(data)?;
    let names = QUESTIONS.iter().map(|(what, _, _)| *what).chain(["values of a label"]);
    let span = format!(
        "{} h of {} series at {} s",
        (data.to_ms - data.from_ms) / HOUR_MS,
        N_HOSTS * 100,
        data.every_ms / 1_000
    );
    let mut rows = Vec::new();
    for (index, what) in names.enumerate() {
        let [ours, victoria, again, prometheus] =
            [&hub, &victoria_costs, &again, &prometheus_costs].map(|costs| &costs[index]);
        // VictoriaMetrics may find fewer: its rates need a sample before the window.
        let (found, expected) = (ours.n_series, prometheus.n_series);
        ensure!(found == expected, "{what}: {found} series, Prometheus {expected}");
        let told = |cost: &Cost| format!("{:.1} ms, {:.0} ms CPU", cost.ms, cost.cpu_ms);
        let peers = format!(
            "VictoriaMetrics {} (from its cache {:.1} ms); Prometheus {}",
            told(victoria),
            again.ms,
            told(prometheus)
        );
        let target = (victoria.ms * 10.0).round() / 10.0;
        let (what, goal) = (format!("{what}, {span}: latency, CPU"), (target * 5.0).round() / 10.0);
        rows.push(Row::against(&what, (ours.ms, told(ours)), &peers, target, goal, "ms"));
    }
    Ok(rows)
}

/// The hub with all of it merged, as it is for whoever asks of a day.
fn of_hub(data: &Data) -> anyhow::Result<Vec<Cost>> {
    let mut hub = Hub::start(crate::program(), ONE_TOKEN)?;
    let writer = hub.client(&["api-token", "create", "bench", "--scope", "ingest"])?;
    let viewer = hub.client(&["api-token", "create", "asks", "--scope", "viewer"])?;
    let asked =
        Asked { name: "hub", address: hub.address(), pid: hub.process().pid(), token: None, more: "" };
    let n_samples = asked.push(data, Some(writer.trim()))?;
    eprintln!("hub-promql: {n_samples} samples");
    hub.stop()?;
    let later_ms = 2 * HOUR_MS;
    let options = HubStoreOptions {
        clock: Arc::new(move || now_ms() + later_ms),
        ..HubStoreOptions::new(hub.data().join("record"))
    };
    let (store, _) = HubStore::open(options)?;
    ensure!(store.tend(PATIENCE), "the store does not end its merges");
    store.close()?;
    hub.start_again()?;
    let (address, pid) = (hub.address(), hub.process().pid());
    let costs = Asked { name: "hub", address, pid, token: Some(viewer.trim()), more: "" }.ask_all(data)?;
    hub.stop()?;
    Ok(costs)
}
