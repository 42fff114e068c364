//! What is fuzzed: every reader of text or bytes that this program did not write itself. A target takes any bytes
//! and panics if a promise is broken. `fuzz_targets/` runs them under libFuzzer, `tests/it/fuzz.rs` with seeds that
//! `mutate` changes, on the stable compiler.

pub mod machine;
pub mod mutate;
mod page;
#[cfg(fuzzing)]
pub mod process;
pub mod query;
pub mod text;
pub mod wire;

use std::path::Path;

/// One target.
pub struct Target {
    /// As the file in `fuzz_targets/`.
    pub name: &'static str,
    /// Makes it ready. The folder is empty and its own; what it writes there is not cleaned up.
    pub prepare: fn(&Path) -> Ready,
}

/// A target ready to be run.
pub struct Ready {
    /// Sound inputs to begin with.
    pub seeds: Vec<Vec<u8>>,
    /// Runs one input; panics if a promise is broken.
    pub run: Run,
}

/// Takes one input; panics if a promise is broken.
pub type Run = Box<dyn FnMut(&[u8]) + Send>;

/// Every target there is.
pub const TARGETS: &[Target] = &[
    Target { name: "metrics_text", prepare: |_| text::metrics_text() },
    Target { name: "textfile", prepare: machine::textfile },
    Target { name: "kernel_proc", prepare: |folder| machine::kernel(folder, machine::PROC) },
    Target { name: "kernel_net", prepare: |folder| machine::kernel(folder, machine::NET) },
    Target { name: "kernel_storage", prepare: |folder| machine::kernel(folder, machine::STORAGE) },
    Target { name: "kernel_sys", prepare: |folder| machine::kernel(folder, machine::SYS) },
    Target { name: "processes", prepare: |folder| machine::kernel(folder, machine::PROCESSES) },
    Target { name: "config", prepare: text::config },
    Target { name: "store_codec", prepare: |_| text::store_codec() },
    Target { name: "requests", prepare: |_| text::requests() },
    Target { name: "link", prepare: |_| wire::link() },
    Target { name: "record", prepare: |_| wire::record() },
    Target { name: "pushed", prepare: |_| wire::pushed() },
    Target { name: "promql", prepare: |_| query::promql() },
];

/// The target of this name.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("the name is one of TARGETS")
}
