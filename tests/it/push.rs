//! Others push to the hub: a real Prometheus by remote write, and every case of the protocols.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use fieldpost_bed::{
    Agent, Connection, Process, Prometheus, Response, Scratch, free_port, get, now_ms, peer, wait_for,
};
use fieldpost_formats::otlp::{Metric, MetricKind, MetricsEncoder, PartialSuccess, Point};
use fieldpost_formats::remote_write::{Encoder, Version, Written};
use fieldpost_formats::{Limits, PushedSeries, Sample};
use fieldpost_link::Token;
use fieldpost_model::hub_state::{Act, Actor, NewApiToken, Role, Scope, Sessions};
use fieldpost_model::{ABSENT, Selector, TimeMs, is_absent};
use fieldpost_store::hub::HubReader;
use fieldpost_store::{SqliteHubState, secret_hash};
use serde_json::Value;

const WRITE: &str = "/api/v1/write";

/// A hub of its own with API tokens.
pub struct Hub {
    pub address: SocketAddr,
    /// Good for handing in.
    pub token: String,
    /// The id of that one.
    token_id: String,
    /// Good for looking only.
    pub viewer: String,
    process: Process,
    scratch: Scratch,
}

impl Hub {
    pub fn start(config: &str) -> Self {
        let scratch = Scratch::new().unwrap();
        scratch.write("config/hub.yaml", config).unwrap();
        std::fs::create_dir_all(scratch.path().join("data")).unwrap();
        let state = SqliteHubState::open(&scratch.path().join("data")).unwrap();
        let (token, token_id) = api_token(&state, Scope::Ingest);
        let (viewer, _) = api_token(&state, Scope::Role(Role::Viewer));
        drop(state);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let process = spawn(&scratch, address);
        let mut hub = Self { address, token, token_id, viewer, process, scratch };
        hub.wait();
        hub
    }

    fn wait(&mut self) {
        let address = self.address;
        let ready = || get(address, "/-/ready").ok().filter(|answer| answer.status == 200);
        self.process.until("/-/ready", ready).unwrap();
    }

    pub fn kill_and_start_again(&mut self) {
        self.process.kill().unwrap();
        self.process = spawn(&self.scratch, self.address);
        self.wait();
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        Connection::open(self.address).unwrap().post_with(path, &all, body).unwrap()
    }

    pub fn write(&self, version: Version, body: &[u8]) -> Response {
        let headers = [("Content-Type", version.content_type()), ("Content-Encoding", "snappy")];
        self.post(WRITE, &headers, body)
    }

    /// Its config from the next reload on.
    pub fn write_config(&self, config: &str) {
        self.scratch.write("config/hub.yaml", config).unwrap();
    }

