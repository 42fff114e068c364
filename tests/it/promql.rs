//! The hub answers PromQL over Prometheus' HTTP API as a real Prometheus does to which the same
//! samples were pushed, ends of series among them; what it refuses, it refuses in the same form.

use std::net::SocketAddr;

use fieldpost_bed::{Connection, Prometheus, Response, Scratch, get, get_with, now_ms, peer};
use fieldpost_formats::remote_write::{Encoder, Version};
use fieldpost_formats::{Limits, PushedSeries, Sample};
use fieldpost_model::{ABSENT, TimeMs};
use serde_json::Value;

use crate::push::Hub;

/// Between two samples.
const STEP_MS: TimeMs = 15_000;
/// Samples of a series.
const N_SAMPLES: TimeMs = 80;
/// Samples lie so far beside whole seconds, so that none lies on the end of a range: Prometheus 2
/// takes both ends of it, Prometheus 3 and the hub only one.
const BESIDE_MS: TimeMs = 7;

/// Asked at one instant.
const INSTANT: &[&str] = &[
    "1 + 1",
    "\"text\"",
    "load",
    "load{host=~\"a|b\"}",
    "{__name__=~\"load|ended\"}",
    "missing",
    "ended",
    "count_over_time(ended[20m])",
    "rate(work_total[5m])",
    "sum by (kind) (rate(work_total[5m]))",
    "increase(work_total[3m]) / on(host) group_left load",
    "topk(2, load)",
    "sort_desc(load)",
    "load[1m]",
    "max_over_time(rate(work_total[2m])[10m:30s])",
    "histogram_quantile(0.9, sum by (le) (rate(took_seconds_bucket[5m])))",
    "label_replace(load, \"short\", \"$1\", \"host\", \"(.).*\")",
    "absent(missing{a=\"b\"})",
    "load offset 5m",
    "quantile_over_time(0.5, load[10m])",
    "load > 1e3",
    "load / 0",
    "load * 1e-9",
    "load * 1e30",
    "odd",
];

/// Asked as they stand; `FROM` and `TO` are the ends of what was pushed, in seconds.
const PATHS: &[&str] = &[
    // The hub's own series begin with other letters.
    "labels?start=FROM&end=TO&match[]=%7B__name__=~%22[elotw].*%22%7D",
    "labels?match[]=load&start=FROM&end=TO",
    "label/host/values?start=FROM&end=TO",
    "label/__name__/values?start=FROM&end=TO&match[]=%7B__name__=~%22[elotw].*%22%7D",
    "label/nothing/values?start=FROM&end=TO",
    "label/kind/values?match[]=work_total{host=%22a%22}&start=FROM&end=TO",
    "series?match[]=load&match[]=ended&start=FROM&end=TO",
    "series",
    "query?query=load%20and",
    "query?query=rate(load)",
    "query?query=load&time=yesterday",
    "query?query=label_replace(load,%22host%22,%22%22,%22host%22,%22.*%22)&time=TO",
    "query_range?query=load&start=TO&end=FROM&step=15",
    "query_range?query=load&start=FROM&end=TO&step=0",
    "query_range?query=load&start=0&end=TO&step=1",
    "query_range?query=%22text%22&start=FROM&end=TO&step=15",
    "query_exemplars?query=load&start=FROM&end=TO",
    "query?query=load&time=TO&timeout=x",
    "query?query=load&time=TO&timeout=5s",
    "format_query?query=sum(rate(load%7Bb=%22c%22,a!~%22d%22%7D%5B90m%5D))by(x)",
    "format_query?query=a%2Bon(b)group_left(c)d%20offset%20-1w",
    "format_query?query=load%20and",
    // As Grafana asks when a data source is added, and while somebody writes a question.
    "query?query=1%2B1&time=4",
    "label/__name__/values?start=FROM&end=TO&match[]=%7B__name__=~%22[elotw].*l.*%22%7D",
    "labels?match[]=%7B__name__=%22load%22%7D&start=FROM.123&end=TO.456",
    "series?match[]=%7B__name__=%22work_total%22,host=%22a%22%7D&start=FROM&end=TO",
    "rules",
    "alerts",
];

