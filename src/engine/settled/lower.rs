//! A settled query as a plan of DataFusion. What has no equal there stops it; then the query runs in memory.

mod exprs;
mod grouping;
mod subqueries;
mod windows;

pub use exprs::parameter_type;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::functions::unicode::expr_fn::rpad;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr, lit};
use granary_postgres::plan::{self, Body, Distinct, ExprKind, From, FromCall, OuterJoin, Output, Query, Scan, Select};
use granary_postgres::plan::{SetOperator, Source};
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Context, Value as Pg, World};

use super::world::SettledWorld;
use super::{Purpose, carry};
use crate::engine::catalog_query::arrays;
use crate::engine::query::is_of_texts;
use crate::engine::tables::system::SystemContext;
use crate::error::Error;

/// Why a query is no plan.
#[derive(Debug)]
pub enum Stop {
    /// what has no equal in DataFusion
    NoEqual(&'static str),
    Failed(Error),
}

impl std::convert::From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Stop {
        Stop::Failed(error.into())
    }
}

pub type Lowering<T> = std::result::Result<T, Stop>;

/// An expression, the type that it has, and the one that carries it.
#[derive(Debug, Clone)]
pub struct Lowered {
    pub expr: Expr,
    pub data_type: DataType,
}

impl Lowered {
    fn new(expr: Expr, data_type: DataType) -> Lowered {
        Lowered { expr, data_type }
    }

    fn of_column(name: String, data_type: DataType) -> Lowered {
        Lowered { expr: Expr::Column(Column::new_unqualified(name)), data_type }
    }

    fn cast(self, data_type: DataType) -> Lowered {
        if self.data_type == data_type {
            return self;
        }
        Lowered { expr: datafusion::logical_expr::cast(self.expr, data_type.clone()), data_type }
    }
}

/// What expressions of one SELECT can name.
#[derive(Debug, Default)]
struct Scope {
    slots: HashMap<usize, Lowered>,
    /// keys of groups and aggregates, once there are groups
    groups: Option<(Vec<Lowered>, Vec<Lowered>)>,
    /// columns that the keys of a group decide, by their slots
    decided: HashMap<usize, Lowered>,
    windows: Vec<Lowered>,
    operands: Vec<Lowered>,
}

pub struct Lower<'a> {
    world: &'a Arc<SettledWorld>,
    state: &'a SessionState,
    context: SystemContext,
    /// of `$1`, `$2`, …; empty while a statement is only described
    values: &'a [Pg],
    /// in which types they are taken, as far as that is known
    taken_as: &'a [Option<DataType>],
    ctes: HashMap<usize, Arc<Query>>,
    scopes: Vec<Scope>,
    next: usize,
    /// names of columns that were given: all differ, so that none needs a qualifier
    names: HashSet<String>,
    /// whether it has queries in expressions, which DataFusion may refuse later
    pub may_be_refused: bool,
}

