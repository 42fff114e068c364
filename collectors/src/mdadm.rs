//! Software RAID arrays: disks, state and progress from /proc/mdstat, degradation from
//! /sys/block/md*/md.

use std::path::{Path, PathBuf};

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::{KeptFile, list, read_number, read_text};
use crate::seen::{HoldsSeries, Seen};
use crate::text::{fields, label, lines, number, split_once};

/// States of an array as they are shown, and as mdstat's lines amount to.
const STATES: [(&str, State); 5] = [
    ("active", State::Active),
    ("inactive", State::Inactive),
    ("recovering", State::Recovering),
    ("resync", State::Resyncing),
    ("check", State::Checking),
];

/// Levels that hold arrays or metadata and no disks of their own.
const WITHOUT_DISKS: [&str; 4] = ["container", "imsm", "ddf", ""];

/// Levels for which the kernel counts degraded disks.
const REDUNDANT: [&str; 5] = ["raid1", "raid4", "raid5", "raid6", "raid10"];

/// Settings.
pub type Config = Common;

struct Mdadm {
    mdstat: KeptFile,
    buffer: Vec<u8>,
    block: PathBuf,
    arrays: Seen<[SeriesId; 11]>,
    raids: Seen<Raid>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Mdadm {
        mdstat: KeptFile::new(env.roots.procfs.join("mdstat")),
        buffer: Vec::new(),
        block: env.roots.sysfs.join("block"),
        arrays: Seen::default(),
        raids: Seen::default(),
    }))
}

impl Collector for Mdadm {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.mdstat.collect(&mut self.buffer)?;
        self.arrays.begin();
        for array in parse(text) {
            let ids = *self.arrays.get(array.name, || resolve(&label(array.name), tick));
            let states = STATES.map(|(_, state)| f64::from(u8::from(state == array.state)));
            let numbers =
                [array.required, array.active, array.failed, array.spare, array.blocks, array.synced];
            let values = numbers.map(|number| number as f64).into_iter().chain(states);
            ids.into_iter().zip(values).for_each(|(id, value)| tick.set(id, value));
        }
        self.arrays.end(tick);
        self.collect_raids(tick);
        Ok(())
    }
}

impl Mdadm {
    /// An array may go between listing and reading: what cannot be read is left out.
    fn collect_raids(&mut self, tick: &mut Tick) {
        self.raids.begin();
        for name in list(&self.block).unwrap_or_default() {
            let name = name.to_string_lossy();
            let folder = self.block.join(&*name).join("md");
            let Ok(level) = read_text(&folder.join("level")) else { continue };
            if name.starts_with("md") {
                let raid = self.raids.get(name.as_bytes(), || Raid::new(&name, tick));
                raid.record(&name, &folder, &level, tick);
            }
        }
        self.raids.end(tick);
    }
}

/// The order of the numbers in `collect`.
fn resolve(device: &str, tick: &Tick) -> [SeriesId; 11] {
    let gauge = |name: &str, help: &str| tick.gauge(name, help, &[("device", device)]);
    let with_state =
        |name: &str, help: &str, state: &str| tick.gauge(name, help, &[("device", device), ("state", state)]);
    let disks = |state| with_state("node_md_disks", "Number of active/failed/spare disks of device.", state);
    let state = |position: usize| {
        with_state("node_md_state", "Indicates the state of md-device.", STATES[position].0)
    };
    [
        gauge("node_md_disks_required", "Total number of disks of device."),
        disks("active"),
        disks("failed"),
        disks("spare"),
        gauge("node_md_blocks", "Total number of blocks on device."),
        gauge("node_md_blocks_synced", "Number of blocks synced on device."),
        state(0),
        state(1),
        state(2),
        state(3),
        state(4),
    ]
}

/// Series of an array's folder in sysfs.
struct Raid {
    degraded: SeriesId,
    disks: Option<SeriesId>,
}

impl HoldsSeries for Raid {
    fn each(&self, f: &mut dyn FnMut(SeriesId)) {
        f(self.degraded);
        self.disks.iter().copied().for_each(f);
    }
}

impl Raid {
    fn new(device: &str, tick: &Tick) -> Self {
        let help = "Number of degraded disks on device.";
        Self { degraded: tick.gauge("node_md_degraded", help, &[("device", device)]), disks: None }
    }

