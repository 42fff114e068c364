//! `fieldpost export`: stored samples as Prometheus text with timestamps, as CSV or as JSON lines.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;

use fieldpost_formats::{Dialect, write};
use fieldpost_model::{Family, Matcher, MatcherOp, Selector, TimeMs};
use fieldpost_store::{Reader, Samples, StoredSeries};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::data::{self, AnyOf};
use super::{Global, instant, terminal};

/// Samples that are held in memory at a time, at most about this many: 64 MiB.
const N_SAMPLES_HELD_MAX: i64 = 4 << 20;
/// Families that are read at a time: their names make one pattern, whose size is bounded.
const N_FAMILIES_HELD_MAX: usize = 32;

const EXAMPLES: &str = "\
Examples:
  fieldpost export --from 1h > last-hour.prom
  fieldpost export --from 03:00 --to 04:00 --match node_load1 --format csv
  fieldpost export --format openmetrics > all.om   (for promtool tsdb create-blocks-from openmetrics)

Sealed windows are exported: with an agent running, all but the last few seconds.";

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Prometheus text with timestamps in milliseconds.
    #[default]
    Text,
    /// OpenMetrics with timestamps in seconds.
    Openmetrics,
    /// One line a sample: milliseconds since 1970, series, value.
    Csv,
}

/// Write stored samples as Prometheus text with timestamps, or as CSV
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// From when: 03:10, 1h (ago), 2026-11-21 03:10
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub from: Option<TimeMs>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = instant::parse_now)]
    pub to: Option<TimeMs>,
    /// Only series of this selector, such as node_load1 or {device="eth0"}; may be given again
    #[arg(long = "match", value_name = "SELECTOR")]
    pub matches: Vec<String>,
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let export = Export {
        reader: data::reader(global)?,
        wanted: AnyOf::parse(&args.matches)?,
        span: data::span(args.from, args.to)?,
        progress: progress(),
    };
    let mut out = BufWriter::new(stdout().lock());
    match args.format {
        _ if global.json => export.lines(&mut out, json_line)?,
        Format::Csv => {
            writeln!(out, "time_ms,series,value")?;
            export.lines(&mut out, csv_line)?;
        }
        Format::Text => export.page(&mut out, Dialect::Text)?,
        Format::Openmetrics => export.page(&mut out, Dialect::OpenMetrics)?,
    }
    out.flush()?;
    export.progress.finish_and_clear();
    Ok(ExitCode::SUCCESS)
}

struct Export {
    reader: Reader,
    wanted: AnyOf,
    span: (TimeMs, TimeMs),
    progress: ProgressBar,
}

/// Shown while the output goes elsewhere: on the terminal itself the samples are the progress.
fn progress() -> ProgressBar {
    if terminal::is_interactive() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} samples in {elapsed}") {
        progress.set_style(style);
    }
    progress
}

/// Series that are read together, by family and text.
type Batch = BTreeMap<(String, String), StoredSeries>;

impl Export {
    /// One line a sample, hour by hour.
    fn lines(
        &self,
        out: &mut impl Write,
        line: fn(&StoredSeries, TimeMs, f64) -> String,
    ) -> anyhow::Result<()> {
        let mut written = Ok(());
        self.reader.scan(&Selector::default(), self.span.0, self.span.1, |series, samples| {
            if written.is_ok() && self.wanted.accepts(series) {
                self.progress.inc(samples.len() as u64);
                written = samples
                    .iter()
                    .try_for_each(|(time, value)| writeln!(out, "{}", line(series, *time, *value)));
            }
        })?;
        Ok(written?)
    }

    /// A page, in which all samples of a family stand together, as the formats ask. Series are
    /// read in batches that fit into memory; a large family takes more than one.
    fn page(&self, out: &mut impl Write, dialect: Dialect) -> anyhow::Result<()> {
        let mut series = self.reader.series(&Selector::default(), self.span.0, self.span.1)?;
        series.retain(|series| self.wanted.accepts(series));
        series.sort_by(|a, b| (&a.family, &a.text).cmp(&(&b.family, &b.text)));
        let mut last_family = String::new();
        for batch in batches(series, self.span) {
            self.batch(out, dialect, &batch, &mut last_family)?;
        }
        let mut end = Vec::new();
        write::end(&mut end, dialect);
        Ok(out.write_all(&end)?)
    }