impl<'a> Lower<'a> {
    pub fn new(
        world: &'a Arc<SettledWorld>,
        state: &'a SessionState,
        context: SystemContext,
        (values, taken_as): (&'a [Pg], &'a [Option<DataType>]),
    ) -> Lower<'a> {
        Lower {
            world,
            state,
            context,
            values,
            taken_as,
            ctes: HashMap::new(),
            scopes: Vec::new(),
            next: 0,
            names: HashSet::new(),
            may_be_refused: false,
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// A name that no other column has, like this one.
    fn name(&mut self, like: &str) -> String {
        let mut name = like.to_owned();
        while !self.names.insert(name.clone()) {
            name = format!("{like}_{}", self.number());
        }
        name
    }

    fn scope(&self) -> &Scope {
        self.scopes.last().expect("a scope is open while expressions are lowered")
    }

    fn scope_mut(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("a scope is open while expressions are lowered")
    }

    fn world(&self) -> Arc<dyn World> {
        Arc::clone(self.world) as Arc<dyn World>
    }

    /// The plan, whose columns are those of the query.
    pub fn query(&mut self, query: &Query) -> Lowering<(LogicalPlan, Vec<Lowered>)> {
        for cte in &query.with {
            if cte.recursive.is_some() {
                return Err(Stop::NoEqual("WITH RECURSIVE"));
            }
            self.ctes.insert(cte.id, Arc::clone(&cte.query));
        }
        if query.with_ties {
            return Err(Stop::NoEqual("WITH TIES"));
        }
        let (plan, columns, is_sorted) = match &query.body {
            Body::Select(select) => self.select(select, query)?,
            Body::Values(rows) => {
                let (plan, columns) = self.values(rows, &query.columns)?;
                (plan, columns, false)
            }
            Body::Query(inner) => {
                let (plan, columns) = self.query(inner)?;
                (plan, columns, false)
            }
            Body::Set { operator, all, left, right } => {
                let (plan, columns) = self.set((*operator, *all), left, right)?;
                (plan, columns, false)
            }
        };
        let mut builder = LogicalPlanBuilder::from(plan);
        if !query.order_by.is_empty() && !is_sorted {
            let types = target_types(query);
            let keys = query.order_by.iter().map(|key| {
                let expr = self.sortable(&columns[key.column], &types[key.column])?;
                Ok(SortExpr::new(expr, !key.descending, key.nulls_first))
            });
            builder = builder.sort(keys.collect::<Lowering<Vec<_>>>()?)?;
        }
        let offset = query.offset.as_ref().map(|offset| self.limit(offset)).transpose()?;
        let limit = query.limit.as_ref().map(|limit| self.limit(limit)).transpose()?.flatten();
        if offset.is_some() || limit.is_some() {
            builder = builder.limit(offset.flatten().unwrap_or(0), limit)?;
        }
        let n_columns = query.columns.len();
        if columns.len() > n_columns {
            builder = builder.project(columns[..n_columns].iter().map(|column| column.expr.clone()))?;
        }
        let columns = columns.into_iter().take(n_columns).collect();
        Ok((builder.build()?, columns))
    }

    /// A number of rows; None for NULL. While a statement is only described, parameters have none.
    fn limit(&self, expr: &plan::Expr) -> Lowering<Option<usize>> {
        let number = match &expr.kind {
            ExprKind::Parameter(_) if self.values.is_empty() => return Ok(None),
            _ => self.constant(expr).ok_or(Stop::NoEqual("a LIMIT that is no constant"))?,
        };
        match number {
            Pg::Null => Ok(None),
            Pg::Int(number) => {
                // what is negative is an error in PostgreSQL's words
                usize::try_from(number).map(Some).map_err(|_| Stop::NoEqual("a negative LIMIT"))
            }
            _ => Err(Stop::NoEqual("a LIMIT that is no number")),
        }
    }

    /// The value of an expression that names nothing.
    fn constant(&self, expr: &plan::Expr) -> Option<Pg> {
        fn is_constant(expr: &plan::Expr) -> bool {
            let own = match &expr.kind {
                ExprKind::Constant(_) | ExprKind::Parameter(_) => true,
                ExprKind::Call { is_volatile, .. } => !is_volatile,
                _ => false,
            };
            own && expr.parts().into_iter().all(is_constant)
        }
        let context = Context::new(self.world.as_ref(), self.values.to_vec());
        is_constant(expr).then(|| granary_postgres::evaluate(expr, &[], &context).ok()).flatten()
    }

    fn values(&mut self, rows: &[Vec<plan::Expr>], columns: &[Output]) -> Lowering<(LogicalPlan, Vec<Lowered>)> {
        let number = self.number();
        self.scopes.push(Scope::default());
        let rows = rows
            .iter()
            .map(|row| row.iter().map(|item| self.carried(item).map(|item| item.expr)).collect::<Lowering<Vec<_>>>())
            .collect::<Lowering<Vec<_>>>();
        self.scopes.pop();
        let plan = LogicalPlanBuilder::values(rows?)?.build()?;
        self.renamed(plan, &format!("v{number}"), columns.len())
    }

    /// The first columns of a plan under names of ours.
    fn renamed(&self, plan: LogicalPlan, prefix: &str, n_columns: usize) -> Lowering<(LogicalPlan, Vec<Lowered>)> {
        let fields: Vec<(Expr, FieldRef)> = plan
            .schema()
            .iter()
            .take(n_columns)
            .map(|(qualifier, field)| (Expr::Column(Column::new(qualifier.cloned(), field.name())), Arc::clone(field)))
            .collect();
        let name = |index: usize| format!("{prefix}_{index}");
        let exprs: Vec<Expr> = fields.iter().enumerate().map(|(i, (expr, _))| expr.clone().alias(name(i))).collect();
        let columns = fields.iter().enumerate();
        let columns = columns.map(|(i, (_, field))| Lowered::of_column(name(i), field.data_type().clone())).collect();
        Ok((LogicalPlanBuilder::from(plan).project(exprs)?.build()?, columns))
    }

    fn set(
        &mut self,
        (operator, all): (SetOperator, bool),
        left: &Query,
        right: &Query,
    ) -> Lowering<(LogicalPlan, Vec<Lowered>)> {
        let number = self.number();
        let ((left_plan, left_columns), (right_plan, right_columns)) = (self.query(left)?, self.query(right)?);
        let mut sides = Vec::with_capacity(2);
        for (plan, columns) in [(left_plan, &left_columns), (right_plan, &right_columns)] {
            let mut exprs = Vec::with_capacity(columns.len());
            for (index, column) in columns.iter().enumerate() {
                let data_type = &left.columns[index].data_type;
                let wanted = common_carrier(&left_columns[index], &right_columns[index], data_type);
                let column = self.recarried(column.clone(), data_type, &wanted)?;
                if !(all && operator == SetOperator::Union) && !is_groupable(&column.data_type, data_type) {
                    return Err(Stop::NoEqual("equal values of this type that look different"));
                }
                exprs.push(column.expr.alias(format!("u{number}_{index}")));
            }
            sides.push(LogicalPlanBuilder::from(plan).project(exprs)?.build()?);
        }
        let right = sides.pop().ok_or(Stop::NoEqual("one side"))?;
        let left = sides.pop().ok_or(Stop::NoEqual("one side"))?;
        let plan = match (operator, all) {
            (SetOperator::Union, true) => LogicalPlanBuilder::from(left).union(right)?.build()?,
            (SetOperator::Union, false) => LogicalPlanBuilder::from(left).union(right)?.distinct()?.build()?,
            (SetOperator::Intersect, false) => LogicalPlanBuilder::intersect(left, right, false)?,
            (SetOperator::Except, false) => LogicalPlanBuilder::except(left, right, false)?,
            _ => return Err(Stop::NoEqual("INTERSECT ALL and EXCEPT ALL")),
        };
        self.renamed(plan, &format!("c{number}"), left_columns.len())
    }

    fn select(&mut self, select: &Select, query: &Query) -> Lowering<(LogicalPlan, Vec<Lowered>, bool)> {
        self.scopes.push(Scope::default());
        let made = self.select_in_scope(select, query);
        self.scopes.pop();
        made
    }

    fn select_in_scope(&mut self, select: &Select, query: &Query) -> Lowering<(LogicalPlan, Vec<Lowered>, bool)> {
        if !select.sets.is_empty() {
            return Err(Stop::NoEqual("a function that gives rows in the SELECT list"));
        }
        let number = self.number();
        let plan = match &select.from {
            None => LogicalPlanBuilder::empty(true).build()?,
            Some(from) => self.from(from, number)?,
        };
        let mut builder = LogicalPlanBuilder::from(plan);
        if let Some(filter) = &select.filter {
            builder = builder.filter(self.expr(filter)?.expr)?;
        }
        if let Some(grouping) = &select.grouping {
            builder = self.grouped(builder, grouping, (select, number))?;
        }
        if !select.windows.is_empty() {
            builder = self.windowed(builder, &select.windows)?;
        }
        let mut exprs = Vec::with_capacity(select.targets.len());
        let mut columns = Vec::with_capacity(select.targets.len());
        for (index, target) in select.targets.iter().enumerate() {
            let target = self.expr(target)?;
            let name = format!("t{number}_{index}");
            exprs.push(target.expr.alias(&name));
            columns.push(Lowered::of_column(name, target.data_type));
        }
        let distinct_columns: &[usize] = match &select.distinct {
            Distinct::No => &[],
            Distinct::Rows(n_columns) => &(0..*n_columns).collect::<Vec<_>>(),
            Distinct::On(places) => places,
        };
        for place in distinct_columns {
            if !is_groupable(&columns[*place].data_type, &select.targets[*place].data_type) {
                return Err(Stop::NoEqual("equal values of this type that look different"));
            }
        }
        let builder = builder.project(exprs)?;
        Ok(match &select.distinct {
            Distinct::No => (builder.build()?, columns, false),
            Distinct::Rows(_) => (builder.distinct()?.build()?, columns, false),
            Distinct::On(places) => {
                let on: Vec<Expr> = places.iter().map(|place| columns[*place].expr.clone()).collect();
                let mut keys = Vec::new();
                for key in &query.order_by {
                    let expr = self.sortable(&columns[key.column], &select.targets[key.column].data_type)?;
                    if !matches!(expr, Expr::Column(_)) {
                        return Err(Stop::NoEqual("DISTINCT ON in an order of its own"));
                    }
                    keys.push(SortExpr::new(expr, !key.descending, key.nulls_first));
                }
                // the first keys may stand in another order than in ON, and the others decide which row is the first
                let select = columns.iter().map(|column| column.expr.clone()).collect();
                let is_prefix = keys.iter().zip(&on).all(|(key, on)| key.expr == *on);
                if !keys.is_empty() && !is_prefix {
                    return Err(Stop::NoEqual("DISTINCT ON in another order"));
                }
                let is_sorted = false;
                (builder.distinct_on(on, select, (!keys.is_empty()).then_some(keys))?.build()?, columns, is_sorted)
            }
        })
    }

    fn from(&mut self, from: &From, number: usize) -> Lowering<LogicalPlan> {
        match from {
            From::Scan(scan) => self.scan(scan, number),
            From::Inner { inputs, conditions } => {
                let mut joined: Option<LogicalPlanBuilder> = None;
                for input in inputs {
                    let plan = self.from(input, number)?;
                    joined = Some(match joined {
                        None => LogicalPlanBuilder::from(plan),
                        Some(joined) => joined.cross_join(plan)?,
                    });
                }
                let mut joined = joined.unwrap_or_else(|| LogicalPlanBuilder::empty(true));
                let conditions = self.all(conditions)?;
                if let Some(condition) = datafusion::logical_expr::utils::conjunction(conditions) {
                    joined = joined.filter(condition)?;
                }
                Ok(joined.build()?)
            }
            From::Outer { kind, left, right, conditions } => {
                let (left, right) = (self.from(left, number)?, self.from(right, number)?);
                let kind = match kind {
                    OuterJoin::Left => JoinType::Left,
                    OuterJoin::Right => JoinType::Right,
                    OuterJoin::Full => JoinType::Full,
                };
                let conditions = self.all(conditions)?;
                let conditions = if conditions.is_empty() { vec![lit(true)] } else { conditions };
                Ok(LogicalPlanBuilder::from(left).join_on(right, kind, conditions)?.build()?)
            }
        }
    }

    fn all(&mut self, exprs: &[plan::Expr]) -> Lowering<Vec<Expr>> {
        exprs.iter().map(|expr| self.expr(expr).map(|expr| expr.expr)).collect()
    }

    fn scan(&mut self, scan: &Scan, number: usize) -> Lowering<LogicalPlan> {
        if scan.is_correlated && !matches!(scan.source, Source::Cte(_)) {
            return Err(Stop::NoEqual("LATERAL"));
        }
        // the columns of what is read, in the order of the source's
        let (plan, columns): (LogicalPlan, Vec<(Expr, DataType)>) = match &scan.source {
            Source::Relation(relation) => {
                let Some(source) = self.world.source(relation) else { return Err(Stop::NoEqual("a catalog")) };
                let name = TableReference::bare(format!("r{}", scan.id));
                let plan = LogicalPlanBuilder::scan(name, Arc::clone(source), None)?.build()?;
                let columns = plan.schema().iter().map(|(qualifier, field)| {
                    (Expr::Column(Column::new(qualifier.cloned(), field.name())), field.data_type().clone())
                });
                let columns = columns.collect();
                (plan, columns)
            }
            Source::Query(query) => self.inner_query(query)?,
            Source::Cte(id) => {
                let query = self.ctes.get(id).cloned().ok_or(Stop::NoEqual("a term of WITH RECURSIVE"))?;
                self.inner_query(&query)?
            }
            Source::Functions { calls, with_ordinality } => match self.series(calls, *with_ordinality)? {
                Some((plan, column)) => (plan, vec![column]),
                None => {
                    let provider =
                        super::interpreted::rows_of_functions(scan, self.world, self.context.clone(), self.values)
                            .ok_or(Stop::NoEqual("functions of FROM"))?;
                    let source = datafusion::datasource::provider_as_source(Arc::new(provider));
                    let name = TableReference::bare(format!("r{}", scan.id));
                    let plan = LogicalPlanBuilder::scan(name, source, None)?.build()?;
                    let columns = plan.schema().iter().map(|(qualifier, field)| {
                        (Expr::Column(Column::new(qualifier.cloned(), field.name())), field.data_type().clone())
                    });
                    let columns = columns.collect();
                    (plan, columns)
                }
            },
        };
        let is_in_memory = matches!(&scan.source, Source::Functions { .. }) && columns.len() == scan.slots.len();
        let mut exprs = Vec::with_capacity(scan.slots.len());
        for (index, (column, slot)) in scan.slots.iter().enumerate() {
            // functions give only the columns that are read
            let place = if is_in_memory { index } else { *column };
            let (expr, data_type) = columns.get(place).ok_or(Stop::NoEqual("a column that is not there"))?;
            let name = match (&scan.source, expr) {
                (Source::Relation(relation), _) => self.name(&relation.columns[*column].name),
                (_, Expr::Column(own)) => self.name(&own.name),
                _ => self.name("value"),
            };
            let length = match &scan.source {
                Source::Relation(relation) => carry::padded_length(&relation.columns[*column].data_type),
                _ => None,
            };
            let expr = match length.and_then(|length| i64::try_from(length).ok()) {
                Some(length) => rpad(vec![expr.clone(), lit(length)]),
                None => expr.clone(),
            };
            exprs.push(expr.alias(&name));
            self.scope_mut().slots.insert(*slot, Lowered::of_column(name, data_type.clone()));
        }
        if exprs.is_empty() {
            exprs.push(lit(true).alias(format!("q{number}_of_{}", scan.id)));
        }
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    }

    fn inner_query(&mut self, query: &Query) -> Lowering<(LogicalPlan, Vec<(Expr, DataType)>)> {
        let (plan, columns) = self.query(query)?;
        Ok((plan, columns.into_iter().map(|column| (column.expr, column.data_type)).collect()))
    }

    /// `generate_series` over whole numbers, which comes as it is read.
    fn series(
        &mut self,
        calls: &[(FromCall, usize)],
        with_ordinality: bool,
    ) -> Lowering<Option<(LogicalPlan, (Expr, DataType))>> {
        let [(FromCall::Set(call), 1)] = calls else { return Ok(None) };
        if with_ordinality || call.function.name != "generate_series" {
            return Ok(None);
        }
        let mut arguments = Vec::with_capacity(call.arguments.len());
        let mut data_type = DataType::Int64;
        for argument in &call.arguments {
            data_type = match argument.data_type.oid {
                t::INT4 => DataType::Int32,
                t::INT8 => DataType::Int64,
                _ => return Ok(None),
            };
            match self.constant(argument) {
                Some(Pg::Int(number)) => arguments.push(lit(number)),
                _ => return Ok(None),
            }
        }
        let Some(function) = self.state.table_functions().get("generate_series") else { return Ok(None) };
        let arguments = datafusion::catalog::TableFunctionArgs::new(&arguments, self.state);
        let Ok(provider) = function.create_table_provider_with_args(arguments) else { return Ok(None) };
        let name = TableReference::bare(format!("r{}", self.number()));
        let source = datafusion::datasource::provider_as_source(provider);
        let plan = LogicalPlanBuilder::scan(name, source, None)?.build()?;
        let Some((qualifier, field)) = plan.schema().iter().next() else { return Ok(None) };
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let column = datafusion::logical_expr::cast(column, data_type.clone());
        Ok(Some((plan, (column, data_type))))
    }
}

/// The types of all columns that the body of a query gives, also of those that are only sorted by.
fn target_types(query: &Query) -> Vec<Type> {
    match &query.body {
        Body::Select(select) => select.targets.iter().map(|target| target.data_type.clone()).collect(),
        _ => query.columns.iter().map(|column| column.data_type.clone()).collect(),
    }
}

/// Whether equal values look the same to Arrow.
pub fn is_groupable(carrier: &DataType, data_type: &Type) -> bool {
    match carrier {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            carry::is_text(data_type.oid) || data_type.oid == t::UUID
        }
        DataType::Boolean | DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Binary => true,
        DataType::Decimal128(..) => true,
        DataType::List(item) => data_type.element().is_some_and(|element| is_groupable(item.data_type(), &element)),
        number => number.is_integer() || number.is_floating(),
    }
}

