//! The peers at work: each started from its unpacked package with a config of this bench's making.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use fieldpost_bed::{Connection, Process, Scratch, free_port, get, library_path, peer};

/// A peer that runs and answers HTTP; it ends with this value.
pub struct Rival {
    /// The process.
    pub process: Process,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its folder.
    pub scratch: Scratch,
}

impl Rival {
    /// A connection that is kept.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }
}

/// node_exporter as it is by default.
pub fn node_exporter() -> anyhow::Result<Rival> {
    let program = peer("prometheus-node-exporter", "usr/bin/prometheus-node-exporter")?;
    start("node_exporter", &program, "/metrics", |_, port| {
        vec![format!("--web.listen-address=127.0.0.1:{port}"), "--log.level=error".into()]
    })
}

/// netdata with what Debian's core package has on by default, at one second.
pub fn netdata() -> anyhow::Result<Rival> {
    let program = peer("netdata-core", "usr/sbin/netdata")?;
    let plugins = peer("netdata-core", "usr/lib/netdata/plugins.d")?;
    let stock = peer("netdata-core", "usr/lib/netdata/conf.d")?;
    start("netdata", &program, NETDATA_PAGE, |scratch, port| {
        let own = scratch.path().display();
        let mut config =
            format!("[directories]\nstock config = {}\nplugins = {}\n", stock.display(), plugins.display());
        for name in ["config", "log", "web", "cache", "lib", "home", "lock", "registry"] {
            config += &format!("{name} = {own}\n");
        }
        config += &format!("[global]\nrun as user = root\n[web]\nbind to = 127.0.0.1:{port}\n");
        let path = scratch.write("netdata.conf", &config);
        let path = path.map(|path| path.display().to_string()).unwrap_or_default();
        vec!["-D".into(), "-c".into(), path]
    })
}

/// netdata's page for Prometheus.
pub const NETDATA_PAGE: &str = "/api/v1/allmetrics?format=prometheus";

/// VictoriaMetrics with an empty folder.
pub fn victoria() -> anyhow::Result<Rival> {
    let program = peer("victoria-metrics", "usr/bin/victoria-metrics")?;
    start("victoria-metrics", &program, "/health", |scratch, port| {
        vec![
            format!("-storageDataPath={}/data", scratch.path().display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=100y".into(),
            "-search.latencyOffset=0s".into(),
            "-selfScrapeInterval=0s".into(),
            "-loggerLevel=ERROR".into(),
        ]
    })
}

/// Prometheus over a folder of blocks that are there already.
pub fn prometheus(scratch: Scratch) -> anyhow::Result<Rival> {
    prometheus_with(scratch, &[])
}

/// Prometheus that takes remote write, and makes snapshots.
pub fn prometheus_receiver() -> anyhow::Result<Rival> {
    prometheus_with(Scratch::new()?, &["--web.enable-remote-write-receiver", "--web.enable-admin-api"])
}

fn prometheus_with(scratch: Scratch, more: &[&str]) -> anyhow::Result<Rival> {
    let program = peer("prometheus", "usr/bin/prometheus")?;
    scratch.write("prometheus.yml", "global: {}\n")?;
    start_in(scratch, "prometheus", &program, "/-/ready", |scratch, port| {
        let own = scratch.path().display();
        let mut arguments = vec![
            format!("--config.file={own}/prometheus.yml"),
            format!("--storage.tsdb.path={own}/blocks"),
            "--storage.tsdb.retention.time=100y".into(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=error".into(),
        ];
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    })
}

fn start(
    name: &str,
    program: &Path,
    health: &str,
    arguments: impl Fn(&Scratch, u16) -> Vec<String>,
) -> anyhow::Result<Rival> {
    start_in(Scratch::new()?, name, program, health, arguments)
}

fn start_in(
    scratch: Scratch,
    name: &str,
    program: &Path,
    health: &str,
    arguments: impl Fn(&Scratch, u16) -> Vec<String>,
) -> anyhow::Result<Rival> {
    let port = free_port()?;
    let arguments = arguments(&scratch, port);
    let libraries = library_path();
    let environment: [(&str, &OsStr); 1] = [("LD_LIBRARY_PATH", &libraries)];
    let mut process = Process::start(name, program, &arguments, &environment, scratch.path())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    process.until(name, || get(address, health).ok().filter(|answer| answer.status == 200))?;
    Ok(Rival { process, address, scratch })
}

/// collectd with nine plugins at one second, and nowhere to write to. It answers no HTTP.
pub fn collectd() -> anyhow::Result<(Process, Scratch)> {
    let program = peer("collectd-core", "usr/sbin/collectd")?;
    let plugins = peer("collectd-core", "usr/lib/collectd")?;
    let types = peer("collectd-core", "usr/share/collectd/types.db")?;
    let scratch = Scratch::new()?;
    let own = scratch.path().display();
    let mut config = format!(
        "BaseDir \"{own}\"\nPluginDir \"{}\"\nTypesDB \"{}\"\nInterval 1\n",
        plugins.display(),
        types.display()
    );
    for name in ["cpu", "memory", "disk", "interface", "load", "df", "processes", "swap", "vmem", "unixsock"]
    {
        config += &format!("LoadPlugin {name}\n");
    }
    config += &format!(
        "<Plugin unixsock>\nSocketFile \"{own}/sock\"\nSocketGroup \"root\"\n</Plugin>\n\
         <Plugin vmem>\nVerbose true\n</Plugin>\n"
    );
    let path = scratch.write("collectd.conf", &config)?;
    let arguments = [OsStr::new("-f"), OsStr::new("-C"), path.as_os_str()];
    let libraries = library_path();
    let environment: [(&str, &OsStr); 1] = [("LD_LIBRARY_PATH", &libraries)];
    let process = Process::start("collectd", &program, &arguments, &environment, scratch.path())?;
    Ok((process, scratch))
}