    /// A client command beside it.
    pub fn client(&self, arguments: &[&str]) -> String {
        let config = self.scratch.path().join("config").display().to_string();
        let store = format!("store.path={}", self.scratch.path().join("data").display());
        let mut command = Command::new(crate::fieldpost());
        command.args(arguments).args(["--config-dir", &config, "--set", &store]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn record(&self) -> PathBuf {
        self.scratch.path().join("data/record")
    }

    /// Samples of all series that the selector accepts, by their text.
    pub fn samples(
        &self,
        selector: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> BTreeMap<String, Vec<(TimeMs, f64)>> {
        let reader = HubReader::open(&self.record(), Arc::new(|_| Vec::new())).unwrap();
        let found = reader.samples(&Selector::parse(selector).unwrap(), from_ms, to_ms).unwrap();
        found
            .into_iter()
            .map(|(series, samples)| (text(&series.series.labels, &series.series.name), samples))
            .collect()
    }
}

fn spawn(scratch: &Scratch, address: SocketAddr) -> Process {
    let config = scratch.path().join("config").display().to_string();
    let store = format!("store.path={}", scratch.path().join("data").display());
    let listen = format!("listen={address}");
    let arguments = ["hub", "--config-dir", &config, "--set", &store, "--set", &listen];
    let no_environment: [(&str, &OsStr); 0] = [];
    Process::start("hub", Path::new(crate::fieldpost()), &arguments, &no_environment, scratch.path()).unwrap()
}

/// A token and its id.
fn api_token(state: &SqliteHubState, scope: Scope) -> (String, String) {
    let token = Token::random().unwrap();
    let secret = secret_hash(token.reveal());
    let new = NewApiToken { secret, name: "test".to_owned(), owner: None, scope, expires_ms: None };
    let made = state.add_api_token(&Act::new(Actor::Hub, now_ms()), &new).unwrap();
    (String::from(token), made.id)
}

/// Labels in one order, whoever says them.
pub fn text(labels: &[(String, String)], name: &str) -> String {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    format!("{name}{labels:?}")
}

/// A request of one series.
fn body(version: Version, labels: &[(&str, &str)], samples: &[(TimeMs, f64)]) -> Vec<u8> {
    let mut encoder = Encoder::new(version, Limits { labels_max: 1_000, ..Limits::default() });
    let samples: Vec<Sample> = samples
        .iter()
        .map(|(time_ms, value)| Sample { time_ms: *time_ms, value: *value, start_ms: None })
        .collect();
    encoder.push(PushedSeries { labels, metadata: None, samples: &samples }).unwrap();
    encoder.finish().unwrap()
}

/// What others have pushed: beside it the hub measures itself.
const NOT_ITS_OWN: &str = "{__name__!=\"\",job!=\"fieldpost-hub\"}";

/// A Prometheus that scrapes itself once a second and pushes to the hub.
fn prometheus(hub: &Hub) -> Prometheus {
    let (hub_address, token) = (hub.address, &hub.token);
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         remote_write:\n  - url: http://{hub_address}{WRITE}\n    authorization: {{credentials: {token}}}\n\
         scrape_configs:\n  - job_name: itself\n    static_configs: [{{targets: ['ITSELF']}}]\n"
    );
    Prometheus::start(&config, &[]).unwrap()
}

/// What Prometheus itself has of the span: samples by series.
pub fn own_answer(
    address: SocketAddr,
    from_ms: TimeMs,
    to_ms: TimeMs,
) -> BTreeMap<String, Vec<(TimeMs, f64)>> {
    // A range selector takes both of its ends in this version.
    let (span, at) = (to_ms - from_ms - 1, (to_ms - 1) as f64 / 1_000.0);
    let query = format!("/api/v1/query?time={at:.3}&query=%7B__name__!%3D%22%22%7D%5B{span}ms%5D");
    let answer: Value = serde_json::from_str(get(address, &query).unwrap().ok().unwrap()).unwrap();
    let mut all = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let mut labels: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone()).unwrap();
        let name = labels.remove("__name__").unwrap();
        let samples = series["values"].as_array().unwrap().iter().map(|sample| {
            let time_ms = (sample[0].as_f64().unwrap() * 1_000.0).round() as TimeMs;
            (time_ms, sample[1].as_str().unwrap().parse::<f64>().unwrap())
        });
        all.insert(text(&labels.into_iter().collect::<Vec<_>>(), &name), samples.collect::<Vec<_>>());
    }
    all
}

#[test]
fn hub_has_what_a_prometheus_pushes_sample_by_sample() {
    let mut hub = Hub::start("");
    let Prometheus { address, ref mut process, .. } = prometheus(&hub);
    let scrapes = |hub: &Hub| hub.samples("up", 0, TimeMs::MAX).into_values().next().unwrap_or_default();
    let first = process.until("pushed samples", || scrapes(&hub).first().copied()).unwrap();
    process.until("5 scrapes", || (scrapes(&hub).len() >= 5).then_some(())).unwrap();
    hub.kill_and_start_again();
    let n_before = scrapes(&hub).len();
    process.until("5 more scrapes", || (scrapes(&hub).len() >= n_before + 5).then_some(())).unwrap();
    // All series of a scrape are there once a later scrape is.
    let scrapes = scrapes(&hub);
    let (from_ms, to_ms) = (first.0, scrapes[scrapes.len() - 2].0);
    let theirs = own_answer(address, from_ms, to_ms);
    let n_theirs: usize = theirs.values().map(Vec::len).sum();
    assert!(theirs.len() > 300 && n_theirs > 5 * 300, "{} series, {n_theirs} samples", theirs.len());
    let bits = |all: &BTreeMap<String, Vec<(TimeMs, f64)>>| -> BTreeMap<String, Vec<(TimeMs, String)>> {
        let samples = |samples: &Vec<(TimeMs, f64)>| {
            let present = samples.iter().filter(|(_, value)| !is_absent(*value));
            present.map(|(time_ms, value)| (*time_ms, value.to_string())).collect::<Vec<_>>()
        };
        all.iter().map(|(series, all)| (series.clone(), samples(all))).collect()
    };
    let same = || {
        let ours = bits(&hub.samples(NOT_ITS_OWN, from_ms, to_ms));
        (ours == bits(&theirs)).then_some(())
    };
    wait_for("the same samples", same).unwrap();
}

