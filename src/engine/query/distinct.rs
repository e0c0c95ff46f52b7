//! `SELECT DISTINCT lower(x) … ORDER BY lower(x)`: DataFusion looks for `x` below what is distinct, where it no longer
//! is. An expression of ORDER BY that stands in the SELECT list is sorted by as its place in that list.

use std::ops::ControlFlow;

use sqlparser::ast::{Distinct, Expr, OrderByKind, Query, SelectItem, SetExpr, Statement, Value, VisitMut, VisitorMut};

/// Rewrites in place.
pub fn rewrite(statement: &mut Statement) {
    let _ = statement.visit(&mut Places);
}

struct Places;

impl VisitorMut for Places {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let SetExpr::Select(select) = query.body.as_ref() else { return ControlFlow::Continue(()) };
        let Some(OrderByKind::Expressions(sorted)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind) else {
            return ControlFlow::Continue(());
        };
        if !matches!(select.distinct, Some(Distinct::Distinct)) {
            return ControlFlow::Continue(());
        }
        // Behind a wildcard no item has a known place.
        let items: Vec<String> = select
            .projection
            .iter()
            .map_while(|item| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.to_string()),
                _ => None,
            })
            .collect();
        for by in sorted {
            if matches!(by.expr, Expr::Identifier(_) | Expr::Value(_)) {
                continue;
            }
            let text = by.expr.to_string();
            if let Some(place) = items.iter().position(|item| *item == text) {
                by.expr = Expr::value(Value::Number((place + 1).to_string(), false));
            }
        }
        ControlFlow::Continue(())
    }
}
