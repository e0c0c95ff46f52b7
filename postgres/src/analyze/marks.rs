//! Expressions that sqlparser's tree has no place for: `granary_sql` says them as calls of names that nobody else uses.

use granary_sql::marks;
use sqlparser::ast::{self, FunctionArg};

use super::expr::boolean;
use super::{Analyzer, place_of};
use crate::error::{Error, Result};
use crate::functions;
use crate::plan::{Expr, ExprKind};
use crate::resolve::{self, Context};

impl Analyzer<'_> {
    /// None: it is no such call.
    pub(super) fn marked_call(&mut self, name: &str, arguments: &[FunctionArg]) -> Result<Option<Expr>> {
        if name.ends_with(" path") {
            let values = arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
            return Ok(super::recursion::path_call(name, values));
        }
        let is_one = [marks::PREFIX_OPERATOR, marks::SYMMETRIC, marks::ASSIGN].iter().any(|mark| name.ends_with(mark));
        if !is_one {
            return Ok(None);
        }
        if name == marks::ASSIGN {
            return self.assigned_part(arguments).map(Some);
        }
        let values = arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
        let Ok([first, second, third]) = <[Expr; 3]>::try_from(values) else {
            return Err(Error::new("42601", "syntax error"));
        };
        if name == marks::PREFIX_OPERATOR {
            let text = |expr: &Expr| match &expr.kind {
                ExprKind::Constant(value) => value.as_text().map(str::to_owned),
                _ => None,
            };
            let (schema, name) = (text(&first), text(&second).unwrap_or_default());
            if let Some(schema) = schema.filter(|schema| schema != "pg_catalog") {
                let message = format!("operator does not exist: {schema}.{name} {}", third.data_type.name());
                return Err(Error::new("42883", message));
            }
            return self.prefix_operation(&name, third).map(Some);
        }
        let mut compare = |name: &str, bound: &Expr| self.operation(name, first.clone(), bound.clone());
        let both = |parts: Vec<Expr>| boolean(ExprKind::And(parts));
        let either = |parts: Vec<Expr>| boolean(ExprKind::Or(parts));
        Ok(Some(if name == marks::SYMMETRIC {
            let upwards = both(vec![compare(">=", &second)?, compare("<=", &third)?]);
            either(vec![upwards, both(vec![compare(">=", &third)?, compare("<=", &second)?])])
        } else {
            let upwards = either(vec![compare("<", &second)?, compare(">", &third)?]);
            both(vec![upwards, either(vec![compare("<", &third)?, compare(">", &second)?])])
        }))
    }

    /// `name operand`
    pub(super) fn prefix_operation(&mut self, name: &str, operand: Expr) -> Result<Expr> {
        let operator = resolve::operator(name, None, operand.data_type.oid)?;
        let given = [operand.data_type.clone()];
        let (types, result) = resolve::concrete(&[operator.right], operator.result, &given)?;
        let function = functions::operator(self.world, operator, &types)
            .ok_or_else(|| Error::not_supported(format!("the operator {name} {}", given[0].name())))?;
        let operand = self.coerce(operand, &types[0], Context::Implicit)?;
        Ok(Expr::call(function, vec![operand], result))
    }

    /// `(start, end) OVERLAPS (start, end)`
    pub(super) fn overlaps(&mut self, left: &ast::Expr, right: &ast::Expr) -> Result<Expr> {
        let mut values = Vec::with_capacity(4);
        for (side, which) in [(left, "left"), (right, "right")] {
            let items = self.row_items(side)?;
            if items.len() != 2 {
                let message = format!("wrong number of parameters on {which} side of OVERLAPS expression");
                return Err(Error::new("42601", message).at(place_of(side)));
            }
            values.extend(items);
        }
        self.system_call("overlaps", values)
    }
}

/// Whether a call is one of `granary_sql`'s own.
pub(super) fn is_marked(function: &ast::Function, mark: &str) -> bool {
    matches!(function.name.0.as_slice(), [ast::ObjectNamePart::Identifier(ident)]
        if ident.quote_style.is_some() && ident.value == mark)
}
