//! Changes sound inputs at random, with a fixed seed: the same numbers give the same inputs on every machine.

/// Inputs never grow beyond this, bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// What readers of text stumble over.
const TOKENS: &[&[u8]] = &[
    b"",
    b" ",
    b"\n",
    b"\t",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xc3\xa9",
    b"-1",
    b"0",
    b"00000000000000000001",
    b"255",
    b"65536",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e999",
    b"-0.0",
    b"nan",
    b"inf",
    b"0x",
    b"ffffffffffffffff",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"\\n",
    b"{",
    b"}",
    b"(",
    b")",
    b"[",
    b"]",
    b"/",
    b"..",
    b"%s",
    b"*",
    b"#",
    b"# TYPE ",
    b"kB",
    b"__name__",
    b"0::/",
    b"node_",
    b"unlimited",
    b"max",
];

/// A source of random numbers and of inputs.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Begins with this number.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit; 0 where the limit is 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A changed copy of one of the seeds.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 => {
                let end = at + self.below((input.len() - at).min(64) + 1);
                input.drain(at..end);
            }
            2 => {
                let piece = input[at..(at + self.below(128)).min(input.len())].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            3 => input.truncate(at),
            4 => {
                let other = seeds.get(self.below(seeds.len())).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            5 => self.replace_field(input, at),
            6 => self.repeat_line(input, at),
            7 => input.insert(at, (self.next() & 0xff) as u8),
            _ => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
        }
    }

    /// Puts a token in the place of the field at or after a position.
    fn replace_field(&mut self, input: &mut Vec<u8>, at: usize) {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric();
        let Some(start) = input[at..].iter().position(is_word).map(|n| at + n) else { return };
        let end = input[start..].iter().position(|byte| !is_word(byte)).map_or(input.len(), |n| start + n);
        let token = TOKENS[self.below(TOKENS.len())];
        input.splice(start..end, token.iter().copied());
    }

    /// Repeats the line after a position, or leaves it out.
    fn repeat_line(&mut self, input: &mut Vec<u8>, at: usize) {
        let newline =
            |from: usize| input[from..].iter().position(|byte| *byte == b'\n').map(|n| from + n + 1);
        let Some(start) = newline(at) else { return };
        let line = input[start..newline(start).unwrap_or(input.len())].to_vec();
        if self.below(2) == 0 {
            input.drain(start..start + line.len());
        } else {
            input.splice(start..start, line);
        }
    }
}
