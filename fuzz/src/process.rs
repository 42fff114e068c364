//! One target within a process of libFuzzer.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Ready, target};

static READY: Mutex<Option<Ready>> = Mutex::new(None);

/// Makes the target ready, and puts its seeds into the corpus folder of cargo-fuzz if that is there and empty.
pub fn begin(name: &str) {
    let folder = own_folder(name);
    let ready = (target(name).prepare)(&folder);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    if std::fs::read_dir(&corpus).is_ok_and(|mut entries| entries.next().is_none()) {
        for (position, seed) in ready.seeds.iter().enumerate() {
            std::fs::write(corpus.join(format!("seed-{position}")), seed).expect("the corpus can be written");
        }
    }
    *READY.lock().expect("nobody panicked before") = Some(ready);
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut ready = READY.lock().expect("the fuzzer ends with the first panic");
    (ready.as_mut().expect("libFuzzer calls init first").run)(data);
}

/// A folder for this process, in memory where that is possible. libFuzzer ends without cleaning up, so what
/// processes that are gone have left is removed here.
fn own_folder(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let prefix = format!("fieldpost-fuzz-{name}-");
    for entry in std::fs::read_dir(&base).into_iter().flatten().flatten() {
        let entry_name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = entry_name.strip_prefix(&prefix) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
    let folder = base.join(format!("{prefix}{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the tree can be made");
    folder
}
