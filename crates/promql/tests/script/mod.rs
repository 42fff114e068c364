//! Runs scripts in the format of Prometheus' own suite (`load`, `eval instant at`, `eval range
//! from`, `expect ...`, `clear`) against the crate, and says what passed, failed and was skipped.

pub mod load;

use fieldpost_model::Pattern;
use fieldpost_promql::{Answer, Engine, Labels, QueryError, Range, Value};

use load::{Memory, Notation, seconds_ms, series_line};

/// Numbers that differ by less than this part are equal, as in Prometheus' own runner.
const TOLERANCE: f64 = 1e-6;

/// What came of a script.
#[derive(Debug, Default)]
pub struct Totals {
    pub n_passed: usize,
    /// Line, query and what was wrong.
    pub failed: Vec<String>,
    /// Line, query and why.
    pub skipped: Vec<String>,
}

/// One case, as it stands in the script.
struct Case {
    line: usize,
    query: String,
    when: When,
    expects: Vec<(String, String)>,
    results: Vec<String>,
}

enum When {
    Instant(i64),
    Range(Range),
}

/// Runs a whole script.
pub fn run(name: &str, text: &str) -> Totals {
    let mut totals = Totals::default();
    let mut memory = Memory::default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let start = at;
        while at < lines.len() && !lines[at].is_empty() && !is_command(lines[at]) {
            at += 1;
        }
        let block = lines[start..at].iter().filter(|line| !line.starts_with('#'));
        let block: Vec<String> = block.map(|line| (*line).to_owned()).collect();
        match line.split_whitespace().next() {
            Some("clear") => memory = Memory::default(),
            Some("load" | "load_with_nhcb") => {
                let unread = memory.load(line, &block);
                totals
                    .failed
                    .extend(unread.iter().map(|line| format!("{name}:{start}: cannot be read: {line}")));
            }
            Some(word) if word.starts_with("eval") => {
                let place = format!("{name}:{start}");
                match read_case(start, line, block) {
                    Some(case) => judge(&case, &memory, &place, &mut totals),
                    None => totals.failed.push(format!("{place}: cannot be read: {line}")),
                }
            }
            _ => totals.failed.push(format!("{name}:{start}: cannot be read: {line}")),
        }
    }
    totals
}

fn is_command(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    word == "clear"
        || word.starts_with("load") && line.split_whitespace().count() == 2
        || word.starts_with("eval")
}

fn read_case(line: usize, text: &str, block: Vec<String>) -> Option<Case> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let rest = rest.trim();
    let mut expects = Vec::new();
    if let Some(kind) = word.strip_prefix("eval_") {
        expects.push((kind.to_owned(), String::new()));
    }
    let (when, query) = if let Some(rest) = rest.strip_prefix("instant at ") {
        let (at, query) = rest.trim().split_once(char::is_whitespace)?;
        (When::Instant(seconds_ms(at)?), query)
    } else {
        let rest = rest.strip_prefix("range from ")?;
        let (from, rest) = rest.trim().split_once(" to ")?;
        let (to, rest) = rest.trim().split_once(" step ")?;
        let (step, query) = rest.trim().split_once(char::is_whitespace)?;
        let range = Range { from_ms: seconds_ms(from)?, to_ms: seconds_ms(to)?, step_ms: seconds_ms(step)? };
        (When::Range(range), query)
    };
    let mut results = Vec::new();
    for line in block {
        if let Some(expect) = line.strip_prefix("expect ") {
            let (kind, text) = expect.trim().split_once(char::is_whitespace).unwrap_or((expect.trim(), ""));
            expects.push((kind.to_owned(), text.trim().to_owned()));
        } else if let Some(text) = line.strip_prefix("expected_fail_message ") {
            expects.push(("fail".to_owned(), format!("msg:{text}")));
        } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
            expects.push(("fail".to_owned(), format!("regex:{text}")));
        } else {
            results.push(line);
        }
    }
    Some(Case { line, query: query.trim().to_owned(), when, expects, results })
}

fn judge(case: &Case, memory: &Memory, place: &str, totals: &mut Totals) {
    let engine = Engine { delayed_names: true, ..Engine::default() };
    let outcome = match case.when {
        When::Instant(at_ms) => engine.instant(memory, &case.query, at_ms, &|| false),
        When::Range(range) => engine.range(memory, &case.query, range, &|| false),
    };
    let dropped = memory.needs_dropped(&case.query);
    // The values are right, and only a native histogram that is not there could cause the info.
    let may_lack_info = dropped.is_some() && !case.results.is_empty();
    let told = match compare(case, outcome, may_lack_info) {
        Ok(()) => {
            totals.n_passed += 1;
            return;
        }
        Err(told) => told,
    };
    let query = &case.query;
    if case.results.iter().any(|line| line.contains("{{")) {
        totals.skipped.push(format!("{place}: {query}: the result holds native histograms"));
    } else if let Some(series) = dropped {
        totals.skipped.push(format!("{place}: {query}: it selects the native histogram {series}"));
    } else if told.contains(" is not supported") {
        totals.skipped.push(format!("{place}: {query}: {told}"));
    } else {
        totals.failed.push(format!("{place}: {query}: {told}"));
    }
}

