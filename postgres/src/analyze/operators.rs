//! Operators: arithmetic, comparisons of values, rows, lists and queries, LIKE and their like.

use std::sync::Arc;

use sqlparser::ast::{self, BinaryOperator, UnaryOperator};

use super::Analyzer;
use super::expr::{boolean, call, is_row, number};
use crate::error::{Error, Result};
use crate::functions;
use crate::plan::{Expr, ExprKind};
use crate::resolve::{self, Context};
use crate::types::{self as t, Type};
use crate::value::Value;

impl Analyzer<'_> {
    pub(super) fn binary(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Result<Expr> {
        match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let what = if *op == BinaryOperator::And { "AND" } else { "OR" };
                let mut parts = Vec::new();
                for side in [left, right] {
                    let part = self.expr(side)?;
                    let part = self.condition(part, what)?;
                    match (part.kind, op) {
                        (ExprKind::And(inner), BinaryOperator::And) | (ExprKind::Or(inner), BinaryOperator::Or) => {
                            parts.extend(inner)
                        }
                        (kind, _) => parts.push(boolean(kind)),
                    }
                }
                Ok(boolean(if *op == BinaryOperator::And { ExprKind::And(parts) } else { ExprKind::Or(parts) }))
            }
            BinaryOperator::PGCustomBinaryOperator(words) => {
                let name = words.last().cloned().unwrap_or_default();
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                if let [schema, _] = words.as_slice()
                    && !schema.eq_ignore_ascii_case("pg_catalog")
                {
                    let (left, right) = (left.data_type.name(), right.data_type.name());
                    let message = format!("operator does not exist: {left} {schema}.{name} {right}");
                    return Err(Error::new("42883", message));
                }
                self.operation(&name, left, right)
            }
            BinaryOperator::Overlaps => self.overlaps(left, right),
            BinaryOperator::PGBitwiseXor => self.plain_binary("#", left, right),
            op if is_comparison(op) && is_row(left) && is_row(right) => {
                let (left, right) = (self.row_items(left)?, self.row_items(right)?);
                self.compare_rows(&op.to_string(), left, right)
            }
            // a row of a query: no row is not known to be anything
            op if is_comparison(op) && is_row(left) && matches!(right, ast::Expr::Subquery(_)) => {
                let ast::Expr::Subquery(query) = right else { return Err(Error::new("XX000", "it is a subquery")) };
                let left = self.row_items(left)?;
                let name = op.to_string();
                let compared = self.over_query(left, &name, query, false)?;
                let ExprKind::OverQuery { left, query, comparison, .. } = compared.kind else {
                    return Err(Error::new("XX000", "a comparison with a query"));
                };
                Ok(boolean(ExprKind::OverQuery { left, query, comparison, all: false }))
            }
            op => self.plain_binary(&op.to_string(), left, right),
        }
    }

    pub(super) fn plain_binary(&mut self, name: &str, left: &ast::Expr, right: &ast::Expr) -> Result<Expr> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        self.operation(name, left, right)
    }

    /// Item by item.
    pub(super) fn compare_rows(&mut self, name: &str, left: Vec<Expr>, right: Vec<Expr>) -> Result<Expr> {
        if left.len() != right.len() {
            return Err(Error::new("42601", "unequal number of entries in row expressions"));
        }
        let equal = |analyzer: &mut Self, pairs: &[(Expr, Expr)]| -> Result<Vec<Expr>> {
            pairs.iter().map(|(left, right)| analyzer.operation("=", left.clone(), right.clone())).collect()
        };
        let pairs: Vec<(Expr, Expr)> = left.into_iter().zip(right).collect();
        match name {
            "=" => Ok(boolean(ExprKind::And(equal(self, &pairs)?))),
            "<>" => {
                let all = boolean(ExprKind::And(equal(self, &pairs)?));
                Ok(boolean(ExprKind::Not(Box::new(all))))
            }
            _ => {
                // the first difference decides
                let strict = name.trim_end_matches('=');
                let mut choices = Vec::new();
                for (index, (left, right)) in pairs.iter().enumerate() {
                    let mut parts = equal(self, &pairs[..index])?;
                    let is_last = index + 1 == pairs.len();
                    parts.push(self.operation(if is_last { name } else { strict }, left.clone(), right.clone())?);
                    choices.push(boolean(ExprKind::And(parts)));
                }
                Ok(boolean(ExprKind::Or(choices)))
            }
        }
    }

    pub(super) fn row_items(&mut self, expr: &ast::Expr) -> Result<Vec<Expr>> {
        match expr {
            ast::Expr::Tuple(items) => self.exprs(items),
            ast::Expr::Function(function) if is_row(expr) => match &function.args {
                ast::FunctionArguments::List(list) => {
                    list.args.iter().map(|argument| self.argument(argument)).collect()
                }
                _ => Ok(Vec::new()),
            },
            ast::Expr::Nested(inner) if is_row(inner) => self.row_items(inner),
            other => Ok(vec![self.expr(other)?]),
        }
    }

    /// `left name right`.
    pub(super) fn operation(&mut self, name: &str, left: Expr, right: Expr) -> Result<Expr> {
        let name = if name == "!=" { "<>" } else { name };
        let (left_type, right_type) = (left.data_type.clone(), right.data_type.clone());
        let operator = resolve::operator(name, Some(left_type.oid), right_type.oid)?;
        let given = [left_type, right_type];
        let (types, result) = resolve::concrete(&[operator.left, operator.right], operator.result, &given)?;
        // a character type keeps its length, which its blanks tell
        let mut kept = types.clone();
        for (kept, given) in kept.iter_mut().zip(&given) {
            if kept.oid == t::BPCHAR && given.oid == t::BPCHAR {
                kept.modifier = given.modifier;
            }
        }
        let function = functions::operator(self.world, operator, &kept).ok_or_else(|| {
            Error::not_supported(format!("the operator {} {name} {}", given[0].name(), given[1].name()))
        })?;
        let left = self.coerce(left, &types[0], Context::Implicit)?;
        let right = self.coerce(right, &types[1], Context::Implicit)?;
        let is_strict = resolve::proc_of(operator.function).is_none_or(|proc| proc.is_strict);
        let kind = ExprKind::Call { function, arguments: vec![left, right], is_strict, is_volatile: false };
        Ok(Expr::new(kind, result))
    }

    pub(super) fn unary(&mut self, op: UnaryOperator, inner: &ast::Expr) -> Result<Expr> {
        let name = match op {
            UnaryOperator::Not => {
                let inner = self.expr(inner)?;
                let inner = self.condition(inner, "NOT")?;
                return Ok(boolean(ExprKind::Not(Box::new(inner))));
            }
            // a sign binds more tightly than a power
            UnaryOperator::Minus | UnaryOperator::Plus
                if let ast::Expr::BinaryOp {
                    left,
                    op: power @ (BinaryOperator::PGExp | BinaryOperator::BitwiseXor),
                    right,
                } = inner =>
            {
                let signed = ast::Expr::UnaryOp { op, expr: left.clone() };
                return self.binary(&signed, power, right);
            }
            UnaryOperator::Minus => {
                if let ast::Expr::Value(value) = inner
                    && let ast::Value::Number(digits, _) = &value.value
                {
                    return number(&format!("-{digits}"));
                }
                "-"
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => return Err(Error::not_supported(format!("the operator {other}"))),
        };
        let inner = self.expr(inner)?;
        self.prefix_operation(name, inner)
    }

    pub(super) fn is_null(&mut self, inner: &ast::Expr, negated: bool) -> Result<Expr> {
        let inner = self.expr(inner)?;
        let inner = self.settled(inner)?;
        Ok(boolean(ExprKind::IsNull { inner: Box::new(inner), negated }))
    }

    pub(super) fn is_truth(&mut self, inner: &ast::Expr, truth: Option<bool>, negated: bool) -> Result<Expr> {
        let inner = self.expr(inner)?;
        let inner = self.condition(inner, "IS")?;
        Ok(boolean(ExprKind::IsTruth { inner: Box::new(inner), truth, negated }))
    }

    pub(super) fn is_distinct(&mut self, left: &ast::Expr, right: &ast::Expr, negated: bool) -> Result<Expr> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        let (mut both, _) = self.common(vec![left, right], "IS DISTINCT FROM")?;
        let (right, left) = (both.pop().expect("two"), both.pop().expect("two"));
        Ok(boolean(ExprKind::IsDistinct { left: Box::new(left), right: Box::new(right), negated }))
    }

    pub(super) fn in_list(&mut self, expr: &ast::Expr, list: &[ast::Expr], negated: bool) -> Result<Expr> {
        let mut choices = Vec::with_capacity(list.len());
        if is_row(expr) {
            for item in list {
                let (left, right) = (self.row_items(expr)?, self.row_items(item)?);
                choices.push(self.compare_rows("=", left, right)?);
            }
        } else {
            let left = self.expr(expr)?;
            let items = self.exprs(list)?;
            // constants get one type, and are read once
            let known: Vec<Type> = items.iter().map(|item| item.data_type.clone()).collect();
            let common = resolve::common_type(&[vec![left.data_type.clone()], known].concat(), "IN");
            for item in items {
                let (left, item) = match &common {
                    Ok(common) => (
                        self.coerce(left.clone(), common, Context::Implicit)?,
                        self.coerce(item, common, Context::Implicit)?,
                    ),
                    Err(_) => (left.clone(), item),
                };
                choices.push(self.operation("=", left, item)?);
            }
        }
        let any = if choices.len() == 1 { choices.remove(0) } else { boolean(ExprKind::Or(choices)) };
        Ok(if negated { boolean(ExprKind::Not(Box::new(any))) } else { any })
    }

    pub(super) fn like(
        &mut self,
        name: &str,
        (value, pattern): (&ast::Expr, &ast::Expr),
        escape: Option<&ast::ValueWithSpan>,
    ) -> Result<Expr> {
        let (value, mut pattern) = (self.expr(value)?, self.expr(pattern)?);
        if let Some(escape) = escape.and_then(|escape| escape.value.clone().into_string()) {
            let escape = Expr::constant(Value::text(escape), Type::of(t::UNKNOWN));
            pattern = self.call_function("like_escape", vec![pattern, escape], false)?;
        }
        self.operation(name, value, pattern)
    }

    /// `left op ANY|ALL (array or query)`.
    pub(super) fn quantified(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
    ) -> Result<Expr> {
        let name = match op {
            BinaryOperator::PGCustomBinaryOperator(words) => words.last().cloned().unwrap_or_default(),
            other => other.to_string(),
        };
        self.quantified_by(&name, left, right, all)
    }

    pub(super) fn quantified_by(&mut self, name: &str, left: &ast::Expr, right: &ast::Expr, all: bool) -> Result<Expr> {
        let mut right = right;
        while let ast::Expr::Nested(inner) = right {
            right = inner;
        }
        if let ast::Expr::Subquery(query) = right {
            let left = self.row_items(left)?;
            return self.over_query(left, name, query, all);
        }
        let (left, mut array) = (self.expr(left)?, self.expr(right)?);
        if array.data_type.oid == t::UNKNOWN {
            let item = if left.data_type.oid == t::UNKNOWN { Type::of(t::TEXT) } else { left.data_type.clone() };
            let over = item.array().ok_or_else(|| {
                Error::new("42704", format!("could not find array type for data type {}", item.name()))
            })?;
            array = self.coerce(array, &over, Context::Implicit)?;
        }
        let Some(element) = array.data_type.element() else {
            return Err(Error::new("42809", "op ANY/ALL (array) requires array on right side"));
        };
        let left =
            if left.data_type.oid == t::UNKNOWN { self.coerce(left, &element, Context::Implicit)? } else { left };
        let (left, comparison, wanted) = self.comparison(name, left, &element, 1)?;
        // the array's items become what the operator takes
        let array = match wanted.array() {
            Some(target) if wanted.oid != element.oid => self.coerce(array, &target, Context::Implicit)?,
            _ => array,
        };
        Ok(boolean(ExprKind::OverArray {
            left: Box::new(left),
            array: Box::new(array),
            comparison: Box::new(comparison),
            all,
        }))
    }

    /// A comparison of operand 0 with the operand of that number: the left side as the operator takes it, the comparison,
    /// and the type that the right side has to be of.
    pub(super) fn comparison(
        &mut self,
        name: &str,
        left: Expr,
        right: &Type,
        operand: usize,
    ) -> Result<(Expr, Expr, Type)> {
        let name = if name == "!=" { "<>" } else { name };
        let operator = resolve::operator(name, Some(left.data_type.oid), right.oid)?;
        if operator.result != t::BOOL {
            return Err(Error::new("42809", "op ANY/ALL (array) requires operator to yield boolean"));
        }
        let given = [left.data_type.clone(), right.clone()];
        let (types, result) = resolve::concrete(&[operator.left, operator.right], operator.result, &given)?;
        let function = functions::operator(self.world, operator, &types).ok_or_else(|| {
            Error::not_supported(format!("the operator {} {name} {}", given[0].name(), given[1].name()))
        })?;
        let left = self.coerce(left, &types[0], Context::Implicit)?;
        let operands = vec![
            Expr::new(ExprKind::Operand(operand - 1), types[0].clone()),
            Expr::new(ExprKind::Operand(operand), types[1].clone()),
        ];
        Ok((left, call(function, operands, result), types[1].clone()))
    }

    /// `(left, …) op ANY|ALL (query)`. Operands 0, 2, … are the left side, 1, 3, … the query's row.
    pub(super) fn over_query(&mut self, left: Vec<Expr>, name: &str, query: &ast::Query, all: bool) -> Result<Expr> {
        let query = self.subquery(query)?;
        if query.columns.len() != left.len() {
            let what = if query.columns.len() > left.len() { "many" } else { "few" };
            return Err(Error::new("42601", format!("subquery has too {what} columns")));
        }
        if left.len() > 1 && !matches!(name, "=" | "<>" | "!=") {
            return self.row_over_query(left, name, query, all);
        }
        let mut comparisons = Vec::with_capacity(left.len());
        let mut sides = Vec::with_capacity(left.len());
        for (index, (side, column)) in left.into_iter().zip(&query.columns).enumerate() {
            let side = if side.data_type.oid == t::UNKNOWN {
                self.coerce(side, &column.data_type, Context::Implicit)?
            } else {
                side
            };
            let (side, comparison, wanted) = self.comparison(name, side, &column.data_type, 2 * index + 1)?;
            let right = Expr::new(ExprKind::Operand(2 * index + 1), column.data_type.clone());
            let right = self.coerce(right, &wanted, Context::Implicit)?;
            let ExprKind::Call { function, is_strict, is_volatile, .. } = comparison.kind else {
                return Err(Error::new("XX000", "a comparison is a call"));
            };
            let operands = vec![Expr::new(ExprKind::Operand(2 * index), side.data_type.clone()), right];
            comparisons.push(boolean(ExprKind::Call { function, arguments: operands, is_strict, is_volatile }));
            sides.push(side);
        }
        let comparison = match (comparisons.len(), name) {
            (1, _) => comparisons.remove(0),
            (_, "=") => boolean(ExprKind::And(comparisons)),
            _ => boolean(ExprKind::Or(comparisons)),
        };
        Ok(boolean(ExprKind::OverQuery { left: sides, query, comparison: Box::new(comparison), all }))
    }

    /// Rows by their order.
    pub(super) fn row_over_query(
        &mut self,
        left: Vec<Expr>,
        name: &str,
        query: Arc<crate::plan::Query>,
        all: bool,
    ) -> Result<Expr> {
        let (mut sides, mut lefts, mut rights) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (side, column)) in left.into_iter().zip(&query.columns).enumerate() {
            let side = if side.data_type.oid == t::UNKNOWN {
                self.coerce(side, &column.data_type, Context::Implicit)?
            } else {
                side
            };
            lefts.push(Expr::new(ExprKind::Operand(2 * index), side.data_type.clone()));
            rights.push(Expr::new(ExprKind::Operand(2 * index + 1), column.data_type.clone()));
            sides.push(side);
        }
        let comparison = self.compare_rows(name, lefts, rights)?;
        Ok(boolean(ExprKind::OverQuery { left: sides, query, comparison: Box::new(comparison), all }))
    }
}

const fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}
