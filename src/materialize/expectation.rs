//! The condition of an expectation: SQL over the figures of a run.
//!
//! Each call of a figure becomes a column of one row, the rest is evaluated by the engine as any expression is.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use granary_catalog::Expectation;
use granary_sql::name::fold;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, UnaryOperator, Value,
    ValueWithSpan, VisitMut, VisitorMut,
};

use crate::engine::{QueryPlanner, RowExpression};
use crate::error::{Error, Kind, Result};
use crate::monitor::{Class, ColumnProfile, Drift, ExpectationResult, Profiled, RowsProfile, drift};
use crate::row::float_text;

/// What the row of figures is called in the expression.
const RELATION: &str = "run";

/// A run, and the one before it, if there is one.
pub struct Runs<'a> {
    pub this: &'a RowsProfile,
    pub previous: Option<&'a RowsProfile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Rows,
    DistinctKeys,
    Nulls,
    NullShare,
    Zeros,
    ZeroShare,
    NonFinite,
    Distinct,
    Min,
    Max,
    Mean,
    Stddev,
    Quantile,
    MinLength,
    MaxLength,
    MeanLength,
    Psi,
    JensenShannon,
    KolmogorovSmirnov,
    ShareChange,
}

/// All figures by what they are called.
const NAMES: [(&str, Name); 20] = [
    ("rows", Name::Rows),
    ("distinct_keys", Name::DistinctKeys),
    ("nulls", Name::Nulls),
    ("null_share", Name::NullShare),
    ("zeros", Name::Zeros),
    ("zero_share", Name::ZeroShare),
    ("non_finite", Name::NonFinite),
    ("distinct_values", Name::Distinct),
    ("min", Name::Min),
    ("max", Name::Max),
    ("mean", Name::Mean),
    ("stddev", Name::Stddev),
    ("quantile", Name::Quantile),
    ("min_length", Name::MinLength),
    ("max_length", Name::MaxLength),
    ("mean_length", Name::MeanLength),
    ("psi", Name::Psi),
    ("js_distance", Name::JensenShannon),
    ("ks", Name::KolmogorovSmirnov),
    ("share_change", Name::ShareChange),
];

impl Name {
    fn is_count(self) -> bool {
        matches!(
            self,
            Name::Rows
                | Name::DistinctKeys
                | Name::Nulls
                | Name::Zeros
                | Name::NonFinite
                | Name::Distinct
                | Name::MinLength
                | Name::MaxLength
        )
    }

    fn takes_column(self) -> bool {
        !matches!(self, Name::Rows | Name::DistinctKeys)
    }

    /// Whether it says anything of columns of a class.
    fn suits(self, class: Class) -> bool {
        let is_number = matches!(class, Class::Number | Class::Time);
        match self {
            Name::Rows | Name::DistinctKeys | Name::Nulls | Name::NullShare => true,
            Name::Psi | Name::JensenShannon | Name::ShareChange => true,
            Name::Zeros | Name::ZeroShare => is_number || matches!(class, Class::Text | Class::Length),
            Name::Distinct => is_number || matches!(class, Class::Text | Class::Boolean),
            Name::MinLength | Name::MaxLength | Name::MeanLength => matches!(class, Class::Text | Class::Length),
            _ => is_number,
        }
    }
}

/// Of which run a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    This,
    Previous,
    /// the difference of both
    Change,
}

#[derive(Debug, Clone, PartialEq)]
struct Figure {
    /// as typed
    text: String,
    name: Name,
    of: Of,
    column: Option<String>,
    /// of a quantile
    p: f64,
}

/// A condition with its figures told apart.
pub struct Condition {
    expr: Expr,
    figures: Vec<Figure>,
}

