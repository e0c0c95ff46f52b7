//! The rows of FROM. Joins go by hash where their conditions are equalities, and by looking at all pairs otherwise.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::eval::{self, is_true};
use super::{Context, Env, run};
use crate::error::Result;
use crate::plan::{Expr, ExprKind, From, FromCall, OuterJoin, Scan, Source};
use crate::value::{Key, Row, Value};

/// Where rows with a key are, by number.
pub type Index = HashMap<Key, Vec<usize>>;

pub fn rows(from: &From, n_slots: usize, context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
    let start = vec![Value::Null; n_slots];
    extend(from, &[start], context, outer)
}

/// Each of the rows with each row of a part of FROM that belongs to it.
fn extend(from: &From, rows: &[Row], context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
    match from {
        From::Scan(scan) => join_scan(scan, rows, &[], context, outer),
        From::Inner { inputs, conditions } => inner(inputs, conditions, rows, context, outer),
        From::Outer { kind, left, right, conditions } => {
            let mut all = Vec::new();
            // what is joined may see each of the rows around it
            for row in rows {
                let left_rows = match kind {
                    OuterJoin::Right => Vec::new(),
                    _ => extend(left, std::slice::from_ref(row), context, outer)?,
                };
                match kind {
                    OuterJoin::Left => all.extend(left_join(&left_rows, right, conditions, context, outer)?),
                    OuterJoin::Right => {
                        let right_rows = extend(right, std::slice::from_ref(row), context, outer)?;
                        all.extend(left_join(&right_rows, left, conditions, context, outer)?);
                    }
                    OuterJoin::Full => {
                        let right_rows = extend(right, std::slice::from_ref(row), context, outer)?;
                        all.extend(full_join((&left_rows, &right_rows), (left, right), conditions, context, outer)?);
                    }
                }
            }
            Ok(all)
        }
    }
}

fn inner(
    inputs: &[From],
    conditions: &[Expr],
    rows: &[Row],
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    let mut own: Vec<HashSet<usize>> = Vec::with_capacity(inputs.len());
    for input in inputs {
        let mut slots = HashSet::new();
        slots_of(input, &mut slots);
        own.push(slots);
    }
    let all_own: HashSet<usize> = own.iter().flatten().copied().collect();
    let needs: Vec<HashSet<usize>> = conditions
        .iter()
        .map(|condition| {
            let mut used = HashSet::new();
            slots_used(condition, 0, &mut used);
            used.intersection(&all_own).copied().collect()
        })
        .collect();
    let mut is_done = vec![false; conditions.len()];
    let mut is_joined = vec![false; inputs.len()];
    let mut available: HashSet<usize> = HashSet::new();
    let mut joined: Vec<Row> = rows.to_vec();
    // conditions over nothing of FROM
    let (mut first, mut joined_any) = (true, false);
    while is_joined.contains(&false) {
        let ready = |index: usize, available: &HashSet<usize>| {
            let mut outside = HashSet::new();
            inputs_needed(&inputs[index], &mut outside);
            outside.iter().all(|slot| !all_own.contains(slot) || available.contains(slot) || own[index].contains(slot))
        };
        let candidates: Vec<usize> =
            (0..inputs.len()).filter(|index| !is_joined[*index] && ready(*index, &available)).collect();
        let connected = |index: &usize| {
            conditions.iter().zip(&needs).zip(&is_done).any(|((condition, needs), done)| {
                let is_in_reach = needs.iter().all(|slot| available.contains(slot) || own[*index].contains(slot));
                let touches_both = needs.iter().any(|slot| own[*index].contains(slot))
                    && (first || needs.iter().any(|slot| available.contains(slot)));
                !done && is_in_reach && touches_both && is_equality(condition)
            })
        };
        let Some(chosen) = candidates.iter().copied().find(connected).or(candidates.first().copied()) else {
            return Err(crate::Error::new("42P10", "relations of FROM need each other"));
        };
        first = false;
        is_joined[chosen] = true;
        available.extend(&own[chosen]);
        let applicable: Vec<&Expr> = conditions
            .iter()
            .zip(&needs)
            .zip(&mut is_done)
            .filter(|((_, needs), done)| !**done && needs.iter().all(|slot| available.contains(slot)))
            .map(|((condition, _), done)| {
                *done = true;
                condition
            })
            .collect();
        joined = join_input(&inputs[chosen], &joined, &applicable, context, outer)?;
        joined_any = true;
        if joined.is_empty() {
            return Ok(joined);
        }
    }
    if !joined_any {
        return filtered(joined, &conditions.iter().collect::<Vec<_>>(), context, outer);
    }
    Ok(joined)
}

