//! Series as others push them, in one neutral form for every format. They borrow from the request, so that a big
//! one needs no second copy; whoever wants to keep one copies what it needs. Here too: the rules that a series'
//! labels must keep, with the words for those that do not.

use std::fmt;

use fieldpost_model::{Kind, TimeMs};

/// Most refusals that are kept with their words; the rest is counted.
pub const REFUSALS_KEPT_MAX: usize = 8;
/// The label that holds the name of the metric.
pub const NAME_LABEL: &str = "__name__";
/// What of a wrong name or value is shown, bytes.
const SHOWN_BYTES_MAX: usize = 64;

/// Name and value.
pub type Label<'a> = (&'a str, &'a str);

/// A number at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub time_ms: TimeMs,
    /// As sent, bit by bit: `fieldpost_model::ABSENT` says that the series has ended.
    pub value: f64,
    /// Since when a counter counts, where the sender knows.
    pub start_ms: Option<TimeMs>,
}

/// What the numbers of a family mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// `Untyped` where nobody said, and for kinds that have no classic counterpart.
    pub kind: Kind,
    /// Empty where there is none.
    pub help: &'a str,
    /// In the words of Prometheus (`seconds`); empty where there is none.
    pub unit: &'a str,
}

/// A series with some of its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PushedSeries<'a> {
    /// Sorted by name, no name twice, no empty name or value, `__name__` among them.
    pub labels: &'a [Label<'a>],
    /// Where the format has it beside the series.
    pub metadata: Option<Metadata<'a>>,
    /// At least one, in the order of the request.
    pub samples: &'a [Sample],
}

/// What a request brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pushed<'a> {
    /// A series. One with very many samples comes in several parts.
    Series(PushedSeries<'a>),
    /// What is known of a family, where the format has it beside the series and not with them.
    Family {
        /// Without `_bucket`, `_sum`, `_count`.
        name: &'a str,
        /// What its numbers mean.
        metadata: Metadata<'a>,
    },
}

/// How much one request may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest request, uncompressed.
    pub message_bytes_max: usize,
    /// Labels of one series; Prometheus advises ten.
    pub labels_max: usize,
    /// Names and values of the labels of one series.
    pub label_bytes_max: usize,
    /// Times `message_bytes_max`: names and values of the labels of all series together. Formats with a table of
    /// strings say much with few bytes; what they say must stay in proportion.
    pub expansion_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes_max: 32 << 20, labels_max: 256, label_bytes_max: 64 << 10, expansion_max: 16 }
    }
}

/// What became of a request that could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Samples handed on.
    pub n_samples: u64,
    /// Native histograms: read, not kept.
    pub n_histograms_unsupported: u64,
    /// Exemplars: read, not kept.
    pub n_exemplars_unsupported: u64,
    /// Series that break a rule; nothing of them was handed on.
    pub n_series_refused: u64,
    /// Samples of those.
    pub n_samples_refused: u64,
    /// The first of those, with their words: at most `REFUSALS_KEPT_MAX`.
    pub refusals: Vec<Refusal>,
}

impl Outcome {
    pub(crate) fn refuse(&mut self, series: usize, name: &str, fault: SeriesFault, n_samples: u64) {
        self.n_series_refused += 1;
        self.n_samples_refused += n_samples;
        if self.refusals.len() < REFUSALS_KEPT_MAX {
            self.refusals.push(Refusal { series, name: shown(name), fault });
        }
    }
}

/// Says in a line for the sender what was refused; empty where nothing was.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, refusal) in self.refusals.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{refusal}")?;
        }
        match self.n_series_refused - self.refusals.len() as u64 {
            0 => Ok(()),
            n_more => write!(f, "; and {n_more} more"),
        }
    }
}

/// A series that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the request, counted from 1.
    pub series: usize,
    /// Of its metric, as far as it is known.
    pub name: String,
    /// The rule it breaks.
    pub fault: SeriesFault,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "series {}: {}", self.series, self.fault),
            name => write!(f, "series {} ({name}): {}", self.series, self.fault),
        }
    }
}

/// The rule that a series breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesFault {
    /// Labels come as pairs.
    #[error("its labels have {n_refs} references, an odd number; each needs a name and a value")]
    OddReferences {
        /// How many there are.
        n_refs: usize,
    },
    /// A reference into the table of strings leads nowhere.
    #[error("it refers to string {reference}, and the table holds {n_symbols}")]
    NoSymbol {
        /// Counted from 0.
        reference: u64,
        /// Length of the table.
        n_symbols: usize,
    },
    /// Text must be UTF-8.
    #[error("{found:?} is not UTF-8")]
    NotUtf8 {
        /// What can be shown of it.
        found: String,
    },
    /// Each label has a name.
    #[error("a label has no name")]
    EmptyLabelName,
    /// Each series has a name.
    #[error("it has no label __name__ with the name of a metric")]
    NoName,
    /// Labels are sorted by name, byte by byte.
    #[error("label {name:?} comes after {before:?}; sort labels by name")]
    Unsorted {
        /// The one that stands too late.
        name: String,
        /// The one before it.
        before: String,
    },
    /// No label name is there twice.
    #[error("label {name:?} is there twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// More labels than `Limits::labels_max`.
    #[error("it has more than {max} labels")]
    TooManyLabels {
        /// How many may be.
        max: usize,
    },
    /// Longer labels than `Limits::label_bytes_max`.
    #[error("its labels have {n_bytes} bytes; at most {max} are taken")]
    LabelsTooLong {
        /// How long they are.
        n_bytes: usize,
        /// How long they may be.
        max: usize,
    },
    /// The request says more than `Limits::expansion_max` allows.
    #[error("the labels of this request have more than {max} bytes together; send it in smaller parts")]
    RequestTooLong {
        /// How long they may be.
        max: usize,
    },
}