/// Samples by name and labels.
type Series = (&'static str, Vec<(&'static str, &'static str)>, Vec<(TimeMs, f64)>);

fn data(start_ms: TimeMs) -> Vec<Series> {
    let every = |value: &dyn Fn(TimeMs) -> f64| -> Vec<(TimeMs, f64)> {
        (0..N_SAMPLES).map(|n| (start_ms + n * STEP_MS, value(n))).collect()
    };
    let mut all: Vec<Series> = Vec::new();
    for (number, host) in ["a", "b", "c"].into_iter().enumerate() {
        let shift = number as TimeMs;
        all.push(("load", vec![("host", host)], every(&|n| ((n * 37 + shift * 11) % 23) as f64 / 4.0)));
        for kind in ["read", "write"] {
            let labels = vec![("host", host), ("kind", kind)];
            let slope = 3 + kind.len() as TimeMs + shift;
            all.push((
                "work_total",
                labels,
                every(&|n| if n < 50 { 1e5 + (n * slope) as f64 } else { 9e4 + n as f64 }),
            ));
        }
        for (bound, part) in [("0.1", 2), ("1", 5), ("+Inf", 6)] {
            all.push((
                "took_seconds_bucket",
                vec![("host", host), ("le", bound)],
                every(&|n| 1e4 + (n * part) as f64),
            ));
        }
    }
    // It ends, by the marker, and comes back for a while.
    let mut ended = every(&|n| n as f64);
    ended.truncate(60);
    ended[30].1 = ABSENT;
    ended[59].1 = ABSENT;
    all.push(("ended", vec![("host", "a")], ended));
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324];
    all.push(("odd", vec![("host", "ä \"b\"\\\n")], every(&|n| odd[n as usize % odd.len()])));
    all
}

fn encoded(all: &[Series]) -> Vec<u8> {
    let mut encoder = Encoder::new(Version::V1, Limits { labels_max: 1_000, ..Limits::default() });
    for (name, labels, samples) in all {
        let mut labels = labels.clone();
        labels.push(("__name__", name));
        labels.sort_unstable();
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(at, value)| Sample { time_ms: *at, value: *value, start_ms: None })
            .collect();
        encoder.push(PushedSeries { labels: &labels, metadata: None, samples: &samples }).unwrap();
    }
    encoder.finish().unwrap()
}

/// Asked by a form, with the headers that Grafana sends.
const FORMS: &[(&str, &str)] = &[
    ("query_range", "query=sum+by+(host)+(rate(work_total%5B5m%5D))&start=FROM&end=TO&step=15"),
    ("query", "query=load&time=TO"),
    ("query_exemplars", "query=load&start=FROM&end=TO"),
    ("labels", "match%5B%5D=load&start=FROM&end=TO"),
    ("series", "match%5B%5D=load&match%5B%5D=ended&start=FROM&end=TO"),
    ("format_query", "query=load%2Bload"),
];

/// The answer without what may differ: the order of series, where there is none.
fn comparable(body: &str, is_ordered: bool) -> Value {
    let mut answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    if let Some(result) =
        answer.pointer_mut("/data/result").and_then(Value::as_array_mut).filter(|_| !is_ordered)
    {
        result.sort_by_key(|series| series["metric"].to_string());
    }
    if let Some(list) = answer.get_mut("data").and_then(Value::as_array_mut) {
        list.sort_by_key(ToString::to_string);
    }
    // Only Prometheus 3 tells these.
    answer.as_object_mut().unwrap().remove("infos");
    if answer["warnings"].to_string().contains("sort is ineffective") {
        answer.as_object_mut().unwrap().remove("warnings");
    }
    round(&mut answer);
    answer
}

/// Numbers to 12 digits: sums are not added up in the same order everywhere.
fn round(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        Value::String(text) => {
            if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
                *text = format!("{number:.12e}");
            }
        }
        _ => {}
    }
}

