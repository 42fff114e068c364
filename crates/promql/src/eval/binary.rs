//! Operators between two operands: numbers, series and numbers, series that find each other by
//! their labels, and sets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use fieldpost_model::{ABSENT, is_absent};

use super::{Columns, Evaluation, Grid, Row, merge_same};
use crate::labels::METRIC_NAME;
use crate::syntax::{BinaryOp, Cardinality, Expr, Matching};
use crate::{Labels, QueryError};

/// An operator with its modifiers.
pub(super) struct Operator<'a> {
    pub op: BinaryOp,
    pub is_bool: bool,
    pub matching: &'a Matching,
}

/// Which series of either side belong together: a number for each row, the same for all that do.
struct Signatures {
    left: Vec<usize>,
    right: Vec<usize>,
    n: usize,
}

/// The number that stands where nothing is.
const NOBODY: usize = usize::MAX;

impl Operator<'_> {
    /// Does the result have no name?
    fn drops_name(&self) -> bool {
        self.is_bool || !self.op.is_comparison()
    }

    /// Two numbers; `ABSENT` where a comparison does not hold. A comparison that holds yields the
    /// left one, or 1 if it is asked for yes or no.
    fn apply(&self, left: f64, right: f64, keep: f64) -> f64 {
        let holds = match self.op {
            BinaryOp::Equal => left == right,
            BinaryOp::NotEqual => left != right,
            BinaryOp::Less => left < right,
            BinaryOp::Greater => left > right,
            BinaryOp::LessEqual => left <= right,
            BinaryOp::GreaterEqual => left >= right,
            op => return arithmetic(op, left, right),
        };
        match (self.is_bool, holds) {
            (true, holds) => f64::from(u8::from(holds)),
            (false, true) => keep,
            (false, false) => ABSENT,
        }
    }

    /// The labels by which a series is found.
    fn signature(&self, labels: &Labels) -> Labels {
        let matching = self.matching;
        let named = |name: &str| matching.labels.iter().any(|label| label == name);
        if matching.on { labels.keep(named) } else { labels.keep(|name| name != METRIC_NAME && !named(name)) }
    }

    fn signatures(&self, left: &[Row], right: &[Row]) -> Signatures {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut number = |row: &Row| {
            let n = known.len();
            *known.entry(self.signature(&row.labels)).or_insert(n)
        };
        let left = left.iter().map(&mut number).collect();
        let right = right.iter().map(&mut number).collect();
        Signatures { left, right, n: known.len() }
    }

    /// The labels of what comes of a series of the side of many and one of the other side.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let mut labels = if self.op.is_comparison() { many.clone() } else { many.without_name() };
        if self.matching.cardinality == Cardinality::OneToOne {
            let named = |name: &str| self.matching.labels.iter().any(|label| label == name);
            labels = labels.keep(|name| named(name) == self.matching.on);
        }
        for label in &self.matching.include {
            labels = labels.with(label, one.get(label));
        }
        labels
    }
}

fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

impl Evaluation<'_> {
    pub(super) fn binary(
        &self,
        operator: &Operator<'_>,
        left: &Expr,
        right: &Expr,
        grid: &Grid,
    ) -> Result<Columns, QueryError> {
        let (left, right) = (self.evaluate(left, grid)?, self.evaluate(right, grid)?);
        Ok(match (left, right) {
            (Columns::Scalar(left), Columns::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Columns::Scalar(pairs.map(|(left, right)| operator.apply(left, right, left)).collect())
            }
            (Columns::Vector(rows), Columns::Scalar(numbers)) => {
                let apply = |index: usize, value: f64| operator.apply(value, numbers[index], value);
                Columns::Vector(self.with_number(operator, rows, apply)?)
            }
            (Columns::Scalar(numbers), Columns::Vector(rows)) => {
                let apply = |index: usize, value: f64| operator.apply(numbers[index], value, value);
                Columns::Vector(self.with_number(operator, rows, apply)?)
            }
            (Columns::Vector(left), Columns::Vector(right)) => Columns::Vector(match operator.op {
                op if op.is_set() => self.set(operator, left, right, grid)?,
                _ => self.matched(operator, left, right, grid)?,
            }),
            _ => return Err(QueryError::execution("a string stands where a number is needed")),
        })
    }

    fn with_number(
        &self,
        operator: &Operator<'_>,
        mut rows: Vec<Row>,
        apply: impl Fn(usize, f64) -> f64,
    ) -> Result<Vec<Row>, QueryError> {
        if operator.drops_name() {
            return self.map(rows, apply);
        }
        for row in &mut rows {
            for (index, value) in row.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
                *value = apply(index, *value);
            }
        }
        Ok(rows)
    }

    fn set(
        &self,
        operator: &Operator<'_>,
        mut left: Vec<Row>,
        mut right: Vec<Row>,
        grid: &Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let signatures = operator.signatures(&left, &right);
        let is_or = operator.op == BinaryOp::Or;
        let (kept, numbers, others, other_numbers) = if is_or {
            (&mut right, &signatures.right, &left, &signatures.left)
        } else {
            (&mut left, &signatures.left, &right, &signatures.right)
        };
        let wanted = operator.op == BinaryOp::And;
        let mut present = vec![false; signatures.n];
        for index in 0..grid.n {
            self.budget.check_time()?;
            present.fill(false);
            for (row, number) in others.iter().zip(other_numbers) {
                present[*number] |= !is_absent(row.values[index]);
            }
            for (row, number) in kept.iter_mut().zip(numbers) {
                if present[*number] != wanted {
                    row.values[index] = ABSENT;
                }
            }
        }
        if is_or {
            right.retain(|row| row.values.iter().any(|value| !is_absent(*value)));
            left.extend(right);
            return merge_same(left);
        }
        Ok(left)
    }

    /// One and one, or one and many, instant by instant.
    fn matched(
        &self,
        operator: &Operator<'_>,
        left: Vec<Row>,
        right: Vec<Row>,
        grid: &Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let signatures = operator.signatures(&left, &right);
        let is_swapped = operator.matching.cardinality == Cardinality::OneToMany;
        let mut join = if is_swapped {
            Join::new(operator, (right, signatures.right), (left, signatures.left), signatures.n)
        } else {
            Join::new(operator, (left, signatures.left), (right, signatures.right), signatures.n)
        };
        for index in 0..grid.n {
            self.budget.check_time()?;
            join.instant(index, grid, self)?;
        }
        let mut rows = join.results;
        if operator.drops_name() && !self.engine.delayed_names {
            rows.iter_mut().for_each(|row| row.drop_name = true);
            return self.settled(rows);
        }
        Ok(rows)
    }
}