fn join_input(
    input: &From,
    rows: &[Row],
    conditions: &[&Expr],
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    match input {
        From::Scan(scan) => join_scan(scan, rows, conditions, context, outer),
        // rows of other joins are the same for all rows if they name none of them
        other if rows.len() > 1 && !needs_outside(other) => {
            let blank = vec![Value::Null; rows[0].len()];
            let part = extend(other, &[blank], context, outer)?;
            let mut slots = HashSet::new();
            slots_of(other, &mut slots);
            let slots: Vec<usize> = slots.into_iter().collect();
            let (equal, rest) = split(conditions, &slots);
            let right_keys: Vec<&Expr> = equal.iter().map(|(own, _)| *own).collect();
            let index = index_of(&part, &right_keys, context, outer)?;
            let mut joined = Vec::new();
            for row in rows {
                for number in matching(row, &equal, &index, part.len(), context, outer)? {
                    let mut wide = row.clone();
                    slots.iter().for_each(|slot| wide[*slot] = part[number].get(*slot).cloned().unwrap_or(Value::Null));
                    if holds(&rest, &wide, context, outer)? {
                        context.count_row()?;
                        joined.push(wide);
                    }
                }
            }
            Ok(joined)
        }
        other => filtered(extend(other, rows, context, outer)?, conditions, context, outer),
    }
}

fn filtered(rows: Vec<Row>, conditions: &[&Expr], context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Vec<Row>> {
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        if holds(conditions, &row, context, outer)? {
            kept.push(row);
        }
    }
    Ok(kept)
}