fn encoded_query(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn hub_answers_as_a_prometheus_with_the_same_samples() {
    let hub = Hub::start("");
    let arguments = ["--web.enable-remote-write-receiver", "--enable-feature=promql-per-step-stats"];
    let prometheus = Prometheus::start("scrape_configs: []\n", &arguments).unwrap();
    let address = prometheus.address;
    let start_ms = (now_ms() - N_SAMPLES * STEP_MS) / 1000 * 1000 + BESIDE_MS;
    let body = encoded(&data(start_ms));
    assert!(matches!(hub.write(Version::V1, &body).status, 200 | 204));
    let headers = [("Content-Type", Version::V1.content_type()), ("Content-Encoding", "snappy")];
    let written = Connection::open(address).unwrap().post_with("/api/v1/write", &headers, &body).unwrap();
    assert_eq!(written.status, 204, "{}", String::from_utf8_lossy(&written.body));

    let (from_s, to_s) = (start_ms / 1000 + 3, (start_ms + (N_SAMPLES - 1) * STEP_MS) / 1000 + 2);
    let mut paths = Vec::new();
    for query in INSTANT {
        let query = encoded_query(query);
        paths.extend([to_s, to_s - 400].map(|at_s| format!("query?query={query}&time={at_s}.5")));
        paths.push(format!("query_range?query={query}&start={from_s}.5&end={to_s}.5&step=31"));
    }
    let placed = |path: &&str| path.replace("FROM", &from_s.to_string()).replace("TO", &to_s.to_string());
    paths.extend(PATHS.iter().map(placed));
    let bearer = format!("Bearer {}", hub.viewer);
    let mut faults = Vec::new();
    for path in &paths {
        let path = format!("/api/v1/{path}");
        let ours = get_with(hub.address, &path, &[("Authorization", &bearer)]).unwrap();
        let theirs = get(address, &path).unwrap();
        let is_ordered = path.contains("query=%73%6F%72%74") || path.contains("query=%74%6F%70%6B");
        let is_ordered = is_ordered && !path.contains("query_range");
        let own = (ours.status, comparable(ours.text().unwrap(), is_ordered));
        let others = (theirs.status, comparable(theirs.text().unwrap(), is_ordered));
        if own != others {
            faults.push(format!("{path}\n  ours   {} {}\n  theirs {} {}", own.0, own.1, others.0, others.1));
        }
    }
    for (path, form) in FORMS {
        let form = placed(form);
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("User-Agent", "Grafana/11.2.0"),
            ("X-Dashboard-Uid", "a"),
            ("X-Grafana-Org-Id", "1"),
            ("Accept-Encoding", "identity"),
            ("Authorization", &bearer),
        ];
        let ask = |address| {
            let mut connection = Connection::open(address).unwrap();
            let answer = connection.post_with(&format!("/api/v1/{path}"), &headers, form.as_bytes()).unwrap();
            (answer.status, comparable(answer.text().unwrap(), false))
        };
        let (own, others) = (ask(hub.address), ask(address));
        if own != others {
            faults.push(format!("{path} {form}\n  ours   {own:?}\n  theirs {others:?}"));
        }
    }
    assert!(faults.is_empty(), "{} of {} answers differ:\n{}", faults.len(), paths.len(), faults.join("\n"));
    as_many_samples_are_counted(&hub, address, (from_s, to_s));
    pages_for_others_are_the_same(&hub, address);
    others_read_what_the_hub_has(&hub, &format!("{to_s}.5"), (from_s, to_s));
}

/// `stats=all` counts what Prometheus counts, in all and at each instant.
fn as_many_samples_are_counted(hub: &Hub, prometheus: SocketAddr, (from_s, to_s): (TimeMs, TimeMs)) {
    let bearer = format!("Bearer {}", hub.viewer);
    for query in ["load", "sum by (kind) (rate(work_total[5m]))", "load offset 3m + on (host) load"] {
        let span = format!("start={from_s}&end={to_s}&step=61&stats=all");
        let path = format!("/api/v1/query_range?query={}&{span}", encoded_query(query));
        let counted = |answer: Response| -> Value {
            let mut told: Value = serde_json::from_str(answer.ok().unwrap()).unwrap();
            let samples = &mut told["data"]["stats"]["samples"];
            samples["peakSamples"] = Value::Null;
            samples.take()
        };
        let own = counted(get_with(hub.address, &path, &[("Authorization", &bearer)]).unwrap());
        assert!(own["totalQueryableSamples"].as_f64().unwrap() > 10.0, "{query}: {own}");
        assert_eq!(own, counted(get(prometheus, &path).unwrap()), "{query}");
    }
}

