//! Reads Prometheus text format 0.0.4, strictly: the first line that is not understood is named, and nothing of
//! the text is used. It accepts what the reference parser accepts in the legacy naming scheme, but for a few
//! forms of which that one silently drops the number: there it says what is wrong.

use std::collections::{BTreeSet, HashMap, HashSet};

use fieldpost_model::{Kind, TimeMs};

use crate::parsed::{Labels, ParsedFamily, ParsedSample, own_label};
use crate::scanner::Scanner;
use crate::write;

/// The longest text that is read, bytes. The biggest useful file of metrics known has a tenth of it.
pub const TEXT_BYTES_MAX: usize = 8 << 20;
/// The longest line, bytes: a hundred times an ordinary one.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// The most samples of one text: each becomes a series that the agent holds in memory.
pub const SAMPLES_MAX: usize = 50_000;
/// The most different label names within one family; Prometheus itself complains long before.
pub const FAMILY_LABELS_MAX: usize = 64;
/// The longest name of a metric or label, bytes.
pub const NAME_BYTES_MAX: usize = 1 << 10;

/// Where a text is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What was expected, what was found.
    pub what: String,
}

/// Reads a whole text. Families come in the order in which they are first named; those without samples are left out.
pub fn parse(text: &[u8]) -> Result<Vec<ParsedFamily>, ParseError> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("expected at most {TEXT_BYTES_MAX} bytes of text, found {}", text.len());
        return Err(ParseError { line: 1, what });
    }
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let (whole_lines, rest) = text.split_at(end);
    let mut parser = Parser::default();
    let mut n_lines = 0;
    for line in whole_lines.split_inclusive(|byte| *byte == b'\n') {
        n_lines += 1;
        parser.line(&line[..line.len() - 1]).map_err(|what| ParseError { line: n_lines, what })?;
    }
    if !rest.trim_ascii().is_empty() {
        let what = "expected a newline at the end of the text, which may be half written".into();
        return Err(ParseError { line: n_lines + 1, what });
    }
    Ok(parser.finish())
}

/// A family while its lines come in. The kind is fixed by a `# TYPE` line or by the first sample.
struct Draft {
    name: String,
    help: Option<String>,
    kind: Option<Kind>,
    label_names: BTreeSet<String>,
    samples: Vec<ParsedSample>,
}

