//! What an answer has to say besides its values: warnings and infos, each once, with their place.

use std::collections::BTreeSet;

use crate::error::place;
use crate::syntax::Span;

/// How many of each are kept; a thousand series with one fault need not be named one by one.
const N_ANNOTATIONS_MAX: usize = 10;

/// Warnings (the answer may be wrong) and infos (the question may be wrong).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

impl Annotations {
    /// Warnings, in the order of their text.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }

    /// Infos, in the order of their text.
    pub fn infos(&self) -> impl Iterator<Item = &str> {
        self.infos.iter().map(String::as_str)
    }

    /// Adds a warning of the caller's own.
    pub fn warn(&mut self, what: &str) {
        if self.warnings.len() < N_ANNOTATIONS_MAX {
            self.warnings.insert(what.to_owned());
        }
    }

    /// Adds what the source has to say, however many warnings there are.
    pub(crate) fn remark(&mut self, what: String) {
        self.warnings.insert(what);
    }

    pub(crate) fn warn_at(&mut self, text: &str, span: Span, what: &str) {
        let (line, column) = place(text, span.start);
        self.warn(&format!("PromQL warning: {what} ({line}:{column})"));
    }

    pub(crate) fn inform_at(&mut self, text: &str, span: Span, what: &str) {
        let (line, column) = place(text, span.start);
        if self.infos.len() < N_ANNOTATIONS_MAX {
            self.infos.insert(format!("PromQL info: {what} ({line}:{column})"));
        }
    }
}