impl Condition {
    /// `columns`: those that runs of the view profile. Errors: 42703, 42883 and 42804 for figures that there are not.
    pub fn of(text: &str, columns: &[Profiled]) -> Result<Condition> {
        let mut expr = parsed(text)?;
        let mut finder = Finder { columns, figures: Vec::new() };
        match expr.visit(&mut finder) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(Condition { expr, figures: finder.figures }),
        }
    }

    /// Refuses what is no condition.
    pub fn check(&self, planner: &QueryPlanner) -> Result<()> {
        let schema = Arc::new(self.schema());
        let data_type = RowExpression::type_of(planner, self.expr.clone(), (RELATION, &schema))?;
        if data_type != DataType::Boolean {
            let message =
                format!("argument of CHECK must be type boolean, not type {}", crate::row::type_name(&data_type));
            return Err(Error::new(Kind::DatatypeMismatch, message));
        }
        RowExpression::of(planner, self.expr.clone(), (RELATION, &schema), Some(&DataType::Boolean)).map(|_| ())
    }

    /// Whether a run has written all features that it names.
    fn is_of(&self, run: &RowsProfile) -> bool {
        self.figures.iter().filter_map(|figure| figure.column.as_ref()).all(|name| run.column(name).is_some())
    }

    /// None: it is NULL.
    fn holds(&self, planner: &QueryPlanner, runs: &Runs<'_>) -> Result<Option<bool>> {
        let schema = Arc::new(self.schema());
        let arrays = self
            .figures
            .iter()
            .map(|figure| figure.array(runs))
            .chain([Arc::new(Int64Array::from(vec![0])) as ArrayRef]);
        let row = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())
            .map_err(|error| Error::internal("the figures of a run").with_source(error))?;
        let compiled = RowExpression::of(planner, self.expr.clone(), (RELATION, &schema), Some(&DataType::Boolean))?;
        let values = compiled.values(&row)?;
        let value = values.as_boolean_opt().ok_or_else(|| Error::internal("a condition is not boolean"))?;
        Ok(value.is_valid(0).then(|| value.value(0)))
    }

    /// One column a figure, and one more, since a row has to have one.
    fn schema(&self) -> Schema {
        let of = |figure: &Figure| Field::new(&figure.text, figure.data_type(), true);
        let fields = self.figures.iter().map(of).chain([Field::new("_", DataType::Int64, false)]);
        Schema::new(fields.collect::<Vec<_>>())
    }
}

/// What an expectation says of a run; nothing if it names features that the run has not written. A condition that cannot be
/// evaluated does not hold.
pub fn evaluate(
    planner: &QueryPlanner,
    expectation: &Expectation,
    columns: &[Profiled],
    runs: &Runs<'_>,
) -> Option<ExpectationResult> {
    let mut result = ExpectationResult {
        id: expectation.header.id.0,
        name: expectation.header.name.clone(),
        check: expectation.check.clone(),
        severity: expectation.severity.as_str().to_owned(),
        on_failure: expectation.on_failure.as_str().to_owned(),
        ok: Some(false),
        figures: Vec::new(),
        error: None,
    };
    let condition = Condition::of(&expectation.check, columns);
    if condition.as_ref().is_ok_and(|condition| !condition.is_of(runs.this)) {
        return None;
    }
    let held = condition.and_then(|condition| {
        let figures = condition.figures.iter().map(|figure| (figure.text.clone(), figure.shown(runs)));
        result.figures = figures.collect();
        condition.holds(planner, runs)
    });
    match held {
        Ok(held) => result.ok = held,
        Err(error) => result.error = Some(error.message().to_owned()),
    }
    Some(result)
}

impl Figure {
    fn data_type(&self) -> DataType {
        if self.name.is_count() { DataType::Int64 } else { DataType::Float64 }
    }

    fn value(&self, runs: &Runs<'_>) -> Option<f64> {
        let this = || self.value_in(runs.this, runs.previous);
        // what two runs before has drifted to is not known of the run before
        let previous = || self.value_in(runs.previous?, None);
        match self.of {
            Of::This => this(),
            Of::Previous => previous(),
            Of::Change => Some(this()? - previous()?),
        }
    }

    fn array(&self, runs: &Runs<'_>) -> ArrayRef {
        let value = self.value(runs);
        match self.data_type() {
            // counts are far below 2^53
            DataType::Int64 => Arc::new(Int64Array::from(vec![value.map(|value| value as i64)])),
            _ => Arc::new(Float64Array::from(vec![value])),
        }
    }

    fn shown(&self, runs: &Runs<'_>) -> String {
        self.value(runs).map_or_else(|| "NULL".to_owned(), float_text)
    }

    fn value_in(&self, run: &RowsProfile, previous: Option<&RowsProfile>) -> Option<f64> {
        let name = match &self.column {
            None if self.name == Name::Rows => return Some(run.rows as f64),
            None => return Some(run.keys.count() as f64),
            Some(name) => name,
        };
        let column = run.column(name)?;
        let numbers = column.numbers();
        let lengths = column.lengths();
        let share = |count: u64| (column.rows > 0).then(|| count as f64 / column.rows as f64);
        let drifted = || -> Option<Drift> { drift(previous?.column(name)?, column) };
        match self.name {
            Name::Rows | Name::DistinctKeys => None,
            Name::Nulls => Some(column.nulls as f64),
            Name::NullShare => share(column.nulls),
            Name::Zeros => column.zeros().map(|zeros| zeros as f64),
            Name::ZeroShare => share(column.zeros()?),
            Name::NonFinite => Some(numbers?.non_finite() as f64),
            Name::Distinct => distinct_of(column),
            Name::Min => numbers?.min(),
            Name::Max => numbers?.max(),
            Name::Mean => numbers?.mean(),
            Name::Stddev => numbers?.stddev(),
            Name::Quantile => numbers?.quantile(self.p),
            Name::MinLength => lengths?.min().map(|length| length as f64),
            Name::MaxLength => lengths?.max().map(|length| length as f64),
            Name::MeanLength => lengths?.mean(),
            Name::Psi => Some(drifted()?.psi),
            Name::JensenShannon => Some(drifted()?.js),
            Name::KolmogorovSmirnov => drifted()?.ks,
            Name::ShareChange => drifted()?.share_change,
        }
    }
}

