//! The level protocol: a line `N::text` has the level N, `N:::` begins a block of it and `:::` ends
//! the block; all other lines have the level of their stream.

/// Levels that there are: 1 standard output, 2 standard error, 3 public message, 4 operator, 5 log,
/// 6 structured log, 7 warning, 8 operations error, 9 critical, 10 statistics, 20 to 23 a result in
/// JSON, YAML, TOML, HRD, 30 a job.
pub const LEVELS: [u8; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21, 22, 23, 30];
/// A longer line is cut, a longer block ends, bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Reads one stream.
pub struct LevelReader {
    own_level: u8,
    line: Vec<u8>,
    block: Option<(u8, Vec<u8>)>,
}

/// Is this the level of a result?
pub fn is_result(level: u8) -> bool {
    level >= 20
}

impl LevelReader {
    /// For the stream of this level.
    pub fn new(own_level: u8) -> Self {
        Self { own_level, line: Vec::new(), block: None }
    }

    /// Takes bytes; gives the messages that are whole.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<(u8, Vec<u8>)>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MESSAGE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") || part.len() >= room {
                let line = std::mem::take(&mut self.line);
                self.line_is_whole(line, out);
            }
        }
    }

    /// The stream has ended: so does what was not finished.
    pub fn finish(&mut self, out: &mut Vec<(u8, Vec<u8>)>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line_is_whole(line, out);
        }
        out.extend(self.block.take());
    }

    fn line_is_whole(&mut self, line: Vec<u8>, out: &mut Vec<(u8, Vec<u8>)>) {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some((level, mut block)) = self.block.take() {
            if text == b":::" {
                out.push((level, block));
                return;
            }
            if block.len() + line.len() <= MESSAGE_BYTES_MAX {
                block.extend_from_slice(&line);
                self.block = Some((level, block));
                return;
            }
            out.push((level, block));
        }
        match marked(text) {
            Some((level, b":")) => self.block = Some((level, Vec::new())),
            Some((level, _)) => {
                let begins = line.iter().position(|byte| *byte == b':').unwrap_or(0) + 2;
                out.push((level, line[begins..].to_vec()));
            }
            None => out.push((self.own_level, line)),
        }
    }
}

/// The level and what follows its two colons.
fn marked(text: &[u8]) -> Option<(u8, &[u8])> {
    let colon = text.iter().take(4).position(|byte| *byte == b':')?;
    let rest = text.get(colon..)?.strip_prefix(b"::")?;
    let level: u8 = std::str::from_utf8(&text[..colon]).ok()?.parse().ok()?;
    LEVELS.contains(&level).then_some((level, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(parts: &[&str]) -> Vec<(u8, String)> {
        let (mut reader, mut out) = (LevelReader::new(1), Vec::new());
        parts.iter().for_each(|part| reader.push(part.as_bytes(), &mut out));
        reader.finish(&mut out);
        out.into_iter().map(|(level, bytes)| (level, String::from_utf8(bytes).unwrap())).collect()
    }

    #[test]
    fn lines_and_blocks_have_their_levels() {
        let said = messages(&["plain\n7::wa", "rn\n20:::\n{\n}\n:::\n99::x\n5::\nlast"]);
        let expected =
            [(1, "plain\n"), (7, "warn\n"), (20, "{\n}\n"), (1, "99::x\n"), (5, "\n"), (1, "last")];
        assert_eq!(said, expected.map(|(level, text)| (level, text.to_owned())));
        assert_eq!(messages(&["21:::\na: 1\n"]), [(21, "a: 1\n".to_owned())]);
    }

    #[test]
    fn endless_line_is_cut() {
        let long = "x".repeat(3 * MESSAGE_BYTES_MAX / 2);
        let said = messages(&[&long, "\n7::y\n"]);
        assert!(said.iter().all(|(_, text)| text.len() <= MESSAGE_BYTES_MAX));
        assert_eq!(said.last().unwrap(), &(7, "y\n".to_owned()));
    }
}
