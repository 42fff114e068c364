//! Many questions over one range in one request, as a page of charts has them: answered in columns, a number
//! or nothing for each instant. The series that they are about are read once for all of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fieldpost_model::{Matcher, MatcherOp, TimeMs};
use fieldpost_promql::{
    Allowance, Catalogue, Engine, QueryError, Range, SeriesAnswer, SeriesSource, SourceError, Stored, Take,
    Value, parse_selector,
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use super::{Fault, N_POINTS_MAX, Reply, Stopwatch};

/// Questions of one request.
const N_QUESTIONS_MAX: usize = 256;
/// Threads that answer one request.
const N_THREADS_MAX: usize = 2;
/// Samples that are kept for all questions, of 16 bytes. Where there are more each question reads its own.
const N_KEPT_MAX: u64 = 8_000_000;

/// Questions about a range.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// The first instant.
    start_ms: TimeMs,
    /// No instant after this.
    end_ms: TimeMs,
    /// From one to the next.
    step_ms: i64,
    /// How long a sample stands for its series.
    lookback_ms: Option<i64>,
    /// What the questions are about: selectors of all of it.
    #[serde(default)]
    about: Vec<String>,
    /// PromQL, in groups: what belongs together is answered together.
    groups: Vec<Vec<String>>,
}

impl Questions {
    fn check(&self) -> Result<(), Fault> {
        let n = self.about.len() + self.groups.iter().map(Vec::len).sum::<usize>();
        if n > N_QUESTIONS_MAX {
            let advice = "ask in several requests";
            return Err(Fault::bad_data(format!(
                "{n} questions where at most {N_QUESTIONS_MAX} are allowed; {advice}"
            )));
        }
        let span_ms = self.end_ms.checked_sub(self.start_ms).filter(|span_ms| *span_ms >= 0);
        let Some(span_ms) = span_ms.filter(|_| self.step_ms > 0) else {
            return Err(Fault::bad_data(
                "end_ms must not be before start_ms, and step_ms must be more than 0",
            ));
        };
        let n = span_ms / self.step_ms;
        if n >= N_POINTS_MAX {
            return Err(Fault::bad_data(format!(
                "{n} instants where at most {N_POINTS_MAX} are allowed; ask for a longer step_ms"
            )));
        }
        Ok(())
    }