fn distinct_of(column: &ColumnProfile) -> Option<f64> {
    column.distinct().map(|(count, _)| count as f64)
}

/// Puts columns in the place of figures.
struct Finder<'a> {
    columns: &'a [Profiled],
    figures: Vec<Figure>,
}

impl VisitorMut for Finder<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.figure(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(figure)) => {
                *expr = Expr::Identifier(Ident::with_quote('"', &figure.text));
                if !self.figures.contains(&figure) {
                    self.figures.push(figure);
                }
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Finder<'_> {
    fn figure(&self, expr: &Expr) -> Result<Option<Figure>> {
        let text = expr.to_string();
        let Some((name, arguments)) = call(expr) else { return Ok(None) };
        let of = match name.as_str() {
            "previous" => Of::Previous,
            "change" => Of::Change,
            _ => return self.plain(&name, &arguments, text),
        };
        let figure = match arguments.as_slice() {
            [inner] => match call(inner) {
                Some((name, arguments)) => self.plain(&name, &arguments, text)?,
                None => None,
            },
            _ => None,
        };
        match figure {
            Some(figure) if of == Of::Previous && needs_previous(figure.name) => {
                Err(Error::new(Kind::InvalidParameterValue, format!("{name} is not of figures that compare two runs")))
            }
            Some(figure) => Ok(Some(Figure { of, ..figure })),
            None => Err(Error::new(Kind::UndefinedFunction, format!("{name} takes one figure"))
                .with_hint(format!("{name}(null_share(feature))"))),
        }
    }

    fn plain(&self, name: &str, arguments: &[&Expr], text: String) -> Result<Option<Figure>> {
        let Some((_, known)) = NAMES.iter().find(|(known, _)| *known == name) else { return Ok(None) };
        let wrong = |takes: &str| Error::new(Kind::UndefinedFunction, format!("{name} takes {takes}"));
        let figure = Figure { text, name: *known, of: Of::This, column: None, p: 0.0 };
        if !known.takes_column() {
            return if arguments.is_empty() { Ok(Some(figure)) } else { Err(wrong("no argument")) };
        }
        let (column, p) = match (known, arguments) {
            (Name::Quantile, [Expr::Identifier(column), p]) => (column, share_of(p)?),
            (Name::Quantile, _) => return Err(wrong("a feature and a share from 0 to 1")),
            (_, [Expr::Identifier(column)]) => (column, 0.0),
            _ => return Err(wrong("the name of a feature")),
        };
        let column = fold(column);
        let Some(profiled) = self.columns.iter().find(|profiled| profiled.name == column) else {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(Error::new(Kind::UndefinedColumn, format!("runs have no figures of \"{column}\""))
                .with_hint(format!("there are those of {}", names.join(", "))));
        };
        if !known.suits(profiled.class) {
            return Err(Error::new(
                Kind::DatatypeMismatch,
                format!("{name} says nothing of \"{column}\", by its type"),
            ));
        }
        Ok(Some(Figure { column: Some(column), p, ..figure }))
    }
}

fn needs_previous(name: Name) -> bool {
    matches!(name, Name::Psi | Name::JensenShannon | Name::KolmogorovSmirnov | Name::ShareChange)
}

/// The folded name and arguments of a plain call.
fn call(expr: &Expr) -> Option<(String, Vec<&Expr>)> {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), over: None, filter: None, .. }) = expr
    else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
    let arguments: Option<Vec<&Expr>> = list
        .args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect();
    Some((fold(name), arguments?))
}

fn share_of(expr: &Expr) -> Result<f64> {
    let number = match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number.to_string().parse::<f64>().ok(),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => return share_of(expr),
        _ => None,
    };
    number.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
        Error::new(Kind::InvalidParameterValue, format!("{expr} is no share of a quantile"))
            .with_hint("a number from 0 to 1, as in quantile(amount, 0.95)")
    })
}

fn parsed(text: &str) -> Result<Expr> {
    use sqlparser::ast::{SelectItem, SetExpr};
    let statements = granary_sql::parse(&format!("SELECT ({text})"))?;
    if let Some(granary_sql::Statement::Query(query)) = statements.into_iter().next().map(|parsed| parsed.statement)
        && let SetExpr::Select(select) = *query.ast.body
        && let Some(SelectItem::UnnamedExpr(Expr::Nested(expr))) = select.projection.into_iter().next()
    {
        return Ok(*expr);
    }
    Err(Error::internal("a stored condition does not parse").with_detail(text))
}
