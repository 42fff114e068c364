//! The agent pushes to programs of others. They are killed for a while and started again, and have
//! every sample of the agent's store in the end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fieldpost_bed::{Agent, Process, Scratch, free_port, get, now_ms, peer, wait_for};
use fieldpost_model::{Selector, TimeMs};
use fieldpost_store::Reader;
use rustix::process::Signal;
use serde_json::Value;

use crate::push::{Hub, text};

/// Series with their samples.
type Series = BTreeMap<String, Vec<(TimeMs, f64)>>;

const ALL: &str = "{__name__!=\"\"}";
const AGENT: &str = "interval: 500ms\nstore: {window: 3s}\n";

/// A program of others that is pushed to.
struct Receiver {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    health: &'static str,
    address: SocketAddr,
    process: Process,
    scratch: Scratch,
}

impl Receiver {
    fn start(
        name: &'static str,
        program: &str,
        health: &'static str,
        arguments: impl Fn(SocketAddr, &Path) -> Vec<String>,
    ) -> Self {
        let scratch = Scratch::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let program = peer(name, program).unwrap();
        let arguments = arguments(address, scratch.path());
        let process = spawn(name, &program, &arguments, &scratch);
        let mut receiver = Self { name, program, arguments, health, address, process, scratch };
        receiver.wait();
        receiver
    }

