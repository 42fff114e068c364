//! Power cuts, on a file system in a file that is shut down without writing its log: what the agent
//! called stored before the cut is there after it. kill -9 proves nothing of the kind, for the
//! kernel goes on and writes. `make soak` runs these; they need root, loop devices and xfsprogs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fieldpost_bed::{Agent, Random, Scratch, library_path, peer};

use crate::kill9::{FULL_LOAD, Life, check};

/// Cuts on each kind of file system.
const N_CUTS: usize = 30;

/// The shortest and the longest life before a cut: some windows of a second are stored in it.
const LIFE_MS: (u64, u64) = (1_500, 5_000);

/// The smallest image that mkfs.xfs takes is 300 MB; it is sparse.
const IMAGE: &str = "400M";

#[derive(Debug, Clone, Copy)]
enum FileSystem {
    Ext4,
    Xfs,
}

/// Runs a command to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A tool of xfsprogs, which is unpacked beside the tests and not installed.
fn xfsprogs(tool: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(
        peer("xfsprogs", &format!("usr/sbin/{tool}"))
            .or_else(|_| peer("xfsprogs", &format!("sbin/{tool}")))?,
    );
    command.env("LD_LIBRARY_PATH", library_path());
    Ok(command)
}

/// A mounted image; unmounted when dropped.
struct Mounted {
    image: PathBuf,
    folder: PathBuf,
}

impl Mounted {
    fn new(kind: FileSystem, scratch: &Path) -> anyhow::Result<Self> {
        let image = scratch.join("image");
        run(Command::new("truncate").args(["--size", IMAGE]).arg(&image))?;
        match kind {
            FileSystem::Ext4 => run(Command::new("mkfs.ext4").arg("-q").arg(&image))?,
            FileSystem::Xfs => run(xfsprogs("mkfs.xfs")?.arg("-q").arg(&image))?,
        }
        let folder = scratch.join("data");
        std::fs::create_dir(&folder)?;
        let mounted = Self { image, folder };
        mounted.mount()?;
        Ok(mounted)
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.folder))
    }

    fn unmount(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.folder))
    }

    /// From here on nothing reaches the image, not even what the file system has in its log.
    fn cut(&self) -> anyhow::Result<()> {
        run(xfsprogs("xfs_io")?.args(["-x", "-c", "shutdown"]).arg(&self.folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _not_mounted = Command::new("umount").arg("--lazy").arg(&self.folder).output();
    }
}

/// One life, one cut, one look at what is left. The error is of the obligations; what fails on the
/// way there panics.
fn cut_once(kind: FileSystem, random: &mut Random, environment: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let scratch = Scratch::new().unwrap();
    let mounted = Mounted::new(kind, scratch.path()).unwrap();
    let mut life = Life::begin();
    let program = Path::new(crate::fieldpost());
    let mut agent = Agent::start_in(scratch, program, FULL_LOAD, environment).unwrap();
    let until = Instant::now() + Duration::from_millis(LIFE_MS.0 + random.below(LIFE_MS.1 - LIFE_MS.0));
    while Instant::now() < until {
        life.look(&agent.page().unwrap()).unwrap();
    }
    mounted.cut().unwrap();
    agent.kill().unwrap();
    mounted.unmount().unwrap();
    mounted.mount().unwrap();
    let next = Life::begin();
    agent.start_again().context("the store does not open after the cut")?;
    ensure!(agent.stop().unwrap().success(), "the agent after the cut did not stop cleanly");
    let checked = check(&agent, &[life, next]);
    mounted.unmount().unwrap();
    checked
}

fn cuts_lose_nothing(kind: FileSystem) {
    let mut random = Random::seeded();
    for number in 1..=N_CUTS {
        cut_once(kind, &mut random, &[]).with_context(|| format!("{kind:?}, cut {number}")).unwrap();
    }
    println!("{kind:?}: {N_CUTS} power cuts, nothing lost that was called stored");
}

#[test]
#[ignore = "needs root, loop devices and minutes: make soak"]
fn power_cuts_lose_nothing_on_ext4() {
    cuts_lose_nothing(FileSystem::Ext4);
}

#[test]
#[ignore = "needs root, loop devices and minutes: make soak"]
fn power_cuts_lose_nothing_on_xfs() {
    cuts_lose_nothing(FileSystem::Xfs);
}

/// The negative control: with an fsync that does nothing the same harness must find losses, or it
/// would find none at all.
#[test]
#[ignore = "needs root, loop devices and minutes: make soak"]
fn without_fsync_power_cuts_lose_something() {
    let library = format!("usr/lib/{}-linux-gnu/libeatmydata.so", std::env::consts::ARCH);
    let library = peer("libeatmydata1", &library).unwrap();
    let environment = [("LD_PRELOAD", library.as_os_str())];
    let mut random = Random::seeded();
    let lost = (1..=N_CUTS).find_map(|number| {
        cut_once(FileSystem::Ext4, &mut random, &environment)
            .err()
            .map(|error| (number, format!("{error:#}")))
    });
    let (number, how) = lost.expect("no cut lost anything without fsync: the harness is blind");
    println!("without fsync cut {number} is found: {how}");
}
