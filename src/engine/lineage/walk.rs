//! From a plan, as the planner makes it of a query, to what decides each of its columns.
//!
//! A node or expression that is not known here is not passed over: all of its inputs decide all of its outputs.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunctionParams};
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, Join, LogicalPlan, SortExpr, TableScan, TableSource,
    WindowFunctionDefinition,
};

use super::{Influences, Origin, Transformation};
use crate::engine::functions::user::user_function;
use crate::engine::query::{Outline, OutlineOf, is_as_of_column};
use crate::engine::settled::Interpreted;

/// How deep plans may be nested: deeper ones have an error, and not the end of the stack.
const DEEPEST: usize = 2000;

/// What decides a relation.
#[derive(Debug, Clone)]
pub struct Output {
    schema: DFSchemaRef,
    /// by column of the schema, what its values are made of
    pub columns: Vec<Influences>,
    /// what decides which rows there are
    pub rows: Influences,
}

impl Output {
    pub fn new(schema: DFSchemaRef, columns: Vec<Influences>) -> Output {
        Output { schema, columns, rows: Influences::new() }
    }

    fn find(&self, column: &Column) -> Option<&Influences> {
        let index = self.schema.index_of_column_by_name(column.relation.as_ref(), &column.name)?;
        self.columns.get(index)
    }

    /// Of the column with that name.
    pub fn named(&self, name: &str) -> Option<&Influences> {
        self.find(&Column::new_unqualified(name))
    }

    /// All that decides it.
    fn whole(&self) -> Influences {
        self.columns.iter().flatten().chain(&self.rows).cloned().collect()
    }
}

/// The same, used in this way.
pub fn used(influences: &Influences, how: Transformation) -> Influences {
    influences.iter().map(|(origin, own)| (origin.clone(), own.then(how))).collect()
}

/// What decides each column of a plan.
pub fn walk(plan: &LogicalPlan) -> Result<Output> {
    Walker::default().plan(plan, &[])
}

/// What decides an expression over the columns of `inputs`.
pub fn walk_expr(expr: &Expr, input: &Output) -> Result<Influences> {
    Walker::default().expr(expr, &[input], &[])
}

#[derive(Default)]
struct Walker {
    /// of recursive queries around, the name and what is known so far of their rows
    working: Vec<(String, Output)>,
    depth: usize,
}