    fn record(&mut self, device: &str, folder: &Path, level: &str, tick: &mut Tick) {
        let degraded = match REDUNDANT.contains(&level) {
            true => read_number(&folder.join("degraded")).ok(),
            false => Some(0),
        };
        if let Some(degraded) = degraded {
            tick.set(self.degraded, degraded as f64);
        }
        if let Some(disks) = raid_disks(folder, level) {
            let help = "Number of raid disks on device.";
            let resolve = || tick.gauge("node_md_raid_disks", help, &[("device", device)]);
            let id = *self.disks.get_or_insert_with(resolve);
            tick.set(id, disks as f64);
        }
    }
}

/// `4`, or `5 (4)` while the array is reshaped from four disks to five.
fn raid_disks(folder: &Path, level: &str) -> Option<u64> {
    if WITHOUT_DISKS.contains(&level) {
        return None;
    }
    let text = read_text(&folder.join("raid_disks")).ok()?;
    number(fields(text.as_bytes()).next()?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Inactive,
    Recovering,
    Resyncing,
    Checking,
    /// Reshaping, or a word of a future kernel: no series has it.
    Other,
}

/// An array of /proc/mdstat.
#[derive(Debug, PartialEq)]
struct Array<'a> {
    name: &'a [u8],
    state: State,
    required: u64,
    active: u64,
    failed: u64,
    spare: u64,
    blocks: u64,
    synced: u64,
}

/// The arrays of /proc/mdstat (`Documentation/admin-guide/md.rst`). An array has a line of its
/// own, one with its size, and then perhaps a line of a bitmap and one of the sync going on. One
/// that cannot be read is passed over, and the others are shown.
fn parse(text: &[u8]) -> impl Iterator<Item = Array<'_>> {
    let all: Vec<&[u8]> = lines(text).collect();
    let is_array = |line: &[u8]| {
        let others: [&[u8]; 3] = [b" ", b"Personalities", b"unused"];
        !line.trim_ascii().is_empty() && !others.iter().any(|other| line.starts_with(other))
    };
    (0..all.len())
        .filter(|at| is_array(all[*at]))
        .filter_map(|at| parse_array(&all[at..]))
        .collect::<Vec<_>>()
        .into_iter()
}

fn parse_array<'a>(rest: &[&'a [u8]]) -> Option<Array<'a>> {
    let (line, size) = (rest[0], rest.get(1)?);
    let mut words = fields(line);
    let name = words.next()?;
    let word = words.nth(1)?;
    let blocks = number(fields(size).next()?)?;
    let (required, active) = if contains(line, b"raid0") || contains(line, b"linear") {
        let n_disks = line.iter().filter(|byte| **byte == b'[').count() as u64;
        (n_disks, n_disks)
    } else if contains(line, b"inactive") {
        (0, 0)
    } else {
        disks(size)?
    };
    let has_bitmap = rest.get(2).is_some_and(|line| contains(line, b"bitmap"));
    let sync = rest.get(if has_bitmap { 3 } else { 2 }).copied().unwrap_or_default();
    let (state, synced) = match sync_state(sync) {
        Some(state) => (state, progress(sync).unwrap_or(0)),
        None => (word_state(word), blocks),
    };
    let (failed, spare) = (count(line, b"(F)"), count(line, b"(S)"));
    Some(Array { name, state, required, active, failed, spare, blocks, synced })
}

/// `[5/4] [UUUU_]`: required and active disks. The last such pair counts.
fn disks(size: &[u8]) -> Option<(u64, u64)> {
    let words = fields(size).zip(fields(size).skip(1));
    let pairs = words.filter(|(_, map)| {
        let map = bracketed(map);
        map.is_some_and(|map| !map.is_empty() && map.iter().all(|disk| matches!(disk, b'U' | b'_')))
    });
    let numbers = pairs.filter_map(|(pair, _)| {
        let (required, active) = split_once(bracketed(pair)?, b'/')?;
        Some((number(required)?, number(active)?))
    });
    numbers.last()
}

fn bracketed(word: &[u8]) -> Option<&[u8]> {
    word.strip_prefix(b"[")?.strip_suffix(b"]")
}

fn word_state(word: &[u8]) -> State {
    match word {
        b"active" => State::Active,
        b"inactive" => State::Inactive,
        _ => State::Other,
    }
}

/// What goes on by a line such as `[=>....]  recovery =  8.5% (16775552/195310144) finish=17.0min`.
fn sync_state(line: &[u8]) -> Option<State> {
    let words: [(&[u8], State); 4] = [
        (b"recovery", State::Recovering),
        (b"reshape", State::Other),
        (b"check", State::Checking),
        (b"resync", State::Resyncing),
    ];
    words.iter().find(|(word, _)| contains(line, word)).map(|(_, state)| *state)
}

