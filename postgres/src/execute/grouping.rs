//! Groups of rows and their aggregates.

use std::collections::{HashMap, HashSet};

use super::eval::{eval, is_true};
use super::{Context, Env, order};
use crate::error::Result;
use crate::plan::{AggregateCall, Expr, Grouping};
use crate::value::{Key, Row, Value};

/// One group.
#[derive(Debug)]
pub struct Group {
    /// one of its rows, whose columns that the keys decide are those of all
    pub row: Row,
    /// NULL for those that its set leaves out
    pub keys: Row,
    /// which keys its set has
    pub set: Vec<usize>,
    pub aggregates: Row,
}

/// The groups for which HAVING holds.
pub fn groups(
    grouping: &Grouping,
    rows: &[Row],
    n_slots: usize,
    context: &Context<'_>,
    outer: Option<&Env<'_>>,
) -> Result<Vec<Group>> {
    let mut made = Vec::new();
    for set in &grouping.sets {
        let mut places: HashMap<Key, usize> = HashMap::new();
        let mut members: Vec<(Row, Vec<usize>)> = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let env = Env::of(row, outer);
            let mut keys = vec![Value::Null; grouping.keys.len()];
            for key in set {
                keys[*key] = eval(&grouping.keys[*key], context, &env)?;
            }
            let place = *places.entry(Key(keys.clone())).or_insert_with(|| {
                members.push((keys, Vec::new()));
                members.len() - 1
            });
            members[place].1.push(number);
        }
        // without keys there is always one group
        if set.is_empty() && members.is_empty() {
            members.push((vec![Value::Null; grouping.keys.len()], Vec::new()));
        }
        for (keys, numbers) in members {
            let mut aggregates = Row::with_capacity(grouping.aggregates.len());
            for call in &grouping.aggregates {
                let members = numbers.iter().map(|number| Env::of(&rows[*number], outer));
                aggregates.push(aggregate(call, members, context, &Env::of(&[], outer))?);
            }
            let row = numbers.first().map_or_else(|| vec![Value::Null; n_slots], |number| rows[*number].clone());
            let group = Group { row, keys, set: set.clone(), aggregates };
            let holds = match &grouping.having {
                None => true,
                Some(having) => is_true(having, context, &Env { group: Some(&group), ..Env::of(&group.row, outer) })?,
            };
            if holds {
                made.push(group);
            }
        }
    }
    Ok(made)
}

/// One aggregate over rows.
pub fn aggregate<'e>(
    call: &AggregateCall,
    rows: impl Iterator<Item = Env<'e>>,
    context: &Context<'_>,
    env: &Env<'_>,
) -> Result<Value> {
    let mut inputs: Vec<(Row, Row)> = Vec::new();
    for row in rows {
        if let Some(filter) = &call.filter
            && !is_true(filter, context, &row)?
        {
            continue;
        }
        let values = |exprs: &mut dyn Iterator<Item = &Expr>| {
            exprs.map(|expr| eval(expr, context, &row)).collect::<Result<Row>>()
        };
        let arguments = values(&mut call.arguments.iter())?;
        let keys = values(&mut call.order_by.iter().map(|(expr, ..)| expr))?;
        inputs.push((arguments, keys));
    }
    if call.is_distinct {
        let mut seen = HashSet::new();
        inputs.retain(|(arguments, _)| seen.insert(Key(arguments.clone())));
        // as if they had been sorted to find equal ones
        if call.order_by.is_empty() {
            inputs.sort_by(|(left, _), (right, _)| {
                let differing = left.iter().zip(right).map(|(left, right)| crate::value::compare(left, right));
                differing.into_iter().find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
            });
        }
    }
    if !call.order_by.is_empty() {
        inputs.sort_by(|(_, left), (_, right)| {
            let keys = call.order_by.iter().zip(left.iter().zip(right));
            let differing =
                keys.map(|((_, descending, nulls_first), (left, right))| order(left, right, *descending, *nulls_first));
            differing.into_iter().find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    let direct = call.direct.iter().map(|expr| eval(expr, context, env)).collect::<Result<Row>>()?;
    let inputs: Vec<Row> = inputs.into_iter().map(|(arguments, _)| arguments).collect();
    (call.function.call)(context, &inputs, &direct)
}
