//! When a recursive query has given enough rows: `WITH RECURSIVE t … SELECT … FROM t LIMIT 10` may read a `t` that has no
//! end. Rows are asked for one after the other only where nothing but conditions stands between them and the limit.

use super::eval::{self, is_true};
use super::{Context, Env};
use crate::error::Result;
use crate::plan::{Body, Distinct, Expr, From, Query, Scan, Source};
use crate::value::{Row, Value};

/// How many more rows of a recursive query are wanted.
pub struct Enough<'q> {
    left: usize,
    scan: &'q Scan,
    conditions: Vec<&'q Expr>,
    n_slots: usize,
}

impl<'q> Enough<'q> {
    /// None: all rows are wanted.
    pub fn of(
        query: &'q Query,
        cte: usize,
        context: &Context<'_>,
        outer: Option<&Env<'_>>,
    ) -> Result<Option<Enough<'q>>> {
        let (Body::Select(select), Some(limit)) = (&query.body, &query.limit) else { return Ok(None) };
        let is_plain = query.order_by.is_empty()
            && !query.with_ties
            && select.grouping.is_none()
            && select.windows.is_empty()
            && select.sets.is_empty()
            && select.distinct == Distinct::No;
        let mut conditions: Vec<&Expr> = select.filter.iter().collect();
        let scan = match &select.from {
            Some(From::Scan(scan)) => scan,
            Some(From::Inner { inputs, conditions: own }) => match inputs.as_slice() {
                [From::Scan(scan)] => {
                    conditions.extend(own);
                    scan
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        // who reads it a second time may want more
        let mut n_reads = 0;
        query.walk(&mut |inner| {
            if let Body::Select(select) = &inner.body
                && let Some(from) = &select.from
            {
                from.scans(&mut |scan| n_reads += usize::from(matches!(scan.source, Source::Cte(id) if id == cte)));
            }
        });
        // the step of the recursion reads it too
        let n_own: usize = query.with.iter().filter(|with| with.id == cte && with.recursive.is_some()).count();
        if !is_plain || !matches!(scan.source, Source::Cte(id) if id == cte) || n_reads != 1 + n_own {
            return Ok(None);
        }
        let env = Env::of(&[], outer);
        let number = |expr: &Expr| match eval::eval(expr, context, &env) {
            Ok(Value::Int(number)) => usize::try_from(number).ok(),
            _ => None,
        };
        let Some(limit) = number(limit) else { return Ok(None) };
        let offset = match &query.offset {
            None => 0,
            Some(offset) => match number(offset) {
                Some(offset) => offset,
                None => return Ok(None),
            },
        };
        Ok(Some(Enough { left: limit.saturating_add(offset), scan, conditions, n_slots: select.n_slots }))
    }

    /// Whether these rows are as many as are left to be wanted.
    pub fn counts(&mut self, rows: &[Row], context: &Context<'_>, outer: Option<&Env<'_>>) -> Result<bool> {
        for row in rows {
            if self.left == 0 {
                return Ok(true);
            }
            let mut wide = vec![Value::Null; self.n_slots];
            for (column, slot) in &self.scan.slots {
                wide[*slot] = row.get(*column).cloned().unwrap_or(Value::Null);
            }
            let env = Env::of(&wide, outer);
            let mut holds = true;
            for condition in &self.conditions {
                holds = holds && is_true(condition, context, &env)?;
            }
            self.left -= usize::from(holds);
        }
        Ok(self.left == 0)
    }
}
