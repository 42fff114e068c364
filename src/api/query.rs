//! The HTTP API of Prometheus over whatever has series: what is asked, what is answered, and the
//! limits between. Which source is asked, and who may ask, is the caller's.

mod ask;
mod federate;
mod grouped;
mod reply;
mod routes;
mod tree;
mod tsdb;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fieldpost_model::{Kind, Matcher, TimeMs};
use fieldpost_promql::{
    Answer, Catalogue, Described, Engine, METRIC_NAME, QueryError, Value, parse_selector,
};
use serde_json::{Value as Json, json};

pub use ask::Ask;
pub use grouped::Questions;
pub use reply::{Fault, Reply};
pub use routes::{Asked, each, grouped};
pub use turns::Turns;

/// Points of a series that one answer may have, as in Prometheus.
const N_POINTS_MAX: i64 = 11_000;
/// The longest that a query may take, unless it asks for less.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How far back series are listed where the question does not say.
const LISTED_MS: TimeMs = 3_600_000;

/// `query`: values at one instant.
pub fn instant(source: &dyn Catalogue, engine: Engine, ask: &Ask, now_ms: TimeMs) -> Result<Reply, Fault> {
    let at_ms = ask.time("time")?.unwrap_or(now_ms);
    let (clock, engine) = (Stopwatch::start(ask)?, asked(engine, ask)?);
    let answer = engine.instant(source, ask.text("query"), at_ms, &|| clock.is_over());
    finish(answer, ask, &clock)
}

/// `query_range`: values at each instant of a range.
pub fn range(source: &dyn Catalogue, engine: Engine, ask: &Ask) -> Result<Reply, Fault> {
    let (from_ms, to_ms) = (ask.required_time("start")?, ask.required_time("end")?);
    if to_ms < from_ms {
        let what = "end timestamp must not be before start time";
        return Err(Fault::bad_data(format!("invalid parameter \"end\": {what}")));
    }
    let step_ms = ask.required_span("step")?;
    if step_ms <= 0 {
        let what = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Fault::bad_data(format!("invalid parameter \"step\": {what}")));
    }
    if to_ms.saturating_sub(from_ms) / step_ms > N_POINTS_MAX {
        return Err(Fault::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
             (?step=XX)",
        ));
    }
    let (clock, engine) = (Stopwatch::start(ask)?, asked(engine, ask)?);
    let range = fieldpost_promql::Range { from_ms, to_ms, step_ms };
    let answer = engine.range(source, ask.text("query"), range, &|| clock.is_over());
    finish(answer, ask, &clock)
}

fn asked(engine: Engine, ask: &Ask) -> Result<Engine, Fault> {
    let lookback_ms = ask.span("lookback_delta")?.filter(|ms| *ms > 0).unwrap_or(engine.lookback_ms);
    Ok(Engine { lookback_ms, counts_steps: ask.text("stats") == "all", ..engine })
}

/// How long a query has taken, and may take.
struct Stopwatch {
    begun: Instant,
    allowed: Duration,
}

impl Stopwatch {
    fn start(ask: &Ask) -> Result<Self, Fault> {
        let asked = ask.span("timeout")?.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
        Ok(Self { begun: Instant::now(), allowed: asked.unwrap_or(TIMEOUT).min(TIMEOUT) })
    }

    /// Of questions that say nothing of it.
    fn usual() -> Self {
        Self { begun: Instant::now(), allowed: TIMEOUT }
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.allowed
    }

    /// What is said when it is over.
    fn fault(&self) -> Fault {
        let (taken, allowed) = (self.begun.elapsed().as_secs_f64(), self.allowed.as_secs_f64());
        let advice = if self.allowed < TIMEOUT { "a longer timeout or " } else { "" };
        Fault::timeout(format!(
            "query timed out in expression evaluation: it took {taken:.3} s where at most {allowed} s are \
             allowed; ask with {advice}fewer series, a shorter range or a longer step"
        ))
    }
}

fn finish(answer: Result<Answer, QueryError>, ask: &Ask, clock: &Stopwatch) -> Result<Reply, Fault> {
    let mut answer = answer.map_err(|error| match error {
        QueryError::Timeout => clock.fault(),
        error => error.into(),
    })?;
    let limit = ask.limit()?;
    let is_cut = match &mut answer.value {
        Value::Vector(points) => cut(points, limit),
        Value::Matrix(series) => cut(series, limit),
        _ => false,
    };
    if is_cut {
        answer.annotations.warn("results truncated due to limit");
    }
    let stats = (!ask.text("stats").is_empty()).then(|| stats(&answer, clock.begun.elapsed()));
    Ok(Reply::of_answer(&answer, stats.as_ref()))
}

/// What the answer has cost.
fn stats(answer: &Answer, took: Duration) -> Json {
    let took = took.as_secs_f64();
    let mut samples = json!({ "totalQueryableSamples": answer.n_looked_at, "peakSamples": answer.n_samples });
    if !answer.n_looked_at_by_step.is_empty() {
        let steps = answer.n_looked_at_by_step.iter();
        let seconds = |time_ms: i64| match time_ms % 1000 {
            0 => json!(time_ms / 1000),
            _ => json!(time_ms as f64 / 1000.0),
        };
        let steps: Vec<Json> = steps.map(|(time_ms, n)| json!([seconds(*time_ms), n])).collect();
        samples["totalQueryableSamplesPerStep"] = steps.into();
    }
    json!({
        "timings": {
            "evalTotalTime": took,
            "resultSortTime": 0,
            "queryPreparationTime": 0,
            "innerEvalTime": took,
            "execQueueTime": 0,
            "execTotalTime": took,
        },
        "samples": samples,
    })
}