#[derive(Default)]
struct Parser {
    drafts: Vec<Draft>,
    by_name: HashMap<String, usize>,
    seen: HashSet<Vec<u8>>,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("expected at most {LINE_BYTES_MAX} bytes in a line, found {}", line.len()));
        }
        let mut scanner = Scanner::new(line);
        scanner.skip_blanks();
        if scanner.at_end() {
            return Ok(());
        }
        if scanner.take(b'#') { self.comment(scanner) } else { self.sample(scanner) }
    }

    fn comment(&mut self, mut scanner: Scanner<'_>) -> Result<(), String> {
        scanner.skip_blanks();
        let keyword = scanner.word();
        if !matches!(keyword, b"HELP" | b"TYPE") {
            return Ok(());
        }
        scanner.skip_blanks();
        let name = scanner.name(true);
        if scanner.at_end() {
            return Ok(());
        }
        if name.is_empty() || !scanner.at_blank() {
            return Err(format!("expected a metric's name and a blank, found {}", scanner.found()));
        }
        let (position, _) = self.family_of(name)?;
        scanner.skip_blanks();
        match keyword {
            _ if scanner.at_end() => Ok(()),
            b"HELP" => self.drafts[position].set_help(&mut scanner),
            _ => self.drafts[position].set_kind(scanner.remainder()),
        }
    }

    fn sample(&mut self, mut scanner: Scanner<'_>) -> Result<(), String> {
        let name = scanner.name(true);
        if name.is_empty() {
            return Err(format!("expected a metric's name, found {}", scanner.found()));
        }
        if !scanner.at_blank() && scanner.peek() != Some(b'{') {
            return Err(format!("expected a blank or '{{' after \"{name}\", found {}", scanner.found()));
        }
        let (position, suffix) = self.family_of(name)?;
        scanner.skip_blanks();
        let labels = if scanner.take(b'{') { labels(&mut scanner)? } else { Labels::new() };
        scanner.skip_blanks();
        let value = value(scanner.word())?;
        let time_ms = instant(&mut scanner)?;
        let sample = ParsedSample { suffix, labels, value, time_ms };
        self.remember(position, &sample)?;
        self.drafts[position].add(sample)
    }

    /// The family that a name belongs to, made if there is none yet, and the rest of the name.
    fn family_of(&mut self, name: &str) -> Result<(usize, &'static str), String> {
        if let Some(position) = self.by_name.get(name) {
            return Ok((*position, ""));
        }
        for suffix in ["_count", "_sum", "_bucket"] {
            let known = name.strip_suffix(suffix).and_then(|base| self.by_name.get(base));
            match known.map(|position| (*position, self.drafts[*position].kind)) {
                Some((position, Some(Kind::Histogram))) => return Ok((position, suffix)),
                Some((position, Some(Kind::Summary))) if suffix != "_bucket" => {
                    return Ok((position, suffix));
                }
                _ => {}
            }
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("expected at most {NAME_BYTES_MAX} bytes in a name, found {}", name.len()));
        }
        if self.drafts.len() >= SAMPLES_MAX {
            return Err(format!("expected at most {SAMPLES_MAX} metrics in a text"));
        }
        let (help, kind, label_names, samples) = Default::default();
        self.drafts.push(Draft { name: name.to_owned(), help, kind, label_names, samples });
        self.by_name.insert(name.to_owned(), self.drafts.len() - 1);
        Ok((self.drafts.len() - 1, ""))
    }

    /// Refuses a series that was there before, in whatever order its labels came then.
    fn remember(&mut self, position: usize, sample: &ParsedSample) -> Result<(), String> {
        let name = &self.drafts[position].name;
        let mut labels: Vec<_> = sample.labels.iter().filter(|(_, value)| !value.is_empty()).collect();
        labels.sort();
        let mut key = format!("{name}{}", sample.suffix).into_bytes();
        for (label, value) in labels {
            key.extend_from_slice(format!(",{label}=\"").as_bytes());
            write::escaped_label(&mut key, value);
        }
        if self.seen.len() >= SAMPLES_MAX {
            return Err(format!("expected at most {SAMPLES_MAX} samples in a text"));
        }
        if !self.seen.insert(key) {
            return Err(format!("this series of \"{name}\" was given before; its labels must differ"));
        }
        Ok(())
    }

    fn finish(self) -> Vec<ParsedFamily> {
        let with_samples = self.drafts.into_iter().filter(|draft| !draft.samples.is_empty());
        let family = |draft: Draft| ParsedFamily {
            name: draft.name,
            help: draft.help,
            kind: draft.kind.unwrap_or(Kind::Untyped),
            samples: draft.samples,
        };
        with_samples.map(family).collect()
    }
}

impl Draft {
    fn set_help(&mut self, scanner: &mut Scanner<'_>) -> Result<(), String> {
        if self.help.is_some() {
            return Err(format!("second HELP line for \"{}\"; leave only one", self.name));
        }
        self.help = Some(scanner.help()?);
        Ok(())
    }

    fn set_kind(&mut self, word: &[u8]) -> Result<(), String> {
        if self.kind.is_some() {
            let name = &self.name;
            return Err(format!(
                "second TYPE line for \"{name}\", or TYPE after its samples; leave one, before them"
            ));
        }
        let kinds = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped];
        let kind = kinds.into_iter().find(|kind| kind.as_str().as_bytes().eq_ignore_ascii_case(word));
        self.kind = Some(kind.ok_or_else(|| {
            let word = String::from_utf8_lossy(word);
            format!("expected type counter, gauge, histogram, summary or untyped, found {word:?}")
        })?);
        Ok(())
    }

    fn add(&mut self, mut sample: ParsedSample) -> Result<(), String> {
        let kind = *self.kind.get_or_insert(Kind::Untyped);
        if matches!(kind, Kind::Histogram | Kind::Summary) {
            self.check_part(kind, &mut sample)?;
        }
        for (name, _) in &sample.labels {
            if !self.label_names.contains(name) {
                self.label_names.insert(name.clone());
            }
        }
        if self.label_names.len() > FAMILY_LABELS_MAX {
            return Err(format!(
                "expected at most {FAMILY_LABELS_MAX} different labels of \"{}\"",
                self.name
            ));
        }
        self.samples.push(sample);
        Ok(())
    }

    /// A line of a histogram or summary must be a bucket or quantile, a sum or a count.
    fn check_part(&self, kind: Kind, sample: &mut ParsedSample) -> Result<(), String> {
        let (name, own) = (&self.name, own_label(kind));
        let bound = sample.labels.iter().find(|(label, _)| label == own).map(|(_, value)| value);
        match (sample.suffix, bound) {
            ("_sum" | "_count", None) => {}
            ("_sum" | "_count", Some(_)) => {
                return Err(format!("expected no label {own} in the {} of \"{name}\"", &sample.suffix[1..]));
            }
            (_, None) => {
                return Err(format!("expected a label {own} in this line of {} \"{name}\"", kind.as_str()));
            }
            (_, Some(bound)) if float(bound).is_none_or(f64::is_nan) => {
                return Err(format!("expected a number in label {own}, found {bound:?}"));
            }
            (_, Some(_)) if kind == Kind::Histogram => sample.suffix = "_bucket",
            _ => {}
        }
        if kind == Kind::Histogram && sample.suffix != "_sum" && sample.value < 0.0 {
            return Err(format!(
                "expected no negative count in histogram \"{name}\", found {}",
                sample.value
            ));
        }
        Ok(())
    }
}