impl Case {
    fn expect(&self, kind: &str) -> Option<&str> {
        self.expects.iter().find(|(own, _)| own == kind).map(|(_, text)| text.as_str())
    }
}

/// Does the text fit what is expected of it: nothing, `msg: ...` or `regex: ...`?
fn fits(expected: &str, text: &str) -> bool {
    if let Some(message) = expected.strip_prefix("msg:") {
        return text == message.trim();
    }
    match expected.strip_prefix("regex:") {
        Some(pattern) => Pattern::unanchored(pattern.trim()).is_ok_and(|pattern| pattern.is_match(text)),
        None => true,
    }
}

fn compare(case: &Case, outcome: Result<Answer, QueryError>, may_lack_info: bool) -> Result<(), String> {
    let answer = match (case.expect("fail"), outcome) {
        (Some(expected), Err(error)) if fits(expected, &error.to_string()) => return Ok(()),
        (Some(expected), Err(error)) => return Err(format!("failed with {error:?}, expected {expected}")),
        (Some(_), Ok(answer)) => return Err(format!("should fail, but answers {:?}", answer.value)),
        (None, Err(error)) => return Err(format!("failed: {error} (line {})", case.line)),
        (None, Ok(answer)) => answer,
    };
    let warnings: Vec<&str> = answer.annotations.warnings().collect();
    let infos: Vec<&str> = answer.annotations.infos().collect();
    for (kind, told) in [("warn", &warnings), ("info", &infos)] {
        if case.expect(&format!("no_{kind}")).is_some() && !told.is_empty() {
            return Err(format!("unexpected {kind}: {told:?}"));
        }
        if let Some(expected) = case.expect(kind)
            && !told.iter().any(|text| fits(expected, text))
            && !(kind == "info" && may_lack_info)
        {
            return Err(format!("no {kind} {expected:?} among {told:?}"));
        }
    }
    compare_value(case, &answer.value)
}

fn compare_value(case: &Case, value: &Value) -> Result<(), String> {
    match value {
        Value::Text(_, text) => {
            let expected = case.expect("string").unwrap_or_default();
            let inner = expected.get(1..expected.len().saturating_sub(1)).unwrap_or_default();
            if inner == text { Ok(()) } else { Err(format!("{text:?} instead of {expected}")) }
        }
        Value::Scalar(_, number) => {
            let expected = case.results.first().and_then(|line| load::number(line)).map(|(number, _)| number);
            match expected {
                Some(expected) if almost(expected, *number) => Ok(()),
                _ => Err(format!("{number} instead of {:?}", case.results)),
            }
        }
        Value::Vector(points) => {
            let found: Vec<_> =
                points.iter().map(|p| (p.labels.clone(), vec![(p.time_ms, p.value)])).collect();
            let When::Instant(at_ms) = case.when else { return Err("a vector for a range".to_owned()) };
            compare_series(case, &found, (at_ms, 1), case.expect("ordered").is_some())
        }
        Value::Matrix(series) => {
            let found: Vec<_> = series.iter().map(|s| (s.labels.clone(), s.samples.clone())).collect();
            let grid = match case.when {
                When::Range(range) => (range.from_ms, range.step_ms),
                When::Instant(at_ms) => case.expect("range").and_then(range_vector).unwrap_or((at_ms, 1)),
            };
            compare_series(case, &found, grid, false)
        }
    }
}

/// `vector from A to B step C`: its first instant and step.
fn range_vector(text: &str) -> Option<(i64, i64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["vector", "from", from, "to", _, "step", step] => Some((seconds_ms(from)?, seconds_ms(step)?)),
        _ => None,
    }
}

type Found = (Labels, Vec<(i64, f64)>);

fn compare_series(
    case: &Case,
    found: &[Found],
    (from_ms, step_ms): (i64, i64),
    ordered: bool,
) -> Result<(), String> {
    let mut expected: Vec<Found> = Vec::new();
    for line in &case.results {
        let Some((labels, notation)) = series_line(line) else {
            return Err(format!("cannot be read: {line}"));
        };
        let Notation::Numbers(numbers) = notation else { return Err(format!("native histogram: {line}")) };
        let at = |index: usize| from_ms + index as i64 * step_ms;
        let samples = numbers.into_iter().enumerate().filter_map(|(index, n)| Some((at(index), n?)));
        let samples: Vec<_> = samples.collect();
        if !samples.is_empty() {
            expected.push((labels, samples));
        }
    }
    let mut found = found.to_vec();
    if !ordered {
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let equal = |a: &Found, b: &Found| {
        let same = |(a, b): (&(i64, f64), &(i64, f64))| a.0 == b.0 && almost(a.1, b.1);
        a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(same)
    };
    if expected.len() == found.len() && expected.iter().zip(&found).all(|(a, b)| equal(a, b)) {
        return Ok(());
    }
    Err(format!("{found:?}\n    instead of {expected:?}"))
}

fn almost(a: f64, b: f64) -> bool {
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 { difference < TOLERANCE } else { difference / sum < TOLERANCE }
}
