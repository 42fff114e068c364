//! The fleet at a glance: of every agent the few numbers by which one sees whether it is well, out of
//! the last samples that the store has of it, all agents in one pass.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context;
use fieldpost_model::hub_state::StateResult;
use fieldpost_model::job::RunState;
use fieldpost_model::{Selector, TimeMs};
use fieldpost_store::hub::HubSeries;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::{AgentView, Hub};

/// As far back an agent's newest sample may lie: what is sampled each ten seconds is sealed after ten.
const LOOK_BACK_MS: i64 = 60_000;
/// Rates are means over so much.
const RATE_MS: i64 = 20_000;
/// Numbers are looked up anew when they are older; all who look at the page share them.
const AGE_MS_MAX: i64 = 4_000;
/// Names of jobs that went wrong, of a host.
const N_NAMES_MAX: usize = 5;
/// Series that are read.
const READ: &str = "{__name__=~\"node_cpu_seconds_total|node_memory_(MemTotal|MemAvailable)_bytes|\
    node_filesystem_(size|avail)_bytes|node_network_(receive|transmit)_bytes_total|node_load1|\
    node_pressure_(cpu|memory|io)_waiting_seconds_total|fieldpost_process_cpu_seconds_total\"}";
/// Interfaces whose traffic is that of others, counted again.
const NO_NETWORK: [&str; 8] = ["veth", "br-", "docker", "virbr", "cni", "flannel", "cali", "lxc"];
/// Groups that are nobody: those too small for one of their own, and what ended too soon to be seen.
const NOBODY: [&str; 2] = ["other", "unattributed"];
/// File systems that nobody can empty, or that are memory.
const NO_DISK: [&str; 7] = ["tmpfs", "devtmpfs", "ramfs", "squashfs", "overlay", "iso9660", "efivarfs"];

/// An agent and its numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetHost {
    /// What the list of agents says.
    #[serde(flatten)]
    pub agent: AgentView,
    /// The label by which PromQL finds its series.
    pub instance: String,
    /// Its numbers; none if there is no fresh sample.
    pub measures: Option<Measures>,
    /// Its jobs; none if it has told of none.
    pub jobs: Option<JobsSum>,
}

/// The jobs of a host: how many, and which of them went wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JobsSum {
    /// Definitions that are not disabled.
    pub n: usize,
    /// Those of which a run goes on.
    pub n_active: usize,
    /// Those whose newest run went wrong.
    pub n_failing: usize,
    /// The names of some of these.
    pub failing: Vec<String>,
}

impl JobsSum {
    /// Out of what an agent tells of its tasks.
    fn of(tasks: &[Value]) -> Self {
        let mut sum = Self::default();
        for task in tasks.iter().filter(|task| task["paused"] != true && task["job"]["enabled"] != false) {
            sum.n += 1;
            sum.n_active += usize::from(task["active"].as_array().is_some_and(|active| !active.is_empty()));
            let state = task["last"]["state"].as_str().and_then(|word| word.parse().ok());
            if state.is_some_and(is_trouble) {
                sum.n_failing += 1;
                let name = task["job"]["name"].as_str().filter(|_| sum.failing.len() < N_NAMES_MAX);
                sum.failing.extend(name.map(str::to_owned));
            }
        }
        sum
    }
}

/// Did a run end as nobody wants it?
fn is_trouble(state: RunState) -> bool {
    matches!(
        state,
        RunState::Failed
            | RunState::TimedOut
            | RunState::Killed
            | RunState::Lost
            | RunState::InterruptedByReboot
            | RunState::Refused
    )
}

/// What an agent's last samples say. Shares go from 0 to 1; what is not measured there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measures {
    /// The newest sample.
    pub time_ms: TimeMs,
    /// Processors.
    pub cores: usize,
    /// Share of CPU time that was not idle; to wait for disks is to be idle.
    pub cpu: Option<f64>,
    /// Share of memory that is not available.
    pub memory: Option<f64>,
    /// The fullest file system.
    pub disk: Option<Fullest>,
    /// Bytes received a second, over all interfaces that are not virtual.
    pub received: Option<f64>,
    /// Bytes sent a second.
    pub sent: Option<f64>,
    /// Load of the last minute.
    pub load: Option<f64>,
    /// The largest share of time in which some task waited for CPU, memory or disks.
    pub pressure: Option<Pressure>,
    /// Who uses most CPU.
    pub top: Option<Top>,
}

