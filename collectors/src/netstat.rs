//! Protocol counters of IP, TCP, UDP, ICMP, from /proc/net/netstat, /proc/net/snmp and
//! /proc/net/snmp6. The first two have pairs of lines, names above numbers; the third a name and
//! a number on each line.

use fieldpost_model::{Pattern, Period, SeriesId, Tick};
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, float, is_name, label, lines, split_once};

/// node_exporter's choice of the several hundred counters.
const FIELDS: &str = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)\
    |TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)\
    |Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)\
    |Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// On or off; unset: as the list has it.
    pub enabled: Option<bool>,
    /// Its own interval.
    pub interval: Option<Period>,
    /// Which counters are shown: matched against `Protocol_Name`.
    pub fields: Pattern,
}

impl Default for Config {
    fn default() -> Self {
        let fields = Pattern::unanchored(FIELDS).expect("the default pattern compiles, as a test shows");
        Self { enabled: None, interval: None, fields }
    }
}

impl Config {
    /// The part that all collectors have.
    pub fn common(&self) -> Common {
        Common { enabled: self.enabled, interval: self.interval }
    }
}

struct Netstat {
    /// /proc/net/netstat and /proc/net/snmp, with what their pairs of lines are.
    paired: [(KeptFile, Vec<Pair>); 2],
    snmp6: KeptFile,
    snmp6_counters: Seen<SeriesId>,
    buffer: Vec<u8>,
    fields: Pattern,
}

/// A pair of lines: the upper one, and the series of its fields; `NONE` for those not shown.
#[derive(Default)]
struct Pair {
    names: Vec<u8>,
    ids: Vec<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    let file = |name| KeptFile::new(env.roots.procfs.join("net").join(name));
    Ok(Box::new(Netstat {
        paired: ["netstat", "snmp"].map(|name| (file(name), Vec::new())),
        snmp6: file("snmp6"),
        snmp6_counters: Seen::default(),
        buffer: Vec::new(),
        fields: env.config.netstat.fields.clone(),
    }))
}

impl Collector for Netstat {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        for (file, known) in &mut self.paired {
            record_pairs(file.collect(&mut self.buffer)?, known, &self.fields, tick);
        }
        match self.snmp6.collect(&mut self.buffer) {
            Ok(text) => record_snmp6(text, &mut self.snmp6_counters, &self.fields, tick),
            Err(error) if error.is_no_data() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn record_pairs(text: &[u8], known: &mut Vec<Pair>, filter: &Pattern, tick: &mut Tick) {
    for (position, (names, numbers)) in pairs(text).enumerate() {
        if position == known.len() {
            known.push(Pair::default());
        }
        let pair = &mut known[position];
        if pair.names != names {
            pair.learn(names, filter, tick);
        }
        let shown = pair.ids.iter().zip(fields(numbers).skip(1)).filter(|(id, _)| **id != SeriesId::NONE);
        for (id, value) in shown.filter_map(|(id, field)| Some((*id, float(field)?))) {
            tick.set(id, value);
        }
    }
}

impl Pair {
    /// Series of the old names end before those of the new names begin, for most are the same.
    fn learn(&mut self, names: &[u8], filter: &Pattern, tick: &Tick) {
        self.ids.each(&mut |id| tick.retire(id));
        names.clone_into(&mut self.names);
        let protocol = fields(names).next().unwrap_or_default();
        let protocol = label(protocol.strip_suffix(b":").unwrap_or(protocol));
        self.ids = fields(names).skip(1).map(|name| counter(&protocol, &label(name), filter, tick)).collect();
    }
}

fn record_snmp6(text: &[u8], known: &mut Seen<SeriesId>, filter: &Pattern, tick: &mut Tick) {
    known.begin();
    for line in lines(text) {
        let mut parts = fields(line);
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else { continue };
        let id = *known.get(key, || match split_once(key, b'6') {
            Some((protocol, name)) => counter(&format!("{}6", label(protocol)), &label(name), filter, tick),
            None => SeriesId::NONE,
        });
        if id != SeriesId::NONE
            && let Some(value) = float(value)
        {
            tick.set(id, value);
        }
    }
    known.end(tick);
}

fn counter(protocol: &str, name: &str, filter: &Pattern, tick: &Tick) -> SeriesId {
    let key = format!("{protocol}_{name}");
    if !is_name(key.as_bytes()) || !filter.is_match(&key) {
        return SeriesId::NONE;
    }
    tick.untyped(&format!("node_netstat_{key}"), &format!("Statistic {protocol}{name}."), &[])
}

/// The pairs of lines. A pair whose lines are not equally long, as at the end of a text cut
/// short, is left out.
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = lines(text);
    let both = std::iter::from_fn(move || Some((rest.next()?, rest.next()?)));
    both.filter(|(names, numbers)| fields(names).count() == fields(numbers).count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bench, page, write};

    const NETSTAT: &str =
        "TcpExt: SyncookiesSent ListenDrops TCPMD5NotFound\nTcpExt: 1 2 3\nIpExt: InOctets\nIpExt: 4\n";
    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn CurrEstab InErrs\nTcp: -1 7 5\n";
    const SNMP6: &str =
        "Ip6InOctets\t9\nIcmp6InMsgs  8\nUdpLite6InErrors 1\nIp6OutNoRoutes 3\nnothing 1\nshort\n";

    fn tree(netstat: &str, snmp6: bool) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/net/netstat", netstat);
        write(tree.path(), "proc/net/snmp", SNMP);
        if snmp6 {
            write(tree.path(), "proc/net/snmp6", SNMP6);
        }
        tree
    }

