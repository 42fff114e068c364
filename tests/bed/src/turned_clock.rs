//! A wall clock that the test turns, for one program: libfaketime, loaded before the program.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::{Scratch, peer};

/// The clock of the programs that were started with its environment.
pub struct TurnedClock {
    _scratch: Scratch,
    file: PathBuf,
    library: PathBuf,
}

impl TurnedClock {
    /// A clock that is right.
    pub fn new() -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let library = format!("usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
        let library = peer("libfaketime", &library)?;
        let clock = Self { file: scratch.path().join("clock"), _scratch: scratch, library };
        clock.turn(0)?;
        Ok(clock)
    }

    /// Lets it show so many seconds more than the right time, or less.
    pub fn turn(&self, seconds: i64) -> anyhow::Result<()> {
        // Renamed into place: the program reads the file whenever it asks for the time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        std::fs::rename(&new, &self.file)?;
        Ok(())
    }

    /// What a program needs in its environment to go by this clock. Its monotonic clock stays right.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let text = |text: &str| OsStr::new(text).to_owned();
        vec![
            ("LD_PRELOAD", self.library.clone().into_os_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into_os_string()),
            ("FAKETIME_NO_CACHE", text("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", text("1")),
            ("DONT_FAKE_MONOTONIC", text("1")),
        ]
    }
}
