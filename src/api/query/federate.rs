//! `federate` and `read`: the newest samples as a page of metrics, and samples as they are stored, for a
//! Prometheus that takes them over.

use std::collections::BTreeMap;

use fieldpost_formats::remote_read::{self, Comparison, Encoder};
use fieldpost_formats::{Dialect, Sample, write};
use fieldpost_model::{Family, Kind, Matcher, MatcherOp, TimeMs, is_absent, series_text};
use fieldpost_promql::{Catalogue, Engine, Labels, Limits, METRIC_NAME, Quota, parse_selector};

use super::{Ask, Fault, Reply};

/// `federate`: the newest sample of every series that one of the selectors finds, with its instant. As
/// with Prometheus, nothing is said of kinds, for series may come from many places.
pub fn page(
    source: &dyn Catalogue,
    engine: &Engine,
    (ask, dialect): (&Ask, Dialect),
    now_ms: TimeMs,
) -> Result<Reply, Fault> {
    let lookback_ms = engine.lookback_ms;
    let mut newest: BTreeMap<(String, Labels), (TimeMs, f64)> = BTreeMap::new();
    for text in ask.all("match[]") {
        let selector = parse_selector(text).map_err(|error| Fault::bad_data(error.to_string()))?;
        let from_ms = now_ms.saturating_sub(lookback_ms);
        for stored in source.select(&selector.matchers, from_ms, now_ms, &quota(engine))? {
            let Some(last) = stored.samples.last().filter(|(_, value)| !is_absent(*value)) else { continue };
            newest.insert((stored.labels.get(METRIC_NAME).to_owned(), stored.labels), *last);
        }
    }
    let mut out = Vec::new();
    let mut begun = String::new();
    for ((name, labels), (time_ms, value)) in newest {
        if name.is_empty() {
            continue;
        }
        let name = usual(&name);
        if name != begun {
            let family = Family { name: name.as_str().into(), help: "".into(), kind: Kind::Untyped };
            write::header(&mut out, dialect, &family, |_| false);
            begun.clone_from(&name);
        }
        write::sample_at(&mut out, dialect, &line(&name, &labels), value, time_ms);
    }
    write::end(&mut out, dialect);
    Ok(Reply::new(dialect.content_type(), None, out))
}

/// A series as it stands on the page; whose it is must be said even where nobody knows, or the scraper
/// would say that it is ours.
fn line(name: &str, labels: &Labels) -> String {
    let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let names: Vec<(String, &str)> = others.map(|(name, value)| (usual(name), value)).collect();
    let mut pairs: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    if labels.get("instance").is_empty() {
        pairs.push(("instance", ""));
    }
    series_text(name, "", &pairs)
}

/// A name that every reader of pages takes.
fn usual(name: &str) -> String {
    let is_usual = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || c == ':' || (at > 0 && c.is_ascii_digit())
    };
    name.char_indices().map(|(at, c)| if is_usual((at, c)) { c } else { '_' }).collect()
}

/// What may be read. Samples are kept as they are, and once more in the answer.
fn quota(engine: &Engine) -> Quota {
    Quota::new(Limits { bytes: engine.limits.bytes / 2, ..engine.limits })
}

/// `read`: the samples of the series that a remote read asks for.
pub fn remote_read(source: &dyn Catalogue, engine: &Engine, block: &[u8]) -> Result<Reply, Fault> {
    let unread = |error: remote_read::Error| Fault::bad_data(error.to_string());
    let queries = remote_read::decode(block, &fieldpost_formats::Limits::default()).map_err(unread)?;
    let quota = quota(engine);
    let mut answer = Encoder::default();
    for query in queries {
        let matchers: Result<Vec<Matcher>, _> = query.matchers.iter().map(condition).collect();
        let matchers = matchers.map_err(|error| Fault::bad_data(error.to_string()))?;
        answer.begin();
        for stored in source.select(&matchers, query.from_ms, query.to_ms, &quota)? {
            let labels: Vec<(&str, &str)> = stored.labels.iter().collect();
            let sample = |(time_ms, value): &(TimeMs, f64)| Sample {
                time_ms: *time_ms,
                value: *value,
                start_ms: None,
            };
            answer.push(&labels, stored.samples.iter().map(sample));
        }
    }
    let body = answer.finish().map_err(unread)?;
    Ok(Reply::new(remote_read::CONTENT_TYPE, Some(remote_read::CONTENT_ENCODING), body))
}

fn condition(
    (label, how, value): &(String, Comparison, String),
) -> Result<Matcher, fieldpost_model::MatcherError> {
    let op = match how {
        Comparison::Equal => MatcherOp::Equal,
        Comparison::NotEqual => MatcherOp::NotEqual,
        Comparison::Matches => MatcherOp::Matches,
        Comparison::MatchesNot => MatcherOp::MatchesNot,
    };
    Matcher::new(label, op, value)
}
