//! The functions: what each takes and gives. What they do is in `eval`.

use crate::syntax::Type;

/// A function of the language.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub takes: &'static [Type],
    /// So many at the end may be left out; the last one of `any` may come again and again.
    pub optional: Optional,
    /// What it yields.
    pub gives: Type,
}

/// Which arguments may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optional {
    /// None.
    None,
    /// So many at the end.
    Last(usize),
    /// The last one may be left out, and given more than once.
    Any,
}

impl Function {
    /// With how many arguments at least.
    pub fn n_least(&self) -> usize {
        self.takes.len()
            - match self.optional {
                Optional::None => 0,
                Optional::Last(n) => n,
                Optional::Any => 1,
            }
    }

    /// With how many at most; none: any number.
    pub fn n_most(&self) -> Option<usize> {
        (self.optional != Optional::Any).then_some(self.takes.len())
    }

    /// The type of one argument.
    pub fn argument(&self, index: usize) -> Type {
        self.takes.get(index).or(self.takes.last()).copied().unwrap_or(Type::Scalar)
    }
}

/// Functions of Prometheus that are not here: those of native histograms, and some that are tried out.
const UNSUPPORTED: &[&str] = &[
    "histogram_avg",
    "histogram_count",
    "histogram_quantiles",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "info",
    "integral",
    "start_timestamp",
];

/// Does Prometheus know it, and we do not?
pub(crate) fn is_unsupported(name: &str) -> bool {
    UNSUPPORTED.contains(&name)
}

/// Finds a function.
pub(crate) fn by_name(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const fn vector(name: &'static str, takes: &'static [Type]) -> Function {
    Function { name, takes, optional: Optional::None, gives: Type::Vector }
}

const fn optional(name: &'static str, takes: &'static [Type], n: usize) -> Function {
    Function { name, takes, optional: Optional::Last(n), gives: Type::Vector }
}

const fn any(name: &'static str, takes: &'static [Type]) -> Function {
    Function { name, takes, optional: Optional::Any, gives: Type::Vector }
}

const fn scalar(name: &'static str, takes: &'static [Type]) -> Function {
    Function { name, takes, optional: Optional::None, gives: Type::Scalar }
}

const V: &[Type] = &[Type::Vector];
const M: &[Type] = &[Type::Matrix];
const VS: &[Type] = &[Type::Vector, Type::Scalar];
const VSS: &[Type] = &[Type::Vector, Type::Scalar, Type::Scalar];
const MS: &[Type] = &[Type::Matrix, Type::Scalar];
const MSS: &[Type] = &[Type::Matrix, Type::Scalar, Type::Scalar];
const SS: &[Type] = &[Type::Scalar, Type::Scalar];
const SM: &[Type] = &[Type::Scalar, Type::Matrix];
const SV: &[Type] = &[Type::Scalar, Type::Vector];
const SSV: &[Type] = &[Type::Scalar, Type::Scalar, Type::Vector];
const VT: &[Type] = &[Type::Vector, Type::Text];
const VTT: &[Type] = &[Type::Vector, Type::Text, Type::Text, Type::Text];
const VTTTT: &[Type] = &[Type::Vector, Type::Text, Type::Text, Type::Text, Type::Text];

/// Every function, by name.
pub const FUNCTIONS: &[Function] = &[
    vector("abs", V),
    vector("absent", V),
    vector("absent_over_time", M),
    vector("acos", V),
    vector("acosh", V),
    vector("asin", V),
    vector("asinh", V),
    vector("atan", V),
    vector("atanh", V),
    vector("avg_over_time", M),
    vector("ceil", V),
    vector("changes", M),
    vector("clamp", VSS),
    vector("clamp_max", VS),
    vector("clamp_min", VS),
    vector("cos", V),
    vector("cosh", V),
    vector("count_over_time", M),
    optional("day_of_month", V, 1),
    optional("day_of_week", V, 1),
    optional("day_of_year", V, 1),
    optional("days_in_month", V, 1),
    vector("deg", V),
    vector("delta", M),
    vector("deriv", M),
    vector("double_exponential_smoothing", MSS),
    scalar("end", &[]),
    vector("exp", V),
    vector("first_over_time", M),
    vector("floor", V),
    vector("histogram_fraction", SSV),
    vector("histogram_quantile", SV),
    vector("holt_winters", MSS),
    optional("hour", V, 1),
    vector("idelta", M),
    vector("increase", M),
    vector("irate", M),
    any("label_join", VTT),
    vector("label_replace", VTTTT),
    vector("last_over_time", M),
    vector("ln", V),
    vector("log10", V),
    vector("log2", V),
    vector("mad_over_time", M),
    scalar("max_of", SS),
    vector("max_over_time", M),
    scalar("min_of", SS),
    vector("min_over_time", M),
    optional("minute", V, 1),
    optional("month", V, 1),
    scalar("pi", &[]),
    vector("predict_linear", MS),
    vector("present_over_time", M),
    vector("quantile_over_time", SM),
    vector("rad", V),
    scalar("range", &[]),
    vector("rate", M),
    vector("resets", M),
    optional("round", VS, 1),
    scalar("scalar", V),
    vector("sgn", V),
    vector("sin", V),
    vector("sinh", V),
    vector("sort", V),
    any("sort_by_label", VT),
    any("sort_by_label_desc", VT),
    vector("sort_desc", V),
    vector("sqrt", V),
    scalar("start", &[]),
    vector("stddev_over_time", M),
    vector("stdvar_over_time", M),
    scalar("step", &[]),
    vector("sum_over_time", M),
    vector("tan", V),
    vector("tanh", V),
    scalar("time", &[]),
    vector("timestamp", V),
    vector("ts_of_first_over_time", M),
    vector("ts_of_last_over_time", M),
    vector("ts_of_max_over_time", M),
    vector("ts_of_min_over_time", M),
    vector("vector", &[Type::Scalar]),
    optional("year", V, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_in_order_and_once() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
