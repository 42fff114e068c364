//! Sums that lose little: Kahan's, in Neumaier's variant, as Prometheus adds.

/// A sum and what it lost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub sum: f64,
    pub lost: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A mean: of the sum while that is finite, from then on carried along.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    sum: Sum,
    n: f64,
    is_carried: bool,
}

impl Mean {
    pub fn add(&mut self, value: f64) {
        self.n += 1.0;
        if !self.is_carried {
            let mut sum = self.sum;
            sum.add(value);
            if sum.sum.is_finite() || sum.sum.is_nan() || self.n == 1.0 {
                self.sum = sum;
                return;
            }
            self.is_carried = true;
            self.sum.sum /= self.n - 1.0;
            self.sum.lost /= self.n - 1.0;
        }
        let weight = (self.n - 1.0) / self.n;
        self.sum.sum *= weight;
        self.sum.lost *= weight;
        self.sum.add(value / self.n);
    }

    pub fn mean(self) -> f64 {
        let divisor = if self.is_carried { 1.0 } else { self.n };
        if self.sum.sum.is_infinite() {
            return self.sum.sum;
        }
        self.sum.sum / divisor + self.sum.lost / divisor
    }
}

/// Deviation from the mean, in one pass (Welford), as Prometheus does over time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spread {
    n: f64,
    mean: Sum,
    squares: Sum,
}

impl Spread {
    pub fn add(&mut self, value: f64) {
        self.n += 1.0;
        let delta = value - (self.mean.sum + self.mean.lost);
        self.mean.add(delta / self.n);
        self.squares.add(delta * (value - (self.mean.sum + self.mean.lost)));
    }

    pub fn variance(self) -> f64 {
        (self.squares.sum + self.squares.lost) / self.n
    }
}

/// The quantile by linear interpolation; not-a-numbers count as the least. Sorts the values.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a_is_nan, b_is_nan) => b_is_nan.cmp(&a_is_nan),
    });
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor().max(0.0) as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_is_small() {
        let mut sum = Sum::default();
        [2.0, 8.0, 1e100, -1e100].into_iter().for_each(|value| sum.add(value));
        assert_eq!(sum.total(), 10.0);
    }

    #[test]
    fn means_do_not_overflow() {
        let mut mean = Mean::default();
        [9.5e307; 4].into_iter().for_each(|value| mean.add(value));
        assert_eq!(mean.mean(), 9.5e307);
        let mut mean = Mean::default();
        [0.0, f64::INFINITY, f64::INFINITY, 0.0].into_iter().for_each(|value| mean.add(value));
        assert_eq!(mean.mean(), f64::INFINITY);
    }
}
