//! `status/tsdb`: of what there is most, over the series of the last hour.

use std::collections::{BTreeSet, HashMap};

use fieldpost_model::TimeMs;
use fieldpost_promql::{Catalogue, METRIC_NAME};
use serde_json::{Value as Json, json};

use super::{Ask, Fault, LISTED_MS, Reply};

/// So many of each are named where the question does not say.
const N_NAMED: usize = 10;
/// So many at most.
const N_NAMED_MAX: usize = 10_000;

/// The answer.
pub fn status(source: &dyn Catalogue, ask: &Ask, now_ms: TimeMs) -> Result<Reply, Fault> {
    let limit = match ask.text("limit") {
        "" => N_NAMED,
        text => text.parse().ok().filter(|limit| (1..=N_NAMED_MAX).contains(limit)).ok_or_else(|| {
            Fault::bad_data(format!("limit must be a positive number, at most {N_NAMED_MAX}"))
        })?,
    };
    let from_ms = now_ms.saturating_sub(LISTED_MS);
    let mut series = BTreeSet::new();
    source.series(&[], from_ms, now_ms, &mut |one| _ = series.insert(one.labels))?;
    let (mut names, mut pairs) = (HashMap::<&str, u64>::new(), HashMap::<(&str, &str), u64>::new());
    for one in &series {
        *names.entry(one.get(METRIC_NAME)).or_default() += 1;
        for pair in one.iter() {
            *pairs.entry(pair).or_default() += 1;
        }
    }
    let mut values: HashMap<&str, (u64, u64)> = HashMap::new();
    for (name, value) in pairs.keys() {
        let (n_values, n_bytes) = values.entry(name).or_default();
        *n_values += 1;
        *n_bytes += value.len() as u64;
    }
    let n_pairs = pairs.len();
    let pairs = pairs.into_iter().map(|((name, value), n)| (format!("{name}={value}"), n));
    let owned = |name: &str| name.to_owned();
    Ok(Reply::of_json(
        &json!({
            "headStats": {
                "numSeries": series.len(),
                "numLabelPairs": n_pairs,
                "chunkCount": 0,
                "minTime": from_ms,
                "maxTime": now_ms,
            },
            "seriesCountByMetricName": most(names.into_iter().map(|(name, n)| (owned(name), n)), limit),
            "labelValueCountByLabelName": most(values.iter().map(|(name, (n, _))| (owned(name), *n)), limit),
            "memoryInBytesByLabelName": most(values.iter().map(|(name, (_, n))| (owned(name), *n)), limit),
            "seriesCountByLabelValuePair": most(pairs, limit),
        }),
        &[],
    ))
}

/// Those of which there is most; of equal ones by name.
fn most(counts: impl Iterator<Item = (String, u64)>, limit: usize) -> Json {
    let mut counts: Vec<(String, u64)> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}