/// A file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Fullest {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Share of it that is used.
    pub share: f64,
}

/// What tasks waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// `cpu`, `memory` or `io`.
    pub of: String,
    /// Share of time.
    pub share: f64,
}

/// A group of processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Top {
    /// Its name.
    pub group: String,
    /// Cores that it keeps busy.
    pub cores: f64,
}

/// What is known of all agents, by their ids, and when it was looked up.
pub(super) type Kept = Mutex<Option<(TimeMs, Arc<Glance>)>>;

/// Numbers and jobs of all agents, by their ids.
#[derive(Debug, Default)]
pub(super) struct Glance {
    measures: HashMap<String, Measures>,
    jobs: HashMap<String, JobsSum>,
}

impl Hub {
    /// All agents of the list with their numbers. May wait for the disk.
    pub fn fleet(&self) -> anyhow::Result<Vec<FleetHost>> {
        let glance = self.glance()?;
        let agents: StateResult<Vec<AgentView>> = self.agents();
        let agents = agents.context("the list of agents cannot be read")?;
        let host = |agent: AgentView| FleetHost {
            instance: self.options.labels.instance_of(&agent.name, &agent.id),
            measures: glance.measures.get(&agent.id).cloned(),
            jobs: glance.jobs.get(&agent.id).cloned(),
            agent,
        };
        Ok(agents.into_iter().map(host).collect())
    }

    /// Who comes while the numbers are looked up waits for them.
    fn glance(&self) -> anyhow::Result<Arc<Glance>> {
        let mut kept = self.fleet.lock();
        let now_ms = self.now_ms();
        if let Some((at_ms, glance)) = kept.as_ref()
            && (0..AGE_MS_MAX).contains(&(now_ms - at_ms))
        {
            return Ok(Arc::clone(glance));
        }
        let selector = Selector::parse(READ).context("the selector of the fleet's series is wrong")?;
        let mut sums: HashMap<String, Sums> = HashMap::new();
        let read =
            self.reader.read(&selector, (now_ms - LOOK_BACK_MS, now_ms + 1), |samples| Piece::of(&samples));
        for (series, piece) in read.context("the hub's store cannot be read")? {
            if let Some(piece) = piece {
                match sums.get_mut(&series.agent_id) {
                    Some(sums) => sums.take(&series, piece),
                    None => sums.entry(series.agent_id.clone()).or_default().take(&series, piece),
                }
            }
        }
        let measures = sums.into_iter().map(|(agent_id, sums)| (agent_id, sums.measures())).collect();
        let tasks = self.runs.tasks(None).context("the jobs of hosts cannot be read")?;
        let told = tasks.into_iter().filter(|(_, _, tasks)| !tasks.is_empty());
        let jobs = told.map(|(agent_id, _, tasks)| (agent_id, JobsSum::of(&tasks))).collect();
        let glance = Arc::new(Glance { measures, jobs });
        *kept = Some((now_ms, Arc::clone(&glance)));
        Ok(glance)
    }
}

/// The end of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    time_ms: TimeMs,
    last: f64,
    /// Growth a second; none of a counter that began anew.
    rate: Option<f64>,
}

impl Piece {
    fn of(samples: &[(TimeMs, f64)]) -> Option<Self> {
        let (time_ms, last) = *samples.last().filter(|(_, value)| value.is_finite())?;
        let first = samples.iter().find(|(at_ms, value)| *at_ms >= time_ms - RATE_MS && value.is_finite());
        let rate = first
            .filter(|(at_ms, value)| *at_ms < time_ms && *value <= last)
            .map(|(at_ms, value)| (last - value) / ((time_ms - at_ms) as f64 / 1_000.0));
        Some(Self { time_ms, last, rate })
    }
}

/// An agent's series, by what becomes of them. The later piece of a series wins over the one before.
#[derive(Default)]
struct Sums {
    time_ms: TimeMs,
    cpu: BTreeMap<(String, String), Piece>,
    memory: [Option<f64>; 2],
    disks: BTreeMap<String, [Option<f64>; 2]>,
    network: BTreeMap<(bool, String), Piece>,
    load: Option<f64>,
    pressure: [Option<f64>; 3],
    groups: BTreeMap<String, f64>,
}