    fn prometheus() -> Self {
        Self::start("prometheus", "usr/bin/prometheus", "/-/ready", |address, folder| {
            std::fs::write(folder.join("prometheus.yml"), "global: {scrape_interval: 1h}\n").unwrap();
            vec![
                format!("--config.file={}", folder.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
                format!("--web.listen-address={address}"),
                "--web.enable-remote-write-receiver".to_owned(),
            ]
        })
    }

    fn victoria_metrics() -> Self {
        Self::start("victoria-metrics", "usr/bin/victoria-metrics", "/health", |address, folder| {
            vec![
                format!("-storageDataPath={}", folder.join("data").display()),
                format!("-httpListenAddr={address}"),
                "-retentionPeriod=1".to_owned(),
                "-loggerLevel=WARN".to_owned(),
            ]
        })
    }

    fn start_again(&mut self) {
        self.process = spawn(self.name, &self.program, &self.arguments, &self.scratch);
        self.wait();
    }

    fn wait(&mut self) {
        let (address, health) = (self.address, self.health);
        let ready = || get(address, health).ok().filter(|answer| answer.status == 200);
        self.process.until("the receiver", ready).unwrap();
    }

    /// Its samples of a span, both ends included, by series.
    fn prometheus_samples(&self, from_ms: TimeMs, to_ms: TimeMs) -> Series {
        let (span, at) = (to_ms - from_ms, to_ms as f64 / 1_000.0);
        let query = format!("/api/v1/query?time={at:.3}&query=%7B__name__!%3D%22%22%7D%5B{span}ms%5D");
        let answer: Value = serde_json::from_str(get(self.address, &query).unwrap().ok().unwrap()).unwrap();
        let result = answer["data"]["result"].as_array().unwrap();
        let sample = |sample: &Value| {
            let time_ms = (sample[0].as_f64().unwrap() * 1_000.0).round() as TimeMs;
            (time_ms, sample[1].as_str().unwrap().parse::<f64>().unwrap())
        };
        let samples = |series: &Value| series["values"].as_array().unwrap().iter().map(sample).collect();
        result.iter().map(|series| (text_of(&series["metric"]), samples(series))).collect()
    }

    /// The same of a VictoriaMetrics: a line of JSON for each part of a series.
    fn victoria_samples(&self) -> Series {
        let answer = get(self.address, "/api/v1/export?match%5B%5D=%7B__name__!%3D%22%22%7D").unwrap();
        let mut all = Series::new();
        for line in answer.ok().unwrap().lines() {
            let part: Value = serde_json::from_str(line).unwrap();
            let times = part["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap());
            let values = part["values"].as_array().unwrap().iter();
            let values = values.map(|value| value.as_f64().unwrap_or(f64::NAN));
            all.entry(text_of(&part["metric"])).or_default().extend(times.zip(values));
        }
        all
    }
}

fn spawn(name: &str, program: &Path, arguments: &[String], scratch: &Scratch) -> Process {
    let no_environment: [(&str, &OsStr); 0] = [];
    Process::start(name, program, arguments, &no_environment, scratch.path()).unwrap()
}

fn text_of(metric: &Value) -> String {
    let mut labels: BTreeMap<String, String> = serde_json::from_value(metric.clone()).unwrap();
    let name = labels.remove("__name__").unwrap();
    text(&labels.into_iter().collect::<Vec<_>>(), &name)
}

/// What the agent's own store has, under the labels that its sinks add.
fn stored(agent: &Agent, from_ms: TimeMs, to_ms: TimeMs) -> Series {
    let reader = Reader::open(&agent.store()).unwrap();
    let mut all = Series::new();
    let selector = Selector::parse(ALL).unwrap();
    reader
        .scan(&selector, from_ms, to_ms, |series, samples| {
            let mut labels = series.labels.clone();
            // An empty label is none, whoever is asked.
            labels.retain(|(_, value)| !value.is_empty());
            labels.push(("instance".to_owned(), "host1".to_owned()));
            labels.push(("job".to_owned(), "fieldpost".to_owned()));
            all.entry(text(&labels, &series.name)).or_default().extend_from_slice(samples);
        })
        .unwrap();
    all
}

/// The first sample of ours that they lack or have otherwise, if there is one.
fn missing(ours: &Series, theirs: &Series) -> Option<String> {
    let same = |a: f64, b: f64| a == b || (a - b).abs() <= a.abs() * 1e-12 || a.is_nan();
    for (series, samples) in ours {
        let known: BTreeMap<TimeMs, f64> = theirs.get(series).into_iter().flatten().copied().collect();
        for (time_ms, value) in samples {
            match known.get(time_ms) {
                Some(found) if same(*value, *found) => {}
                found => return Some(format!("{series} {time_ms} {value}: {found:?}")),
            }
        }
    }
    None
}

fn sink(agent_config: &str, name: &str, kind: &str, url: &str, more: &str) -> String {
    format!(
        "{agent_config}sinks:\n  - {{name: {name}, kind: {kind}, url: '{url}', labels: {{instance: host1}}{more}}}\n"
    )
}

/// A number of the sink on the agent's own page.
fn number(agent: &Agent, name: &str) -> f64 {
    let page = agent.get("/metrics").unwrap().text().unwrap().to_owned();
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

/// Lets the receiver be away for a while, the agent going on; answers the end of the span that
/// must be there then.
fn outage(agent: &Agent, receiver: &mut Receiver, end: impl Fn(&mut Process)) -> TimeMs {
    wait_for("samples that were sent", || {
        (number(agent, "fieldpost_sink_samples_total") > 0.0).then_some(())
    })
    .unwrap();
    end(&mut receiver.process);
    wait_for("a failing sink", || (number(agent, "fieldpost_sink_failing") == 1.0).then_some(())).unwrap();
    wait_for("a backlog", || (number(agent, "fieldpost_sink_lag_windows") >= 2.0).then_some(())).unwrap();
    receiver.start_again();
    let to_ms = now_ms();
    let caught_up = || {
        let newest = stored(agent, to_ms, TimeMs::MAX);
        let is_over = !newest.is_empty() && number(agent, "fieldpost_sink_lag_windows") == 0.0;
        (is_over && number(agent, "fieldpost_sink_failing") == 0.0).then_some(())
    };
    wait_for("the backlog to be sent", caught_up).unwrap();
    to_ms
}

#[test]
fn prometheus_that_was_killed_has_every_sample_afterwards() {
    let mut prometheus = Receiver::prometheus();
    let url = format!("http://{}/api/v1/write", prometheus.address);
    let agent =
        Agent::start(Path::new(crate::fieldpost()), &sink(AGENT, "prometheus", "remote_write", &url, ""))
            .unwrap();
    let to_ms = outage(&agent, &mut prometheus, |process| process.kill().unwrap());
    let ours = stored(&agent, 0, to_ms);
    let from_ms = ours.values().filter_map(|samples| samples.first()).map(|first| first.0).min().unwrap();
    assert!(ours.len() > 100, "{} series", ours.len());
    let lacking = || missing(&ours, &prometheus.prometheus_samples(from_ms, to_ms));
    wait_for("every sample", || lacking().is_none().then_some(()))
        .unwrap_or_else(|_| panic!("{}", lacking().unwrap()));
    assert_eq!(number(&agent, "fieldpost_sink_lost_windows_total"), 0.0);
}

/// It answers before what it took is on its disk, so that it is asked to end, and not killed.
#[test]
fn victoria_metrics_that_was_away_has_every_sample_afterwards() {
    let mut victoria = Receiver::victoria_metrics();
    let url = format!("http://{}/api/v1/write", victoria.address);
    let agent =
        Agent::start(Path::new(crate::fieldpost()), &sink(AGENT, "victoria", "remote_write", &url, ""))
            .unwrap();
    let to_ms = outage(&agent, &mut victoria, |process| {
        process.signal(Signal::TERM).unwrap();
        process.wait().unwrap();
    });
    let ours = stored(&agent, 0, to_ms);
    assert!(ours.len() > 100, "{} series", ours.len());
    let lacking = || missing(&ours, &victoria.victoria_samples());
    wait_for("every sample", || lacking().is_none().then_some(()))
        .unwrap_or_else(|_| panic!("{}", lacking().unwrap()));
    assert_eq!(number(&agent, "fieldpost_sink_refused_samples_total"), 0.0);
}

#[test]
fn hub_takes_both_dialects_and_each_sink_has_its_own_cursor() {
    let mut hub = Hub::start("");
    let scratch = Scratch::new().unwrap();
    let token = scratch.write("token", &format!("{}\n", hub.token)).unwrap().display().to_string();
    let own = |path: &str| format!("http://{}{path}", hub.address);
    let proof = format!(", bearer_token_file: '{token}'");
    let by_otlp = format!("{proof}, match: ['node_load1', 'node_context_switches_total']");
    let config =
        sink(AGENT, "hub", "remote_write", &own("/api/v1/write"), &format!("{proof}, protocol: '2.0'"));
    let more = sink("", "otlp", "otlp", &own("/v1/metrics"), &by_otlp)
        .replace("sinks:\n", "")
        .replace("host1", "by-otlp");
    let mut agent = Agent::start(Path::new(crate::fieldpost()), &(config + &more)).unwrap();
    let at_hub = |hub: &Hub, selector: &str| hub.samples(selector, 0, TimeMs::MAX);
    wait_for("samples", || (!at_hub(&hub, "node_load1").is_empty()).then_some(())).unwrap();
    hub.kill_and_start_again();
    agent.kill().unwrap();
    agent.start_again().unwrap();
    let to_ms = now_ms();
    wait_for("more windows", || (!stored(&agent, to_ms, TimeMs::MAX).is_empty()).then_some(())).unwrap();
    let ours = stored(&agent, 0, to_ms);
    wait_for("every sample", || missing(&ours, &at_hub(&hub, ALL)).is_none().then_some(()))
        .unwrap_or_else(|_| panic!("{:?}", missing(&ours, &at_hub(&hub, ALL))));
    let values = |selector: &str| -> Vec<_> {
        let all = hub.samples(selector, 0, to_ms).into_values();
        all.map(|samples| samples.len()).collect()
    };
    let otlp = || {
        let same = ["node_load1", "node_context_switches_total"].into_iter().all(|name| {
            let of = |instance: &str| values(&format!("{name}{{instance=\"{instance}\"}}"));
            !of("host1").is_empty() && of("host1") == of("by-otlp")
        });
        same.then_some(())
    };
    wait_for("the same by OTLP", otlp).unwrap();
    assert_eq!(values("node_load5{instance=\"by-otlp\"}"), Vec::<usize>::new());
}