/// Lines of a page for federation: series, value, instant in milliseconds.
fn federated(address: SocketAddr, kind: &str, bearer: &str) -> Vec<(String, String, i64)> {
    let headers = [("Authorization", bearer), ("Accept", kind)];
    let path = "/federate?match[]=%7B__name__=~%22load|work_total|odd%22%7D&match[]=ended&match[]=load";
    let page = get_with(address, path, &headers).unwrap();
    assert!(page.header("content-type").unwrap().starts_with(kind), "{page:?}");
    let text = page.ok().unwrap();
    let unit = if kind.contains("openmetrics") { 1_000.0 } else { 1.0 };
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.rsplitn(3, ' ');
        let mut number = || words.next().unwrap_or_default().parse::<f64>().unwrap();
        let (time_ms, value) = ((number() * unit).round() as i64, number());
        (words.next().unwrap().to_owned(), value.to_string(), time_ms)
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

fn pages_for_others_are_the_same(hub: &Hub, prometheus: SocketAddr) {
    let bearer = format!("Bearer {}", hub.viewer);
    let own = federated(hub.address, "text/plain", &bearer);
    assert!(own.len() > 8, "{own:?}");
    assert_eq!(own, federated(prometheus, "text/plain", &bearer));
    assert_eq!(own, federated(hub.address, "application/openmetrics-text", &bearer));
}

/// A Prometheus without samples of its own has those of the hub by remote read, and `promtool` asks.
fn others_read_what_the_hub_has(hub: &Hub, at: &str, (from_s, to_s): (TimeMs, TimeMs)) {
    let config = format!(
        "remote_read:\n- url: http://{}/api/v1/read\n  read_recent: true\n  authorization:\n    credentials: {}\n",
        hub.address, hub.viewer
    );
    let prometheus = Prometheus::start(&config, &[]).unwrap();
    let reader = prometheus.address;
    let bearer = format!("Bearer {}", hub.viewer);
    for query in
        ["load", "rate(work_total[5m])", "count_over_time(ended[20m])", "odd", "{host!~\"b|c\",host!=\"\"}"]
    {
        let path = format!("/api/v1/query?query={}&time={at}", encoded_query(query));
        let own = get_with(hub.address, &path, &[("Authorization", &bearer)]).unwrap();
        let theirs = get(reader, &path).unwrap();
        let own = comparable(own.ok().unwrap(), false);
        assert!(own["data"]["result"].as_array().is_some_and(|found| !found.is_empty()), "{query}");
        assert_eq!(own, comparable(theirs.ok().unwrap(), false), "{query}");
    }
    let program = peer("prometheus", "usr/bin/promtool").unwrap();
    let output = std::process::Command::new(program)
        .args(["query", "range", "--step=60s", &format!("--header=Authorization={bearer}")])
        .args([format!("--start={from_s}"), format!("--end={to_s}"), format!("http://{}", hub.address)])
        .arg("sum by (kind) (rate(work_total[5m]))")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("{kind=\"read\"} =>\n") && said.lines().count() > 20, "{said}");
}

