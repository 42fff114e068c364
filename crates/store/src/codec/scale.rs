//! Numbers of a column as whole numbers: most measurements are decimals with few digits, or
//! multiples of a sector, a KiB or a page. A scale is used only where it gives back every bit.

use super::CodecError;

/// Above this a float no longer holds every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Powers of ten by which whole numbers are divided, by code.
const DIVISORS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Factors of whole numbers, by code less ten.
const FACTORS: [i64; 3] = [512, 1024, 4096];

/// How whole numbers become the floats of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale(u8);

impl Scale {
    /// The scale with this code, if there is one.
    pub(crate) fn from_code(code: u8) -> Result<Self, CodecError> {
        if usize::from(code) < DIVISORS.len() + FACTORS.len() {
            Ok(Self(code))
        } else {
            Err(CodecError::Malformed("unknown scale"))
        }
    }

    /// Its code, below 16.
    pub(crate) fn code(self) -> u8 {
        self.0
    }

    /// The float behind a whole number.
    pub(crate) fn float(self, whole: i64) -> f64 {
        match usize::from(self.0).checked_sub(DIVISORS.len()) {
            None => whole as f64 / DIVISORS[usize::from(self.0)],
            Some(factor) => whole.wrapping_mul(FACTORS[factor]) as f64,
        }
    }

    /// Appends the floats behind whole numbers.
    pub(crate) fn floats(self, whole: &[i64], floats: &mut Vec<f64>) {
        match usize::from(self.0).checked_sub(DIVISORS.len()) {
            None if self.0 == 0 => floats.extend(whole.iter().map(|whole| *whole as f64)),
            None => {
                let divisor = DIVISORS[usize::from(self.0)];
                floats.extend(whole.iter().map(|whole| *whole as f64 / divisor));
            }
            Some(factor) => {
                floats.extend(whole.iter().map(|whole| whole.wrapping_mul(FACTORS[factor]) as f64));
            }
        }
    }

    /// Finds the scale at which all these numbers are whole, to the bit, and fills `whole`.
    /// Answers none where there is no such scale.
    pub(crate) fn find(values: &[f64], whole: &mut Vec<i64>) -> Option<Self> {
        let mut code = 0;
        'scales: while code < DIVISORS.len() {
            for &value in values {
                if exact(value, DIVISORS[code]).is_none() {
                    code += 1;
                    continue 'scales;
                }
            }
            whole.clear();
            whole.extend(values.iter().filter_map(|value| exact(*value, DIVISORS[code])));
            return Some(if code == 0 { divide(whole) } else { Self(code as u8) });
        }
        None
    }
}

/// The whole number that gives this value back when divided, if there is one.
fn exact(value: f64, divisor: f64) -> Option<i64> {
    let scaled = (value * divisor).round();
    let fits = scaled.abs() < EXACT_MAX && (scaled as i64 as f64 / divisor).to_bits() == value.to_bits();
    fits.then_some(scaled as i64)
}

/// Takes out the largest common factor of the list.
fn divide(whole: &mut [i64]) -> Scale {
    let bits = whole.iter().fold(0, |bits, number| bits | number);
    if bits == 0 {
        return Scale(0);
    }
    for (position, factor) in FACTORS.iter().enumerate().rev() {
        if bits & (factor - 1) == 0 {
            whole.iter_mut().for_each(|number| *number /= factor);
            return Scale((DIVISORS.len() + position) as u8);
        }
    }
    Scale(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_and_multiples_are_found() {
        let mut whole = Vec::new();
        assert_eq!(Scale::find(&[0.25, 1.0], &mut whole).map(Scale::code), Some(2));
        assert_eq!(whole, [25, 100]);
        assert_eq!(Scale::find(&[8192.0, -4096.0], &mut whole).map(Scale::code), Some(12));
        assert_eq!(whole, [2, -1]);
        assert_eq!(Scale::find(&[1024.0, 512.0], &mut whole).map(Scale::code), Some(10));
    }

    #[test]
    fn numbers_that_are_no_decimals_have_no_scale() {
        for value in [f64::NAN, f64::INFINITY, -0.0, std::f64::consts::PI, 1e300] {
            assert_eq!(Scale::find(&[value], &mut Vec::new()), None, "{value}");
        }
    }
}
