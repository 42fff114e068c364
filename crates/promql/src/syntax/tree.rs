//! The tree of an expression.

use fieldpost_model::{Matcher, TimeMs};

use crate::functions::Function;

/// Bytes of the query's text, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// First byte after it.
    pub end: usize,
}

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// One number at each instant.
    Scalar,
    /// Series with one value at each instant.
    Vector,
    /// Series with samples over a range.
    Matrix,
    /// A text.
    Text,
}

impl Type {
    /// As messages name it.
    pub fn words(self) -> &'static str {
        match self {
            Type::Scalar => "scalar",
            Type::Vector => "instant vector",
            Type::Matrix => "range vector",
            Type::Text => "string",
        }
    }
}

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A number, or a duration in seconds.
    Number(f64),
    /// A text.
    Text(String),
    /// Series at an instant.
    Selector(VectorSelector),
    /// Series over a range.
    Range {
        /// Which.
        selector: VectorSelector,
        /// How far back.
        range_ms: i64,
    },
    /// An expression, evaluated at many instants of a range.
    Subquery {
        /// The expression.
        expr: Box<Expr>,
        /// How far back.
        range_ms: i64,
        /// Between the instants; none: the engine's default.
        step_ms: Option<i64>,
        /// Moved in time by this.
        shift: Shift,
    },
    /// A call.
    Call {
        /// Of this.
        function: &'static Function,
        /// With these.
        args: Vec<Expr>,
    },
    /// Many series into few.
    Aggregate(Box<Aggregation>),
    /// Two operands.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Where it stands.
        op_span: Span,
        /// Comparisons yield 0 or 1.
        is_bool: bool,
        /// How the sides find each other.
        matching: Matching,
        /// Left.
        left: Box<Expr>,
        /// Right.
        right: Box<Expr>,
    },
    /// A sign.
    Unary {
        /// Minus?
        negative: bool,
        /// Of this.
        expr: Box<Expr>,
    },
    /// In parentheses.
    Paren(Box<Expr>),
}

/// Which series, and when.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VectorSelector {
    /// The name, if it was written before the braces.
    pub name: Option<String>,
    /// All conditions, that on the name among them.
    pub matchers: Vec<Matcher>,
    /// Moved in time by this.
    pub shift: Shift,
}

/// The modifiers `offset` and `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shift {
    /// So far back; may be negative.
    pub offset_ms: Option<i64>,
    /// Not at the instant of the evaluation but at this one.
    pub at: Option<At>,
}

/// When, by the modifier `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Then.
    Time(TimeMs),
    /// At the query's first instant.
    Start,
    /// At its last one.
    End,
}

/// Operators of aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Aggregator {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl Aggregator {
    pub(crate) const ALL: [(&'static str, Aggregator); 14] = [
        ("sum", Aggregator::Sum),
        ("avg", Aggregator::Avg),
        ("count", Aggregator::Count),
        ("min", Aggregator::Min),
        ("max", Aggregator::Max),
        ("group", Aggregator::Group),
        ("stddev", Aggregator::Stddev),
        ("stdvar", Aggregator::Stdvar),
        ("topk", Aggregator::Topk),
        ("bottomk", Aggregator::Bottomk),
        ("count_values", Aggregator::CountValues),
        ("quantile", Aggregator::Quantile),
        ("limitk", Aggregator::Limitk),
        ("limit_ratio", Aggregator::LimitRatio),
    ];

    /// By its name, in letters of either case.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, one)| *one)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }

    /// What it needs before the expression.
    pub fn parameter(self) -> Option<Type> {
        match self {
            Aggregator::CountValues => Some(Type::Text),
            Aggregator::Topk | Aggregator::Bottomk | Aggregator::Quantile => Some(Type::Scalar),
            Aggregator::Limitk | Aggregator::LimitRatio => Some(Type::Scalar),
            _ => None,
        }
    }
}

/// Many series into few.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// How.
    pub op: Aggregator,
    /// These.
    pub expr: Expr,
    /// With this.
    pub parameter: Option<Expr>,
    /// By these labels, or without them.
    pub grouping: Vec<String>,
    /// Are the labels those to leave out?
    pub without: bool,
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::Greater => ">",
            BinaryOp::LessEqual => "<=",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// How tightly it binds; more is tighter.
    pub(crate) fn binding(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
            BinaryOp::Pow => 6,
            _ => 3,
        }
    }

    /// Compares it?
    pub fn is_comparison(self) -> bool {
        self.binding() == 3
    }

    /// Is it one of sets?
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// How many of each side belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One and one.
    #[default]
    OneToOne,
    /// Many left, one right: `group_left`.
    ManyToOne,
    /// One left, many right: `group_right`.
    OneToMany,
    /// Sets.
    ManyToMany,
}

/// How the sides of an operator find each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// Were labels given, by `on` or `ignoring`?
    pub is_given: bool,
    /// By these labels only, or by all but these.
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// How many of each side.
    pub cardinality: Cardinality,
    /// Labels that the result takes from the side of which there is one.
    pub include: Vec<String>,
}

impl Expr {
    /// What it yields.
    pub fn kind(&self) -> Type {
        match &self.node {
            Node::Number(_) => Type::Scalar,
            Node::Text(_) => Type::Text,
            Node::Selector(_) | Node::Aggregate(_) => Type::Vector,
            Node::Range { .. } | Node::Subquery { .. } => Type::Matrix,
            Node::Call { function, .. } => function.gives,
            Node::Binary { left, right, .. } => match (left.kind(), right.kind()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Node::Unary { expr, .. } | Node::Paren(expr) => expr.kind(),
        }
    }

    /// Without parentheses around it.
    pub fn bare(&self) -> &Expr {
        match &self.node {
            Node::Paren(inner) => inner.bare(),
            _ => self,
        }
    }
}

impl Expr {
    /// The expressions directly below it.
    fn below(&self) -> Vec<&Expr> {
        match &self.node {
            Node::Number(_) | Node::Text(_) | Node::Selector(_) | Node::Range { .. } => Vec::new(),
            Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => vec![expr],
            Node::Call { args, .. } => args.iter().collect(),
            Node::Aggregate(aggregation) => aggregation.parameter.iter().chain([&aggregation.expr]).collect(),
            Node::Binary { left, right, .. } => vec![left, right],
        }
    }

    /// Calls with every expression within, itself first.
    pub fn each(&self, call: &mut dyn FnMut(&Expr)) {
        call(self);
        self.below().into_iter().for_each(|expr| expr.each(call));
    }

    /// The conditions of a selector, with or without a range.
    pub fn matchers(&self) -> Option<&[Matcher]> {
        match &self.node {
            Node::Selector(selector) | Node::Range { selector, .. } => Some(&selector.matchers),
            _ => None,
        }
    }
}
