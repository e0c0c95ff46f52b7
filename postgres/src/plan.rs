//! A query whose names, types and functions are settled: what `analyze` makes and `execute` carries out.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::execute::Context;
use crate::types::Type;
use crate::value::{Row, Value};

/// What carries out a function: its values are of the types that were resolved.
#[derive(Clone)]
pub struct Function {
    pub name: &'static str,
    /// what PostgreSQL calls it that carries it out, which tells it from all others; empty of what has no such name
    pub source: &'static str,
    pub call: Arc<dyn Fn(&Context<'_>, &[Value]) -> Result<Value> + Send + Sync>,
}

impl Function {
    pub fn new(
        name: &'static str,
        call: impl Fn(&Context<'_>, &[Value]) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        Function { name, source: "", call: Arc::new(call) }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.source)
    }
}

/// What gives rows: each a value, or a record of several columns.
#[derive(Clone)]
pub struct SetFunction {
    pub name: &'static str,
    pub call: Arc<dyn Fn(&Context<'_>, &[Value]) -> Result<Vec<Value>> + Send + Sync>,
}

impl SetFunction {
    pub fn new(
        name: &'static str,
        call: impl Fn(&Context<'_>, &[Value]) -> Result<Vec<Value>> + Send + Sync + 'static,
    ) -> Self {
        SetFunction { name, call: Arc::new(call) }
    }
}

impl fmt::Debug for SetFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

#[derive(Debug, Clone)]
pub struct Expr {
    pub kind: ExprKind,
    pub data_type: Type,
}

#[derive(Debug, Clone)]
pub enum ExprKind {
    Constant(Value),
    /// from 0
    Parameter(usize),
    /// of the row of the SELECT so many levels further out
    Column {
        level: usize,
        slot: usize,
    },
    /// NULL arguments make NULL if it is strict
    Call {
        function: Function,
        arguments: Vec<Expr>,
        is_strict: bool,
        is_volatile: bool,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull {
        inner: Box<Expr>,
        negated: bool,
    },
    /// `IS TRUE` and its like: whether it is this, NULL standing for unknown
    IsTruth {
        inner: Box<Expr>,
        truth: Option<bool>,
        negated: bool,
    },
    IsDistinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Coalesce(Vec<Expr>),
    NullIf {
        left: Box<Expr>,
        right: Box<Expr>,
        equal: Box<Expr>,
    },
    /// GREATEST, or LEAST
    Extreme {
        items: Vec<Expr>,
        is_greatest: bool,
    },
    Array(Vec<Expr>),
    Row(Vec<Expr>),
    Field {
        record: Box<Expr>,
        index: usize,
    },
    Subscript {
        array: Box<Expr>,
        indexes: Vec<Expr>,
    },
    Slice {
        array: Box<Expr>,
        bounds: Vec<(Option<Expr>, Option<Expr>)>,
    },
    /// `left operator ANY|ALL (array)`; the comparison sees its sides as `Operand`s
    OverArray {
        left: Box<Expr>,
        array: Box<Expr>,
        comparison: Box<Expr>,
        all: bool,
    },
    Operand(usize),
    Exists(Arc<Query>),
    Scalar(Arc<Query>),
    ArrayOf(Arc<Query>),
    /// `(a, b) operator ANY|ALL (query)`: one comparison over the operands of both sides
    OverQuery {
        left: Vec<Expr>,
        query: Arc<Query>,
        comparison: Box<Expr>,
        all: bool,
    },
    Aggregate(usize),
    /// the n-th key of the group
    GroupKey(usize),
    /// which of these keys the group leaves out
    Grouping(Vec<usize>),
    Window(usize),
    /// the n-th function of the SELECT list that gives rows
    SetResult(usize),
    /// a function written in SQL
    Sql {
        query: Arc<Query>,
        arguments: Vec<Expr>,
        is_strict: bool,
    },
}

impl Expr {
    pub fn new(kind: ExprKind, data_type: Type) -> Expr {
        Expr { kind, data_type }
    }

