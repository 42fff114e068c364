//! PromQL, as anybody may send it: read, written again, and evaluated over a few series; and remote reads.

use std::sync::atomic::{AtomicU32, Ordering};

use fieldpost_formats::{Limits as RequestLimits, remote_read};
use fieldpost_model::{ABSENT, Matcher};
use fieldpost_promql::{
    Allowance, Engine, Labels, Limits, METRIC_NAME, Range, SeriesSource, SourceError, Stored, Take,
    format_query,
};

use super::Ready;

/// Questions to begin with.
const QUESTIONS: [&str; 8] = [
    "sum by (host) (rate(work_total{host=~\"a|b\"}[5m] offset -1m)) / on (host) group_left () load > bool 2",
    "histogram_quantile(0.9, sum without (host) (rate(took_bucket[1h:30s] @ end())))",
    "label_replace(load, \"to\", \"$1-x\", 'host', `(.*)`) unless ignoring (to) topk(3, -load ^ 2)",
    "quantile_over_time(0.5, load[10m:]) or absent_over_time(missing{a!=\"b\"}[5m])",
    "count_values(\"v\", round(load, 0.1)) and vector(time()) % 1e3 atan2 0x1F",
    "predict_linear(load[5m], 600) * scalar(max(load)) + clamp(load, -Inf, NaN)",
    "{__name__=~\".+\", \"quoted label\"!~\"x\"} @ 1700000000.5",
    "double_exponential_smoothing(load[1h], 0.5, 0.1) - stddev(load) by (nothing)",
];
/// When is asked, milliseconds.
const NOW_MS: i64 = 1_700_000_000_000;
/// How often a query asks whether its time is over, before it is.
const N_LOOKS: u32 = 20_000;

/// Some series, with what is no plain number among their samples.
struct Few;

impl SeriesSource for Few {
    fn each(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        allowance: &dyn Allowance,
        take: Take<'_>,
    ) -> Result<(), SourceError> {
        for (name, more) in
            [("load", ("host", "a")), ("took_bucket", ("le", "+Inf")), ("work_total", ("host", "b"))]
        {
            let labels = Labels::new([(METRIC_NAME, name), more]);
            if !matchers.iter().all(|matcher| matcher.accepts(labels.get(&matcher.label))) {
                continue;
            }
            let odd = [1.0, f64::NAN, 3.0, ABSENT, f64::INFINITY, -0.0, 2.0, 5e-324];
            let times = (0..60).map(|n| NOW_MS - 900_000 + n * 15_000);
            let samples = times.zip(odd.into_iter().cycle()).filter(|(at, _)| (from_ms..=to_ms).contains(at));
            let samples: Vec<(i64, f64)> = samples.collect();
            allowance.samples(samples.len() as u64)?;
            take(Stored::of(labels, samples))?;
        }
        Ok(())
    }
}

/// What is read is written so that it is read again as the same, and every question ends.
pub fn promql() -> Ready {
    let seeds = QUESTIONS.iter().map(|text| text.as_bytes().to_vec()).collect();
    Ready { seeds, run: Box::new(run_promql) }
}

fn run_promql(data: &[u8]) {
    // No promise but that it ends: whatever it is, it is no request.
    let _ =
        remote_read::decode(data, &RequestLimits { message_bytes_max: 1 << 16, ..RequestLimits::default() });
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(written) = format_query(text) {
        let again = format_query(&written).unwrap_or_else(|error| panic!("{error}: {text:?} as {written:?}"));
        assert_eq!(again, written, "{text:?}");
    }
    let limits = Limits { samples: 100_000, series: 100, steps: 2_000, bytes: 4 << 20 };
    let engine = Engine { limits, ..Engine::default() };
    let looks = AtomicU32::new(0);
    let is_over = || looks.fetch_add(1, Ordering::Relaxed) >= N_LOOKS;
    let _ = engine.instant(&Few, text, NOW_MS, &is_over);
    looks.store(0, Ordering::Relaxed);
    let range = Range { from_ms: NOW_MS - 600_000, to_ms: NOW_MS, step_ms: 61_007 };
    let _ = engine.range(&Few, text, range, &is_over);
}
