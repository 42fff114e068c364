//! Answers: what a receiver says was written, and what a sender does next.

use super::Version;
use crate::pushed::Outcome;

/// Headers of an answer, and what they count.
const SAMPLES_HEADER: &str = "X-Prometheus-Remote-Write-Samples-Written";
const HISTOGRAMS_HEADER: &str = "X-Prometheus-Remote-Write-Histograms-Written";
const EXEMPLARS_HEADER: &str = "X-Prometheus-Remote-Write-Exemplars-Written";

/// What a receiver has written. It says so for 2.0 in every answer, also in one that refuses a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples.
    pub n_samples: u64,
    /// Native histograms.
    pub n_histograms: u64,
    /// Exemplars.
    pub n_exemplars: u64,
}

impl Written {
    /// Names and values of the headers.
    pub fn headers(self) -> [(&'static str, u64); 3] {
        [
            (SAMPLES_HEADER, self.n_samples),
            (HISTOGRAMS_HEADER, self.n_histograms),
            (EXEMPLARS_HEADER, self.n_exemplars),
        ]
    }

    /// What an answer's headers say, each found by its name; none where there is none of them: then the receiver
    /// does not know 2.0 and may have dropped what it did not understand.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let count = |name| header(name).and_then(|value| value.trim().parse().ok());
        let counts = [SAMPLES_HEADER, HISTOGRAMS_HEADER, EXEMPLARS_HEADER].map(count);
        let [n_samples, n_histograms, n_exemplars] = counts.map(Option::unwrap_or_default);
        counts.iter().any(Option::is_some).then_some(Self { n_samples, n_histograms, n_exemplars })
    }
}

impl Outcome {
    /// What is written once all that was handed on is kept.
    pub fn written(&self) -> Written {
        Written { n_samples: self.n_samples, n_histograms: 0, n_exemplars: 0 }
    }

    /// The status of the answer: 204, or 400 where a part was refused, so that the sender neither sends it again nor
    /// believes that it was taken.
    pub fn status(&self) -> u16 {
        if self.n_series_refused == 0 { 204 } else { 400 }
    }
}

/// What a sender does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The request was taken.
    Done,
    /// The receiver cannot take it now: wait, at least as long as `Retry-After` says, and send the same again.
    Retry,
    /// The receiver will never take it: count its samples as refused and go on with the next.
    GiveUp,
    /// The receiver does not speak 2.0: send the same in 1.0, and what follows too.
    FallBack,
}

/// What to do after an answer with this status to a request of this version. `written` is what the answer's headers
/// say, if they say it.
pub fn next(version: Version, status: u16, written: Option<Written>) -> Next {
    match (status, version) {
        (200..=299, Version::V2) if written.is_none() => Next::FallBack,
        (200..=299, _) => Next::Done,
        (415, Version::V2) => Next::FallBack,
        (429 | 500..=599, _) => Next::Retry,
        _ => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_and_read_back() {
        let written = Written { n_samples: 3, n_histograms: 0, n_exemplars: 1 };
        let headers = written.headers();
        let texts = headers.map(|(name, count)| (name, count.to_string()));
        let find = |name: &str| texts.iter().find(|(other, _)| *other == name).map(|(_, text)| text.as_str());
        assert_eq!(Written::read(find), Some(written));
        assert_eq!(Written::read(|_| None), None);
        assert_eq!(Written::read(|_| Some("many")), None);
    }

    #[test]
    fn sender_does_what_the_answer_asks() {
        let nothing = Some(Written::default());
        for (version, status, written, wanted) in [
            (Version::V1, 200, None, Next::Done),
            (Version::V1, 204, None, Next::Done),
            (Version::V2, 204, nothing, Next::Done),
            (Version::V2, 204, None, Next::FallBack),
            (Version::V2, 415, None, Next::FallBack),
            (Version::V1, 415, None, Next::GiveUp),
            (Version::V1, 400, None, Next::GiveUp),
            (Version::V2, 400, nothing, Next::GiveUp),
            (Version::V2, 413, None, Next::GiveUp),
            (Version::V1, 301, None, Next::GiveUp),
            (Version::V1, 429, None, Next::Retry),
            (Version::V2, 500, nothing, Next::Retry),
            (Version::V2, 503, None, Next::Retry),
        ] {
            assert_eq!(next(version, status, written), wanted, "{version:?} {status} {written:?}");
        }
    }

    #[test]
    fn refused_part_is_told() {
        assert_eq!(Outcome { n_samples: 5, ..Outcome::default() }.status(), 204);
        let outcome = Outcome { n_samples: 5, n_series_refused: 1, ..Outcome::default() };
        assert_eq!((outcome.status(), outcome.written().n_samples), (400, 5));
    }
}
