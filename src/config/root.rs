//! What a config is the config of: each face of the program has a root of its own, with its files,
//! its folder and its socket. Whatever loads, checks and shows a config works for any root.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::yaml::{self, Value};
use crate::telemetry;

/// How a face is called, and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// The face itself, which is also its command.
    pub face: &'static str,
    /// The face with its article, for sentences.
    pub a_face: &'static str,
    /// The main file within the config directory.
    pub main_file: &'static str,
    /// The folder of drop-ins within the config directory.
    pub drop_in_dir: &'static str,
    /// The Unix socket within the data folder, unless it is set.
    pub socket: &'static str,
    /// A setting that may stand at the top of the file, as an example.
    pub setting: &'static str,
    /// The port that it listens on unless another is set.
    pub port: u16,
    /// The port that is usual where others are to reach it.
    pub open_port: u16,
}

/// Everything that can be set of one face.
pub trait Root: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The face that reads the same variables of the environment.
    type Other: Root;
    /// How it is called.
    const NAMES: Names;
    /// Keys that a running process cannot change: they hold open files and sockets.
    const NEED_RESTART: &'static [&'static str];

    /// The same with the default of `store.path` for a user whose state is kept in this folder.
    fn in_state_dir(self, state_dir: &Path) -> Self;

    /// Makes paths absolute, for a daemon that leaves its folder.
    fn absolute(self, base: &Path) -> Self;

    /// What is wrong with values that are of the right type, each with the path of its key.
    fn faults(&self) -> Vec<(String, String)>;

    /// Values that are worked out from others as long as nobody sets them, by the paths of their keys.
    fn worked_out(&self) -> HashMap<String, Value>;

    /// The data folder.
    fn data_dir(&self) -> &Path;

    /// The Unix socket.
    fn socket(&self) -> PathBuf;

    /// What it says about itself.
    fn log(&self) -> &telemetry::Config;

    /// A digest by which a later process can tell whether it has the same config.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        yaml::show(&yaml::value_from(self)).hash(&mut hasher);
        hasher.finish()
    }
}

/// A path below the base, unless it is absolute. Taking it by its components drops what `./` adds
/// in its middle.
pub(super) fn below(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}