/// A type in which values of both columns can be.
fn common_carrier(left: &Lowered, right: &Lowered, data_type: &Type) -> DataType {
    if left.data_type == right.data_type { left.data_type.clone() } else { carry::carrier(data_type) }
}

/// A field of that carrier, which says what the type is where Arrow does not.
pub fn field(name: &str, data_type: &Type, carrier: &DataType) -> FieldRef {
    let output = Output { name: name.to_owned(), data_type: data_type.clone(), relation: 0, number: 0 };
    let field = arrays::field(&output);
    if field.data_type() == carrier {
        return Arc::new(field);
    }
    Arc::new(field.with_data_type(carrier.clone()).with_metadata(HashMap::new()))
}

/// Whether a plan gives what its columns are said to.
pub fn check_carriers(plan: &LogicalPlan, columns: &[Lowered]) -> Lowering<()> {
    for column in columns {
        let own = column.expr.get_type(plan.schema())?;
        if own != column.data_type {
            return Err(Stop::NoEqual("a column of another type than was thought"));
        }
    }
    Ok(())
}

/// The columns of a plan as they are.
pub fn columns_of(plan: &LogicalPlan) -> Vec<Lowered> {
    let column = |(qualifier, field): (Option<&TableReference>, &FieldRef)| {
        Lowered::new(Expr::Column(Column::new(qualifier.cloned(), field.name())), field.data_type().clone())
    };
    plan.schema().iter().map(column).collect()
}

