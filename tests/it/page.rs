//! The metrics listener from outside: dialects, compression, choice of collectors, health, and
//! clients that are slow, many or early.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use fieldpost_bed::{Agent, PATIENCE, Page, Response, Scratch, get, get_with, peer, wait_for};
use rustix::process::Signal;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// More connections than the agent serves at a time.
const N_IDLE: usize = 80;

fn start(config: &str) -> Agent {
    Agent::start(Path::new(crate::fieldpost()), config).unwrap()
}

/// Runs a program on this input.
fn filter(mut command: Command, input: &[u8]) -> anyhow::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut pipe = child.stdin.take().context("piped")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output()?;
    drop(writer.join());
    Ok(output)
}

/// Prometheus' own reader takes this text; what its linter thinks of the names is not asked here.
pub(crate) fn promtool_reads_text(page: &str) {
    let mut command = Command::new(peer("prometheus", "usr/bin/promtool").unwrap());
    command.args(["check", "metrics"]);
    let output = filter(command, page.as_bytes()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("error while linting"), "promtool cannot read the page: {said}");
}

/// Prometheus' own reader takes this text, in which every sample has its time.
pub(crate) fn promtool_reads_openmetrics(text: &str) {
    let scratch = Scratch::new().unwrap();
    let file = scratch.write("page.om", text).unwrap();
    let mut command = Command::new(peer("prometheus", "usr/bin/promtool").unwrap());
    command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(file).arg(scratch.path().join("blocks"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool cannot read it: {said}");
}

/// The page with a time behind each sample, without which promtool makes no blocks.
fn timed(page: &str) -> String {
    let line =
        |line: &str| if line.starts_with('#') { line.to_owned() } else { format!("{line} 1700000000") };
    page.lines().map(|text| line(text) + "\n").collect()
}

fn gunzip(body: &[u8]) -> String {
    let mut command = Command::new("gzip");
    command.arg("-dc");
    let output = filter(command, body).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn get_as(agent: &Agent, path: &str, headers: &[(&str, &str)]) -> Response {
    get_with(agent.metrics_address(), path, headers).unwrap()
}

/// Sends these bytes and reads all that comes back.
fn raw(address: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn page_speaks_the_dialect_that_is_asked_for() {
    let agent = start("collectors:\n  all: true\n");
    let text = get_as(&agent, "/metrics", &[]);
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(text.header("vary").unwrap().contains("Accept"));
    Page::parse(text.ok().unwrap()).unwrap();
    promtool_reads_text(text.text().unwrap());

    let open = get_as(&agent, "/metrics", &[("Accept", OPENMETRICS)]);
    assert_eq!(open.header("content-type"), Some(OPENMETRICS));
    let page = open.ok().unwrap();
    assert!(page.ends_with("\n# EOF\n"));
    assert_eq!(page.matches("# EOF").count(), 1);
    assert!(page.contains("# TYPE node_cpu_seconds counter\n"), "a counter's family has no _total");
    promtool_reads_openmetrics(&timed(page));

    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for accept in [browser, "text/plain", "application/openmetrics-text;q=0.1,text/plain;q=0.9", "nonsense"] {
        let answer = get_as(&agent, "/metrics", &[("Accept", accept)]);
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{accept}");
    }
}

#[test]
fn page_is_compressed_only_for_those_who_can_read_it() {
    let agent = start("");
    for (accept, dialect) in [("*/*", "\n"), (OPENMETRICS, "# EOF\n")] {
        let plain = get_as(&agent, "/metrics", &[("Accept", accept)]);
        assert_eq!(plain.header("content-encoding"), None);
        let packed = get_as(&agent, "/metrics", &[("Accept", accept), ("Accept-Encoding", "deflate, gzip")]);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.len() * 3 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
        let page = gunzip(&packed.body);
        assert!(page.contains("\nnode_load1 ") && page.ends_with(dialect));
    }
    for refused in ["identity", "gzip;q=0", "br"] {
        let answer = get_as(&agent, "/metrics", &[("Accept-Encoding", refused)]);
        assert_eq!(answer.header("content-encoding"), None, "{refused}");
        Page::parse(answer.ok().unwrap()).unwrap();
    }
    let part = get_as(&agent, "/metrics?collect[]=loadavg", &[("Accept-Encoding", "gzip")]);
    assert!(gunzip(&part.body).contains("node_load1 "));
}

#[test]
fn collectors_are_chosen_as_in_node_exporter() {
    let agent = start("");
    let page = |query: &str| Page::parse(agent.get(query).unwrap().ok().unwrap()).unwrap();
    let has = |page: &Page, name: &str| page.families.contains_key(name);
    let only = page("/metrics?collect[]=loadavg&collect%5B%5D=meminfo");
    assert!(has(&only, "node_load1") && has(&only, "node_memory_MemTotal_bytes"));
    assert!(!has(&only, "node_cpu_seconds_total") && !has(&only, "process_cpu_seconds_total"));
    let without = page("/metrics?exclude[]=loadavg");
    assert!(!has(&without, "node_load1") && has(&without, "node_cpu_seconds_total"));
    for (query, said) in [
        ("collect[]=nonsense", "nonsense"),
        ("exclude[]=nonsense", "nonsense"),
        ("collect[]=swap", "off"),
        ("collect[]=cpu&exclude[]=loadavg", "together"),
        ("collect[]=", "there is no collector"),
    ] {
        let answer = agent.get(&format!("/metrics?{query}")).unwrap();
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().unwrap().contains(said), "{query}: {}", answer.text().unwrap());
    }
}

#[test]
fn nothing_but_metrics_and_health_is_served() {
    let agent = start("");
    for path in ["/-/healthy", "/-/ready"] {
        let answer = agent.get(path).unwrap();
        assert!(answer.ok().unwrap().starts_with("fieldpost agent is "), "{path}");
    }
    let landing = agent.get("/").unwrap();
    assert!(landing.header("content-type").unwrap().starts_with("text/html"));
    assert!(landing.ok().unwrap().contains("href=\"/metrics\""));
    let others = ["/v1/status", "/v1/values", "/v1/processes", "/v1/reload", "/metrics/", "/metrics/cpu"];
    for path in others.into_iter().chain(["/favicon.ico", "/../etc/passwd", "/%2e%2e/etc/passwd", "//"]) {
        assert_eq!(agent.get(path).unwrap().status, 404, "{path}");
    }
    assert_eq!(agent.api("/v1/status").unwrap().status, 200);
    let address = agent.metrics_address();
    let posted =
        raw(address, "POST /v1/reload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.unwrap().starts_with("HTTP/1.1 404 "));
    let posted =
        raw(address, "POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.unwrap().starts_with("HTTP/1.1 405 "));
}

#[test]
fn head_has_the_headers_and_no_body() {
    let agent = start("");
    let answer =
        raw(agent.metrics_address(), "HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn requests_that_are_none_are_refused_and_harm_nobody() {
    let agent = start("");
    let address = agent.metrics_address();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(200_000));
    for request in ["\r\n\r\n\u{0}\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "nonsense\r\n\r\n", &long] {
        // The answer may be lost when the server hangs up on what it has not read.
        if let Ok(answer) = raw(address, request) {
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        assert_eq!(agent.get("/metrics").unwrap().status, 200);
    }
}

/// Reads until the other side hangs up. `None`: it has not yet.
fn hung_up(stream: &mut TcpStream) -> Option<()> {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(0) => Some(()),
        Ok(_) => None,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => None,
        Err(_) => Some(()),
    }
}

#[test]
fn slow_client_is_cut_off_and_others_are_served_meanwhile() {
    let agent = start("");
    let mut slow = TcpStream::connect(agent.metrics_address()).unwrap();
    slow.set_nonblocking(true).unwrap();
    let mut head = b"GET /metrics HTTP/1.1\r\nHost: ".iter().copied().chain(std::iter::repeat(b'a'));
    let mut n_served = 0;
    wait_for("the end of a client that sends its head byte by byte", || {
        let sent = slow.write(&[head.next()?]);
        assert_eq!(agent.get("/metrics").unwrap().status, 200);
        n_served += 1;
        std::thread::sleep(Duration::from_millis(200));
        if sent.is_err() { Some(()) } else { hung_up(&mut slow) }
    })
    .unwrap();
    assert!(n_served > 3, "only {n_served} others were served meanwhile");
}

#[test]
fn many_connections_that_ask_nothing_shut_nobody_out() {
    let agent = start("");
    let address = agent.metrics_address();
    let mut idle: Vec<TcpStream> = (0..N_IDLE).map(|_| TcpStream::connect(address).unwrap()).collect();
    let answer = wait_for("a page beside idle connections", || get(address, "/metrics").ok()).unwrap();
    Page::parse(answer.ok().unwrap()).unwrap();
    for stream in &mut idle {
        stream.set_nonblocking(true).unwrap();
    }
    wait_for("the end of the idle connections", || {
        idle.retain_mut(|stream| hung_up(stream).is_none());
        idle.is_empty().then_some(())
    })
    .unwrap();
}

/// They ask for page after page and take none: each holds a connection and the agent's buffers.
#[test]
fn clients_that_read_nothing_shut_nobody_out() {
    let agent = start("");
    let address = agent.metrics_address();
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(400);
    let mut deaf = Vec::new();
    for _ in 0..70 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // It fails when the server has stopped reading: what is meant to happen.
        let _ = stream.write_all(request.as_bytes());
        deaf.push(stream);
    }
    let answer = wait_for("a page beside clients that read nothing", || get(address, "/metrics").ok());
    Page::parse(answer.unwrap().ok().unwrap()).unwrap();
}

#[test]
fn hundred_clients_at_once_are_all_served() {
    let agent = start("");
    let address = agent.metrics_address();
    let pages: Vec<_> = (0..100).map(|_| std::thread::spawn(move || get(address, "/metrics"))).collect();
    for page in pages {
        Page::parse(page.join().unwrap().unwrap().ok().unwrap()).unwrap();
    }
}

/// Requests that came while the agent stood still for three intervals: when it went on, and the
/// values that they were answered with.
fn pages_after_standing_still(agent: &mut Agent, n_requests: usize) -> (f64, Vec<f64>) {
    let address = agent.metrics_address();
    agent.process().signal(Signal::STOP).unwrap();
    let waiting: Vec<_> = (0..n_requests)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let request = "GET /metrics?collect[]=time HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    let woken = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    agent.process().signal(Signal::CONT).unwrap();
    let times = waiting.into_iter().map(|mut stream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix("node_time_seconds "));
        value.unwrap_or_else(|| panic!("no time in {answer}")).parse().unwrap()
    });
    (woken, times.collect())
}

#[test]
fn values_that_are_too_old_are_read_afresh_once_for_all() {
    let mut agent = start("interval: 1s\n");
    // A page waits for values only so long; on a machine that is busy with more than this a try may fail.
    let mut tries = 0;
    let times = wait_for("fresh values for all who waited", || {
        tries += 1;
        let (woken, times) = pages_after_standing_still(&mut agent, 16);
        times.iter().all(|time| *time >= woken - 1.5).then_some(times)
    })
    .unwrap();
    let mut readings: Vec<u64> = times.iter().map(|time| time.to_bits()).collect();
    readings.sort_unstable();
    readings.dedup();
    println!("{} readings for {} requests, in try {tries}", readings.len(), times.len());
    assert!(readings.len() < times.len() / 2, "{times:?}");
}
