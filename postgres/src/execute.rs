//! Carries out an analyzed query over rows in memory.

mod eval;
mod from;
mod grouping;
mod lazy;
#[cfg(test)]
mod tests;
mod window;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::datetime::Clock;
use crate::error::{Error, Result};
use crate::plan::{Body, Distinct, Expr, Query, Select, SetOperator, SortKey};
use crate::value::{Key, Row, Value, compare};
use crate::world::World;

/// Most rows that a statement may make on its way.
const MOST_ROWS: usize = 5_000_000;
/// How many rows are made between two looks at whether to stop.
const ROWS_BETWEEN_CHECKS: usize = 4096;

/// What is known while a statement is carried out.
pub struct Context<'a> {
    pub world: &'a dyn World,
    pub clock: Clock,
    parameters: Vec<Value>,
    ctes: RefCell<HashMap<usize, Arc<Vec<Row>>>>,
    /// what fixed queries and scans have given
    kept: RefCell<HashMap<usize, Arc<Vec<Row>>>>,
    indexes: RefCell<HashMap<(usize, Vec<usize>), Arc<from::Index>>>,
    n_rows: Cell<usize>,
    depth: Cell<usize>,
}

impl<'a> Context<'a> {
    pub fn new(world: &'a dyn World, parameters: Vec<Value>) -> Context<'a> {
        Context {
            world,
            clock: world.clock(),
            parameters,
            ctes: RefCell::default(),
            kept: RefCell::default(),
            indexes: RefCell::default(),
            n_rows: Cell::new(0),
            depth: Cell::new(0),
        }
    }

    /// Counts a row. Errors: 57014, 53200.
    fn count_row(&self) -> Result<()> {
        let n_rows = self.n_rows.get() + 1;
        self.n_rows.set(n_rows);
        if n_rows.is_multiple_of(ROWS_BETWEEN_CHECKS) {
            self.world.check_stopped()?;
        }
        if n_rows > MOST_ROWS {
            return Err(Error::new("53200", "out of memory")
                .with_detail(format!("The statement made more than {MOST_ROWS} rows on its way.")));
        }
        Ok(())
    }
}

/// The rows of a query.
pub fn execute(query: &Query, parameters: Vec<Value>, world: &dyn World) -> Result<Vec<Row>> {
    let context = Context::new(world, parameters);
    run(query, &context, None).map(|rows| Arc::try_unwrap(rows).unwrap_or_else(|rows| rows.as_ref().clone()))
}

/// The value of an expression over the columns of one row. It may hold no query and name no row further out.
pub fn evaluate(expr: &Expr, row: &[Value], context: &Context<'_>) -> Result<Value> {
    eval::eval(expr, context, &Env::of(row, None))
}

/// An aggregate of rows, over whose columns its expressions stand.
pub fn aggregate(call: &crate::plan::AggregateCall, rows: &[Row], context: &Context<'_>) -> Result<Value> {
    grouping::aggregate(call, rows.iter().map(|row| Env::of(row, None)), context, &Env::of(&[], None))
}

/// The rows of a SELECT's surroundings while one of its rows is looked at.
#[derive(Clone, Copy)]
struct Env<'e> {
    row: &'e [Value],
    group: Option<&'e grouping::Group>,
    windows: &'e [Value],
    sets: &'e [Value],
    operands: &'e [Value],
    outer: Option<&'e Env<'e>>,
}