impl Walker {
    /// `outer`: what subqueries may refer to, the nearest last.
    fn plan(&mut self, plan: &LogicalPlan, outer: &[Output]) -> Result<Output> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(DataFusionError::Plan("the plan is nested too deep".to_owned()));
        }
        let output = self.node(plan, outer);
        self.depth -= 1;
        output
    }

    fn node(&mut self, plan: &LogicalPlan, outer: &[Output]) -> Result<Output> {
        let schema = Arc::clone(plan.schema());
        Ok(match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, outer)?,
            LogicalPlan::SubqueryAlias(alias) => Output { schema, ..self.plan(&alias.input, outer)? },
            LogicalPlan::Subquery(subquery) => Output { schema, ..self.plan(&subquery.subquery, outer)? },
            LogicalPlan::Repartition(repartition) => self.plan(&repartition.input, outer)?,
            LogicalPlan::Projection(projection) => {
                let input = self.plan(&projection.input, outer)?;
                let columns = self.exprs(&projection.expr, &[&input], outer)?;
                Output { schema, columns, rows: input.rows }
            }
            LogicalPlan::Filter(filter) => {
                let mut input = self.plan(&filter.input, outer)?;
                let mut sides = Vec::new();
                add_sides(&filter.input, &mut sides);
                for condition in split_conjunction(&filter.predicate) {
                    let found = self.expr(condition, &[&input], outer)?;
                    let how = if is_between(condition, &sides) { Transformation::Join } else { Transformation::Filter };
                    input.rows.extend(used(&found, how));
                }
                input
            }
            LogicalPlan::Limit(limit) => {
                let mut input = self.plan(&limit.input, outer)?;
                for count in limit.skip.iter().chain(&limit.fetch) {
                    let found = self.expr(count, &[&input], outer)?;
                    input.rows.extend(used(&found, Transformation::Filter));
                }
                input
            }
            LogicalPlan::Sort(sort) => {
                let mut input = self.plan(&sort.input, outer)?;
                let found = self.sorted(&sort.expr, &[&input], outer)?;
                input.rows.extend(used(&found, Transformation::Sort));
                input
            }
            LogicalPlan::Window(window) => {
                let input = self.plan(&window.input, outer)?;
                let computed = self.exprs(&window.window_expr, &[&input], outer)?;
                let columns = input.columns.into_iter().chain(computed).collect();
                Output { schema, columns, rows: input.rows }
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, outer)?,
            LogicalPlan::Join(join) => self.join(join, outer)?,
            LogicalPlan::Union(union) => {
                let mut whole = Output::new(schema, vec![Influences::new(); plan.schema().fields().len()]);
                for input in &union.inputs {
                    let input = self.plan(input, outer)?;
                    whole.rows.extend(input.rows);
                    whole.columns.iter_mut().zip(input.columns).for_each(|(all, own)| all.extend(own));
                }
                whole
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let mut input = self.plan(input, outer)?;
                let found: Influences = input.columns.iter().flatten().cloned().collect();
                input.rows.extend(used(&found, Transformation::GroupBy));
                input
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                let input = self.plan(&distinct.input, outer)?;
                let columns = self.exprs(&distinct.select_expr, &[&input], outer)?;
                let mut rows = input.rows.clone();
                for key in self.exprs(&distinct.on_expr, &[&input], outer)? {
                    rows.extend(used(&key, Transformation::GroupBy));
                }
                let order = distinct.sort_expr.as_deref().unwrap_or_default();
                rows.extend(used(&self.sorted(order, &[&input], outer)?, Transformation::Sort));
                Output { schema, columns, rows }
            }
            LogicalPlan::Values(values) => {
                let mut columns = vec![Influences::new(); plan.schema().fields().len()];
                for row in &values.values {
                    let found = self.exprs(row, &[], outer)?;
                    columns.iter_mut().zip(found).for_each(|(all, own)| all.extend(own));
                }
                Output::new(schema, columns)
            }
            LogicalPlan::EmptyRelation(_) => Output::new(schema, vec![Influences::new(); plan.schema().fields().len()]),
            LogicalPlan::Unnest(unnest) => {
                let input = self.plan(&unnest.input, outer)?;
                let is_unnested = |index: usize| {
                    unnest.list_type_columns.iter().any(|(list, _)| *list == index)
                        || unnest.struct_type_columns.contains(&index)
                };
                let column = |index: &usize| {
                    let own = input.columns.get(*index).cloned().unwrap_or_default();
                    if is_unnested(*index) { used(&own, Transformation::Transformation) } else { own }
                };
                let columns = unnest.dependency_indices.iter().map(column).collect();
                Output { schema, columns, rows: input.rows }
            }
            LogicalPlan::RecursiveQuery(query) => {
                let mut known = Output { schema: Arc::clone(&schema), ..self.plan(&query.static_term, outer)? };
                loop {
                    self.working.push((query.name.clone(), known.clone()));
                    let found = self.plan(&query.recursive_term, outer);
                    self.working.pop();
                    let (found, mut next) = (found?, known.clone());
                    next.rows.extend(found.rows);
                    next.columns.iter_mut().zip(found.columns).for_each(|(all, own)| all.extend(own));
                    // sets that only grow, of finitely many
                    if next.rows.len() == known.rows.len() && sizes(&next).eq(sizes(&known)) {
                        break known;
                    }
                    known = next;
                }
            }
            other => self.unknown(other, outer)?,
        })
    }

    /// All inputs decide all outputs.
    fn unknown(&mut self, plan: &LogicalPlan, outer: &[Output]) -> Result<Output> {
        let inputs = plan.inputs().into_iter().map(|input| self.plan(input, outer)).collect::<Result<Vec<_>>>()?;
        let mut all: Influences = inputs.iter().flat_map(Output::whole).collect();
        let inputs: Vec<&Output> = inputs.iter().collect();
        for found in self.exprs(&plan.expressions(), &inputs, outer)? {
            all.extend(found);
        }
        if all.is_empty() {
            all.insert((Origin::Unnamed(plan.display().to_string()), Transformation::Unknown));
        }
        let columns = vec![used(&all, Transformation::Unknown); plan.schema().fields().len()];
        Ok(Output::new(Arc::clone(plan.schema()), columns))
    }

    fn scan(&mut self, scan: &TableScan, outer: &[Output]) -> Result<Output> {
        let schema = Arc::clone(&scan.projected_schema);
        if let Some((_, working)) = self.working.iter().rev().find(|(name, _)| scan.table_name.table() == name) {
            return Ok(Output { schema, ..projected(working.clone(), scan.projection.as_deref()) });
        }
        // a plan that stands in the place of rows
        if let Some(plan) = scan.source.get_logical_plan() {
            return Ok(Output { schema, ..projected(self.plan(&plan, outer)?, scan.projection.as_deref()) });
        }
        let mut output = Output::new(Arc::clone(&schema), Vec::new());
        let provider = source_as_provider(&scan.source)?;
        if let Some(interpreted) = provider.downcast_ref::<Interpreted>() {
            let mut all = Influences::new();
            for (source, columns) in interpreted.columns_read() {
                all.extend(columns.into_iter().flat_map(|column| of_source(source, column)));
            }
            output.columns = vec![used(&all, Transformation::Unknown); schema.fields().len()];
            return Ok(output);
        }
        let places: Vec<usize> = match &scan.projection {
            Some(places) => places.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        output.columns = places.into_iter().map(|place| of_source(&scan.source, place)).collect();
        for filter in &scan.filters {
            let found = self.expr(filter, &[&output], outer)?;
            output.rows.extend(used(&found, Transformation::Filter));
        }
        Ok(output)
    }

    fn aggregate(&mut self, aggregate: &Aggregate, outer: &[Output]) -> Result<Output> {
        let input = self.plan(&aggregate.input, outer)?;
        let keys: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        let mut columns = self.exprs(&keys, &[&input], outer)?;
        let by: Influences = columns.iter().flat_map(|key| used(key, Transformation::GroupBy)).collect();
        // of grouping sets there is the number of the set behind the keys
        let n_keys = aggregate.schema.fields().len().saturating_sub(aggregate.aggr_expr.len());
        columns.resize(n_keys, by.clone());
        columns.extend(self.exprs(&aggregate.aggr_expr, &[&input], outer)?);
        let rows = input.rows.into_iter().chain(by).collect();
        Ok(Output { schema: Arc::clone(&aggregate.schema), columns, rows })
    }

    fn join(&mut self, join: &Join, outer: &[Output]) -> Result<Output> {
        let left = self.plan(&join.left, outer)?;
        // the right side of a lateral join sees the left
        let seen: Vec<Output> = outer.iter().cloned().chain([left.clone()]).collect();
        let right = self.plan(&join.right, &seen)?;
        let mut rows: Influences = left.rows.iter().chain(&right.rows).cloned().collect();
        for (left_key, right_key) in &join.on {
            rows.extend(used(&self.expr(left_key, &[&left], outer)?, Transformation::Join));
            rows.extend(used(&self.expr(right_key, &[&right], outer)?, Transformation::Join));
        }
        if let Some(condition) = &join.filter {
            rows.extend(used(&self.expr(condition, &[&left, &right], outer)?, Transformation::Join));
        }
        let columns = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => left.columns,
            JoinType::RightSemi | JoinType::RightAnti => right.columns,
            JoinType::LeftMark => left.columns.into_iter().chain([rows.clone()]).collect(),
            JoinType::RightMark => right.columns.into_iter().chain([rows.clone()]).collect(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                left.columns.into_iter().chain(right.columns).collect()
            }
        };
        Ok(Output { schema: Arc::clone(&join.schema), columns, rows })
    }

    fn exprs(&mut self, exprs: &[Expr], inputs: &[&Output], outer: &[Output]) -> Result<Vec<Influences>> {
        exprs.iter().map(|expr| self.expr(expr, inputs, outer)).collect()
    }

    fn sorted(&mut self, order: &[SortExpr], inputs: &[&Output], outer: &[Output]) -> Result<Influences> {
        let mut found = Influences::new();
        for by in order {
            found.extend(self.expr(&by.expr, inputs, outer)?);
        }
        Ok(found)
    }

    fn expr(&mut self, expr: &Expr, inputs: &[&Output], outer: &[Output]) -> Result<Influences> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(DataFusionError::Plan("the expression is nested too deep".to_owned()));
        }
        let found = self.influences(expr, inputs, outer);
        self.depth -= 1;
        found
    }

    fn influences(&mut self, expr: &Expr, inputs: &[&Output], outer: &[Output]) -> Result<Influences> {
        Ok(match expr {
            Expr::Column(column) => found(column, inputs.iter().copied()),
            Expr::OuterReferenceColumn(_, column) => found(column, outer.iter().rev()),
            Expr::Alias(alias) => self.expr(&alias.expr, inputs, outer)?,
            Expr::Cast(cast) => {
                let own = self.expr(&cast.expr, inputs, outer)?;
                with_type(own, &cast.expr, cast.field.data_type(), inputs)
            }
            Expr::TryCast(cast) => {
                let own = self.expr(&cast.expr, inputs, outer)?;
                with_type(own, &cast.expr, cast.field.data_type(), inputs)
            }
            Expr::Case(case) => {
                let mut all = Influences::new();
                let conditions = case.when_then_expr.iter().map(|(when, _)| when);
                for condition in case.expr.iter().chain(conditions) {
                    all.extend(used(&self.expr(condition, inputs, outer)?, Transformation::Conditional));
                }
                let values = case.when_then_expr.iter().map(|(_, then)| then);
                for value in values.chain(&case.else_expr) {
                    all.extend(used(&self.expr(value, inputs, outer)?, Transformation::Transformation));
                }
                all
            }
            Expr::ScalarFunction(call) if let Some(function) = user_function(&call.func) => {
                let (body, schema) = function.body();
                let arguments = self.exprs(&call.args, inputs, outer)?;
                self.expr(body, &[&Output::new(Arc::new(schema.clone()), arguments)], &[])?
            }
            Expr::AggregateFunction(call) => self.aggregated(&call.params, inputs, outer)?,
            Expr::WindowFunction(call) => self.windowed(&call.fun, &call.params, inputs, outer)?,
            Expr::ScalarSubquery(subquery) => self.subquery(&subquery.subquery, inputs, outer)?,
            // no value is read of it
            Expr::Exists(exists) => self.inner(&exists.subquery.subquery, inputs, outer)?.rows,
            Expr::InSubquery(within) => {
                let mut all = self.subquery(&within.subquery.subquery, inputs, outer)?;
                all.extend(self.expr(&within.expr, inputs, outer)?);
                used(&all, Transformation::Transformation)
            }
            Expr::SetComparison(comparison) => {
                let mut all = self.subquery(&comparison.subquery.subquery, inputs, outer)?;
                all.extend(self.expr(&comparison.expr, inputs, outer)?);
                used(&all, Transformation::Transformation)
            }
            // everything else makes its value of those of its parts
            other => {
                let mut parts = Vec::new();
                other.apply_children(|part| {
                    parts.push(part.clone());
                    Ok(TreeNodeRecursion::Continue)
                })?;
                let all = self.exprs(&parts, inputs, outer)?.into_iter().flatten().collect();
                used(&all, Transformation::Transformation)
            }
        })
    }

    fn aggregated(
        &mut self,
        call: &AggregateFunctionParams,
        inputs: &[&Output],
        outer: &[Output],
    ) -> Result<Influences> {
        let mut all = Influences::new();
        for argument in &call.args {
            all.extend(used(&self.expr(argument, inputs, outer)?, Transformation::Aggregation));
        }
        if let Some(filter) = &call.filter {
            all.extend(used(&self.expr(filter, inputs, outer)?, Transformation::Filter));
        }
        all.extend(used(&self.sorted(&call.order_by, inputs, outer)?, Transformation::Sort));
        Ok(all)
    }

    fn windowed(
        &mut self,
        function: &WindowFunctionDefinition,
        call: &WindowFunctionParams,
        inputs: &[&Output],
        outer: &[Output],
    ) -> Result<Influences> {
        let how = match function {
            WindowFunctionDefinition::AggregateUDF(_) => Transformation::Aggregation,
            WindowFunctionDefinition::WindowUDF(_) => Transformation::Transformation,
        };
        let mut all = Influences::new();
        for argument in &call.args {
            all.extend(used(&self.expr(argument, inputs, outer)?, how));
        }
        if let Some(filter) = &call.filter {
            all.extend(used(&self.expr(filter, inputs, outer)?, Transformation::Filter));
        }
        for part in self.exprs(&call.partition_by, inputs, outer)? {
            all.extend(used(&part, Transformation::Window));
        }
        all.extend(used(&self.sorted(&call.order_by, inputs, outer)?, Transformation::Window));
        Ok(all)
    }

    fn inner(&mut self, plan: &LogicalPlan, inputs: &[&Output], outer: &[Output]) -> Result<Output> {
        let seen: Vec<Output> = outer.iter().chain(inputs.iter().copied()).cloned().collect();
        self.plan(plan, &seen)
    }

    /// The value of a subquery: of its rows, too.
    fn subquery(&mut self, plan: &LogicalPlan, inputs: &[&Output], outer: &[Output]) -> Result<Influences> {
        Ok(self.inner(plan, inputs, outer)?.whole())
    }
}