/// vmagent scrapes itself and pushes that, each second.
fn vmagent(hub: &Hub, scratch: &Scratch) -> (SocketAddr, Process) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let jobs = format!(
        "scrape_configs: [{{job_name: vm, scrape_interval: 1s, scrape_timeout: 1s, \
         static_configs: [{{targets: ['{address}']}}]}}]\n"
    );
    let jobs = scratch.write("vmagent.yml", &jobs).unwrap();
    let token = scratch.write("vmagent.token", &hub.token).unwrap();
    let arguments = [
        format!("-httpListenAddr={address}"),
        format!("-promscrape.config={}", jobs.display()),
        format!("-remoteWrite.url=http://{}{WRITE}", hub.address),
        format!("-remoteWrite.bearerTokenFile={}", token.display()),
        format!("-remoteWrite.tmpDataPath={}", scratch.path().join("queue").display()),
    ];
    let program = peer("victoria-metrics", "usr/bin/vmagent").unwrap();
    let no_environment: [(&str, &OsStr); 0] = [];
    let process = Process::start("vmagent", &program, &arguments, &no_environment, scratch.path()).unwrap();
    (address, process)
}

#[test]
fn hub_has_every_scrape_that_a_vmagent_pushes_also_across_a_kill() {
    let mut hub = Hub::start("");
    let scratch = Scratch::new().unwrap();
    let (address, mut process) = vmagent(&hub, &scratch);
    let of = |hub: &Hub, name: &str| {
        let selector = format!("{name}{{job=\"vm\",instance=\"{address}\"}}");
        hub.samples(&selector, 0, TimeMs::MAX).into_values().next().unwrap_or_default()
    };
    process.until("4 scrapes", || (of(&hub, "up").len() >= 4).then_some(())).unwrap();
    hub.kill_and_start_again();
    let n_before = of(&hub, "up").len();
    process.until("4 more scrapes", || (of(&hub, "up").len() >= n_before + 4).then_some(())).unwrap();
    let ups = of(&hub, "up");
    let gaps = ups.windows(2).filter(|pair| pair[1].0 - pair[0].0 != 1_000).count();
    assert!(gaps == 0 && ups.iter().all(|sample| sample.1 == 1.0), "every second is there: {ups:?}");
    assert!(of(&hub, "process_resident_memory_bytes").iter().all(|sample| sample.1 > 1e6));
    let page = get(address, "/metrics").unwrap().ok().unwrap().to_owned();
    let dropped = page.lines().find(|line| line.starts_with("vmagent_remotewrite_packets_dropped_total"));
    assert!(dropped.is_some_and(|line| line.ends_with(" 0")), "{dropped:?}");
}