fn holds(conditions: &[&Expr], row: &[Value], context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<bool> {
    let env = Env::of(row, outer);
    for condition in conditions {
        if !is_true(condition, context, &env)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A condition `own = other`, where `own` is of the scan alone and `other` of everything else.
type Equality<'a> = (&'a Expr, &'a Expr);

fn is_equality(condition: &Expr) -> bool {
    matches!(&condition.kind, ExprKind::Call { function, arguments, .. } if function.name == "equal" && arguments.len() == 2)
}

/// Conditions that can be looked up, and the others.
fn split<'a>(conditions: &[&'a Expr], own: &[usize]) -> (Vec<Equality<'a>>, Vec<&'a Expr>) {
    let (mut equal, mut rest) = (Vec::new(), Vec::new());
    let sides = |expr: &Expr| {
        let mut used = HashSet::new();
        slots_used(expr, 0, &mut used);
        let n_own = used.iter().filter(|slot| own.contains(slot)).count();
        (n_own > 0 && n_own == used.len() && !has_query(expr) && !has_outer(expr), n_own == 0)
    };
    for condition in conditions {
        if let ExprKind::Call { function, arguments, .. } = &condition.kind
            && function.name == "equal"
            && let [left, right] = arguments.as_slice()
        {
            let ((left_own, left_other), (right_own, right_other)) = (sides(left), sides(right));
            if left_own && right_other {
                equal.push((left, right));
                continue;
            }
            if right_own && left_other {
                equal.push((right, left));
                continue;
            }
        }
        rest.push(*condition);
    }
    (equal, rest)
}

fn index_of(rows: &[Row], keys: &[&Expr], context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<Index> {
    let mut index = Index::new();
    if keys.is_empty() {
        return Ok(index);
    }
    for (number, row) in rows.iter().enumerate() {
        let env = Env::of(row, outer);
        let key: Row = keys.iter().map(|key| eval::eval(key, context, &env)).collect::<Result<_>>()?;
        if !key.iter().any(Value::is_null) {
            index.entry(Key(key)).or_default().push(number);
        }
    }
    Ok(index)
}

/// Numbers of the rows of the other side that may belong to a row.
fn matching(
    row: &[Value],
    equal: &[Equality<'_>],
    index: &Index,
    n_rows: usize,
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<usize>> {
    if equal.is_empty() {
        return Ok((0..n_rows).collect());
    }
    let env = Env::of(row, outer);
    let key: Row = equal.iter().map(|(_, other)| eval::eval(other, context, &env)).collect::<Result<_>>()?;
    if key.iter().any(Value::is_null) {
        return Ok(Vec::new());
    }
    Ok(index.get(&Key(key)).cloned().unwrap_or_default())
}

fn join_scan(
    scan: &Scan,
    rows: &[Row],
    conditions: &[&Expr],
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    join_scan_keeping(scan, rows, (conditions, false), context, outer)
}

/// With `keeps`, a row without a partner stays as it is.
fn join_scan_keeping(
    scan: &Scan,
    rows: &[Row],
    (conditions, keeps): (&[&Expr], bool),
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    let own: Vec<usize> = scan.slots.iter().map(|(_, slot)| *slot).collect();
    let (equal, rest) = split(conditions, &own);
    let mut joined = Vec::new();
    let mut shared: Option<(Arc<Vec<Row>>, Arc<Index>)> = None;
    for row in rows {
        let before = joined.len();
        let (found, index) = match &shared {
            Some(shared) => shared.clone(),
            None => {
                let found = scan_rows(scan, context, &Env::of(row, outer))?;
                let index = scan_index(scan, &found, &equal, row.len(), context, outer)?;
                if !scan.is_correlated || matches!(scan.source, Source::Cte(_)) {
                    shared = Some((Arc::clone(&found), Arc::clone(&index)));
                }
                (found, index)
            }
        };
        for number in matching(row, &equal, &index, found.len(), context, outer)? {
            let mut wide = row.clone();
            for (column, slot) in &scan.slots {
                wide[*slot] = found[number].get(*column).cloned().unwrap_or(Value::Null);
            }
            if holds(&rest, &wide, context, outer)? {
                context.count_row()?;
                joined.push(wide);
            }
        }
        if keeps && joined.len() == before {
            joined.push(row.clone());
        }
    }
    Ok(joined)
}

fn scan_index(
    scan: &Scan,
    found: &Arc<Vec<Row>>,
    equal: &[Equality<'_>],
    width: usize,
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Arc<Index>> {
    if equal.is_empty() {
        return Ok(Arc::default());
    }
    // plain columns are looked up again and again, by subqueries
    let columns: Option<Vec<usize>> = equal
        .iter()
        .map(|(own, _)| match own.kind {
            ExprKind::Column { level: 0, slot } => {
                scan.slots.iter().find(|(_, other)| *other == slot).map(|(column, _)| *column)
            }
            _ => None,
        })
        .collect();
    let place = columns.filter(|_| !scan.is_correlated).map(|columns| (scan.id, columns));
    if let Some(place) = &place
        && let Some(index) = context.indexes.borrow().get(place)
    {
        return Ok(Arc::clone(index));
    }
    let wide: Vec<Row> = found
        .iter()
        .map(|row| {
            let mut wide = vec![Value::Null; width];
            scan.slots.iter().for_each(|(column, slot)| wide[*slot] = row.get(*column).cloned().unwrap_or(Value::Null));
            wide
        })
        .collect();
    let keys: Vec<&Expr> = equal.iter().map(|(own, _)| *own).collect();
    let index = Arc::new(index_of(&wide, &keys, context, outer)?);
    if let Some(place) = place {
        context.indexes.borrow_mut().insert(place, Arc::clone(&index));
    }
    Ok(index)
}

fn scan_rows(scan: &Scan, context: &Context<'_>, env: &Env<'_>) -> Result<Arc<Vec<Row>>> {
    if !scan.is_correlated
        && let Some(kept) = context.kept.borrow().get(&scan.id)
    {
        return Ok(Arc::clone(kept));
    }
    let rows = match &scan.source {
        Source::Relation(relation) => context.world.rows(relation)?,
        Source::Query(query) => run(query, context, Some(env))?,
        Source::Cte(id) => context.ctes.borrow().get(id).cloned().unwrap_or_default(),
        Source::Functions { calls, with_ordinality } => Arc::new(function_rows(calls, *with_ordinality, context, env)?),
    };
    if !scan.is_correlated {
        context.kept.borrow_mut().insert(scan.id, Arc::clone(&rows));
    }
    Ok(rows)
}

fn function_rows(
    calls: &[(FromCall, usize)],
    with_ordinality: bool,
    context: &Context<'_>,
    env: &Env<'_>,
) -> Result<Vec<Row>> {
    let mut given: Vec<(Vec<Value>, usize)> = Vec::with_capacity(calls.len());
    for (call, width) in calls {
        let values = match call {
            FromCall::Set(call) => eval::set(call, context, env)?,
            FromCall::Scalar(expr) => vec![eval::eval(expr, context, env)?],
        };
        given.push((values, *width));
    }
    let n_rows = given.iter().map(|(values, _)| values.len()).max().unwrap_or(0);
    let mut rows = Vec::with_capacity(n_rows);
    for number in 0..n_rows {
        let mut row = Row::new();
        for (values, width) in &given {
            match (values.get(number), width) {
                (Some(Value::Record(items)), width) if *width > 1 || items.len() == *width => {
                    row.extend(items.iter().cloned())
                }
                (Some(value), 1) => row.push(value.clone()),
                (_, width) => row.extend(std::iter::repeat_n(Value::Null, *width)),
            }
        }
        if with_ordinality {
            row.push(Value::Int(i64::try_from(number + 1).unwrap_or(i64::MAX)));
        }
        context.count_row()?;
        rows.push(row);
    }
    Ok(rows)
}

/// Each left row with what belongs to it on the right, or with NULLs.
fn left_join(
    left_rows: &[Row],
    right: &From,
    conditions: &[Expr],
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    let conditions: Vec<&Expr> = conditions.iter().collect();
    if let From::Scan(scan) = right {
        return join_scan_keeping(scan, left_rows, (&conditions, true), context, outer);
    }
    let mut joined = Vec::with_capacity(left_rows.len());
    let mut slots = HashSet::new();
    slots_of(right, &mut slots);
    let slots: Vec<usize> = slots.into_iter().collect();
    let fixed = match left_rows.first() {
        Some(first) if !needs_outside(right) => Some(extend(right, &[vec![Value::Null; first.len()]], context, outer)?),
        _ => None,
    };
    let (equal, rest) = split(&conditions, &slots);
    let keys: Vec<&Expr> = equal.iter().map(|(own, _)| *own).collect();
    let index = fixed.as_ref().map(|fixed| index_of(fixed, &keys, context, outer)).transpose()?;
    for row in left_rows {
        let before = joined.len();
        match (&fixed, &index) {
            (Some(fixed), Some(index)) => {
                for number in matching(row, &equal, index, fixed.len(), context, outer)? {
                    let mut wide = row.clone();
                    slots.iter().for_each(|slot| wide[*slot] = fixed[number][*slot].clone());
                    if holds(&rest, &wide, context, outer)? {
                        context.count_row()?;
                        joined.push(wide);
                    }
                }
            }
            _ => joined.extend(join_input(right, std::slice::from_ref(row), &conditions, context, outer)?),
        }
        if joined.len() == before {
            joined.push(row.clone());
        }
    }
    Ok(joined)
}

fn full_join(
    (left_rows, right_rows): (&[Row], &[Row]),
    (_, right): (&From, &From),
    conditions: &[Expr],
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Row>> {
    let conditions: Vec<&Expr> = conditions.iter().collect();
    let mut slots = HashSet::new();
    slots_of(right, &mut slots);
    let slots: Vec<usize> = slots.into_iter().collect();
    let (equal, rest) = split(&conditions, &slots);
    let keys: Vec<&Expr> = equal.iter().map(|(own, _)| *own).collect();
    let index = index_of(right_rows, &keys, context, outer)?;
    let mut is_matched = vec![false; right_rows.len()];
    let mut joined = Vec::new();
    for row in left_rows {
        let before = joined.len();
        for number in matching(row, &equal, &index, right_rows.len(), context, outer)? {
            let mut wide = row.clone();
            slots.iter().for_each(|slot| wide[*slot] = right_rows[number][*slot].clone());
            if holds(&rest, &wide, context, outer)? {
                context.count_row()?;
                is_matched[number] = true;
                joined.push(wide);
            }
        }
        if joined.len() == before {
            joined.push(row.clone());
        }
    }
    joined.extend(right_rows.iter().zip(is_matched).filter(|(_, is_matched)| !is_matched).map(|(row, _)| row.clone()));
    Ok(joined)
}

/// The slots that a part of FROM fills.
fn slots_of(from: &From, slots: &mut HashSet<usize>) {
    match from {
        From::Scan(scan) => slots.extend(scan.slots.iter().map(|(_, slot)| *slot)),
        From::Inner { inputs, .. } => inputs.iter().for_each(|input| slots_of(input, slots)),
        From::Outer { left, right, .. } => {
            slots_of(left, slots);
            slots_of(right, slots);
        }
    }
}

/// Whether a part of FROM may name rows around it.
fn needs_outside(from: &From) -> bool {
    match from {
        From::Scan(scan) => scan.is_correlated && !matches!(scan.source, Source::Cte(_)),
        From::Inner { inputs, .. } => inputs.iter().any(needs_outside),
        From::Outer { left, right, .. } => needs_outside(left) || needs_outside(right),
    }
}

/// The slots that a LATERAL part of FROM names.
fn inputs_needed(from: &From, slots: &mut HashSet<usize>) {
    match from {
        From::Scan(scan) => match &scan.source {
            Source::Query(query) if scan.is_correlated => slots_of_query(query, 1, slots),
            Source::Functions { calls, .. } => {
                for (call, _) in calls {
                    match call {
                        FromCall::Set(call) => {
                            call.arguments.iter().for_each(|argument| slots_used(argument, 0, slots))
                        }
                        FromCall::Scalar(expr) => slots_used(expr, 0, slots),
                    }
                }
            }
            _ => {}
        },
        From::Inner { inputs, conditions } => {
            inputs.iter().for_each(|input| inputs_needed(input, slots));
            conditions.iter().for_each(|condition| slots_used(condition, 0, slots));
        }
        From::Outer { left, right, conditions, .. } => {
            inputs_needed(left, slots);
            inputs_needed(right, slots);
            conditions.iter().for_each(|condition| slots_used(condition, 0, slots));
        }
    }
}

fn has_query(expr: &Expr) -> bool {
    expr.query().is_some() || expr.parts().into_iter().any(has_query)
}

fn has_outer(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Column { level, .. } if level > 0) || expr.parts().into_iter().any(has_outer)
}

/// The slots of the SELECT so many levels further out that an expression names, in its subqueries, too.
fn slots_used(expr: &Expr, level: usize, slots: &mut HashSet<usize>) {
    if let ExprKind::Column { level: own, slot } = expr.kind
        && own == level
    {
        slots.insert(slot);
    }
    if let Some(query) = expr.query() {
        slots_of_query(query, level + 1, slots);
    }
    expr.parts().into_iter().for_each(|part| slots_used(part, level, slots));
}

/// The same of a query.
fn slots_of_query(query: &crate::plan::Query, level: usize, slots: &mut HashSet<usize>) {
    super::visit_exprs(query, level, &mut |expr, level| slots_used(expr, level, slots));
}
