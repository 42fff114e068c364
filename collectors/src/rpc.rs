//! What /proc/net/rpc/nfs and /proc/net/rpc/nfsd have in common: lines of a word and numbers,
//! each number a series known from the start.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector};
use crate::read::KeptFile;
use crate::text::{fields, float, lines};

/// Methods of NFS version 2 in the kernel's order.
pub const METHODS_2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write", "Create",
    "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];

/// Methods of NFS version 3 in the kernel's order.
pub const METHODS_3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];

/// A line that is shown: its first word, and the series of the numbers after it, in their
/// order. `NONE` stands for a number that is not shown.
pub type Line = (&'static str, Vec<SeriesId>);

/// A file of such lines.
pub struct Rpc {
    file: KeptFile,
    buffer: Vec<u8>,
    lines: Vec<Line>,
    values: Vec<Vec<f64>>,
}

impl Rpc {
    /// A file with these lines in it.
    pub fn new(file: KeptFile, lines: Vec<Line>) -> Self {
        let values = lines.iter().map(|(_, ids)| vec![0.0; ids.len()]).collect();
        Self { file, buffer: Vec::new(), lines, values }
    }
}

impl Collector for Rpc {
    /// Kernels add lines and numbers and leave some out: what is not there is zero.
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        self.values.iter_mut().for_each(|values| values.fill(0.0));
        parse(self.file.collect(&mut self.buffer)?, &self.lines, &mut self.values);
        for ((_, ids), values) in self.lines.iter().zip(&self.values) {
            for (id, value) in ids.iter().zip(values) {
                tick.set(*id, *value);
            }
        }
        Ok(())
    }
}

/// Fills `values`, which runs beside `known`.
fn parse(text: &[u8], known: &[Line], values: &mut [Vec<f64>]) {
    for line in lines(text) {
        let mut parts = fields(line);
        let Some(word) = parts.next() else { continue };
        let Some(position) = known.iter().position(|(name, _)| name.as_bytes() == word) else { continue };
        for (slot, field) in values[position].iter_mut().zip(parts) {
            *slot = float(field).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N: SeriesId = SeriesId::NONE;

    #[test]
    fn unknown_lines_extra_and_missing_numbers() {
        let known = [("net", vec![N; 3]), ("rpc", vec![N; 2]), ("th", vec![N])];
        let mut values = vec![vec![0.0; 3], vec![0.0; 2], vec![0.0]];
        parse(b"rc 1 2\nrpc 5 6 7 8\nnet 1 2\nth x\n", &known, &mut values);
        assert_eq!(values, [vec![1.0, 2.0, 0.0], vec![5.0, 6.0], vec![0.0]]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: Vec<u8>) {
            parse(&text, &[("net", vec![N])], &mut [vec![0.0]]);
        }
    }
}