impl<'e> Env<'e> {
    fn of(row: &'e [Value], outer: Option<&'e Env<'e>>) -> Env<'e> {
        Env { row, group: None, windows: &[], sets: &[], operands: &[], outer }
    }
}

/// What a query gives to its columns, and to nothing else.
fn run(query: &Query, context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Arc<Vec<Row>>> {
    if query.is_fixed
        && let Some(kept) = context.kept.borrow().get(&query.id)
    {
        return Ok(Arc::clone(kept));
    }
    const DEPTH_LIMIT: usize = 200;
    let depth = context.depth.get();
    if depth > DEPTH_LIMIT {
        return Err(Error::new("54001", "stack depth limit exceeded"));
    }
    context.depth.set(depth + 1);
    let rows = run_anew(query, context, outer);
    context.depth.set(depth);
    let rows = Arc::new(rows?);
    if query.is_fixed {
        context.kept.borrow_mut().insert(query.id, Arc::clone(&rows));
    }
    Ok(rows)
}

fn run_anew(query: &Query, context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
    for cte in &query.with {
        let rows = match &cte.recursive {
            None => run(&cte.query, context, outer)?,
            Some((step, once)) => {
                let enough = lazy::Enough::of(query, cte.id, context, outer)?;
                recursive(cte.id, (&cte.query, step, *once), enough, context, outer)?
            }
        };
        context.ctes.borrow_mut().insert(cte.id, rows);
    }
    let mut rows = match &query.body {
        Body::Select(select) => select_rows(select, context, outer)?,
        Body::Values(rows) => {
            let env = Env::of(&[], outer);
            let row = |row: &Vec<Expr>| row.iter().map(|item| eval::eval(item, context, &env)).collect::<Result<Row>>();
            rows.iter().map(row).collect::<Result<Vec<_>>>()?
        }
        Body::Query(inner) => run(inner, context, outer)?.as_ref().clone(),
        Body::Set { operator, all, left, right } => {
            let (left, right) = (run(left, context, outer)?, run(right, context, outer)?);
            combine(*operator, *all, &left, &right)
        }
    };
    if let Body::Select(select) = &query.body
        && let Distinct::On(places) = &select.distinct
    {
        // in the order asked for, so that the first of each is the one that is kept
        sort(&mut rows, &query.order_by);
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(Key(places.iter().map(|place| row[*place].clone()).collect())));
    } else {
        sort(&mut rows, &query.order_by);
    }
    limit(query, &mut rows, context, outer)?;
    let n_columns = query.columns.len();
    for row in &mut rows {
        row.truncate(n_columns);
    }
    Ok(rows)
}

fn recursive(
    id: usize,
    (start, step, once): (&Query, &Query, bool),
    mut enough: Option<lazy::Enough<'_>>,
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Arc<Vec<Row>>> {
    let mut seen = HashSet::new();
    let mut new_ones = |rows: &[Row]| -> Vec<Row> {
        rows.iter().filter(|row| !once || seen.insert(Key((*row).clone()))).cloned().collect()
    };
    let mut last = new_ones(&run(start, context, outer)?);
    let mut all = last.clone();
    while !last.is_empty() {
        if let Some(enough) = &mut enough
            && enough.counts(&last, context, outer)?
        {
            break;
        }
        context.world.check_stopped()?;
        for _ in &last {
            context.count_row()?;
        }
        context.ctes.borrow_mut().insert(id, Arc::new(last));
        last = new_ones(&run(step, context, outer)?);
        all.extend(last.iter().cloned());
    }
    Ok(Arc::new(all))
}

fn combine(operator: SetOperator, all: bool, left: &[Row], right: &[Row]) -> Vec<Row> {
    let mut counts: HashMap<Key, usize> = HashMap::new();
    if operator != SetOperator::Union {
        for row in right {
            *counts.entry(Key(row.clone())).or_default() += 1;
        }
    }
    let mut rows: Vec<Row> = match operator {
        SetOperator::Union => left.iter().chain(right).cloned().collect(),
        SetOperator::Intersect | SetOperator::Except => {
            let is_except = operator == SetOperator::Except;
            let keep = |row: &&Row| {
                let Some(count) = counts.get_mut(&Key((*row).clone())) else { return is_except };
                if !all {
                    return !is_except;
                }
                // each row of the right takes one
                let is_taken = *count > 0;
                *count = count.saturating_sub(1);
                is_taken != is_except
            };
            left.iter().filter(keep).cloned().collect()
        }
    };
    if !all {
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(Key(row.clone())));
    }
    rows
}

fn by_keys(left: &[Value], right: &[Value], keys: &[SortKey]) -> Ordering {
    let differing = keys.iter().map(|key| {
        let (left, right) = (&left[key.column], &right[key.column]);
        order(left, right, key.descending, key.nulls_first)
    });
    differing.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The order of two values of a sort key.
pub(crate) fn order(left: &Value, right: &Value, descending: bool, nulls_first: bool) -> Ordering {
    match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        _ => {
            let order = compare(left, right);
            if descending { order.reverse() } else { order }
        }
    }
}

fn sort(rows: &mut [Row], keys: &[SortKey]) {
    if !keys.is_empty() {
        rows.sort_by(|left, right| by_keys(left, right, keys));
    }
}

fn limit(query: &Query, rows: &mut Vec<Row>, context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<()> {
    let number = |expr: &Option<Expr>, what: &str, sqlstate| -> Result<Option<usize>> {
        let Some(expr) = expr else { return Ok(None) };
        match eval::eval(expr, context, &Env::of(&[], outer))? {
            Value::Int(number) => usize::try_from(number)
                .map(Some)
                .map_err(|_| Error::new(sqlstate, format!("{what} must not be negative"))),
            _ => Ok(None),
        }
    };
    if let Some(offset) = number(&query.offset, "OFFSET", "2201X")? {
        rows.drain(..offset.min(rows.len()));
    }
    if let Some(most) = number(&query.limit, "LIMIT", "2201W")? {
        let mut end = most.min(rows.len());
        while query.with_ties
            && end > 0
            && end < rows.len()
            && by_keys(&rows[end - 1], &rows[end], &query.order_by).is_eq()
        {
            end += 1;
        }
        rows.truncate(end);
    }
    Ok(())
}

/// Rows of all targets of a SELECT, also those that are only sorted by.
fn select_rows(select: &Select, context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
    let mut rows = match &select.from {
        None => vec![vec![Value::Null; select.n_slots]],
        Some(from) => from::rows(from, select.n_slots, context, outer)?,
    };
    if let Some(filter) = &select.filter {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            if eval::is_true(filter, context, &Env::of(&row, outer))? {
                kept.push(row);
            }
        }
        rows = kept;
    }
    let groups = match &select.grouping {
        None => None,
        Some(grouping) => Some(grouping::groups(grouping, rows.as_slice(), select.n_slots, context, outer)?),
    };
    let n_rows = groups.as_ref().map_or(rows.len(), Vec::len);
    let env_of = |index: usize| match &groups {
        None => Env::of(&rows[index], outer),
        Some(groups) => Env { group: Some(&groups[index]), ..Env::of(&groups[index].row, outer) },
    };
    let windows = window::values(&select.windows, n_rows, &env_of, context)?;
    let mut made = Vec::with_capacity(n_rows);
    for index in 0..n_rows {
        let env = Env { windows: windows.get(index).map_or(&[], Vec::as_slice), ..env_of(index) };
        expand(select, context, &env, &mut made)?;
    }
    if let Distinct::Rows(n_columns) = select.distinct {
        let mut seen = HashSet::new();
        made.retain(|row| seen.insert(Key(row[..n_columns].to_vec())));
    }
    Ok(made)
}

/// One row of targets, or as many as the longest function in them gives.
fn expand(select: &Select, context: &Context<'_>, env: &Env<'_>, made: &mut Vec<Row>) -> Result<()> {
    let targets =
        |env: &Env<'_>| select.targets.iter().map(|target| eval::eval(target, context, env)).collect::<Result<Row>>();
    if select.sets.is_empty() {
        context.count_row()?;
        made.push(targets(env)?);
        return Ok(());
    }
    // a function among the arguments of another gives rows of its own first
    let mut given: Vec<Vec<Value>> = Vec::with_capacity(select.sets.len());
    for call in &select.sets {
        given.push(eval::set(call, context, env)?);
    }
    let n_rows = given.iter().map(Vec::len).max().unwrap_or(0);
    for index in 0..n_rows {
        context.count_row()?;
        let sets: Row = given.iter().map(|values| values.get(index).cloned().unwrap_or(Value::Null)).collect();
        made.push(targets(&Env { sets: &sets, ..*env })?);
    }
    Ok(())
}

/// Calls `visit` with every expression of a query, and with the level that `level` is there. A query's own SELECT is one
/// level further in than what stands around it, so what names `level` from outside names it by one more.
fn visit_exprs(query: &Query, level: usize, visit: &mut dyn FnMut(&Expr, usize)) {
    for cte in &query.with {
        visit_exprs(&cte.query, level, visit);
        if let Some((step, _)) = &cte.recursive {
            visit_exprs(step, level, visit);
        }
    }
    for expr in query.limit.iter().chain(&query.offset) {
        visit(expr, level);
    }
    match &query.body {
        Body::Values(rows) => rows.iter().flatten().for_each(|expr| visit(expr, level)),
        Body::Query(inner) => visit_exprs(inner, level, visit),
        Body::Set { left, right, .. } => {
            visit_exprs(left, level, visit);
            visit_exprs(right, level, visit);
        }
        Body::Select(select) => {
            let own = select.targets.iter().chain(&select.filter);
            own.for_each(|expr| visit(expr, level));
            if let Some(grouping) = &select.grouping {
                grouping.keys.iter().chain(&grouping.having).for_each(|expr| visit(expr, level));
                for call in &grouping.aggregates {
                    let ordered = call.order_by.iter().map(|(expr, ..)| expr);
                    call.arguments
                        .iter()
                        .chain(&call.filter)
                        .chain(&call.direct)
                        .chain(ordered)
                        .for_each(|expr| visit(expr, level));
                }
            }
            select.windows.iter().flat_map(crate::plan::WindowCall::exprs).for_each(|expr| visit(expr, level));
            select.sets.iter().flat_map(|call| &call.arguments).for_each(|expr| visit(expr, level));
            if let Some(from) = &select.from {
                visit_from(from, level, visit);
            }
        }
    }
}

fn visit_from(from: &crate::plan::From, level: usize, visit: &mut dyn FnMut(&Expr, usize)) {
    use crate::plan::{From, FromCall, Source};
    match from {
        From::Scan(scan) => match &scan.source {
            Source::Query(query) => visit_exprs(query, level + 1, visit),
            Source::Functions { calls, .. } => {
                for (call, _) in calls {
                    match call {
                        FromCall::Set(call) => call.arguments.iter().for_each(|expr| visit(expr, level)),
                        FromCall::Scalar(expr) => visit(expr, level),
                    }
                }
            }
            Source::Relation(_) | Source::Cte(_) => {}
        },
        From::Inner { inputs, conditions } => {
            inputs.iter().for_each(|input| visit_from(input, level, visit));
            conditions.iter().for_each(|expr| visit(expr, level));
        }
        From::Outer { left, right, conditions, .. } => {
            visit_from(left, level, visit);
            visit_from(right, level, visit);
            conditions.iter().for_each(|expr| visit(expr, level));
        }
    }
}