/// Blocks done, of `(done/all)`. A sync that waits (`resync=DELAYED`) has none.
fn progress(line: &[u8]) -> Option<u64> {
    let pairs = fields(line).filter_map(|word| word.strip_prefix(b"(")?.strip_suffix(b")"));
    pairs.filter_map(|pair| number(split_once(pair, b'/')?.0)).next()
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

fn count(line: &[u8], word: &[u8]) -> u64 {
    line.windows(word.len()).filter(|window| *window == word).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    const MDSTAT: &str = "\
Personalities : [linear] [raid0] [raid1] [raid6] [raid5] [raid4] [raid10]
md3 : active raid6 sda1[8] sdh1[7] sdg1[6] sdf1[5] sde1[11] sdd1[3] sdc1[10] sdb1[9](S) sdd2[10](F)
      5853468288 blocks super 1.2 level 6, 64k chunk, algorithm 2 [8/8] [UUUUUUUU]

md8 : active raid1 sdb1[1] sda1[0] sdc[2](S)
      195310144 blocks [2/1] [_U]
      bitmap: 0/2 pages [0KB], 65536KB chunk
      [=>...................]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec

md4 : inactive raid1 sda3[0](F) sdb3[1](S)
      4883648 blocks [2/2] [UU]

md5 : active raid1 sdb2[1] sda2[0]
      1855870976 blocks super 1.2 [2/2] [UU]
      \tresync=DELAYED

md0 : active raid0 sda[0] sdb[1]
      31389696 blocks super 1.2 512k chunks

md9 : active raid1 broken

md10 : active (auto-read-only) raid1 sdb2[1] sda2[0]
      100 blocks super 1.2 [2/2] [UU]
      [>....]  reshape =  1.0% (1/100) finish=1min speed=1K/sec

unused devices: <none>
";

    #[test]
    fn arrays_of_each_state_are_read() {
        let arrays: Vec<_> = parse(MDSTAT.as_bytes()).collect();
        let numbers = |array: &Array<'_>| {
            [array.required, array.active, array.failed, array.spare, array.blocks, array.synced]
        };
        let names: Vec<_> = arrays.iter().map(|array| label(array.name)).collect();
        assert_eq!(names, ["md3", "md8", "md4", "md5", "md0", "md10"]);
        assert_eq!(numbers(&arrays[0]), [8, 8, 1, 1, 5853468288, 5853468288]);
        assert_eq!(numbers(&arrays[1]), [2, 1, 0, 1, 195310144, 16775552]);
        assert_eq!(numbers(&arrays[2]), [0, 0, 1, 1, 4883648, 4883648]);
        assert_eq!(numbers(&arrays[3]), [2, 2, 0, 0, 1855870976, 0]);
        assert_eq!(numbers(&arrays[4]), [2, 2, 0, 0, 31389696, 31389696]);
        assert_eq!(
            arrays.iter().map(|array| array.state).collect::<Vec<_>>(),
            [
                State::Active,
                State::Recovering,
                State::Inactive,
                State::Resyncing,
                State::Active,
                State::Other,
            ]
        );
    }

    #[test]
    fn degraded_array_is_shown_and_a_container_has_no_disks() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/mdstat", "Personalities : [raid1]\nunused devices: <none>\n");
        write(tree.path(), "sys/block/md0/md/level", "raid5\n");
        write(tree.path(), "sys/block/md0/md/raid_disks", "5 (4)\n");
        write(tree.path(), "sys/block/md0/md/degraded", "1\n");
        write(tree.path(), "sys/block/md127/md/level", "container\n");
        write(tree.path(), "sys/block/sda/size", "1\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                "node_md_degraded{device=\"md0\"} 1",
                "node_md_degraded{device=\"md127\"} 0",
                "node_md_raid_disks{device=\"md0\"} 5",
            ]
        );
    }

    #[test]
    fn machine_without_the_driver_has_no_data() {
        assert!(page(tempfile::tempdir().unwrap().path(), build).unwrap_err().is_no_data());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text).for_each(drop);
        }

        #[test]
        fn truncated_file_is_survived(length in 0..MDSTAT.len()) {
            prop_assert!(parse(&MDSTAT.as_bytes()[..length]).count() <= 6);
        }
    }
}
