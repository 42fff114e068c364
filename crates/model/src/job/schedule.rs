//! What happens to slots that come too late or too soon.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Slots that are made up for at once, at most.
const CATCH_UP_MAX: u32 = 1_000;
/// `all` without a number.
const CATCH_UP_DEFAULT: u32 = 100;

/// Which of the slots that were missed are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// None.
    #[default]
    None,
    /// The newest one.
    Last,
    /// The newest so many.
    All(u32),
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Last => f.write_str("last"),
            Self::All(n) => write!(f, "all({n})"),
        }
    }
}

impl FromStr for CatchUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" given; write none, last, all, or all(N) with N up to {CATCH_UP_MAX}");
        match text {
            "none" => Ok(Self::None),
            "last" => Ok(Self::Last),
            "all" => Ok(Self::All(CATCH_UP_DEFAULT)),
            _ => {
                let number = text.strip_prefix("all(").and_then(|rest| rest.strip_suffix(')'));
                let number: u32 = number.and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
                if (1..=CATCH_UP_MAX).contains(&number) { Ok(Self::All(number)) } else { Err(wrong()) }
            }
        }
    }
}

impl Serialize for CatchUp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CatchUp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a slot does while the run of the one before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out, and recorded as such.
    #[default]
    Forbid,
    /// It waits.
    Queue,
    /// It ends the other one first.
    Replace,
    /// It runs beside it.
    Allow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catching_up_is_written_as_it_is_read() {
        for text in ["none", "last", "all(7)"] {
            assert_eq!(text.parse::<CatchUp>().unwrap().to_string(), text);
        }
        assert_eq!("all".parse(), Ok(CatchUp::All(CATCH_UP_DEFAULT)));
        for text in ["", "all()", "all(0)", "all(1001)", "some"] {
            assert!(text.parse::<CatchUp>().is_err(), "{text}");
        }
    }
}