/// Text, or the words that it is none.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str, SeriesFault> {
    std::str::from_utf8(bytes).map_err(|_| not_utf8(bytes))
}

#[cold]
fn not_utf8(bytes: &[u8]) -> SeriesFault {
    SeriesFault::NotUtf8 { found: shown(&String::from_utf8_lossy(bytes)) }
}

/// The beginning of a text, for error messages.
pub(crate) fn shown(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned()
}

/// Checks labels, as they came, against the rules, and takes out those without a value: they say nothing.
pub(crate) fn check_labels(labels: &mut Vec<Label<'_>>, limits: &Limits) -> Result<(), SeriesFault> {
    check_size(labels.len(), n_bytes(labels), limits)?;
    if labels.iter().any(|(name, _)| name.is_empty()) {
        return Err(SeriesFault::EmptyLabelName);
    }
    for pair in labels.windows(2) {
        let (before, name) = (pair[0].0, pair[1].0);
        match before.cmp(name) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err(SeriesFault::Duplicate { name: shown(name) }),
            std::cmp::Ordering::Greater => {
                return Err(SeriesFault::Unsorted { name: shown(name), before: shown(before) });
            }
        }
    }
    labels.retain(|(_, value)| !value.is_empty());
    if name_of(labels).is_empty() { Err(SeriesFault::NoName) } else { Ok(()) }
}

/// Checks how many labels there are and how long they are together.
pub(crate) fn check_size(n_labels: usize, n_bytes: usize, limits: &Limits) -> Result<(), SeriesFault> {
    if n_labels > limits.labels_max {
        return Err(SeriesFault::TooManyLabels { max: limits.labels_max });
    }
    if n_bytes > limits.label_bytes_max {
        return Err(SeriesFault::LabelsTooLong { n_bytes, max: limits.label_bytes_max });
    }
    Ok(())
}

/// Bytes of the names and values.
pub(crate) fn n_bytes(labels: &[Label<'_>]) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The name of the metric; empty where there is none.
pub(crate) fn name_of<'a>(labels: &[Label<'a>]) -> &'a str {
    labels.iter().find(|(name, _)| *name == NAME_LABEL).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked<'a>(labels: &[Label<'a>]) -> Result<Vec<Label<'a>>, String> {
        let mut labels = labels.to_vec();
        let limits = Limits { labels_max: 3, label_bytes_max: 30, ..Limits::default() };
        check_labels(&mut labels, &limits).map_err(|fault| fault.to_string())?;
        Ok(labels)
    }

    #[test]
    fn sound_labels_pass_and_empty_values_are_left_out() {
        assert_eq!(checked(&[("__name__", "up")]), Ok(vec![("__name__", "up")]));
        assert_eq!(
            checked(&[("Zone", "a"), ("__name__", "cpu usage"), ("µ", "")]),
            Ok(vec![("Zone", "a"), ("__name__", "cpu usage")])
        );
    }

    #[test]
    fn each_broken_rule_has_its_words() {
        for (labels, wrong) in [
            (&[][..], "it has no label __name__ with the name of a metric"),
            (&[("__name__", "")], "it has no label __name__ with the name of a metric"),
            (&[("", "x"), ("__name__", "up")], "a label has no name"),
            (&[("b", "1"), ("a", "2")], "label \"a\" comes after \"b\"; sort labels by name"),
            (&[("a", "1"), ("a", "1")], "label \"a\" is there twice"),
            (&[("a", ""), ("b", ""), ("c", ""), ("d", "")], "it has more than 3 labels"),
            (&[("a", "0123456789012345678901234567890")], "its labels have 32 bytes; at most 30 are taken"),
        ] {
            assert_eq!(checked(labels), Err(wrong.to_owned()), "{labels:?}");
        }
    }

    #[test]
    fn outcome_says_the_first_refusals_and_counts_the_rest() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.to_string(), "");
        for series in 1..=REFUSALS_KEPT_MAX + 2 {
            outcome.refuse(series, if series == 1 { "up" } else { "" }, SeriesFault::EmptyLabelName, 3);
        }
        let text = outcome.to_string();
        assert!(
            text.starts_with("series 1 (up): a label has no name; series 2: a label has no name; "),
            "{text}"
        );
        assert!(text.ends_with("; and 2 more"), "{text}");
        assert_eq!((outcome.n_series_refused, outcome.n_samples_refused), (10, 30));
    }
}
