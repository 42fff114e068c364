//! Whatever text comes, there is an answer or an error: texts that are damaged, deep, long or greedy.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod script;

use fieldpost_promql::{Engine, Labels, Limits, METRIC_NAME, QueryError, Range, parse};
use script::load::Memory;

/// The time of a query.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);
/// Damaged texts that are tried.
const N_TEXTS: usize = 20_000;

fn memory() -> Memory {
    let mut memory = Memory::default();
    for name in ["temperature", "requests_total", "gappy", "flat"] {
        for room in ["kitchen", "bath"] {
            let labels = Labels::new([(METRIC_NAME, name), ("room", room), ("le", "+Inf")]);
            memory.push(labels, (0..20).map(|n| (1_700_000_000_000 + n * 60_000, n as f64)));
        }
    }
    memory
}

/// The next of numbers that look random and are always the same.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn damaged_texts_are_answered_or_refused() {
    let texts = [include_str!("expressions.txt"), include_str!("errors.txt")].concat();
    let texts: Vec<Vec<char>> = texts.lines().map(|line| line.chars().collect()).collect();
    let memory = memory();
    let limits = Limits { samples: 200_000, series: 100, steps: 10_000, bytes: 8 << 20 };
    let engine = Engine { limits, ..Engine::default() };
    let (mut state, mut n_answers) = (1, 0);
    for _ in 0..N_TEXTS {
        let mut text = texts[next(&mut state) % texts.len()].clone();
        for _ in 0..next(&mut state) % 4 {
            let at = next(&mut state) % (text.len() + 1);
            let other = &texts[next(&mut state) % texts.len()];
            match next(&mut state) % 3 {
                0 if at < text.len() => drop(text.remove(at)),
                1 => text.truncate(at),
                _ => {
                    let from = next(&mut state) % (other.len() + 1);
                    text.splice(at..at, other[from..].iter().copied().take(next(&mut state) % 20));
                }
            }
        }
        let text: String = text.into_iter().collect();
        // What takes too long is ended by its clock, soon after it has rung.
        let begun = std::time::Instant::now();
        let is_over = || begun.elapsed() > PATIENCE;
        n_answers += usize::from(engine.instant(&memory, &text, 1_700_000_900_000, &is_over).is_ok());
        let range = Range { from_ms: 1_700_000_000_000, to_ms: 1_700_000_900_000, step_ms: 77_777 };
        n_answers += usize::from(engine.range(&memory, &text, range, &is_over).is_ok());
    }
    assert!(n_answers > N_TEXTS / 2, "{n_answers} answers: hardly anything was evaluated");
}

#[test]
fn deep_and_long_texts_are_refused_and_lesser_ones_evaluated() {
    let (memory, engine) = (memory(), Engine::default());
    let deep = |n: usize| {
        [
            format!("{}1{}", "(".repeat(n), ")".repeat(n)),
            format!("{}1", "-".repeat(n) + "(1) + "),
            vec!["flat"; n].join(" or "),
            vec!["2"; n].join(" ^ "),
            format!("{}flat{}", "abs(".repeat(n), ")".repeat(n)),
            format!("flat{}", "[1m:1m]".repeat(n)),
        ]
    };
    for text in deep(60) {
        let answer = engine.instant(&memory, &text, 1_700_000_900_000, &|| false);
        assert!(answer.is_ok() || text.contains("[1m"), "{text}: {answer:?}");
    }
    for text in deep(50_000).iter().take(5) {
        assert!(parse(text).is_err());
    }
    assert!(parse(&"a".repeat(2 << 20)).is_err());
}

#[test]
fn room_is_given_back_when_samples_are_done_with() {
    let (memory, series) = (memory(), 2 * (20 * 16 + 400));
    let limits = Limits { bytes: 2 * series, ..Limits::default() };
    let engine = Engine { limits, ..Engine::default() };
    let text = vec!["count(count_over_time(flat[1h]))"; 20].join(" + ");
    assert!(engine.instant(&memory, &text, 1_700_000_900_000, &|| false).is_ok());
}

#[test]
fn limits_say_how_far_they_were_passed() {
    let memory = memory();
    let ask = |limits: Limits, text: &str| {
        let engine = Engine { limits, ..Engine::default() };
        engine.instant(&memory, text, 1_700_000_900_000, &|| false).unwrap_err()
    };
    let all = Limits::default();
    let few = ask(Limits { samples: 10, ..all }, "flat[1h]").to_string();
    assert!(few.starts_with("samples of a query: ") && few.contains("where at most 10 are allowed"), "{few}");
    let series = ask(Limits { series: 3, ..all }, "{room=~\".+\"}").to_string();
    assert!(series.starts_with("series of a selector: 8 where at most 3"), "{series}");
    let steps = ask(Limits { steps: 100, ..all }, "max_over_time(flat[1d:1s])").to_string();
    assert!(steps.starts_with("instants of a range: 86400 where at most 100"), "{steps}");
    let bytes = ask(Limits { bytes: 1_000, ..all }, "avg_over_time(flat[1h])").to_string();
    assert!(bytes.starts_with("bytes of memory of a query: ") && bytes.contains("at most 1000"), "{bytes}");
    let over = Engine::default().instant(&memory, "flat", 0, &|| true).unwrap_err();
    assert_eq!(over, QueryError::Timeout);
}
