//! `fieldpost export`: stored samples as Prometheus text with timestamps, as CSV or as JSON lines.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;

use fieldpost_formats::{Dialect, write};
use fieldpost_model::{Family, Matcher, MatcherOp, Selector, TimeMs};
use fieldpost_store::{Reader, Samples, StoredSeries};
use serde_json::json;

use super::data::{self, AnyOf};
use super::{Global, instant};

/// Samples that are held in memory at a time, at most about this many: 64 MiB.
const N_SAMPLES_HELD_MAX: i64 = 4 << 20;

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
    Ok(ExitCode::SUCCESS)
}

struct Export {
    reader: Reader,
    wanted: AnyOf,
    span: (TimeMs, TimeMs),
}

/// One family's series with their samples.
type Held = BTreeMap<String, (StoredSeries, Samples)>;

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
                written = samples
                    .iter()
                    .try_for_each(|(time, value)| writeln!(out, "{}", line(series, *time, *value)));
            }
        })?;
        Ok(written?)
    }

    /// A page, in which all samples of a family stand together, as the formats ask: families are
    /// read in batches that fit into memory.
    fn page(&self, out: &mut impl Write, dialect: Dialect) -> anyhow::Result<()> {
        let mut families: BTreeMap<String, i64> = BTreeMap::new();
        for series in self.reader.series(&Selector::default(), self.span.0, self.span.1)? {
            if self.wanted.accepts(&series) {
                *families.entry(series.family).or_default() += (series.last_ms - series.first_ms) / 1_000 + 1;
            }
        }
        let (mut batch, mut held) = (Vec::new(), 0);
        for (family, n_samples) in families {
            if held + n_samples > N_SAMPLES_HELD_MAX && !batch.is_empty() {
                self.batch(out, dialect, &std::mem::take(&mut batch))?;
                held = 0;
            }
            batch.push(family);
            held += n_samples;
        }
        self.batch(out, dialect, &batch)?;
        let mut end = Vec::new();
        write::end(&mut end, dialect);
        Ok(out.write_all(&end)?)
    }

    fn batch(&self, out: &mut impl Write, dialect: Dialect, families: &[String]) -> anyhow::Result<()> {
        if families.is_empty() {
            return Ok(());
        }
        let names = format!("({})(_bucket|_sum|_count)?", families.join("|"));
        let selector = Selector { matchers: vec![Matcher::new("__name__", MatcherOp::Matches, &names)?] };
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        self.reader.scan(&selector, self.span.0, self.span.1, |series, samples| {
            if families.contains(&series.family) && self.wanted.accepts(series) {
                let of_family = held.entry(series.family.clone()).or_default();
                let slot =
                    of_family.entry(series.text.clone()).or_insert_with(|| (series.clone(), Vec::new()));
                slot.1.extend_from_slice(samples);
            }
        })?;
        let mut page = Vec::new();
        for (name, of_family) in &held {
            write_family(&mut page, dialect, name, of_family);
            out.write_all(&page)?;
            page.clear();
        }
        Ok(())
    }
}

fn write_family(page: &mut Vec<u8>, dialect: Dialect, name: &str, of_family: &Held) {
    let Some((first, _)) = of_family.values().next() else { return };
    let family = Family { name: name.into(), help: first.help.as_str().into(), kind: first.kind };
    write::header(page, dialect, &family, |_| false);
    for (series, samples) in of_family.values() {
        for (time, value) in samples {
            write::sample_at(page, dialect, &series.text, *value, *time);
        }
    }
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
