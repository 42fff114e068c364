//! Tables of sockets (/proc/net/tcp, udp and their twins for IPv6), which may have a hundred
//! thousand lines: read piece by piece, each line counted and forgotten.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::collector::CollectError;
use crate::text::{fields, hex, split_once};

/// Bytes read at a time; a line has about 150.
const PIECE_SIZE_BYTES: usize = 32 << 10;

/// What is read of a socket's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketRow {
    /// The kernel's number of the state; of TCP 1 is established.
    pub state: u8,
    /// Bytes that wait to be sent.
    pub tx_queue_bytes: u64,
    /// Bytes that wait to be read.
    pub rx_queue_bytes: u64,
}

/// A table that is read over and over.
pub struct SocketTable {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl SocketTable {
    /// Opens nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, buffer: Vec::new() }
    }

    /// Calls `f` with every socket.
    pub fn each(&mut self, f: impl FnMut(SocketRow)) -> Result<(), CollectError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(|error| CollectError::read(&self.path, error))?,
        };
        self.buffer.resize(PIECE_SIZE_BYTES, 0);
        let read = |piece: &mut [u8], at: u64| file.read_at(piece, at);
        read_lines(&mut self.buffer, read, f).map_err(|error| CollectError::read(&self.path, error))?;
        self.file = Some(file);
        Ok(())
    }
}

/// Whole lines are parsed and the rest is moved to the front. A line that fills the buffer is
/// none of the kernel's, and is dropped piece by piece.
fn read_lines(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    mut f: impl FnMut(SocketRow),
) -> io::Result<()> {
    let (mut offset, mut held) = (0_u64, 0);
    loop {
        let n = match read(&mut buffer[held..], offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        let length = held + n;
        offset += n as u64;
        let ended = n == 0;
        let whole = match buffer[..length].iter().rposition(|byte| *byte == b'\n') {
            Some(newline) if !ended => newline + 1,
            None if !ended && length < buffer.len() => 0,
            _ => length,
        };
        buffer[..whole].split(|byte| *byte == b'\n').filter_map(parse_line).for_each(&mut f);
        if ended {
            return Ok(());
        }
        buffer.copy_within(whole..length, 0);
        held = length - whole;
    }
}

/// The fourth column is the state, the fifth the two queues; all in hexadecimal digits. The head
/// has words there.
fn parse_line(line: &[u8]) -> Option<SocketRow> {
    let mut columns = fields(line);
    let state = u8::try_from(hex(columns.nth(3)?)?).ok()?;
    let (tx, rx) = split_once(columns.next()?, b':')?;
    Some(SocketRow { state, tx_queue_bytes: hex(tx)?, rx_queue_bytes: hex(rx)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
    const ROW: &str =
        "   0: 00000000:0016 00000000:0000 0A 00000015:00000001 00:00000000 00000000     0        0 2740 1\n";

    #[test]
    fn head_is_left_out_and_queues_are_hexadecimal() {
        assert_eq!(parse_line(HEAD.as_bytes()), None);
        let row = SocketRow { state: 10, tx_queue_bytes: 21, rx_queue_bytes: 1 };
        assert_eq!(parse_line(ROW.as_bytes()), Some(row));
        assert_eq!(parse_line(&ROW.as_bytes()[..40]), None);
    }

    #[test]
    fn hundred_thousand_sockets_are_counted_in_a_small_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tcp");
        std::fs::write(&path, HEAD.to_owned() + &ROW.repeat(100_000)).unwrap();
        let mut table = SocketTable::new(path);
        for _ in 0..2 {
            let mut n = 0;
            table.each(|row| n += row.rx_queue_bytes).unwrap();
            assert_eq!(n, 100_000);
            assert_eq!(table.buffer.capacity(), PIECE_SIZE_BYTES);
        }
    }

    #[test]
    fn line_longer_than_the_buffer_is_survived() {
        let text = [&[b'x'; 100][..], b"\n", ROW.as_bytes()].concat();
        let read = |piece: &mut [u8], at: u64| {
            let rest = &text[at as usize..];
            let n = rest.len().min(piece.len());
            piece[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        };
        let mut n = 0;
        read_lines(&mut [0; 98], read, |_| n += 1).unwrap();
        assert_eq!(n, 1);
    }

    proptest! {
        #[test]
        fn any_text_in_any_pieces_ends(text: Vec<u8>, piece in 1_usize..40) {
            let read = |space: &mut [u8], at: u64| {
                let rest = &text[at as usize..];
                let n = rest.len().min(space.len()).min(piece);
                space[..n].copy_from_slice(&rest[..n]);
                Ok(n)
            };
            read_lines(&mut [0; 64], read, |_| {}).unwrap();
        }
    }
}
