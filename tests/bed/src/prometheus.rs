//! A real Prometheus with a scratch config and its data beside it.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{Process, Scratch, free_port, get, peer};

/// A Prometheus that ends with this value.
pub struct Prometheus {
    /// Where it answers.
    pub address: SocketAddr,
    /// The program.
    pub process: Process,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts one with this prometheus.yml, in which `ITSELF` stands for its own address, and more
    /// arguments; waits until it is ready.
    pub fn start(config: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(Scratch::new()?, config, arguments)
    }

    /// The same in a folder that was prepared, where `tsdb` has its data.
    pub fn start_in(scratch: Scratch, config: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = scratch.write("prometheus.yml", &config.replace("ITSELF", &address.to_string()))?;
        let mut all = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", scratch.path().join("tsdb").display()),
            format!("--web.listen-address={address}"),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let program = peer("prometheus", "usr/bin/prometheus")?;
        let mut process = Process::start("prometheus", &program, &all, &[], scratch.path())?;
        process
            .until("Prometheus", || get(address, "/-/ready").ok().filter(|answer| answer.status == 200))?;
        Ok(Self { address, process, _scratch: scratch })
    }
}
