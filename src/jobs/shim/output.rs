//! What the command says: read from its pipes, masked, told by levels where that is wanted, kept.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fieldpost_model::job::{OutputCounts, RunData, RunStat};

use super::super::mask::Masker;
use super::super::output::{RECORD_HEAD_BYTES, Segments};
use super::super::protocol::Order;
use super::levels::{self, LevelReader};
use super::statistics::Statistics;
use super::{now_ms, read_some};

/// Read at a time, bytes: with their heads so many records fill a segment.
const CHUNK_BYTES: usize = (32 << 10) - RECORD_HEAD_BYTES;
/// Chunks that are read of one pipe before the other one has its turn.
const N_CHUNKS_IN_TURN: usize = 4;

/// One pipe.
struct Stream {
    end: Option<OwnedFd>,
    level: u8,
    n_bytes: u64,
    masker: Masker,
    levels: Option<LevelReader>,
}

/// Both pipes and what is kept of them.
pub struct Output {
    streams: [Stream; 2],
    segments: Segments,
    heard_levels: Option<Vec<(u8, u8)>>,
    kept_levels: Option<Vec<(u8, u8)>>,
    n_lines: u64,
    data: Option<RunData>,
    statistics: Statistics,
    buffer: Vec<u8>,
    shown: Vec<u8>,
}

impl Output {
    /// Reads these two ends.
    pub fn new(order: &Order, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        let stream = |end, level| Stream {
            end: Some(end),
            level,
            n_bytes: 0,
            masker: Masker::new(&order.masked),
            levels: order.levels.then(|| LevelReader::new(level)),
        };
        Self {
            streams: [stream(stdout, 1), stream(stderr, 2)],
            segments: Segments::new(Path::new("."), order.head_bytes, order.tail_bytes),
            heard_levels: order.heard_levels.clone(),
            kept_levels: order.kept_levels.clone(),
            n_lines: 0,
            data: None,
            statistics: Statistics::new(order.stats_interval_ms),
            buffer: vec![0; CHUNK_BYTES],
            shown: Vec::with_capacity(CHUNK_BYTES),
        }
    }

    /// The ends that are still open.
    pub fn ends(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().filter_map(|stream| stream.end.as_ref()).map(AsFd::as_fd)
    }

    /// Reads what has come; answers whether that was anything.
    pub fn take(&mut self) -> bool {
        let mut any = false;
        for place in 0..self.streams.len() {
            for _ in 0..N_CHUNKS_IN_TURN {
                let Some(end) = &self.streams[place].end else { break };
                match read_some(end, &mut self.buffer) {
                    None => break,
                    Some(0) => self.end_of(place),
                    Some(n_bytes) => {
                        any = true;
                        self.keep(place, n_bytes);
                    }
                }
            }
        }
        any
    }

    /// Everything is over: reads what is left, and keeps what was held back.
    pub fn finish(&mut self) {
        while self.take() {}
        (0..self.streams.len()).for_each(|place| self.end_of(place));
        self.statistics.close();
    }

    fn keep(&mut self, place: usize, n_bytes: usize) {
        let stream = &mut self.streams[place];
        stream.n_bytes += n_bytes as u64;
        let bytes = &self.buffer[..n_bytes];
        self.n_lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.shown.clear();
        stream.masker.push(bytes, &mut self.shown);
        self.store(place);
    }

    fn end_of(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        if stream.end.take().is_none() {
            return;
        }
        self.shown.clear();
        stream.masker.finish(&mut self.shown);
        self.store(place);
        let mut messages = Vec::new();
        if let Some(levels) = &mut self.streams[place].levels {
            levels.finish(&mut messages);
        }
        self.store_messages(messages);
    }

    /// Keeps what may be shown.
    fn store(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        match &mut stream.levels {
            Some(levels) => {
                let mut messages = Vec::new();
                levels.push(&self.shown, &mut messages);
                self.store_messages(messages);
            }
            None if self.shown.is_empty() => {}
            None if is_kept(self.kept_levels.as_deref(), stream.level) => {
                self.segments.append(stream.level, now_ms(), &self.shown);
            }
            None => {}
        }
    }

    fn store_messages(&mut self, messages: Vec<(u8, Vec<u8>)>) {
        for (level, bytes) in messages {
            if !is_kept(self.heard_levels.as_deref(), level) {
                continue;
            }
            if is_kept(self.kept_levels.as_deref(), level) {
                self.segments.append(level, now_ms(), &bytes);
            }
            if level == levels::STATISTICS {
                self.statistics.take(&bytes, now_ms());
            }
            if levels::is_result(level) {
                self.data = Some(RunData { level, text: String::from_utf8_lossy(&bytes).into_owned() });
            }
        }
    }

    /// How long until statistics are to be written down, milliseconds; none if there are none.
    pub fn flush_after_ms(&self) -> Option<u64> {
        self.statistics.left_ms(now_ms())
    }

    /// Writes statistics down if their time has come.
    pub fn flush_statistics(&mut self) {
        self.statistics.flush(now_ms());
    }

    /// What was said, and what of it is kept.
    pub fn counts(&self) -> OutputCounts {
        let kept = self.segments.counts();
        OutputCounts {
            stdout_bytes: self.streams[0].n_bytes,
            stderr_bytes: self.streams[1].n_bytes,
            lines: self.n_lines,
            kept_bytes: kept.kept_bytes,
            dropped_bytes: kept.dropped_bytes,
            lost_bytes: kept.lost_bytes,
        }
    }

    /// What the command told of itself.
    pub fn stats(&self) -> BTreeMap<String, RunStat> {
        let n_refused = self.statistics.n_refused();
        if n_refused > 0 {
            super::tell(&format!("{n_refused} lines of level 10 were no statistics"));
        }
        self.statistics.all()
    }

    /// The last message of a result level.
    pub fn data(&self) -> Option<RunData> {
        self.data.clone()
    }
}

fn is_kept(kept: Option<&[(u8, u8)]>, level: u8) -> bool {
    kept.is_none_or(|kept| kept.iter().any(|(from, to)| (*from..=*to).contains(&level)))
}