/// Labels after the opening brace, up to and with the closing one.
fn labels(scanner: &mut Scanner<'_>) -> Result<Labels, String> {
    let mut labels = Labels::new();
    loop {
        scanner.skip_blanks();
        if scanner.take(b'}') {
            return Ok(labels);
        }
        let label = label(scanner)?;
        if labels.iter().any(|(name, _)| *name == label.0) {
            return Err(format!("label \"{}\" is there twice", label.0));
        }
        if labels.len() >= FAMILY_LABELS_MAX {
            return Err(format!("expected at most {FAMILY_LABELS_MAX} labels"));
        }
        labels.push(label);
        scanner.skip_blanks();
        if !scanner.take(b',') && scanner.peek() != Some(b'}') {
            return Err(format!("expected ',' or '}}' after a label's value, found {}", scanner.found()));
        }
    }
}

fn label(scanner: &mut Scanner<'_>) -> Result<(String, String), String> {
    let name = scanner.name(false);
    match name {
        "" => return Err(format!("expected a label's name, found {}", scanner.found())),
        "__name__" => return Err("label name \"__name__\" is reserved".into()),
        _ if name.len() > NAME_BYTES_MAX => {
            return Err(format!("expected at most {NAME_BYTES_MAX} bytes in a label's name"));
        }
        _ => {}
    }
    scanner.skip_blanks();
    if !scanner.take(b'=') {
        return Err(format!("expected '=' after label name \"{name}\", found {}", scanner.found()));
    }
    scanner.skip_blanks();
    if !scanner.take(b'"') {
        return Err(format!("expected '\"' at the start of a label's value, found {}", scanner.found()));
    }
    Ok((name.to_owned(), scanner.quoted()?))
}

fn value(word: &[u8]) -> Result<f64, String> {
    let number = std::str::from_utf8(word).ok().and_then(float);
    number.ok_or_else(|| format!("expected a number as value, found {:?}", String::from_utf8_lossy(word)))
}

/// A number as the reference parser takes it: no signed not-a-number, and nothing too big for 64 bits.
fn float(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let is_written = text.bytes().any(|byte| byte.is_ascii_digit());
    let is_signed = text.starts_with(['+', '-']);
    let is_refused = number.is_infinite() && is_written || number.is_nan() && is_signed;
    (!is_refused).then_some(number)
}

/// The instant after a value, if there is one. A blank at the end of the line is refused, as everywhere.
fn instant(scanner: &mut Scanner<'_>) -> Result<Option<TimeMs>, String> {
    if scanner.at_end() {
        return Ok(None);
    }
    scanner.skip_blanks();
    let word = scanner.word();
    let time_ms = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    let time_ms = time_ms.ok_or_else(|| {
        let word = String::from_utf8_lossy(word);
        format!("expected nothing or whole milliseconds after the value, found {word:?}")
    })?;
    if !scanner.at_end() {
        return Err(format!("expected the end of the line after the instant, found {}", scanner.found()));
    }
    Ok(Some(time_ms))
}

#[cfg(test)]
mod tests;