    pub fn constant(value: Value, data_type: Type) -> Expr {
        Expr::new(ExprKind::Constant(value), data_type)
    }

    pub fn call(function: Function, arguments: Vec<Expr>, data_type: Type) -> Expr {
        Expr::new(ExprKind::Call { function, arguments, is_strict: true, is_volatile: false }, data_type)
    }

    /// Whether two expressions of one SELECT say the same.
    pub fn is_same(&self, other: &Expr) -> bool {
        // a column may be taken for another type, a cast is a call of its own for each
        let is_cast_alike = self.data_type == other.data_type || !matches!(self.kind, ExprKind::Call { .. });
        is_cast_alike && format!("{:?}", self.kind) == format!("{:?}", other.kind)
    }

    /// The expressions that it is made of.
    pub fn parts(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Constant(_)
            | ExprKind::Parameter(_)
            | ExprKind::Column { .. }
            | ExprKind::Operand(_)
            | ExprKind::Exists(_)
            | ExprKind::Scalar(_)
            | ExprKind::ArrayOf(_)
            | ExprKind::Aggregate(_)
            | ExprKind::GroupKey(_)
            | ExprKind::Grouping(_)
            | ExprKind::Window(_)
            | ExprKind::SetResult(_) => Vec::new(),
            ExprKind::Call { arguments: parts, .. }
            | ExprKind::Sql { arguments: parts, .. }
            | ExprKind::And(parts)
            | ExprKind::Or(parts)
            | ExprKind::Coalesce(parts)
            | ExprKind::Array(parts)
            | ExprKind::Row(parts)
            | ExprKind::Extreme { items: parts, .. } => parts.iter().collect(),
            ExprKind::Not(inner)
            | ExprKind::IsNull { inner, .. }
            | ExprKind::IsTruth { inner, .. }
            | ExprKind::Field { record: inner, .. } => vec![inner],
            ExprKind::IsDistinct { left, right, .. } => vec![left, right],
            ExprKind::NullIf { left, right, equal } => vec![left, right, equal],
            ExprKind::Case { branches, otherwise } => {
                let branches = branches.iter().flat_map(|(condition, result)| [condition, result]);
                branches.chain(otherwise.as_deref()).collect()
            }
            ExprKind::Subscript { array, indexes } => std::iter::once(array.as_ref()).chain(indexes).collect(),
            ExprKind::Slice { array, bounds } => {
                let bounds = bounds.iter().flat_map(|(lower, upper)| lower.iter().chain(upper));
                std::iter::once(array.as_ref()).chain(bounds).collect()
            }
            ExprKind::OverArray { left, array, comparison, .. } => vec![left, array, comparison],
            ExprKind::OverQuery { left, comparison, .. } => {
                left.iter().chain(std::iter::once(comparison.as_ref())).collect()
            }
        }
    }

    /// The same, to be changed.
    pub fn parts_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Constant(_)
            | ExprKind::Parameter(_)
            | ExprKind::Column { .. }
            | ExprKind::Operand(_)
            | ExprKind::Exists(_)
            | ExprKind::Scalar(_)
            | ExprKind::ArrayOf(_)
            | ExprKind::Aggregate(_)
            | ExprKind::GroupKey(_)
            | ExprKind::Grouping(_)
            | ExprKind::Window(_)
            | ExprKind::SetResult(_) => Vec::new(),
            ExprKind::Call { arguments: parts, .. }
            | ExprKind::Sql { arguments: parts, .. }
            | ExprKind::And(parts)
            | ExprKind::Or(parts)
            | ExprKind::Coalesce(parts)
            | ExprKind::Array(parts)
            | ExprKind::Row(parts)
            | ExprKind::Extreme { items: parts, .. } => parts.iter_mut().collect(),
            ExprKind::Not(inner)
            | ExprKind::IsNull { inner, .. }
            | ExprKind::IsTruth { inner, .. }
            | ExprKind::Field { record: inner, .. } => vec![inner],
            ExprKind::IsDistinct { left, right, .. } => vec![left, right],
            ExprKind::NullIf { left, right, equal } => vec![left, right, equal],
            ExprKind::Case { branches, otherwise } => {
                let branches = branches.iter_mut().flat_map(|(condition, result)| [condition, result]);
                branches.chain(otherwise.as_deref_mut()).collect()
            }
            ExprKind::Subscript { array, indexes } => std::iter::once(array.as_mut()).chain(indexes).collect(),
            ExprKind::Slice { array, bounds } => {
                let bounds = bounds.iter_mut().flat_map(|(lower, upper)| lower.iter_mut().chain(upper));
                std::iter::once(array.as_mut()).chain(bounds).collect()
            }
            ExprKind::OverArray { left, array, comparison, .. } => vec![left, array, comparison],
            ExprKind::OverQuery { left, comparison, .. } => {
                left.iter_mut().chain(std::iter::once(comparison.as_mut())).collect()
            }
        }
    }