    /// Answers them in their order. What is wrong with one of them is said in its place. `question` gives a
    /// source, one for each thread.
    pub fn answer<'s>(
        &self,
        engine: Engine,
        question: &(dyn Fn() -> Box<dyn Catalogue + 's> + Sync),
    ) -> Result<Reply, Fault> {
        self.check()?;
        let clock = Stopwatch::usual();
        let lookback_ms = self.lookback_ms.filter(|ms| *ms > 0).unwrap_or(engine.lookback_ms);
        let engine = Engine { lookback_ms, ..engine };
        let kept = self.kept(question, &clock)?;
        let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![String::new(); self.groups.len()]));
        let warnings = Mutex::new(BTreeSet::new());
        let work = || {
            let source = question();
            let source = Shared { source: source.as_ref(), kept: &kept };
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(group) = self.groups.get(place) else { break };
                let text = self.group(group, &engine, &source, &clock, &warnings)?;
                done.lock()[place] = text;
            }
            Ok::<(), Fault>(())
        };
        std::thread::scope(|scope| {
            let more = self.groups.len().min(N_THREADS_MAX).saturating_sub(1);
            let others: Vec<_> = (0..more).map(|_| scope.spawn(work)).collect();
            let own = work();
            let broken = |_| Err(Fault::internal("a thread that answered has ended"));
            others.into_iter().fold(own, |all, other| all.and(other.join().unwrap_or_else(broken)))
        })?;
        let (groups, warnings) = (done.into_inner().join(","), json!(warnings.into_inner()));
        Ok(Reply::of_text(format!("{{\"groups\":[{groups}],\"warnings\":{warnings}}}")))
    }

    /// The answers to a group, as JSON.
    fn group(
        &self,
        group: &[String],
        engine: &Engine,
        source: &dyn SeriesSource,
        clock: &Stopwatch,
        warnings: &Mutex<BTreeSet<String>>,
    ) -> Result<String, Fault> {
        let range = Range { from_ms: self.start_ms, to_ms: self.end_ms, step_ms: self.step_ms };
        let mut text = String::from("[");
        for (index, query) in group.iter().enumerate() {
            text.push_str(if index > 0 { "," } else { "" });
            match engine.range(source, query, range, &|| clock.is_over()) {
                Ok(answer) => {
                    warnings.lock().extend(answer.annotations.warnings().map(str::to_owned));
                    self.columns(&mut text, &answer.value);
                }
                Err(QueryError::Timeout) => return Err(clock.fault()),
                Err(error) => _ = write!(text, "{{\"error\":{}}}", json!(error.to_string())),
            }
        }
        text.push(']');
        Ok(text)
    }

    /// Each series with a number for each instant.
    fn columns(&self, text: &mut String, value: &Value) {
        let all: &[SeriesAnswer] = if let Value::Matrix(all) = value { all } else { &[] };
        text.push_str("{\"series\":[");
        for (index, series) in all.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let labels: serde_json::Map<_, _> =
                series.labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            let _ = write!(text, "{comma}{{\"labels\":{},\"values\":[", json!(labels));
            self.column(text, &series.samples);
            text.push_str("]}");
        }
        text.push_str("]}");
    }

    fn column(&self, text: &mut String, samples: &[(TimeMs, f64)]) {
        let mut next_ms = self.start_ms;
        for (time_ms, number) in samples {
            while next_ms < *time_ms {
                text.push_str("null,");
                next_ms += self.step_ms;
            }
            // JSON has no words for what is not finite.
            let _ = if number.is_finite() { write!(text, "{number},") } else { write!(text, "null,") };
            next_ms += self.step_ms;
        }
        // Behind the last number nothing is said: the rest is nothing.
        if text.ends_with(',') {
            text.pop();
        }
    }

    /// Reads what all questions are about; nothing where it would be too much.
    fn kept<'s>(
        &self,
        question: &(dyn Fn() -> Box<dyn Catalogue + 's> + Sync),
        clock: &Stopwatch,
    ) -> Result<Vec<Kept>, Fault> {
        let counted = Counted { clock, n_samples: AtomicU64::new(0) };
        let mut kept = Vec::with_capacity(self.about.len());
        // Windows of rates, and what is looked at within a point, begin before it.
        let reach_ms = 2 * self.step_ms.saturating_add(self.lookback_ms.unwrap_or_default().max(0));
        let (from_ms, to_ms) = (self.start_ms.saturating_sub(reach_ms), self.end_ms);
        let source = question();
        for about in &self.about {
            let selector = parse_selector(about)
                .map_err(|error| Fault::bad_data(format!("invalid parameter \"about\": {error}")))?;
            let series = Mutex::new(Vec::new());
            let read = source.each(&selector.matchers, from_ms, to_ms, &counted, &|stored| {
                series.lock().push(stored.into_owned());
                Ok(())
            });
            match read {
                Ok(()) => {
                    let (matchers, series) = (selector.matchers, series.into_inner());
                    kept.push(Kept { matchers, from_ms, to_ms, series });
                }
                Err(_) if counted.is_too_much() => return Ok(Vec::new()),
                Err(QueryError::Timeout) => return Err(clock.fault()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(kept)
    }
}

/// Counts what is read, and ends the reading where it is too much to be kept.
struct Counted<'a> {
    clock: &'a Stopwatch,
    n_samples: AtomicU64,
}

impl Counted<'_> {
    fn is_too_much(&self) -> bool {
        self.n_samples.load(Ordering::Relaxed) > N_KEPT_MAX
    }
}

impl Allowance for Counted<'_> {
    fn series(&self, _: u64) -> Result<(), QueryError> {
        Ok(())
    }

    fn samples(&self, n: u64) -> Result<(), QueryError> {
        self.n_samples.fetch_add(n, Ordering::Relaxed);
        if self.is_too_much() || self.clock.is_over() { Err(QueryError::Timeout) } else { Ok(()) }
    }
}

/// Series as they were read for all questions.
struct Kept {
    matchers: Vec<Matcher>,
    from_ms: TimeMs,
    to_ms: TimeMs,
    series: Vec<Stored<'static>>,
}

impl Kept {
    /// Is all that these accept among it? So it is where each condition that it was read by is among these, or
    /// holds for the one value that these ask for.
    fn has(&self, matchers: &[Matcher], (from_ms, to_ms): (TimeMs, TimeMs)) -> bool {
        let is_within = |own: &Matcher| {
            let mut equals =
                matchers.iter().filter(|one| one.op == MatcherOp::Equal && one.label == own.label);
            matchers.contains(own) || equals.any(|one| own.accepts(&one.value))
        };
        self.from_ms <= from_ms && to_ms <= self.to_ms && self.matchers.iter().all(is_within)
    }
}

