//! The live lane on a link: an endless answer of lines, each of which is what one instant changed
//! against the line before. A series is described once and goes by its number from then on, so
//! that neither side keeps more than the newest values, and no compression context.

use bytes::{Bytes, BytesMut};
use fieldpost_model::{Kind, TimeMs};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::body::Received;
use crate::error::LinkError;

/// The longest line: 50 000 series described at once have less.
const LINE_BYTES_MAX: usize = 32 << 20;

/// A number as JSON can carry it: what is not finite goes as `"NaN"`, `"+Inf"`, `"-Inf"`.
#[derive(Debug, Clone, Copy)]
pub struct LiveValue(pub f64);

/// Bit for bit: a NaN is equal to itself, and did not change.
impl PartialEq for LiveValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Serialize for LiveValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value => serializer.serialize_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
        }
    }
}

impl<'de> Deserialize<'de> for LiveValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(LiveValue)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number, \"NaN\", \"+Inf\" or \"-Inf\"")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<f64, E> {
        match word {
            "NaN" => Ok(f64::NAN),
            "+Inf" => Ok(f64::INFINITY),
            "-Inf" => Ok(f64::NEG_INFINITY),
            _ => Err(E::custom("no such number")),
        }
    }
}

/// A series, described once; from then on its number stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSeries {
    /// Its number in this answer. Numbers are not used again.
    pub n: u32,
    /// Its name.
    pub name: String,
    /// Its labels, in the order in which they are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// What its numbers mean.
    pub kind: Kind,
}

/// What an instant changed. Series of which nothing is said are as they were.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveTick {
    /// The instant.
    pub time_ms: TimeMs,
    /// How many ticks of collectors were passed over since the line before, because the reader
    /// did not keep up. The values are the newest nevertheless.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Series of which nothing was said before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<LiveSeries>,
    /// Numbers of series, and their new values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(u32, LiveValue)>,
    /// Series that have no value any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<u32>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl LiveTick {
    /// Appends its line.
    pub fn write_line(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}

/// Takes lines out of pieces of an answer.
#[derive(Default)]
struct Lines {
    held: BytesMut,
    /// Up to here there is no end of a line.
    looked_at: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        let found = self.held[self.looked_at..].iter().position(|byte| *byte == b'\n');
        let Some(position) = found else {
            self.looked_at = self.held.len();
            return if self.held.len() > LINE_BYTES_MAX {
                Err(LinkError::TooLong(LINE_BYTES_MAX))
            } else {
                Ok(None)
            };
        };
        let line = self.held.split_to(self.looked_at + position + 1).freeze();
        self.looked_at = 0;
        Ok(Some(line))
    }
}

/// Reads ticks from an answer. Who does not ask for the next lets the agent wait, which then
/// passes ticks over.
pub struct LiveReader {
    body: Received,
    lines: Lines,
}

impl LiveReader {
    /// Reads the ticks of this body.
    pub fn new(body: Received) -> Self {
        Self { body, lines: Lines::default() }
    }

    /// The next tick; `None` at the end of the answer. May be dropped while it waits: nothing that
    /// has come is lost.
    pub async fn next(&mut self) -> Result<Option<LiveTick>, LinkError> {
        loop {
            if let Some(line) = self.lines.next()? {
                let tick = serde_json::from_slice(&line).map_err(|_| LinkError::Message("live tick"))?;
                return Ok(Some(tick));
            }
            match self.body.chunk().await? {
                Some(bytes) => self.lines.feed(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tick() -> LiveTick {
        let series = LiveSeries {
            n: 1,
            name: "a".into(),
            labels: vec![("l".into(), "v\n".into())],
            kind: Kind::Gauge,
        };
        let values = [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 3.0];
        let values = values.into_iter().zip(1..).map(|(value, n)| (n, LiveValue(value))).collect();
        LiveTick { time_ms: 7, skipped: 2, series: vec![series], values, gone: vec![9] }
    }

    #[test]
    fn every_number_comes_back_through_a_line() {
        let mut bytes = Vec::new();
        tick().write_line(&mut bytes).unwrap();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<LiveTick>(&bytes).unwrap(), tick());
        bytes.clear();
        LiveTick { time_ms: 8, ..LiveTick::default() }.write_line(&mut bytes).unwrap();
        assert_eq!(bytes, b"{\"time_ms\":8}\n");
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(cuts in proptest::collection::vec(1..40_usize, 0..40)) {
            let mut bytes = Vec::new();
            for _ in 0..3 {
                tick().write_line(&mut bytes).unwrap();
            }
            let (mut lines, mut rest, mut found) = (Lines::default(), &bytes[..], Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                lines.feed(piece);
                rest = after;
                while let Some(line) = lines.next().unwrap() {
                    found.push(serde_json::from_slice::<LiveTick>(&line).unwrap());
                }
            }
            prop_assert_eq!(found, vec![tick(), tick(), tick()]);
        }

        #[test]
        fn arbitrary_bytes_are_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut lines = Lines::default();
            lines.feed(&bytes);
            while let Ok(Some(line)) = lines.next() {
                drop(serde_json::from_slice::<LiveTick>(&line));
            }
        }
    }
}
