//! What a run has sent and received, where that can be told apart: its processes are in a network namespace
//! of their own, which counts for itself (network_namespaces(7)). In a namespace that others are in, too, the
//! counters are theirs as well, and nothing is said.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Namespaces of one run that are followed, at most; those beyond are not counted.
const N_NAMESPACES_MAX: usize = 64;
/// Where `ip netns` keeps namespaces that have names (ip-netns(8)).
const NAMED: &str = "/run/netns";
/// The interface over which a namespace talks to itself.
const LOOPBACK: &str = "lo";

/// Bytes, since something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bytes {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// The traffic of one run.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// By number (inode): what it had counted at the last look; none: others are in it, too.
    namespaces: BTreeMap<u64, Option<Bytes>>,
    /// All that was counted so far; none: there was nothing to count in.
    total: Option<Bytes>,
}

impl Traffic {
    /// Looks at the namespaces of these processes, which are all of the run's as this lists them, and tells
    /// what it has sent and received so far.
    pub(super) fn look(&mut self, pids: &[u32], list: impl Fn() -> Vec<u32>) -> Option<Bytes> {
        let here = namespace("self")?;
        let mut found: BTreeMap<u64, u32> = BTreeMap::new();
        for pid in pids {
            if let Some(number) = namespace(&pid.to_string()).filter(|number| *number != here) {
                found.entry(number).or_insert(*pid);
            }
        }
        // A number may be given again once its namespace is gone.
        self.namespaces.retain(|number, _| found.contains_key(number));
        let is_new = |number: &u64| !self.namespaces.contains_key(number);
        if found.keys().any(is_new) {
            let foreign = of_others(list);
            for number in found.keys() {
                if !self.namespaces.contains_key(number) && self.namespaces.len() < N_NAMESPACES_MAX {
                    // One that nobody else is in was made by the run: all that it has counted is the run's.
                    let begin = (!foreign.contains(number)).then(Bytes::default);
                    self.namespaces.insert(*number, begin);
                }
            }
        }
        for (number, pid) in found {
            let Some(Some(before)) = self.namespaces.get_mut(&number) else { continue };
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/dev")) else { continue };
            let now = parse(&text);
            let total = self.total.get_or_insert_with(Bytes::default);
            // Counters go with an interface that is removed.
            total.received += now.received.saturating_sub(before.received);
            total.sent += now.sent.saturating_sub(before.sent);
            *before = now;
        }
        self.total
    }
}

/// The number of a process' network namespace; none if it is gone, or not ours to look at.
fn namespace(process: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|metadata| metadata.ino())
}

/// Namespaces that other processes are in than those that are listed, or that have names under which others
/// may enter them. Only looked for when a run is first seen in a new one.
fn of_others(list: impl Fn() -> Vec<u32>) -> HashSet<u64> {
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let pids = names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    let all: Vec<(u32, u64)> = pids.filter_map(|pid| Some((pid, namespace(&pid.to_string())?))).collect();
    // Listed behind the others, so that what the run begins meanwhile is not taken for somebody else's.
    let own: HashSet<u32> = list().into_iter().collect();
    let others = all.into_iter().filter(|(pid, number)| {
        !own.contains(pid) && namespace(&pid.to_string()).is_some_and(|now| now == *number)
    });
    let mut numbers: HashSet<u64> = others.map(|(_, number)| number).collect();
    let named = names(NAMED).into_iter();
    numbers
        .extend(named.filter_map(|name| fs::metadata(format!("{NAMED}/{name}")).ok()).map(|file| file.ino()));
    numbers
}

/// All interfaces of /proc/PID/net/dev but the loopback (proc_pid_net(5)): received are the first column of
/// eight, sent the first of the eight behind them.
fn parse(text: &str) -> Bytes {
    let mut all = Bytes::default();
    for line in text.lines() {
        let Some((name, counts)) = line.rsplit_once(':') else { continue };
        if name.trim() == LOOPBACK {
            continue;
        }
        let mut counts = counts.split_ascii_whitespace().map(|count| count.parse::<u64>().unwrap_or(0));
        all.received += counts.next().unwrap_or(0);
        all.sent += counts.nth(7).unwrap_or(0);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up_without_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo: 900 9 0 0 0 0 0 0 900 9 0 0 0 0 0 0\n  eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\neth0:1:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        assert_eq!(parse(text), Bytes { received: 15, sent: 27 });
        assert_eq!(parse("eth0: x\n:\n\u{1}"), Bytes::default());
    }

    #[test]
    fn in_the_namespace_of_the_agent_nothing_is_told_apart() {
        assert_eq!(Traffic::default().look(&[std::process::id(), u32::MAX - 1], Vec::new), None);
    }
}