impl Lower<'_> {
    /// The plan with its columns as they are for, called `0`, `1`, …
    pub fn outputs(
        &self,
        plan: LogicalPlan,
        columns: Vec<Lowered>,
        query: &Query,
        purpose: Purpose,
    ) -> Lowering<LogicalPlan> {
        check_carriers(&plan, &columns)?;
        let mut exprs = Vec::with_capacity(columns.len());
        for (index, (column, output)) in columns.into_iter().zip(&query.columns).enumerate() {
            let is_any = match &column.data_type {
                DataType::List(item) => *item.data_type() == carry::ANY_NUMERIC,
                data_type => *data_type == carry::ANY_NUMERIC,
            };
            let wanted = match purpose {
                // a number of digits that is known is kept
                Purpose::Store if column.data_type.is_decimal() && output.data_type.modifier < 0 => {
                    column.data_type.clone()
                }
                Purpose::Store => carry::stored(&output.data_type),
                // zeros that nobody wrote are not shown
                Purpose::Answer if is_any => carry::carrier(&output.data_type),
                Purpose::Answer => column.data_type.clone(),
            };
            let column = self.recarried(column, &output.data_type, &wanted)?;
            // the type, where Arrow's does not say all of it
            let mut metadata = field("value", &output.data_type, &carry::carrier(&output.data_type)).metadata().clone();
            if wanted.is_string() && output.data_type.oid == t::INTERVAL {
                metadata.insert("pg.type".to_owned(), "interval".to_owned());
            }
            if !is_of_texts(&wanted) && !wanted.is_string() && !wanted.is_integer() && !wanted.is_decimal() {
                metadata.clear();
            } else if wanted.is_decimal() {
                metadata.insert("pg.modifier".to_owned(), output.data_type.modifier.to_string());
            }
            let metadata = (!metadata.is_empty()).then(|| metadata.into());
            exprs.push(column.expr.alias_with_metadata(index.to_string(), metadata));
        }
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    }

    /// The plan with its columns in these types, where they shall have others, called `0`, `1`, …
    pub fn stored(
        &self,
        plan: LogicalPlan,
        columns: Vec<Lowered>,
        query: &Query,
        wanted: &[Option<DataType>],
    ) -> Lowering<LogicalPlan> {
        check_carriers(&plan, &columns)?;
        let mut exprs = Vec::with_capacity(columns.len());
        for (index, ((column, output), wanted)) in columns.into_iter().zip(&query.columns).zip(wanted).enumerate() {
            let column = match wanted {
                Some(wanted) => self.recarried(column, &output.data_type, wanted)?,
                None => column,
            };
            exprs.push(column.expr.alias(index.to_string()));
        }
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    }
}
