//! What a run may use, and what became of each limit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// A share of processors, in percent of one core: `50%`, `250%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuShare(pub u32);

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for CpuShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%').parse::<u32>().ok();
        let number = number.filter(|percent| (1..=100_000).contains(percent));
        number
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is no share of a core; write 50%, or 200% for two"))
    }
}

impl Serialize for CpuShare {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CpuShare {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CpuShareVisitor)
    }
}

struct CpuShareVisitor;

impl serde::de::Visitor<'_> for CpuShareVisitor {
    type Value = CpuShare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share of a core such as 50%")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CpuShare, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<CpuShare, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

/// What a run may use; what is not named is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Processor time, in percent of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuShare>,
    /// The cores that it may run on: `0-3,6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<String>,
    /// Memory of all its processes; more ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Processes and threads at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Bytes a second from and to each disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_bytes: Option<ByteSize>,
    /// Operations a second on each disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_operations: Option<u64>,
    /// Open files of a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nofile: Option<u64>,
    /// The largest file that it may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<ByteSize>,
    /// How nice it is to others: -20 to 19.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
}

impl Limits {
    /// Is nothing limited?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same with what another one limits where this one does not.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu.or(other.cpu),
            cores: self.cores.clone().or_else(|| other.cores.clone()),
            memory: self.memory.or(other.memory),
            pids: self.pids.or(other.pids),
            io_bytes: self.io_bytes.or(other.io_bytes),
            io_operations: self.io_operations.or(other.io_operations),
            nofile: self.nofile.or(other.nofile),
            file_size: self.file_size.or(other.file_size),
            nice: self.nice.or(other.nice),
        }
    }
}

/// What became of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// Which: `memory`, `cpu`, ...
    pub limit: String,
    /// By what it is enforced: `cgroup v2`, `cgroup v1`, `rlimit`; none: it is not.
    pub by: Option<String>,
    /// Why it is not, or not quite.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