#[test]
fn what_is_no_remote_write_is_refused_with_its_status() {
    let hub = Hub::start("");
    let time_ms = now_ms();
    let good = body(Version::V1, &[("__name__", "x")], &[(time_ms, 1.0)]);
    let protobuf = ("Content-Type", "application/x-protobuf");
    let snappy = ("Content-Encoding", "snappy");
    for (headers, body, status) in [
        (&[protobuf, snappy][..], &good[..], 204),
        (&[protobuf], &good, 204),
        (&[("Content-Type", "application/json"), snappy], &good, 415),
        (&[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v9.Request")], &good, 415),
        (&[protobuf, ("Content-Encoding", "zstd")], &good, 415),
        (&[protobuf, snappy], b"no snappy at all", 400),
        (&[protobuf, snappy], &[0x80, 0x80, 0x80, 0x14], 413),
    ] {
        let answer = hub.post(WRITE, headers, body);
        assert_eq!(answer.status, status, "{headers:?}: {}", String::from_utf8_lossy(&answer.body));
    }
    let mut stranger = Connection::open(hub.address).unwrap();
    assert_eq!(stranger.post(WRITE, &good).unwrap().status, 401);
    let viewer = format!("Bearer {}", hub.viewer);
    // Whoever is refused before their body was read has to come again.
    let mut looker = Connection::open(hub.address).unwrap();
    assert_eq!(looker.post_with(WRITE, &[("Authorization", &viewer)], &good).unwrap().status, 403);
    let mut reader = Connection::open(hub.address).unwrap();
    let token = format!("Bearer {}", hub.token);
    assert_eq!(reader.get("/api/v1/agents", &[("Authorization", &token)]).unwrap().status, 403);
    assert_eq!(hub.samples("x", 0, TimeMs::MAX).into_values().collect::<Vec<_>>(), [vec![(time_ms, 1.0)]]);
}

#[test]
fn order_and_repetition_do_no_harm_and_ends_of_series_are_kept() {
    let mut hub = Hub::start("");
    let now_ms = now_ms() / 1_000 * 1_000;
    let labels = [("__name__", "x"), ("instance", "mine"), ("job", "theirs")];
    let at = |seconds: i64| now_ms - 300_000 + seconds * 1_000;
    for (version, samples) in [
        (Version::V1, [(at(10), 1.0), (at(11), 2.0)]),
        (Version::V2, [(at(9), 0.5), (at(12), ABSENT)]),
        (Version::V1, [(at(10), 1.0), (at(11), 2.0)]),
        (Version::V2, [(at(11), 7.0), (at(70), f64::INFINITY)]),
    ] {
        let answer = hub.write(version, &body(version, &labels, &samples));
        assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
        let counted = Written::read(|name| answer.header(&name.to_ascii_lowercase()));
        let wanted = (version == Version::V2).then_some(2);
        assert_eq!(counted.map(|written| written.n_samples), wanted);
    }
    for _ in 0..2 {
        let found = hub.samples("x", 0, TimeMs::MAX);
        assert_eq!(found.len(), 1);
        let (series, samples) = found.into_iter().next().unwrap();
        assert_eq!(series, "x[(\"instance\", \"mine\"), (\"job\", \"theirs\")]");
        let bits = |samples: &[(TimeMs, f64)]| -> Vec<_> {
            samples.iter().map(|(time_ms, value)| (*time_ms, value.to_bits())).collect()
        };
        let wanted = [(at(9), 0.5), (at(10), 1.0), (at(11), 7.0), (at(12), ABSENT), (at(70), f64::INFINITY)];
        assert_eq!(bits(&samples), bits(&wanted));
        hub.kill_and_start_again();
    }
}

#[test]
fn what_goes_beyond_a_limit_is_refused_and_the_rest_is_written() {
    let hub = Hub::start("limits: {series_per_agent: 100, labels_per_series: 8}\n");
    let now_ms = now_ms();
    let said = |answer: &Response| String::from_utf8_lossy(&answer.body).into_owned();
    let labels = [("__name__", "x")];
    let old_and_new = [(5, 1.0), (now_ms - 1_000, 2.0), (now_ms + 3_600_000, 3.0)];
    let answer = hub.write(Version::V2, &body(Version::V2, &labels, &old_and_new));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert!(said(&answer).contains("1 samples written; 2 samples refused:"), "{}", said(&answer));
    assert!(said(&answer).contains("is too old or too far ahead"), "{}", said(&answer));
    let names: Vec<String> = (0..9).map(|n| format!("a{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).chain([("__name__", "x")]).collect();
    let answer = hub.write(Version::V1, &body(Version::V1, &many, &[(now_ms, 1.0)]));
    assert_eq!(
        (answer.status, said(&answer).contains("more than 9 labels")),
        (400, true),
        "{}",
        said(&answer)
    );
    let long = "v".repeat(60_000);
    let answer =
        hub.write(Version::V1, &body(Version::V1, &[("__name__", "x"), ("a", &long)], &[(now_ms, 1.0)]));
    assert_eq!(
        (answer.status, said(&answer).contains("a text of 60000 bytes")),
        (400, true),
        "{}",
        said(&answer)
    );
    let mut encoder = Encoder::new(Version::V1, Limits::default());
    for n in 0..120 {
        let (n, samples) = (n.to_string(), [Sample { time_ms: now_ms, value: 1.0, start_ms: None }]);
        let series =
            PushedSeries { labels: &[("__name__", "y"), ("n", &n)], metadata: None, samples: &samples };
        encoder.push(series).unwrap();
    }
    let answer = hub.write(Version::V1, &encoder.finish().unwrap());
    assert_eq!(answer.status, 400);
    assert!(
        said(&answer).contains("99 samples written; 21 samples refused: more than 100 series"),
        "{}",
        said(&answer)
    );
    assert_eq!(hub.samples("y", 0, TimeMs::MAX).len(), 99);
}

#[test]
fn otlp_metrics_are_stored() {
    let hub = Hub::start("");
    let now_ms = now_ms();
    let mut encoder = MetricsEncoder::new(&[("service.name", "shop")], "test", "1");
    let sample = Sample { time_ms: now_ms, value: 5.0, start_ms: None };
    encoder.push(Metric {
        name: "queue.length",
        description: "How many wait.",
        unit: "1",
        kind: MetricKind::Gauge,
        points: &[Point { attributes: &[("queue", "out")], sample }],
    });
    let message = encoder.finish();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&message).unwrap();
    let protobuf = ("Content-Type", "application/x-protobuf");
    let gzip = ("Content-Encoding", "gzip");
    let answer = hub.post("/v1/metrics", &[protobuf, gzip], &zipped.finish().unwrap());
    assert_eq!((answer.status, PartialSuccess::read(&answer.body)), (200, None));
    let found = hub.samples("{job=\"shop\",queue=\"out\"}", 0, TimeMs::MAX);
    assert_eq!(found.into_values().collect::<Vec<_>>(), [vec![(now_ms, 5.0)]]);
    assert_eq!(hub.post("/v1/metrics", &[("Content-Type", "application/json")], b"{}").status, 415);
    assert_eq!(hub.post("/v1/metrics", &[protobuf, gzip], b"no gzip").status, 400);
    assert_eq!(hub.post("/v1/metrics", &[protobuf], b"\xff\xff").status, 400);
    assert_eq!(Connection::open(hub.address).unwrap().post("/v1/logs", b"x").unwrap().status, 401);
}

/// What an SDK of OpenTelemetry sent once, as of another instant.
fn log_message(time_ms: TimeMs) -> Vec<u8> {
    const SENT_NS: u64 = 1_795_318_544_261_980_416;
    let captured = "crates/formats/src/otlp/captured/sdk-python-1.45-logs.protobuf";
    let mut message = std::fs::read(crate::repository_file(captured)).unwrap();
    let place = message.windows(8).position(|bytes| bytes == SENT_NS.to_le_bytes()).unwrap();
    let time_ns = u64::try_from(time_ms).unwrap() * 1_000_000;
    message[place..place + 8].copy_from_slice(&time_ns.to_le_bytes());
    message
}

#[test]
fn otlp_logs_are_stored_and_read_a_page_at_a_time() {
    let mut hub = Hub::start("");
    let now_ms = now_ms();
    let protobuf = ("Content-Type", "application/x-protobuf");
    let push = |hub: &Hub, time_ms: TimeMs| {
        let answer = hub.post("/v1/logs", &[protobuf], &log_message(time_ms));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        PartialSuccess::read(&answer.body)
    };
    for time_ms in [now_ms - 90_000, now_ms - 1_000, now_ms - 2_000] {
        assert_eq!(push(&hub, time_ms), None);
    }
    hub.kill_and_start_again();
    assert_eq!(push(&hub, now_ms), None);
    let refused = push(&hub, now_ms - 400 * 86_400_000).unwrap();
    assert!(refused.n_rejected == 1 && refused.message.contains("too old"), "{}", refused.message);
    let bearer = format!("Bearer {}", hub.viewer);
    let ask = |query: &str| -> Response {
        let path = format!("/api/v1/logs?{query}");
        Connection::open(hub.address).unwrap().get(&path, &[("Authorization", &bearer)]).unwrap()
    };
    let page = |query: &str| -> Value { serde_json::from_str(ask(query).ok().unwrap()).unwrap() };
    let source = format!("push-{}", hub.token_id);
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(&format!("agent={source}&limit=3{after}"));
        let records = page["records"].as_array().unwrap();
        assert!(records.len() <= 3);
        found.extend(records.iter().map(|record| record["time_ms"].as_i64().unwrap()));
        assert!(
            records.iter().all(|record| record["body"] == "disk sda is full" && record["severity"] == 17)
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, [now_ms - 90_000, now_ms - 2_000, now_ms - 1_000, now_ms]);
    let part = page(&format!("agent={source}&from={}&to={now_ms}", now_ms - 2_000));
    assert_eq!(part["records"].as_array().unwrap().len(), 2);
    assert_eq!(part["records"][0]["attributes"][0], serde_json::json!(["disk", "sda"]));
    let newest = page("order=newest&severity=17&text=SDA&limit=1");
    assert_eq!(newest["records"][0]["time_ms"], now_ms);
    assert_eq!(newest["senders"][&source], "test");
    assert_eq!(page("severity=18")["records"], serde_json::json!([]));
    for (query, status) in [("agent=nobody", 404), ("order=x", 400), ("agent=push-x&after=1", 400)] {
        assert_eq!(ask(query).status, status, "{query}");
    }
}

#[test]
fn hub_says_of_each_agent_whether_it_is_up() {
    let hub = Hub::start("labels: {job: hosts, instance: 'host-{name}'}\n");
    let mut agent = Agent::start(Path::new(crate::fieldpost()), "").unwrap();
    let join_string = hub.client(&["hub", "token", "create"]);
    let mut join = agent.command(&["join", "-", "--name", "web1"]).stdin(Stdio::piped()).spawn().unwrap();
    join.stdin.take().unwrap().write_all(join_string.as_bytes()).unwrap();
    assert!(join.wait().unwrap().success());
    let series = "[(\"instance\", \"host-web1\"), (\"job\", \"hosts\")]";
    let newest = |name: &str| {
        let found = hub.samples(name, 0, TimeMs::MAX);
        found.get(&format!("{name}{series}")).and_then(|samples| samples.last()).map(|last| last.1)
    };
    let is = |value: f64| move |found: f64| (found == value).then_some(());
    wait_for("up to be 1", || newest("up").and_then(is(1.0))).unwrap();
    wait_for("its lag", || newest("fieldpost_agent_lag_seconds").filter(|lag| *lag < 60.0)).unwrap();
    agent.kill().unwrap();
    wait_for("up to be 0", || newest("up").and_then(is(0.0))).unwrap();
}

#[test]
fn hub_scrapes_what_runs_no_agent_and_says_when_it_is_gone() {
    let mut agent = Agent::start(Path::new(crate::fieldpost()), "").unwrap();
    let target = agent.metrics_address();
    let hub = Hub::start(&format!(
        "scrape:\n  - {{job_name: others, scrape_interval: 1s, scrape_timeout: 1s, \
         static_configs: [{{targets: ['{target}'], labels: {{site: berlin}}}}]}}\n"
    ));
    let newest = |name: &str| {
        let selector = format!("{name}{{job=\"others\",instance=\"{target}\",site=\"berlin\"}}");
        hub.samples(&selector, 0, TimeMs::MAX)
            .into_values()
            .next()
            .and_then(|samples| samples.last().copied())
    };
    let is_up = |value: f64| newest("up").filter(|newest| newest.1 == value);
    wait_for("a scrape", || is_up(1.0)).unwrap();
    let n_samples = newest("scrape_samples_scraped").unwrap().1;
    assert!(n_samples > 100.0, "{n_samples}");
    assert!(newest("node_load1").is_some_and(|newest| newest.1 >= 0.0));
    agent.kill().unwrap();
    wait_for("up to be 0", || is_up(0.0)).unwrap();
    assert!(is_absent(newest("node_load1").unwrap().1), "the series has ended");
}