    fn batch(
        &self,
        out: &mut impl Write,
        dialect: Dialect,
        batch: &Batch,
        last_family: &mut String,
    ) -> anyhow::Result<()> {
        let mut names: Vec<&str> = batch.values().map(|series| series.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let names = Matcher::new("__name__", MatcherOp::Matches, &names.join("|"))?;
        let mut held: BTreeMap<(String, String), Samples> = BTreeMap::new();
        self.reader.scan(
            &Selector { matchers: vec![names] },
            self.span.0,
            self.span.1,
            |series, samples| {
                let key = (series.family.clone(), series.text.clone());
                if batch.contains_key(&key) {
                    self.progress.inc(samples.len() as u64);
                    held.entry(key).or_default().extend_from_slice(samples);
                }
            },
        )?;
        let mut page = Vec::new();
        for (key, samples) in &held {
            let Some(series) = batch.get(key) else { continue };
            if *last_family != series.family {
                write::header(&mut page, dialect, &family(series), |_| false);
                last_family.clone_from(&series.family);
            }
            for (time, value) in samples {
                write::sample_at(&mut page, dialect, &series.text, *value, *time);
            }
            out.write_all(&page)?;
            page.clear();
        }
        Ok(())
    }
}

/// Sorted series in batches whose samples fit into memory, by a guess of one sample a second.
fn batches(series: Vec<StoredSeries>, span: (TimeMs, TimeMs)) -> Vec<Batch> {
    let mut batches = vec![Batch::new()];
    let (mut n_held, mut families) = (0, Vec::new());
    for series in series {
        let n_samples = (series.last_ms.min(span.1) - series.first_ms.max(span.0)).max(0) / 1_000 + 1;
        let is_new = families.last() != Some(&series.family);
        if n_held > 0
            && (n_held + n_samples > N_SAMPLES_HELD_MAX || is_new && families.len() == N_FAMILIES_HELD_MAX)
        {
            batches.push(Batch::new());
            families.clear();
            n_held = 0;
        }
        if families.last() != Some(&series.family) {
            families.push(series.family.clone());
        }
        n_held += n_samples;
        if let Some(batch) = batches.last_mut() {
            batch.insert((series.family.clone(), series.text.clone()), series);
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

fn family(series: &StoredSeries) -> Family {
    Family { name: series.family.as_str().into(), help: series.help.as_str().into(), kind: series.kind }
}

fn csv_line(series: &StoredSeries, time_ms: TimeMs, value: f64) -> String {
    format!("{time_ms},\"{}\",{}", series.text.replace('"', "\"\""), number(value))
}

fn json_line(series: &StoredSeries, time_ms: TimeMs, value: f64) -> String {
    // JSON knows no NaN and no infinities: these are told as text, as Prometheus' API does with all numbers.
    let value = if value.is_finite() { json!(value) } else { json!(number(value)) };
    json!({ "series": series.text, "time_ms": time_ms, "value": value }).to_string()
}

fn number(value: f64) -> String {
    let mut text = Vec::new();
    write::number(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use fieldpost_model::Kind;

    use super::*;

    fn series(family: String, label: usize, last_ms: TimeMs) -> StoredSeries {
        StoredSeries {
            name: family.clone(),
            text: format!("{family}{{a=\"{label}\"}}"),
            family,
            labels: vec![("a".into(), label.to_string())],
            kind: Kind::Gauge,
            help: String::new(),
            first_ms: 0,
            last_ms,
        }
    }

    #[test]
    fn large_families_are_read_in_parts_and_many_small_ones_in_groups() {
        let day_ms = 86_400_000;
        let large = (0..100).map(|label| series("large".into(), label, day_ms)).collect();
        let sizes = |list| batches(list, (0, day_ms)).iter().map(Batch::len).collect::<Vec<_>>();
        assert_eq!(sizes(large), [48, 48, 4]);
        let small = (0..70).map(|number| series(format!("f{number:03}"), 0, 0)).collect();
        assert_eq!(sizes(small), [32, 32, 6]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }

    #[test]
    fn names_of_a_whole_batch_fit_into_one_pattern() {
        let long = "fieldpost_a_name_as_long_as_any_that_is_found_in_practice_seconds";
        let of = |number| ["bucket", "sum", "count"].map(|suffix| format!("{long}_{number:03}_{suffix}"));
        let names: Vec<String> = (0..N_FAMILIES_HELD_MAX).flat_map(of).collect();
        assert!(Matcher::new("__name__", MatcherOp::Matches, &names.join("|")).is_ok());
    }

    #[test]
    fn csv_doubles_quotes() {
        assert_eq!(csv_line(&series("x".into(), 1, 0), 5, 2.5), "5,\"x{a=\"\"1\"\"}\",2.5");
    }
}