/// What an inner join is of, also one below it; of anything else, itself.
fn add_sides<'p>(plan: &'p LogicalPlan, sides: &mut Vec<&'p LogicalPlan>) {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            add_sides(&join.left, sides);
            add_sides(&join.right, sides);
        }
        LogicalPlan::Filter(filter) => add_sides(&filter.input, sides),
        other => sides.push(other),
    }
}

/// Whether a condition is one of a join: it names columns of several sides.
fn is_between(condition: &Expr, sides: &[&LogicalPlan]) -> bool {
    let columns = condition.column_refs();
    let is_named = |side: &&&LogicalPlan| {
        let has =
            |column: &&Column| side.schema().index_of_column_by_name(column.relation.as_ref(), &column.name).is_some();
        columns.iter().any(has)
    };
    sides.iter().filter(is_named).count() > 1
}

/// Whether a query runs in memory, so that nothing can be told of its columns.
pub fn is_interpreted(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= source_as_provider(&scan.source)?.downcast_ref::<Interpreted>().is_some();
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn sizes(output: &Output) -> impl Iterator<Item = usize> {
    output.columns.iter().map(Influences::len)
}

fn found<'o>(column: &Column, mut places: impl Iterator<Item = &'o Output>) -> Influences {
    match places.find_map(|output| output.find(column)) {
        Some(influences) => influences.clone(),
        None => Influences::from([(Origin::Unnamed(column.flat_name()), Transformation::Unknown)]),
    }
}