/// At most so many; tells whether there were more.
fn cut<T>(items: &mut Vec<T>, limit: Option<usize>) -> bool {
    let most = limit.unwrap_or(usize::MAX);
    let is_cut = items.len() > most;
    items.truncate(most);
    is_cut
}

/// Hands over the series that any of the selectors finds, some more than once; all where there is none.
fn each_listed(
    source: &dyn Catalogue,
    ask: &Ask,
    now_ms: TimeMs,
    each: &mut dyn FnMut(Described),
) -> Result<(), Fault> {
    let to_ms = ask.time("end")?.unwrap_or(now_ms);
    let from_ms = ask.time("start")?.unwrap_or(to_ms.saturating_sub(LISTED_MS));
    let mut selectors: Vec<Vec<Matcher>> = Vec::new();
    for text in ask.all("match[]") {
        let selector = parse_selector(text)
            .map_err(|error| Fault::bad_data(format!("invalid parameter \"match[]\": {error}")))?;
        selectors.push(selector.matchers);
    }
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    for matchers in selectors {
        source.series(&matchers, from_ms, to_ms, each)?;
    }
    Ok(())
}

/// A list, cut to the limit.
fn list<T: Into<Json>>(items: impl IntoIterator<Item = T>, ask: &Ask) -> Result<Reply, Fault> {
    let mut items: Vec<T> = items.into_iter().collect();
    let is_cut = cut(&mut items, ask.limit()?);
    let warnings: &[&str] = if is_cut { &["results truncated due to limit"] } else { &[] };
    Ok(Reply::of_json(&items.into_iter().map(Into::into).collect(), warnings))
}

/// `series`: labels of every series that is selected.
pub fn series(source: &dyn Catalogue, ask: &Ask, now_ms: TimeMs) -> Result<Reply, Fault> {
    if ask.all("match[]").next().is_none() {
        return Err(Fault::bad_data("no match[] parameter provided"));
    }
    let mut found = BTreeSet::new();
    each_listed(source, ask, now_ms, &mut |one| _ = found.insert(one.labels))?;
    let described = found.iter().map(|labels| {
        let pairs = labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value)));
        Json::Object(pairs.collect())
    });
    list(described, ask)
}

/// `labels`: names of labels.
pub fn label_names(source: &dyn Catalogue, ask: &Ask, now_ms: TimeMs) -> Result<Reply, Fault> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    each_listed(source, ask, now_ms, &mut |one| {
        for (name, _) in one.labels.iter().filter(|(name, _)| !names.contains(*name)).collect::<Vec<_>>() {
            names.insert(name.to_owned());
        }
    })?;
    list(names, ask)
}

/// `label/{name}/values`: values of one label.
pub fn label_values(source: &dyn Catalogue, ask: &Ask, name: &str, now_ms: TimeMs) -> Result<Reply, Fault> {
    let mut values: BTreeSet<String> = BTreeSet::new();
    each_listed(source, ask, now_ms, &mut |one| {
        let value = one.labels.get(name);
        if !value.is_empty() && !values.contains(value) {
            values.insert(value.to_owned());
        }
    })?;
    list(values, ask)
}

/// `metadata`: kind and help of each metric.
pub fn metadata(source: &dyn Catalogue, ask: &Ask, now_ms: TimeMs) -> Result<Reply, Fault> {
    let wanted = ask.text("metric");
    let most = ask.limit()?.unwrap_or(usize::MAX);
    let mut metrics: BTreeMap<String, BTreeSet<(&str, String)>> = BTreeMap::new();
    each_listed(source, ask, now_ms, &mut |one| {
        let name = match one.kind {
            Kind::Counter => one.labels.get(METRIC_NAME).to_owned(),
            _ => one.family,
        };
        if wanted.is_empty() || wanted == name {
            metrics.entry(name).or_default().insert((kind_word(one.kind), one.help));
        }
    })?;
    let described = metrics.into_iter().take(most).map(|(name, all)| {
        let all: Vec<Json> =
            all.into_iter().map(|(kind, help)| json!({ "type": kind, "help": help, "unit": "" })).collect();
        (name, Json::from(all))
    });
    Ok(Reply::of_json(&Json::Object(described.collect()), &[]))
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Untyped => "unknown",
        kind => kind.as_str(),
    }
}

/// `status/buildinfo`: what clients look at to know what they may ask.
pub fn build_info() -> Reply {
    let info = json!({
        "version": "3.0.0",
        "revision": format!("fieldpost-{}", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Reply::of_json(&info, &[])
}

/// What there is none of: exemplars.
pub fn nothing() -> Reply {
    Reply::of_json(&json!([]), &[])
}

/// `rules`: none.
pub fn no_rules() -> Reply {
    Reply::of_json(&json!({ "groups": [] }), &[])
}

/// `alerts`: none.
pub fn no_alerts() -> Reply {
    Reply::of_json(&json!({ "alerts": [] }), &[])
}