/// Two sides under way to one.
struct Join<'a> {
    operator: &'a Operator<'a>,
    many: Vec<Row>,
    many_numbers: Vec<usize>,
    one: Vec<Row>,
    one_numbers: Vec<usize>,
    /// By signature: the row of the side of one at this instant.
    found: Vec<usize>,
    /// By signature: did the instant have a result for it?
    used: Vec<bool>,
    /// Place of the result of two rows.
    places: HashMap<(usize, usize), usize>,
    by_labels: HashMap<Labels, usize>,
    results: Vec<Row>,
    /// By place: the last instant at which it was written.
    written: Vec<usize>,
}

impl<'a> Join<'a> {
    fn new(
        operator: &'a Operator<'a>,
        (many, many_numbers): (Vec<Row>, Vec<usize>),
        (one, one_numbers): (Vec<Row>, Vec<usize>),
        n: usize,
    ) -> Self {
        let (found, used) = (vec![NOBODY; n], vec![false; n]);
        let (places, by_labels) = (HashMap::new(), HashMap::new());
        let (results, written) = (Vec::new(), Vec::new());
        Self {
            operator,
            many,
            many_numbers,
            one,
            one_numbers,
            found,
            used,
            places,
            by_labels,
            results,
            written,
        }
    }

    fn instant(&mut self, index: usize, grid: &Grid, evaluation: &Evaluation<'_>) -> Result<(), QueryError> {
        // With nothing on one side there is nothing to complain of either.
        let some = |rows: &[Row]| rows.iter().any(|row| !is_absent(row.values[index]));
        if !some(&self.many) || !some(&self.one) {
            return Ok(());
        }
        self.find(index)?;
        self.used.fill(false);
        let cardinality = self.operator.matching.cardinality;
        for at in 0..self.many.len() {
            let (own, number) = (self.many[at].values[index], self.many_numbers[at]);
            let other_at = self.found[number];
            if is_absent(own) || other_at == NOBODY {
                continue;
            }
            let other = self.one[other_at].values[index];
            let (left, right) =
                if cardinality == Cardinality::OneToMany { (other, own) } else { (own, other) };
            if cardinality == Cardinality::OneToOne && std::mem::replace(&mut self.used[number], true) {
                let what = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                return Err(QueryError::execution(what));
            }
            let place = self.place(at, other_at, grid, evaluation)?;
            if cardinality != Cardinality::OneToOne && self.written[place] == index {
                let what = "multiple matches for labels: grouping labels must ensure unique matches";
                return Err(QueryError::execution(what));
            }
            self.written[place] = index;
            let value = self.operator.apply(left, right, left);
            if is_absent(value) {
                continue;
            }
            let held = &mut self.results[place].values[index];
            if !is_absent(*held) {
                return Err(QueryError::execution("vector cannot contain metrics with the same labelset"));
            }
            *held = value;
        }
        Ok(())
    }

    /// Which row of the side of one answers to which signature now.
    fn find(&mut self, index: usize) -> Result<(), QueryError> {
        self.found.fill(NOBODY);
        for (at, (row, number)) in self.one.iter().zip(&self.one_numbers).enumerate() {
            if is_absent(row.values[index]) {
                continue;
            }
            let before = std::mem::replace(&mut self.found[*number], at);
            if before != NOBODY {
                return Err(self.duplicate(before, at));
            }
        }
        Ok(())
    }

    fn duplicate(&self, before: usize, at: usize) -> QueryError {
        let matching = self.operator.matching;
        let side = if matching.cardinality == Cardinality::OneToMany { "left" } else { "right" };
        let group = self.operator.signature(&self.one[at].labels);
        let (mut first, mut second) = (&self.one[before].labels, &self.one[at].labels);
        if second < first {
            (first, second) = (second, first);
        }
        QueryError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    /// The place of the result of two rows; made at the first time.
    fn place(
        &mut self,
        at: usize,
        other: usize,
        grid: &Grid,
        evaluation: &Evaluation<'_>,
    ) -> Result<usize, QueryError> {
        let entry = match self.places.entry((at, other)) {
            Entry::Occupied(place) => return Ok(*place.get()),
            Entry::Vacant(entry) => entry,
        };
        let (many, one) = (&self.many[at], &self.one[other]);
        let labels = self.operator.result_labels(&many.labels, &one.labels);
        let place = match self.by_labels.entry(labels) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                let labels = place.key().clone();
                let values = evaluation.blank(grid)?;
                let drop_name = many.drop_name || self.operator.is_bool;
                self.results.push(Row { labels, drop_name, values });
                self.written.push(NOBODY);
                *place.insert(self.results.len() - 1)
            }
        };
        Ok(*entry.insert(place))
    }
}
