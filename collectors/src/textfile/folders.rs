//! Folders named by patterns, as Go's `filepath.Glob` finds them.

use std::path::{Path, PathBuf};

use crate::read;

/// The most folders that one pattern may name.
const FOLDERS_MAX: usize = 1_000;

/// The folders that match, sorted within each level. Without special characters, or where nothing matches, the
/// pattern itself: reading it tells the user what is wrong.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    if !is_special(pattern) {
        return vec![PathBuf::from(pattern)];
    }
    let start = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![PathBuf::from(start)];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = found.into_iter().flat_map(|base| step(&base, part)).take(FOLDERS_MAX).collect();
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    if found.is_empty() { vec![PathBuf::from(pattern)] } else { found }
}

fn step(base: &Path, part: &str) -> Vec<PathBuf> {
    if !is_special(part) {
        return vec![base.join(part)];
    }
    let folder = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    // What cannot be listed matches nothing, as in a shell.
    let names = read::list(folder).unwrap_or_default();
    let part: Vec<char> = part.chars().collect();
    let matching = names.into_iter().filter(|name| matches(&part, &name.to_string_lossy()));
    matching.map(|name| base.join(name)).collect()
}

fn is_special(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '\\'])
}

/// Does the whole name match? A star is tried with ever more characters, only the last star ever again.
fn matches(pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, n));
        } else if let Some(length) = one(&pattern[p..], name[n]) {
            p += length;
            n += 1;
        } else if let Some((after, tried)) = star {
            star = Some((after, tried + 1));
            (p, n) = (after, tried + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How much of the pattern stands for this one character, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', rest @ ..] => class(rest, c).map(|length| length + 1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    }
}

/// A class such as `a-z]` or `^0-9]`, after its bracket.
fn class(class: &[char], c: char) -> Option<usize> {
    let end = 1 + class.iter().skip(1).position(|c| *c == ']')?;
    let (negated, mut rest) = match &class[..end] {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_in = false;
    while let [from, after @ ..] = rest {
        let (to, after) = if let ['-', to, after @ ..] = after { (to, after) } else { (from, after) };
        is_in |= (*from..=*to).contains(&c);
        rest = after;
    }
    (is_in != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, is_match) in [
            ("*", "", true),
            ("*_extra", "a_extra", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "abc", false),
            ("?", "é", true),
            ("[a-c]1", "b1", true),
            ("[^a-c]1", "b1", false),
            ("[]", "]", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "x", false),
        ] {
            let pattern: Vec<char> = pattern.chars().collect();
            assert_eq!(matches(&pattern, name), is_match, "{pattern:?} {name}");
        }
    }

    #[test]
    fn folders_are_found_in_order_and_a_miss_is_itself() {
        let tree = tempfile::tempdir().unwrap();
        for folder in ["b/metrics", "a/metrics", "c"] {
            std::fs::create_dir_all(tree.path().join(folder)).unwrap();
        }
        let at = |path: &str| tree.path().join(path);
        assert_eq!(expand(at("*/metrics").to_str().unwrap()), [at("a/metrics"), at("b/metrics")]);
        assert_eq!(expand(at("x*").to_str().unwrap()), [at("x*")]);
        assert_eq!(expand(at("c").to_str().unwrap()), [at("c")]);
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a*?\\[\\]^\\\\-]{0,12}", name in "[a\\]-]{0,12}") {
            matches(&pattern.chars().collect::<Vec<_>>(), &name);
        }
    }
}