    /// The queries that stand in it, not those in its parts.
    pub fn query(&self) -> Option<&Arc<Query>> {
        match &self.kind {
            ExprKind::Exists(query)
            | ExprKind::Scalar(query)
            | ExprKind::ArrayOf(query)
            | ExprKind::OverQuery { query, .. } => Some(query),
            _ => None,
        }
    }
}

/// What a client is told of a column.
#[derive(Debug, Clone)]
pub struct Output {
    pub name: String,
    pub data_type: Type,
    /// the relation that it comes from, 0 for none, and its number there
    pub relation: u32,
    pub number: i16,
}

#[derive(Debug, Clone)]
pub struct Query {
    /// of a query inside of another: differs between all of a statement
    pub id: usize,
    /// whether it gives the same wherever it is asked in the statement
    pub is_fixed: bool,
    pub with: Vec<Cte>,
    pub body: Body,
    /// by columns of the rows that the body gives, some of which may only be there for this
    pub order_by: Vec<SortKey>,
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
    pub with_ties: bool,
    pub columns: Vec<Output>,
}

impl Query {
    /// Calls `visit` with this query and all that stand in it.
    pub fn walk(&self, visit: &mut dyn FnMut(&Query)) {
        visit(self);
        for cte in &self.with {
            cte.query.walk(visit);
            if let Some((step, _)) = &cte.recursive {
                step.walk(visit);
            }
        }
        self.own_exprs(&mut |expr| expr.walk(visit));
        match &self.body {
            Body::Select(select) => {
                if let Some(from) = &select.from {
                    from.walk(visit);
                }
            }
            Body::Values(_) => {}
            Body::Query(inner) => inner.walk(visit),
            Body::Set { left, right, .. } => {
                left.walk(visit);
                right.walk(visit);
            }
        }
    }

    /// Calls `visit` with each expression of it that is neither in FROM nor in another query.
    fn own_exprs(&self, visit: &mut dyn FnMut(&Expr)) {
        self.limit.iter().chain(&self.offset).for_each(&mut *visit);
        match &self.body {
            Body::Values(rows) => rows.iter().flatten().for_each(visit),
            Body::Query(_) | Body::Set { .. } => {}
            Body::Select(select) => {
                select.targets.iter().chain(&select.filter).for_each(&mut *visit);
                if let Some(grouping) = &select.grouping {
                    grouping.keys.iter().chain(&grouping.having).for_each(&mut *visit);
                    for call in &grouping.aggregates {
                        let ordered = call.order_by.iter().map(|(expr, ..)| expr);
                        let all = call.arguments.iter().chain(&call.filter).chain(&call.direct).chain(ordered);
                        all.for_each(&mut *visit);
                    }
                }
                select.windows.iter().flat_map(WindowCall::exprs).for_each(&mut *visit);
                select.sets.iter().flat_map(|call| &call.arguments).for_each(visit);
            }
        }
    }
}

impl Expr {
    /// Calls `visit` with all queries that stand in it.
    fn walk(&self, visit: &mut dyn FnMut(&Query)) {
        if let Some(query) = self.query() {
            query.walk(visit);
        }
        self.parts().into_iter().for_each(|part| part.walk(visit));
    }
}

impl From {
    fn walk(&self, visit: &mut dyn FnMut(&Query)) {
        match self {
            From::Scan(scan) => match &scan.source {
                Source::Query(query) => query.walk(visit),
                Source::Functions { calls, .. } => {
                    for (call, _) in calls {
                        match call {
                            FromCall::Set(call) => call.arguments.iter().for_each(|expr| expr.walk(visit)),
                            FromCall::Scalar(expr) => expr.walk(visit),
                        }
                    }
                }
                Source::Relation(_) | Source::Cte(_) => {}
            },
            From::Inner { inputs, conditions } => {
                inputs.iter().for_each(|input| input.walk(visit));
                conditions.iter().for_each(|expr| expr.walk(visit));
            }
            From::Outer { left, right, conditions, .. } => {
                left.walk(visit);
                right.walk(visit);
                conditions.iter().for_each(|expr| expr.walk(visit));
            }
        }
    }