    #[test]
    fn name_that_no_metric_can_have_is_left_out() {
        let text = "TcpExt: Listen\"Drops SyncookiesSent\nTcpExt: 1 2\n";
        let lines = page(tree(text, false).path(), build).unwrap();
        let expected: Vec<_> = lines.iter().filter(|line| line.contains("TcpExt")).collect();
        assert_eq!(expected, ["node_netstat_TcpExt_SyncookiesSent 2"]);
    }

    #[test]
    fn chosen_counters_of_three_files() {
        assert_eq!(
            page(tree(NETSTAT, true).path(), build).unwrap(),
            [
                "node_netstat_Icmp6_InMsgs 8",
                "node_netstat_Ip6_InOctets 9",
                "node_netstat_IpExt_InOctets 4",
                "node_netstat_Ip_Forwarding 1",
                "node_netstat_TcpExt_ListenDrops 2",
                "node_netstat_TcpExt_SyncookiesSent 1",
                "node_netstat_Tcp_CurrEstab 7",
                "node_netstat_Tcp_InErrs 5",
                "node_netstat_UdpLite6_InErrors 1",
            ]
        );
    }

    #[test]
    fn other_fields_can_be_chosen_and_negative_numbers_are_read() {
        let mut config = crate::Config::default();
        config.netstat.fields = Pattern::unanchored("^Tcp_MaxConn$").unwrap();
        let lines = Bench::new(tree(NETSTAT, true).path(), build, &config).unwrap().pass(1000).unwrap();
        assert_eq!(lines, ["node_netstat_Tcp_MaxConn -1"]);
    }

    #[test]
    fn without_ipv6_there_is_the_rest() {
        assert_eq!(page(tree(NETSTAT, false).path(), build).unwrap().len(), 6);
    }

    #[test]
    fn counter_that_comes_between_passes_moves_no_other() {
        let tree = tree(NETSTAT, false);
        let mut bench = Bench::new(tree.path(), build, &crate::Config::default()).unwrap();
        bench.pass(1000).unwrap();
        let more = NETSTAT.replace("ListenDrops", "ListenNew ListenDrops").replace("1 2 3", "1 99 2 3");
        write(tree.path(), "proc/net/netstat", more);
        let lines = bench.pass(2000).unwrap();
        bench.catalog.sweep();
        bench.catalog.sweep();
        assert_eq!(lines, bench.pass(3000).unwrap());
        assert!(lines.contains(&"node_netstat_TcpExt_ListenDrops 2".to_owned()));
        assert!(lines.contains(&"node_netstat_TcpExt_ListenNew 99".to_owned()));
    }

    #[test]
    fn pair_cut_short_is_left_out() {
        assert_eq!(pairs(b"A: x y\nA: 1\nB: z\nB: 2\nC: w").count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: Vec<u8>) {
            for (names, numbers) in pairs(&text) {
                assert_eq!(fields(names).count(), fields(numbers).count());
            }
        }
    }
}