fn projected(mut output: Output, places: Option<&[usize]>) -> Output {
    if let Some(places) = places {
        output.columns = places.iter().map(|place| output.columns.get(*place).cloned().unwrap_or_default()).collect();
    }
    output
}

/// A cast to the type that a value has is none.
fn with_type(own: Influences, expr: &Expr, to: &DataType, inputs: &[&Output]) -> Influences {
    let type_in = |schema: &DFSchema| expr.get_type(schema).ok();
    match inputs.iter().find_map(|input| type_in(&input.schema)) {
        Some(from) if from == *to => own,
        _ => used(&own, Transformation::Transformation),
    }
}

/// What a column of a relation is.
fn of_source(source: &Arc<dyn TableSource>, place: usize) -> Influences {
    let schema = source.schema();
    let Some(field) = schema.fields().get(place) else { return Influences::new() };
    let name = field.name();
    let provider = source_as_provider(source);
    let origin = match provider.as_ref().ok().and_then(|provider| provider.downcast_ref::<Outline>()) {
        // a column that a time is bound to is of the statement alone
        Some(Outline { of: OutlineOf::Object(_), .. }) if is_as_of_column(name) => return Influences::new(),
        Some(Outline { of: OutlineOf::Object(id), .. }) => Origin::Column(*id, name.clone()),
        Some(Outline { of: OutlineOf::System(schema, relation), .. }) => Origin::System(schema, relation, name.clone()),
        None => return Influences::from([(Origin::Unnamed(name.clone()), Transformation::Unknown)]),
    };
    Influences::from([(origin, Transformation::Identity)])
}
