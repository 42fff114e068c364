//! Where a program runs: on this host, or on another one that is made of a network namespace.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};

/// A host for programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    namespace: Option<String>,
}

impl Place {
    /// This host.
    pub fn here() -> Self {
        Self::default()
    }

    /// A network namespace that was made by `ip netns add`.
    pub fn namespace(name: &str) -> Self {
        Self { namespace: Some(name.to_owned()) }
    }

    /// Can what listens there be reached from here over TCP?
    pub fn is_here(&self) -> bool {
        self.namespace.is_none()
    }

    /// The words before a program and its arguments.
    pub fn words(&self) -> Vec<&str> {
        match &self.namespace {
            Some(name) => vec!["ip", "netns", "exec", name],
            None => Vec::new(),
        }
    }

    /// A command there.
    pub fn command(&self, program: &Path) -> Command {
        match self.words().split_first() {
            Some((first, words)) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        }
    }
}

/// Two hosts and one wire between them, for as long as this value lives. Needs root and the `ip`
/// of iproute2.
pub struct TwoHosts {
    names: [String; 2],
}

/// The addresses of the two, from the block that is for documentation.
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// Their ends of the wire.
const ENDS: [&str; 2] = ["wire0", "wire1"];

impl TwoHosts {
    /// Makes both, their loopbacks and the wire.
    pub fn new() -> anyhow::Result<Self> {
        let names = [0, 1].map(|number| format!("fieldpost-{}-{number}", std::process::id()));
        let hosts = Self { names };
        for name in &hosts.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        let [first, second] = &hosts.names;
        let [near, far] = ENDS;
        ip(&["-n", first, "link", "add", near, "type", "veth", "peer", "name", far, "netns", second])?;
        for (name, (end, address)) in hosts.names.iter().zip(ENDS.iter().zip(ADDRESSES)) {
            ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", end])?;
            ip(&["-n", name, "link", "set", end, "up"])?;
        }
        Ok(hosts)
    }

    /// One of them, 0 or 1.
    pub fn place(&self, number: usize) -> Place {
        Place::namespace(&self.names[number])
    }

    /// Its address.
    pub fn address(&self, number: usize) -> &'static str {
        ADDRESSES[number]
    }

    /// Cuts the wire at the end of one of them.
    pub fn cut(&self, number: usize) -> anyhow::Result<()> {
        ip(&["-n", &self.names[number], "link", "set", ENDS[number], "down"])
    }

    /// Joins it again.
    pub fn mend(&self, number: usize) -> anyhow::Result<()> {
        ip(&["-n", &self.names[number], "link", "set", ENDS[number], "up"])
    }
}

impl Drop for TwoHosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _never_made = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output: Output = Command::new("ip").args(arguments).output().context("no ip; install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}; network namespaces need root", arguments.join(" "));
    Ok(())
}