impl Sums {
    fn take(&mut self, series: &HubSeries, piece: Piece) {
        let label = |name: &str| {
            let found = series.series.labels.iter().find(|(own, _)| own == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        self.time_ms = self.time_ms.max(piece.time_ms);
        match series.series.name.as_str() {
            "node_cpu_seconds_total" => {
                self.cpu.insert((label("cpu").to_owned(), label("mode").to_owned()), piece);
            }
            "node_memory_MemTotal_bytes" => self.memory[0] = Some(piece.last),
            "node_memory_MemAvailable_bytes" => self.memory[1] = Some(piece.last),
            "node_load1" => self.load = Some(piece.last),
            "node_filesystem_size_bytes" => self.disk(&label, 0, piece),
            "node_filesystem_avail_bytes" => self.disk(&label, 1, piece),
            "node_network_receive_bytes_total" => self.traffic(&label, false, piece),
            "node_network_transmit_bytes_total" => self.traffic(&label, true, piece),
            "node_pressure_cpu_waiting_seconds_total" => self.pressure[0] = piece.rate,
            "node_pressure_memory_waiting_seconds_total" => self.pressure[1] = piece.rate,
            "node_pressure_io_waiting_seconds_total" => self.pressure[2] = piece.rate,
            "fieldpost_process_cpu_seconds_total" if !NOBODY.contains(&label("group")) => {
                *self.groups.entry(label("group").to_owned()).or_default() += piece.rate.unwrap_or(0.0);
            }
            _ => {}
        }
    }

    fn disk<'a>(&mut self, label: &impl Fn(&str) -> &'a str, side: usize, piece: Piece) {
        if !NO_DISK.contains(&label("fstype")) {
            self.disks.entry(label("mountpoint").to_owned()).or_default()[side] = Some(piece.last);
        }
    }

    fn traffic<'a>(&mut self, label: &impl Fn(&str) -> &'a str, sent: bool, piece: Piece) {
        let device = label("device");
        if device != "lo" && !NO_NETWORK.iter().any(|start| device.starts_with(start)) {
            self.network.insert((sent, device.to_owned()), piece);
        }
    }