#[test]
fn answer_that_rests_on_old_samples_says_so() {
    let hub = Hub::start("");
    let now_s = now_ms() / 1_000;
    let samples = |age_s: TimeMs| vec![((now_s - age_s) * 1_000, 1.0)];
    assert!(matches!(hub.write(Version::V1, &encoded(&[("old", vec![], samples(100))])).status, 200 | 204));
    let ask = |query: &str, at_s: TimeMs| -> Value {
        let bearer = format!("Bearer {}", hub.viewer);
        let (query, more) = query.split_once('&').unwrap_or((query, ""));
        let path = format!("/api/v1/query?query={}&time={at_s}&{more}", encoded_query(query));
        let answer = get_with(hub.address, &path, &[("Authorization", &bearer)]).unwrap();
        serde_json::from_str(answer.ok().unwrap()).unwrap()
    };
    let told = ask("old", now_s);
    let warning = told["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("the newest samples are ") && warning.contains(" s old, of "), "{told}");
    for (lookback, n) in [("99", 0), ("1m30s", 0), ("101", 1), ("2m", 1)] {
        let found = ask(&format!("old&lookback_delta={lookback}"), now_s);
        assert_eq!(found["data"]["result"].as_array().map(Vec::len), Some(n), "{lookback}: {found}");
    }
    for (query, at_s) in [("old", now_s - 95), ("1 + 1", now_s), ("other", now_s)] {
        assert_eq!(ask(query, at_s)["warnings"], Value::Null, "{query}");
    }
    assert!(matches!(hub.write(Version::V1, &encoded(&[("old", vec![], samples(0))])).status, 200 | 204));
    assert_eq!(ask("old", now_s + 1)["warnings"], Value::Null);
}

#[test]
fn questions_by_form_are_answered_and_strangers_are_not() {
    let hub = Hub::start("");
    let bearer = format!("Bearer {}", hub.viewer);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let ask = |headers: &[(&str, &str)]| {
        let mut connection = Connection::open(hub.address).unwrap();
        connection.post_with("/api/v1/query", headers, b"query=1%2B1&time=5.5").unwrap()
    };
    let answer = ask(&[("Authorization", &bearer), form]);
    assert_eq!(
        answer.ok().unwrap(),
        r#"{"status":"success","data":{"resultType":"scalar","result":[5.500,"2"]}}"#
    );
    assert_eq!(ask(&[form]).status, 401);
    let info = get_with(hub.address, "/api/v1/status/buildinfo", &[("Authorization", &bearer)]).unwrap();
    assert!(info.ok().unwrap().contains("\"version\""));
    let ask = |path: &str| {
        let answer =
            get_with(hub.address, &format!("/api/v1/{path}"), &[("Authorization", &bearer)]).unwrap();
        (answer.status, serde_json::from_str::<Value>(answer.text().unwrap()).unwrap())
    };
    assert_eq!(ask("query?query=vector(1)&limit=x").0, 400);
    let (_, cut) =
        ask("query?query=vector(1)or(label_replace(vector(2),%22a%22,%22b%22,%22%22,%22%22))&limit=1");
    assert_eq!(cut["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(cut["warnings"][0], "results truncated due to limit");
    let (_, told) = ask("query_range?query=vector(1)&start=0&end=60&step=10&stats=all");
    assert!(told["data"]["stats"]["timings"]["evalTotalTime"].is_number(), "{told}");
    assert_eq!(told["data"]["stats"]["samples"]["totalQueryableSamples"], 0);
    let (status, late) = ask("query?query=anything&timeout=0s");
    assert_eq!((status, &late["errorType"]), (503, &Value::from("timeout")), "{late}");
    assert!(late["error"].as_str().unwrap().contains("where at most 0 s are allowed"), "{late}");
    let (status, refused) = ask("query?query=max_over_time(vector(1)[1y:1s])");
    assert_eq!((status, &refused["errorType"]), (422, &Value::from("execution")));
    assert!(refused["error"].as_str().unwrap().contains("31536000 where at most 1000000"), "{refused}");
    let (_, tree) = ask("parse_query?query=-a");
    assert_eq!((&tree["data"]["type"], &tree["data"]["op"]), (&"unaryExpr".into(), &"-".into()));

    let token = Scratch::new().unwrap();
    let token = token.write("token", &hub.viewer).map(|file| (token, file)).unwrap();
    let output = std::process::Command::new(crate::fieldpost())
        .args(["query", "vector(3)", "--hub", &format!("http://{}", hub.address), "--token-file"])
        .arg(&token.1)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains('3'), "{output:?}");
}