/// A source of which some is kept already.
struct Shared<'a> {
    source: &'a dyn SeriesSource,
    kept: &'a [Kept],
}

impl SeriesSource for Shared<'_> {
    fn each(
        &self,
        matchers: &[Matcher],
        from_ms: TimeMs,
        to_ms: TimeMs,
        allowance: &dyn Allowance,
        take: Take<'_>,
    ) -> Result<(), SourceError> {
        let Some(kept) = self.kept.iter().find(|kept| kept.has(matchers, (from_ms, to_ms))) else {
            return self.source.each(matchers, from_ms, to_ms, allowance, take);
        };
        let is_wanted = |stored: &&Stored| {
            matchers.iter().all(|matcher| matcher.accepts(stored.labels.get(&matcher.label)))
        };
        for Stored { labels, samples } in kept.series.iter().filter(is_wanted) {
            let from = samples.partition_point(|(time_ms, _)| *time_ms < from_ms);
            let to = samples.partition_point(|(time_ms, _)| *time_ms <= to_ms);
            if from < to {
                allowance.samples((to - from) as u64)?;
                take(Stored { labels: labels.clone(), samples: Cow::Borrowed(&samples[from..to]) })?;
            }
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        self.source.remarks()
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_promql::{Described, Labels};

    use super::*;

    /// Series of a few samples; counts how often it is read.
    struct Few<'a>(&'a AtomicUsize);

    impl SeriesSource for Few<'_> {
        fn each(
            &self,
            matchers: &[Matcher],
            from_ms: TimeMs,
            to_ms: TimeMs,
            _: &dyn Allowance,
            take: Take<'_>,
        ) -> Result<(), SourceError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            for (name, device, slope) in [("bytes", "a", 1.0), ("bytes", "lo", 9.0), ("load", "", 2.0)] {
                let labels = Labels::new([("__name__", name), ("instance", "h"), ("device", device)]);
                let times = (0..100).map(|n| n * 1_000).filter(|ms| !(40_000..60_000).contains(ms));
                let samples = times.map(|ms| (ms, ms as f64 / 1e3 * slope));
                let samples: Vec<_> = samples.filter(|(ms, _)| (from_ms..=to_ms).contains(ms)).collect();
                if matchers.iter().all(|one| one.accepts(labels.get(&one.label))) && !samples.is_empty() {
                    take(Stored::of(labels, samples))?;
                }
            }
            Ok(())
        }
    }

    impl Catalogue for Few<'_> {
        fn series(
            &self,
            _: &[Matcher],
            _: TimeMs,
            _: TimeMs,
            _: &mut dyn FnMut(Described),
        ) -> Result<(), SourceError> {
            Ok(())
        }
    }

    fn told(about: &[&str]) -> (String, usize) {
        let asked = json!({
            "start_ms": 10_000, "end_ms": 90_000, "step_ms": 10_000, "lookback_ms": 5_000, "about": about,
            "groups": [
                ["sum(rate(bytes{instance=\"h\",device!~\"lo\"}[10s]))", "max_over_time(load{instance=\"h\"}[10s])"],
                ["load{instance=\"h\"}", "rate(", "load{instance=\"other\"}"],
            ],
        });
        let asked: Questions = serde_json::from_value(asked).unwrap();
        let n_read = AtomicUsize::new(0);
        let reply = asked.answer(Engine::default(), &|| Box::new(Few(&n_read))).unwrap();
        (reply.text().to_owned(), n_read.into_inner())
    }

    #[test]
    fn what_is_read_once_is_answered_as_if_each_had_read_its_own() {
        let (each, n_each) = told(&[]);
        assert_eq!(n_each, 4);
        let about =
            ["{__name__=~\"load\",instance=\"h\"}", "{__name__=~\"bytes\",instance=\"h\",device!~\"lo\"}"];
        let (shared, n_shared) = told(&about);
        assert_eq!(shared, each);
        // Both, and the question about a host that was not said to be asked about.
        assert_eq!(n_shared, 3);
        let answer: serde_json::Value = serde_json::from_str(&each).unwrap();
        let load = json!([20, 40, 60, 78, null, 120, 140, 160, 180]);
        assert_eq!(answer["groups"][1][0]["series"][0]["values"], load);
        assert!(answer["groups"][1][1]["error"].as_str().unwrap().contains("parse error"));
        assert_eq!(answer["groups"][1][2]["series"], json!([]));
    }
}