    fn measures(self) -> Measures {
        let share = |part: f64, of: f64| (of > 0.0).then(|| (part / of).clamp(0.0, 1.0));
        let is_idle = |mode: &str| matches!(mode, "idle" | "iowait");
        let seconds = |idle: bool| -> f64 {
            let of_kind = self.cpu.iter().filter(|((_, mode), _)| is_idle(mode) == idle);
            of_kind.filter_map(|(_, piece)| piece.rate).sum()
        };
        let (busy, idle) = (seconds(false), seconds(true));
        let traffic = |sent: bool| {
            let mut rates = self.network.iter().filter(|((way, _), _)| *way == sent).peekable();
            rates.peek()?;
            Some(rates.filter_map(|(_, piece)| piece.rate).sum())
        };
        // Of those that are equally full the shortest name counts: others are the same one again.
        let full = self.disks.iter().rev().filter_map(|(mountpoint, sides)| {
            let (size, available) = (sides[0]?, sides[1]?);
            Some(Fullest { mountpoint: mountpoint.clone(), share: share(size - available, size)? })
        });
        let waits = ["cpu", "memory", "io"]
            .into_iter()
            .zip(self.pressure)
            .filter_map(|(of, share)| Some(Pressure { of: of.to_owned(), share: share?.min(1.0) }));
        let top = self.groups.iter().max_by(|a, b| a.1.total_cmp(b.1));
        Measures {
            time_ms: self.time_ms,
            cores: self.cpu.keys().filter(|(_, mode)| mode == "idle").count(),
            cpu: share(busy, busy + idle),
            memory: match self.memory {
                [Some(total), Some(available)] => share(total - available, total),
                _ => None,
            },
            disk: full.max_by(|a, b| a.share.total_cmp(&b.share)),
            received: traffic(false),
            sent: traffic(true),
            load: self.load,
            pressure: waits.max_by(|a, b| a.share.total_cmp(&b.share)),
            top: top.map(|(group, cores)| Top { group: group.clone(), cores: *cores }),
        }
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Kind;
    use fieldpost_store::StoredSeries;

    use super::*;

    /// Name, labels, and the values at both ends of ten seconds.
    type Given<'a> = (&'a str, &'a [(&'a str, &'a str)], [f64; 2]);

    fn sums(series: &[Given<'_>]) -> Measures {
        let mut sums = Sums::default();
        for (name, labels, values) in series {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let series = StoredSeries {
                text: String::new(),
                name: (*name).to_owned(),
                labels: labels.collect(),
                family: (*name).to_owned(),
                kind: Kind::Gauge,
                help: String::new(),
                first_ms: 0,
                last_ms: 10_000,
            };
            let series = HubSeries { agent_id: "a".to_owned(), series };
            let samples = [(0, values[0]), (10_000, values[1])];
            sums.take(&series, Piece::of(&samples).unwrap());
        }
        sums.measures()
    }

    #[test]
    fn numbers_are_those_of_the_host_and_not_of_what_is_virtual_on_it() {
        let cpu = "node_cpu_seconds_total";
        let received = "node_network_receive_bytes_total";
        let (size, available) = ("node_filesystem_size_bytes", "node_filesystem_avail_bytes");
        let found = sums(&[
            (cpu, &[("cpu", "0"), ("mode", "user")], [5.0, 10.0]),
            (cpu, &[("cpu", "0"), ("mode", "idle")], [5.0, 8.0]),
            (cpu, &[("cpu", "0"), ("mode", "iowait")], [5.0, 7.0]),
            (received, &[("device", "eth0")], [0.0, 1_000.0]),
            (received, &[("device", "veth1")], [0.0, 9_000.0]),
            (received, &[("device", "lo")], [0.0, 9_000.0]),
            (size, &[("mountpoint", "/"), ("fstype", "ext4")], [100.0, 100.0]),
            (available, &[("mountpoint", "/"), ("fstype", "ext4")], [60.0, 40.0]),
            (size, &[("mountpoint", "/run"), ("fstype", "tmpfs")], [100.0, 100.0]),
            (available, &[("mountpoint", "/run"), ("fstype", "tmpfs")], [0.0, 0.0]),
            ("node_pressure_io_waiting_seconds_total", &[], [0.0, 2.0]),
            ("node_pressure_cpu_waiting_seconds_total", &[], [0.0, 1.0]),
            ("fieldpost_process_cpu_seconds_total", &[("group", "a"), ("mode", "user")], [0.0, 3.0]),
            ("fieldpost_process_cpu_seconds_total", &[("group", "a"), ("mode", "system")], [0.0, 3.0]),
            ("fieldpost_process_cpu_seconds_total", &[("group", "b"), ("mode", "user")], [0.0, 5.0]),
            ("fieldpost_process_cpu_seconds_total", &[("group", "unattributed")], [0.0, 9.0]),
        ]);
        assert_eq!((found.cores, found.cpu), (1, Some(0.5)));
        assert_eq!((found.received, found.sent), (Some(100.0), None));
        assert_eq!(found.disk, Some(Fullest { mountpoint: "/".into(), share: 0.6 }));
        assert_eq!(found.pressure, Some(Pressure { of: "io".into(), share: 0.2 }));
        assert_eq!(found.top.map(|top| (top.group, (top.cores * 10.0).round())), Some(("a".into(), 6.0)));
        assert_eq!(found.memory, None);
    }

    #[test]
    fn jobs_that_went_wrong_are_counted_and_those_that_are_disabled_are_not() {
        let task = |name: &str, state: &str, paused: bool| {
            let last = serde_json::json!({ "id": "a", "state": state, "created_ms": 0 });
            serde_json::json!({ "job": { "name": name }, "paused": paused, "active": ["a"], "last": last })
        };
        let sum = JobsSum::of(&[
            task("a", "failed", false),
            task("b", "succeeded", false),
            task("c", "failed", true),
            task("d", "cancelled", false),
            serde_json::json!({ "job": { "name": "e" }, "paused": false, "active": [], "last": null }),
        ]);
        let failing = vec!["a".to_owned()];
        assert_eq!(sum, JobsSum { n: 4, n_active: 3, n_failing: 1, failing });
    }

    #[test]
    fn counter_that_began_anew_has_no_rate() {
        assert_eq!(Piece::of(&[(0, 5.0), (1_000, 1.0)]).unwrap().rate, None);
        assert_eq!(Piece::of(&[(0, 5.0)]).unwrap().rate, None);
        assert_eq!(Piece::of(&[(0, 5.0), (2_000, 9.0)]).unwrap().rate, Some(2.0));
        assert_eq!(Piece::of(&[]), None);
    }
}
