//! Some series of each group: the greatest, the least, any so many, and vectors in order.

use std::cmp::Ordering;

use fieldpost_model::{ABSENT, is_absent};

use super::aggregate::Groups;
use super::{Evaluation, Grid, Row};
use crate::syntax::{Aggregation, Aggregator, format_short};
use crate::{Labels, QueryError};

/// A series' number at an instant, and its row.
type Entry = (f64, usize);

/// Of one group at one instant: a heap as Go's `container/heap` builds it, for which of equal ones
/// is kept depends on that. Its root is the next to go.
struct Best {
    entries: Vec<Entry>,
    most: usize,
    op: Aggregator,
}

impl Best {
    /// Is the first one to go before the second one?
    fn less(&self, a: f64, b: f64) -> bool {
        a.is_nan() || if self.op == Aggregator::Bottomk { a > b } else { a < b }
    }

    fn offer(&mut self, entry: Entry) {
        if self.entries.len() < self.most {
            self.entries.push(entry);
            self.up(self.entries.len() - 1);
            return;
        }
        let Some(root) = self.entries.first().map(|(value, _)| *value) else { return };
        let better = if self.op == Aggregator::Bottomk { root > entry.0 } else { root < entry.0 };
        if better || (root.is_nan() && !entry.0.is_nan()) {
            self.entries[0] = entry;
            self.down();
        }
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.less(self.entries[at].0, self.entries[parent].0) {
                return;
            }
            self.entries.swap(at, parent);
            at = parent;
        }
    }

    fn down(&mut self) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let Some(mut child) = self.entries.get(left).map(|_| left) else { return };
            if right < self.entries.len() && self.less(self.entries[right].0, self.entries[left].0) {
                child = right;
            }
            if !self.less(self.entries[child].0, self.entries[at].0) {
                return;
            }
            self.entries.swap(at, child);
            at = child;
        }
    }

    fn in_order(mut self) -> Vec<Entry> {
        let is_bottom = self.op == Aggregator::Bottomk;
        sort_as_go(&mut self.entries, |entry| entry.0, !is_bottom);
        self.entries
    }
}

/// By number, not-a-numbers last either way.
fn compare(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    }
}

/// Up to so many Go sorts by insertion, and not-a-numbers turn round by it.
const INSERTION_MAX: usize = 12;

/// Sorts as Go does, so that equal ones and not-a-numbers stand in the same order.
fn sort_as_go<T>(items: &mut [T], number: impl Fn(&T) -> f64, descending: bool) {
    if items.len() > INSERTION_MAX {
        items.sort_by(|a, b| compare(number(a), number(b), descending));
        return;
    }
    let precedes = |a: f64, b: f64| b.is_nan() || if descending { a > b } else { a < b };
    for start in 1..items.len() {
        for at in (1..=start).rev() {
            if !precedes(number(&items[at]), number(&items[at - 1])) {
                break;
            }
            items.swap(at, at - 1);
        }
    }
}

/// A text's next piece: digits or others.
fn piece(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(text.len());
    text.split_at(end)
}

/// As people sort: numbers within a text by their value.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() && !b.is_empty() {
        let ((first, a_rest), (second, b_rest)) = (piece(a), piece(b));
        let numbers = first.parse::<u128>().ok().zip(second.parse::<u128>().ok());
        let order = numbers.map_or_else(|| first.cmp(second), |(first, second)| first.cmp(&second));
        if order != Ordering::Equal || first.len() != second.len() {
            return order.then(first.len().cmp(&second.len()));
        }
        (a, b) = (a_rest, b_rest);
    }
    a.len().cmp(&b.len())
}

impl Evaluation<'_> {
    pub(super) fn ranked(
        &self,
        aggregation: &Aggregation,
        mut rows: Vec<Row>,
        parameters: &[f64],
        grid: &Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let groups = aggregation.groups(&rows);
        let mut order = Vec::new();
        for (index, parameter) in parameters.iter().enumerate() {
            self.budget.check_time()?;
            order = self.chosen(aggregation, &rows, &groups, (index, *parameter))?;
            let mut kept = vec![false; rows.len()];
            order.iter().for_each(|row| kept[*row] = true);
            for (row, _) in rows.iter_mut().zip(kept).filter(|(_, kept)| !kept) {
                row.values[index] = ABSENT;
            }
        }
        if grid.n != 1 {
            rows.retain(|row| row.values.iter().any(|value| !is_absent(*value)));
            return Ok(rows);
        }
        // The answer at one instant is in the order of the ranks.
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        Ok(order.into_iter().filter_map(|at| rows[at].take()).collect())
    }

    /// The rows of one instant that stay, group by group.
    fn chosen(
        &self,
        aggregation: &Aggregation,
        rows: &[Row],
        groups: &Groups,
        (index, parameter): (usize, f64),
    ) -> Result<Vec<usize>, QueryError> {
        if aggregation.op != Aggregator::LimitRatio && parameter.abs() > i64::MAX as f64 {
            let what = format!("Scalar value {} overflows int64", format_short(parameter));
            return Err(QueryError::Execution(what));
        }
        let most = (parameter.max(0.0) as usize).min(rows.len());
        let mut best: Vec<Best> = Vec::new();
        best.resize_with(groups.labels.len(), || Best { entries: Vec::new(), most, op: aggregation.op });
        for (at, (row, group)) in rows.iter().zip(&groups.of_row).enumerate() {
            let (value, best) = (row.values[index], &mut best[*group]);
            match aggregation.op {
                _ if is_absent(value) => {}
                Aggregator::LimitRatio if is_in_ratio(&row.labels, parameter) => {
                    best.entries.push((value, at));
                }
                Aggregator::LimitRatio => {}
                Aggregator::Limitk if best.entries.len() < most => best.entries.push((value, at)),
                Aggregator::Limitk => {}
                _ => best.offer((value, at)),
            }
        }
        let is_ranked = matches!(aggregation.op, Aggregator::Topk | Aggregator::Bottomk);
        let entries =
            best.into_iter().flat_map(|best| if is_ranked { best.in_order() } else { best.entries });
        Ok(entries.map(|(_, row)| row).collect())
    }

    /// `sort` and `sort_desc`: only answers at one instant have an order.
    pub(super) fn sorted(&self, mut rows: Vec<Row>, descending: bool, grid: &Grid) -> Vec<Row> {
        if grid.n == 1 {
            rows.retain(|row| !is_absent(row.values[0]));
            sort_as_go(&mut rows, |row| row.values[0], descending);
        }
        rows
    }

    /// `sort_by_label` and its other direction.
    pub(super) fn sorted_by_labels(
        &self,
        mut rows: Vec<Row>,
        labels: &[String],
        descending: bool,
    ) -> Vec<Row> {
        rows.sort_by(|a, b| {
            let pairs = labels.iter().map(|label| natural(a.labels.get(label), b.labels.get(label)));
            let order = pairs.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
        rows
    }
}

/// Is the series among this part of all? A negative ratio takes those that the rest to one leaves.
fn is_in_ratio(labels: &Labels, ratio: f64) -> bool {
    let place = fraction(labels);
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}

/// A number from 0 to 1 that is always the same for the same labels (FNV-1a).
fn fraction(labels: &Labels) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let bytes =
        labels.iter().flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of such a hash are the better mixed ones.
    (hash ^ (hash >> 32)) as u32 as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_sort_by_value() {
        let mut texts = ["a10", "a2", "a1b", "a", "b1"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["a", "a1b", "a2", "a10", "b1"]);
    }
}