    /// Calls `visit` with its scans, not with those of queries in it.
    pub fn scans<'f>(&'f self, visit: &mut dyn FnMut(&'f Scan)) {
        match self {
            From::Scan(scan) => visit(scan),
            From::Inner { inputs, .. } => inputs.iter().for_each(|input| input.scans(visit)),
            From::Outer { left, right, .. } => {
                left.scans(visit);
                right.scans(visit);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct SortKey {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Debug, Clone)]
pub struct Cte {
    pub id: usize,
    pub query: Arc<Query>,
    /// the term that is repeated over the rows that it gave last, and whether rows count once
    pub recursive: Option<(Arc<Query>, bool)>,
}

#[derive(Debug, Clone)]
pub enum Body {
    Select(Box<Select>),
    Values(Vec<Vec<Expr>>),
    Set { operator: SetOperator, all: bool, left: Arc<Query>, right: Arc<Query> },
    Query(Arc<Query>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOperator {
    Union,
    Intersect,
    Except,
}

#[derive(Debug, Clone)]
pub struct Select {
    /// how many values a row of its FROM has
    pub n_slots: usize,
    pub from: Option<From>,
    pub filter: Option<Expr>,
    pub grouping: Option<Grouping>,
    pub windows: Vec<WindowCall>,
    pub sets: Vec<SetCall>,
    /// first those of the query's columns, then those that it is sorted by
    pub targets: Vec<Expr>,
    pub distinct: Distinct,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distinct {
    No,
    /// by so many of the first targets
    Rows(usize),
    /// the first row for each of these targets
    On(Vec<usize>),
}

#[derive(Debug, Clone)]
pub struct Grouping {
    pub keys: Vec<Expr>,
    /// which keys each set has
    pub sets: Vec<Vec<usize>>,
    pub aggregates: Vec<AggregateCall>,
    pub having: Option<Expr>,
}

#[derive(Debug, Clone)]
pub struct AggregateCall {
    pub function: Aggregate,
    pub arguments: Vec<Expr>,
    pub filter: Option<Expr>,
    pub is_distinct: bool,
    /// the rows' order, each with whether it descends and whether NULLs come first
    pub order_by: Vec<(Expr, bool, bool)>,
    /// what a percentile is asked for
    pub direct: Vec<Expr>,
    /// of its value
    pub data_type: Type,
}

/// What makes one value of the arguments of all rows of a group.
#[derive(Clone)]
pub struct Aggregate {
    pub name: &'static str,
    pub call: Arc<dyn Fn(&Context<'_>, &[Row], &[Value]) -> Result<Value> + Send + Sync>,
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

#[derive(Debug, Clone)]
pub struct WindowCall {
    pub function: WindowFunction,
    pub arguments: Vec<Expr>,
    pub filter: Option<Expr>,
    pub partition_by: Vec<Expr>,
    pub order_by: Vec<(Expr, bool, bool)>,
    pub frame: Frame,
    /// of its values
    pub data_type: Type,
}

#[derive(Debug, Clone)]
pub enum WindowFunction {
    Aggregate(Aggregate),
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile,
    Lag,
    Lead,
    FirstValue,
    LastValue,
    NthValue,
}

impl WindowCall {
    /// All that is evaluated for it.
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let ordered = self.order_by.iter().map(|(expr, ..)| expr);
        let own = self.arguments.iter().chain(&self.filter).chain(&self.partition_by).chain(ordered);
        let bounds = [&self.frame.start, &self.frame.end].into_iter().filter_map(|bound| match bound {
            Bound::Preceding(by) | Bound::Following(by) => Some(by),
            _ => None,
        });
        let range =
            self.frame.range.iter().flat_map(|range| [&range.key].into_iter().chain(&range.start).chain(&range.end));
        own.chain(bounds).chain(range)
    }

    /// The same, to be changed.
    pub fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let ordered = self.order_by.iter_mut().map(|(expr, ..)| expr);
        let own = self.arguments.iter_mut().chain(&mut self.filter).chain(&mut self.partition_by).chain(ordered);
        let bounds = [&mut self.frame.start, &mut self.frame.end].into_iter().filter_map(|bound| match bound {
            Bound::Preceding(by) | Bound::Following(by) => Some(by),
            _ => None,
        });
        let range = self.frame.range.iter_mut().flat_map(|range| {
            let RangeFrame { key, start, end } = range.as_mut();
            [key].into_iter().chain(start).chain(end)
        });
        own.chain(bounds).chain(range)
    }
}

#[derive(Debug, Clone)]
pub struct Frame {
    pub units: FrameUnits,
    pub start: Bound,
    pub end: Bound,
    pub exclude: Exclude,
    /// where a bound of RANGE is an offset
    pub range: Option<Box<RangeFrame>>,
}

/// What a frame leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclude {
    Nothing,
    CurrentRow,
    /// and its peers
    Group,
    /// its peers alone
    Ties,
}

/// Frames between values of the key that rows are ordered by.
#[derive(Debug, Clone)]
pub struct RangeFrame {
    /// the key as it is compared
    pub key: Expr,
    /// the value at the bound, of the current row
    pub start: Option<Expr>,
    pub end: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameUnits {
    Rows,
    Range,
    Groups,
}

#[derive(Debug, Clone)]
pub enum Bound {
    UnboundedPreceding,
    Preceding(Expr),
    CurrentRow,
    Following(Expr),
    UnboundedFollowing,
}

#[derive(Debug, Clone)]
pub struct SetCall {
    pub function: SetFunction,
    pub arguments: Vec<Expr>,
    pub is_strict: bool,
}

/// Where rows come from. Each node fills slots of its own in the SELECT's row.
#[derive(Debug, Clone)]
pub enum From {
    Scan(Scan),
    /// joined in any order
    Inner {
        inputs: Vec<From>,
        conditions: Vec<Expr>,
    },
    Outer {
        kind: OuterJoin,
        left: Box<From>,
        right: Box<From>,
        conditions: Vec<Expr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OuterJoin {
    Left,
    Right,
    Full,
}

#[derive(Debug, Clone)]
pub struct Scan {
    /// differs between all scans of a statement
    pub id: usize,
    pub source: Source,
    /// columns of the source that are read, each with its slot
    pub slots: Vec<(usize, usize)>,
    /// of all columns of the source
    pub types: Vec<Type>,
    /// whether what it gives may change with the rows around it
    pub is_correlated: bool,
}

#[derive(Debug, Clone)]
pub enum Source {
    Relation(Arc<crate::Relation>),
    Query(Arc<Query>),
    Cte(usize),
    /// side by side, NULL where one gives fewer; each with how many columns it has, the last column a number if wanted
    Functions {
        calls: Vec<(FromCall, usize)>,
        with_ordinality: bool,
    },
}

#[derive(Debug, Clone)]
pub enum FromCall {
    Set(SetCall),
    Scalar(Expr),
}
