//! Labels made from labels: `label_replace`, `label_join`; and those of series that are not there.

use fieldpost_model::{MatcherOp, Pattern};

use super::{Evaluation, Grid, Row};
use crate::labels::METRIC_NAME;
use crate::syntax::{Expr, Node, is_whole_text, shown};
use crate::{Labels, QueryError};

impl Evaluation<'_> {
    /// `label_replace(rows, destination, replacement, source, pattern)`.
    pub(super) fn label_replace(&self, args: &[Expr], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let [rows, rest @ ..] = args else { return Ok(Vec::new()) };
        let texts = rest.iter().map(|arg| self.words(arg)).collect::<Result<Vec<_>, _>>()?;
        let [destination, replacement, source, pattern] = &texts[..] else { return Ok(Vec::new()) };
        let pattern = Pattern::new(pattern).map_err(|_| {
            QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        check_label(destination, "invalid destination label name in label_replace()")?;
        let mut rows = self.vector(rows, grid)?;
        for row in &mut rows {
            if let Some(value) = pattern.expand(row.labels.get(source), replacement) {
                row.set(destination, &value);
            }
        }
        self.settled(rows)
    }

    /// `label_join(rows, destination, separator, source...)`.
    pub(super) fn label_join(&self, args: &[Expr], grid: &Grid) -> Result<Vec<Row>, QueryError> {
        let [rows, rest @ ..] = args else { return Ok(Vec::new()) };
        let texts = rest.iter().map(|arg| self.words(arg)).collect::<Result<Vec<_>, _>>()?;
        let [destination, separator, sources @ ..] = &texts[..] else { return Ok(Vec::new()) };
        check_label(destination, "invalid destination label name in label_join()")?;
        for source in sources {
            check_label(source, "invalid source label name in label_join()")?;
        }
        let mut rows = self.vector(rows, grid)?;
        for row in &mut rows {
            let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
            let value = values.join(separator);
            row.set(destination, &value);
        }
        self.settled(rows)
    }
}

impl Row {
    fn set(&mut self, label: &str, value: &str) {
        self.labels = self.labels.with(label, value);
        if label == METRIC_NAME {
            self.drop_name = false;
        }
    }
}

fn check_label(label: &str, what: &str) -> Result<(), QueryError> {
    if !label.is_empty() && is_whole_text(label) {
        return Ok(());
    }
    Err(QueryError::Execution(format!("{what}: {}", shown(label))))
}

/// The labels that a series must have had: those that a selector demands, each once.
pub(super) fn absent_labels(expr: &Expr) -> Labels {
    let (Node::Selector(selector) | Node::Range { selector, .. }) = &expr.node else {
        return Labels::default();
    };
    let matchers = || selector.matchers.iter().filter(|matcher| matcher.label != METRIC_NAME);
    let once = |label: &str| matchers().filter(|matcher| matcher.label == label).count() == 1;
    let demanded = matchers().filter(|matcher| matcher.op == MatcherOp::Equal && once(&matcher.label));
    Labels::new(demanded.map(|matcher| (matcher.label.as_str(), matcher.value.as_str())))
}
