//! Expressions.

use std::sync::Arc;

use sqlparser::ast::{self, BinaryOperator, UnaryOperator};

use super::{Analyzer, place_of};
use crate::error::{Error, Result};
use crate::functions;
use crate::plan::{Expr, ExprKind, Function};
use crate::resolve::{self, Context};
use crate::types::{self as t, Type};
use crate::value::Value;

impl Analyzer<'_> {
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Result<Expr> {
        self.deeper(|analyzer| analyzer.expr_inner(expr)).map_err(|error| match error.sqlstate {
            // the operator or function that was not found, the constant that does not read
            "42883" | "42725" | "22P02" | "22007" | "22008" | "42846" | "42804" | "22003" | "42P18" => {
                error.at(place_of(expr))
            }
            _ => error,
        })
    }

    fn exprs(&mut self, exprs: &[ast::Expr]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr_inner(&mut self, expr: &ast::Expr) -> Result<Expr> {
        use ast::Expr as E;
        Ok(match expr {
            E::Identifier(ident) => match keyword(ident) {
                Some(word) => self.keyword_value(word)?,
                None if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") => {
                    let error = Error::new("42601", "DEFAULT is not allowed in this context");
                    return Err(error.at(super::place_of_ident(ident)));
                }
                None => self.identifier(ident)?,
            },
            E::CompoundIdentifier(idents) => self.compound(idents)?,
            E::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain)?,
            E::Value(value) => self.literal(&value.value)?,
            E::TypedString(typed) => {
                let text = typed
                    .value
                    .value
                    .clone()
                    .into_string()
                    .ok_or_else(|| Error::new("42601", "a string was expected"))?;
                let data_type = self.type_of(&typed.data_type)?;
                self.coerce(Expr::constant(Value::text(text), Type::of(t::UNKNOWN)), &data_type, Context::Explicit)?
            }
            E::Interval(interval) => self.interval(interval)?,
            E::Nested(inner) => self.expr(inner)?,
            E::Collate { expr, .. } => self.expr(expr)?,
            E::Cast { kind: ast::CastKind::Cast | ast::CastKind::DoubleColon, expr, data_type, array, .. } => {
                let mut data_type = self.type_of(data_type)?;
                if *array {
                    data_type = data_type.array().unwrap_or(data_type);
                }
                if is_empty_array(expr) && data_type.is_array() {
                    return Ok(Expr::new(ExprKind::Array(Vec::new()), data_type));
                }
                let inner = self.expr(expr)?;
                self.coerce(inner, &data_type, Context::Explicit)?
            }
            E::BinaryOp { left, op, right } => self.binary(left, op, right)?,
            E::UnaryOp { op, expr } => self.unary(*op, expr)?,
            E::IsNull(inner) => self.is_null(inner, false)?,
            E::IsNotNull(inner) => self.is_null(inner, true)?,
            E::IsTrue(inner) => self.is_truth(inner, Some(true), false)?,
            E::IsNotTrue(inner) => self.is_truth(inner, Some(true), true)?,
            E::IsFalse(inner) => self.is_truth(inner, Some(false), false)?,
            E::IsNotFalse(inner) => self.is_truth(inner, Some(false), true)?,
            E::IsUnknown(inner) => self.is_truth(inner, None, false)?,
            E::IsNotUnknown(inner) => self.is_truth(inner, None, true)?,
            E::IsDistinctFrom(left, right) => self.is_distinct(left, right, false)?,
            E::IsNotDistinctFrom(left, right) => self.is_distinct(left, right, true)?,
            E::InList { expr, list, negated } => self.in_list(expr, list, *negated)?,
            E::InSubquery { expr, subquery, negated } => {
                let left = self.row_items(expr)?;
                let found = self.over_query(left, "=", subquery, false)?;
                if *negated { boolean(ExprKind::Not(Box::new(found))) } else { found }
            }
            E::Between { expr, negated, low, high } => {
                let value = self.expr(expr)?;
                let (low, high) = (self.expr(low)?, self.expr(high)?);
                let (first, second) = if *negated { ("<", ">") } else { (">=", "<=") };
                let parts = vec![self.operation(first, value.clone(), low)?, self.operation(second, value, high)?];
                boolean(if *negated { ExprKind::Or(parts) } else { ExprKind::And(parts) })
            }
            E::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~" } else { "~~" }, (expr, pattern), escape_char.as_ref())?
            }
            E::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~*" } else { "~~*" }, (expr, pattern), escape_char.as_ref())?
            }
            E::SimilarTo { negated, expr, pattern, escape_char } => {
                let (value, pattern) = (self.expr(expr)?, self.expr(pattern)?);
                let escape = escape_char.as_ref().and_then(|value| value.value.clone().into_string());
                let mut arguments = vec![pattern];
                arguments.extend(escape.map(|escape| Expr::constant(Value::text(escape), Type::of(t::UNKNOWN))));
                let pattern = self.call_function("similar_to_escape", arguments, false)?;
                self.operation(if *negated { "!~" } else { "~" }, value, pattern)?
            }
            E::AnyOp { left, compare_op, right, .. } => self.quantified(left, compare_op, right, false)?,
            E::AllOp { left, compare_op, right } => self.quantified(left, compare_op, right, true)?,
            E::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())?
            }
            E::Exists { subquery, negated } => {
                let query = self.subquery(subquery)?;
                let exists = boolean(ExprKind::Exists(query));
                if *negated { boolean(ExprKind::Not(Box::new(exists))) } else { exists }
            }
            E::Subquery(subquery) => {
                let query = self.subquery(subquery)?;
                let data_type = single_column(&query, "subquery must return only one column")?;
                Expr::new(ExprKind::Scalar(query), data_type)
            }
            E::Array(array) => self.array(&array.elem)?,
            E::Tuple(items) => {
                let items = self.exprs(items)?;
                row(items)
            }
            E::AtTimeZone { timestamp, time_zone } => {
                let (time, zone) = (self.expr(timestamp)?, self.expr(time_zone)?);
                self.call_function("timezone", vec![zone, time], false)?
            }
            E::Extract { field, expr, .. } => {
                let value = self.expr(expr)?;
                let field =
                    Expr::constant(Value::text(field.to_string().trim_matches('\'').to_lowercase()), Type::of(t::TEXT));
                self.call_function("extract", vec![field, value], false)?
            }
            E::Ceil { expr, .. } => self.unary_call("ceil", expr)?,
            E::Floor { expr, .. } => self.unary_call("floor", expr)?,
            E::Position { expr, r#in } => {
                let (part, whole) = (self.expr(expr)?, self.expr(r#in)?);
                self.call_function("position", vec![whole, part], false)?
            }
            E::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expr(expr)?];
                match (substring_from, substring_for) {
                    (None, Some(_)) => arguments.push(Expr::constant(Value::Int(1), Type::of(t::INT4))),
                    (Some(from), _) => arguments.push(self.expr(from)?),
                    (None, None) => {}
                }
                if let Some(length) = substring_for {
                    arguments.push(self.expr(length)?);
                }
                self.call_function("substring", arguments, false)?
            }
            E::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut arguments = vec![self.expr(expr)?];
                if let Some(what) = trim_what {
                    arguments.push(self.expr(what)?);
                }
                for characters in trim_characters.iter().flatten() {
                    arguments.push(self.expr(characters)?);
                }
                self.call_function(name, arguments, false)?
            }
            E::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut arguments = vec![self.expr(expr)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                if let Some(length) = overlay_for {
                    arguments.push(self.expr(length)?);
                }
                self.call_function("overlay", arguments, false)?
            }
            E::Function(function) => self.function(function)?,
            other => return Err(Error::not_supported(format!("the expression {other}")).at(place_of(other))),
        })
    }

    fn unary_call(&mut self, name: &str, inner: &ast::Expr) -> Result<Expr> {
        let inner = self.expr(inner)?;
        self.call_function(name, vec![inner], false)
    }

    /// The type that a syntax tree spells.
    pub(super) fn type_of(&self, data_type: &ast::DataType) -> Result<Type> {
        t::parse_type(&data_type.to_string())
    }

    fn literal(&mut self, value: &ast::Value) -> Result<Expr> {
        use ast::Value as V;
        Ok(match value {
            V::Null => Expr::constant(Value::Null, Type::of(t::UNKNOWN)),
            V::Boolean(truth) => Expr::constant(Value::Bool(*truth), Type::of(t::BOOL)),
            V::Number(digits, _) => number(digits)?,
            V::Placeholder(name) => {
                let index: usize = name.strip_prefix('$').and_then(|digits| digits.parse().ok()).unwrap_or(0);
                if index == 0 || index > usize::from(u16::MAX) {
                    return Err(Error::new("42P02", format!("there is no parameter {name}")));
                }
                let known = self.parameters.get(index - 1).cloned().flatten();
                if self.parameters.len() < index {
                    self.parameters.resize(index, None);
                }
                Expr::new(ExprKind::Parameter(index - 1), known.unwrap_or(Type::of(t::UNKNOWN)))
            }
            V::SingleQuotedByteStringLiteral(bits) => self.bits(bits.clone())?,
            V::HexStringLiteral(digits) => {
                let bits = digits.chars().map(|digit| {
                    digit
                        .to_digit(16)
                        .map(|digit| format!("{digit:04b}"))
                        .ok_or_else(|| Error::new("22P02", format!("\"{digit}\" is not a valid hexadecimal digit")))
                });
                let bits = bits.collect::<Result<String>>()?;
                self.bits(bits)?
            }
            other => match other.clone().into_string() {
                Some(text) => Expr::constant(Value::text(text), Type::of(t::UNKNOWN)),
                None => match other {
                    V::DollarQuotedString(quoted) => Expr::constant(Value::text(&quoted.value), Type::of(t::UNKNOWN)),
                    V::EscapedStringLiteral(text) | V::UnicodeStringLiteral(text) | V::NationalStringLiteral(text) => {
                        Expr::constant(Value::text(text), Type::of(t::UNKNOWN))
                    }
                    other => return Err(Error::not_supported(format!("the constant {other}"))),
                },
            },
        })
    }

    fn bits(&mut self, bits: String) -> Result<Expr> {
        self.coerce(Expr::constant(Value::text(bits), Type::of(t::UNKNOWN)), &Type::of(t::BIT), Context::Explicit)
    }

    fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        let value = self.expr(&interval.value)?;
        let unit = interval.leading_field.as_ref().map(|field| field.to_string().to_lowercase());
        let ExprKind::Constant(Value::Text(text)) = &value.kind else {
            return Err(Error::new("42601", "an interval is a constant text"));
        };
        let is_number = text.trim().parse::<f64>().is_ok();
        let spelled = match &unit {
            Some(unit) if is_number => format!("{text} {unit}"),
            _ => text.to_string(),
        };
        self.coerce(
            Expr::constant(Value::text(spelled), Type::of(t::UNKNOWN)),
            &Type::of(t::INTERVAL),
            Context::Explicit,
        )
    }

    /// What `current_user` and its like stand for.
    pub(super) fn keyword_value(&mut self, word: &str) -> Result<Expr> {
        let name_type = Type::of(t::NAME);
        let clock = self.world.clock();
        let local = clock.zone.to_local(clock.now_us);
        const DAY_US: i64 = 86_400_000_000;
        Ok(match word {
            "current_user" | "user" | "current_role" => Expr::constant(Value::text(self.world.user()), name_type),
            "session_user" => Expr::constant(Value::text(self.world.session_user()), name_type),
            "current_catalog" => Expr::constant(Value::text(self.world.database()), name_type),
            "current_schema" => Expr::constant(self.world.current_schema().map_or(Value::Null, Value::text), name_type),
            "current_date" => {
                Expr::constant(Value::Date(i32::try_from(local.div_euclid(DAY_US)).unwrap_or(0)), Type::of(t::DATE))
            }
            "current_timestamp" => Expr::constant(Value::Timestamp(clock.now_us), Type::of(t::TIMESTAMPTZ)),
            "localtimestamp" => Expr::constant(Value::Timestamp(local), Type::of(t::TIMESTAMP)),
            "localtime" => Expr::constant(Value::Time(local.rem_euclid(DAY_US)), Type::of(t::TIME)),
            "current_time" => {
                let zone = clock.zone.offset_at(clock.now_us);
                Expr::constant(Value::TimeZoned(local.rem_euclid(DAY_US), zone), Type::of(t::TIMETZ))
            }
            other => return Err(Error::new("42703", format!("column \"{other}\" does not exist"))),
        })
    }

    fn binary(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Result<Expr> {
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
            BinaryOperator::Overlaps => self.overlaps(left, right),
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
            BinaryOperator::PGBitwiseXor => self.plain_binary("#", left, right),
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
                if is_row(left) && is_row(right) =>
            {
                let (left, right) = (self.row_items(left)?, self.row_items(right)?);
                self.compare_rows(&op.to_string(), left, right)
            }
            op => self.plain_binary(&op.to_string(), left, right),
        }
    }

    fn plain_binary(&mut self, name: &str, left: &ast::Expr, right: &ast::Expr) -> Result<Expr> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        self.operation(name, left, right)
    }

    /// Item by item.
    fn compare_rows(&mut self, name: &str, left: Vec<Expr>, right: Vec<Expr>) -> Result<Expr> {
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
        let function = functions::operator(self.world, operator, &types).ok_or_else(|| {
            Error::not_supported(format!("the operator {} {name} {}", given[0].name(), given[1].name()))
        })?;
        let left = self.coerce(left, &types[0], Context::Implicit)?;
        let right = self.coerce(right, &types[1], Context::Implicit)?;
        Ok(call(function, vec![left, right], result))
    }

    fn unary(&mut self, op: UnaryOperator, inner: &ast::Expr) -> Result<Expr> {
        let name = match op {
            UnaryOperator::Not => {
                let inner = self.expr(inner)?;
                let inner = self.condition(inner, "NOT")?;
                return Ok(boolean(ExprKind::Not(Box::new(inner))));
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

    fn is_null(&mut self, inner: &ast::Expr, negated: bool) -> Result<Expr> {
        let inner = self.expr(inner)?;
        let inner = self.settled(inner)?;
        Ok(boolean(ExprKind::IsNull { inner: Box::new(inner), negated }))
    }

    fn is_truth(&mut self, inner: &ast::Expr, truth: Option<bool>, negated: bool) -> Result<Expr> {
        let inner = self.expr(inner)?;
        let inner = self.condition(inner, "IS")?;
        Ok(boolean(ExprKind::IsTruth { inner: Box::new(inner), truth, negated }))
    }

    fn is_distinct(&mut self, left: &ast::Expr, right: &ast::Expr, negated: bool) -> Result<Expr> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        let (mut both, _) = self.common(vec![left, right], "IS DISTINCT FROM")?;
        let (right, left) = (both.pop().expect("two"), both.pop().expect("two"));
        Ok(boolean(ExprKind::IsDistinct { left: Box::new(left), right: Box::new(right), negated }))
    }

    fn in_list(&mut self, expr: &ast::Expr, list: &[ast::Expr], negated: bool) -> Result<Expr> {
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

    fn like(
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
    fn quantified(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, all: bool) -> Result<Expr> {
        let name = match op {
            BinaryOperator::PGCustomBinaryOperator(words) => words.last().cloned().unwrap_or_default(),
            other => other.to_string(),
        };
        let mut right = right;
        while let ast::Expr::Nested(inner) = right {
            right = inner;
        }
        if let ast::Expr::Subquery(query) = right {
            let left = self.row_items(left)?;
            return self.over_query(left, &name, query, all);
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
        let (left, comparison, wanted) = self.comparison(&name, left, &element, 1)?;
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
    fn comparison(&mut self, name: &str, left: Expr, right: &Type, operand: usize) -> Result<(Expr, Expr, Type)> {
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
    fn over_query(&mut self, left: Vec<Expr>, name: &str, query: &ast::Query, all: bool) -> Result<Expr> {
        let query = self.subquery(query)?;
        if query.columns.len() != left.len() {
            let what = if query.columns.len() > left.len() { "many" } else { "few" };
            return Err(Error::new("42601", format!("subquery has too {what} columns")));
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
            (_, "<>") => boolean(ExprKind::Or(comparisons)),
            _ => return Err(Error::not_supported(format!("row {name} over a subquery"))),
        };
        Ok(boolean(ExprKind::OverQuery { left: sides, query, comparison: Box::new(comparison), all }))
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Result<Expr> {
        let operand = operand.map(|operand| self.expr(operand)).transpose()?;
        let operand = operand.map(|operand| self.settled(operand)).transpose()?;
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for when in conditions {
            let test = self.expr(&when.condition)?;
            tests.push(match &operand {
                Some(operand) => self.operation("=", operand.clone(), test)?,
                None => self.condition(test, "CASE/WHEN")?,
            });
            results.push(self.expr(&when.result)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.expr(otherwise)?);
        }
        let has_else = otherwise.is_some();
        let (mut results, data_type) = self.common(results, "CASE")?;
        let otherwise = if has_else { results.pop().map(Box::new) } else { None };
        Ok(Expr::new(ExprKind::Case { branches: tests.into_iter().zip(results).collect(), otherwise }, data_type))
    }

    fn array(&mut self, items: &[ast::Expr]) -> Result<Expr> {
        if items.is_empty() {
            // only a cast says what it is of
            return Err(Error::new("42P18", "cannot determine type of empty array")
                .with_hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        let items = self.exprs(items)?;
        let (items, element) = self.common(items, "ARRAY")?;
        let array = if element.is_array() { Some(element.clone()) } else { element.array() };
        let array = array.ok_or_else(|| {
            Error::new("42704", format!("could not find array type for data type {}", element.name()))
        })?;
        Ok(Expr::new(ExprKind::Array(items), array))
    }

    fn access(&mut self, root: &ast::Expr, chain: &[ast::AccessExpr]) -> Result<Expr> {
        // `(x).*` stands only in a SELECT list
        let mut chain = chain;
        let mut value = match root {
            // `schema.table.column[1]` comes apart differently
            ast::Expr::Identifier(ident) => match (self.identifier(ident), chain) {
                (Ok(found), _) => found,
                (Err(error), [ast::AccessExpr::Dot(ast::Expr::Identifier(column)), rest @ ..]) => {
                    let found = self.compound(&[ident.clone(), column.clone()]).map_err(|_| error)?;
                    chain = rest;
                    found
                }
                (Err(error), _) => return Err(error),
            },
            other => self.expr(other)?,
        };
        let mut at = 0;
        while at < chain.len() {
            match &chain[at] {
                ast::AccessExpr::Dot(ast::Expr::Identifier(field)) => {
                    value = self.field(value, &super::fold(field))?;
                    at += 1;
                }
                ast::AccessExpr::Dot(other) => return Err(Error::not_supported(format!(".{other}"))),
                ast::AccessExpr::Subscript(_) => {
                    let subscripts: Vec<&ast::Subscript> = chain[at..]
                        .iter()
                        .map_while(|access| match access {
                            ast::AccessExpr::Subscript(subscript) => Some(subscript),
                            ast::AccessExpr::Dot(_) => None,
                        })
                        .collect();
                    at += subscripts.len();
                    value = self.subscript(value, &subscripts)?;
                }
            }
        }
        Ok(value)
    }

    fn subscript(&mut self, array: Expr, subscripts: &[&ast::Subscript]) -> Result<Expr> {
        let array = self.settled(array)?;
        if array.data_type.oid == t::JSONB {
            let mut value = array;
            for subscript in subscripts {
                let ast::Subscript::Index { index } = subscript else {
                    return Err(Error::new("0A000", "jsonb subscript does not support slices"));
                };
                let key = self.expr(index)?;
                let key = self.settled(key)?;
                value = self.operation("->", value, key)?;
            }
            return Ok(value);
        }
        // a name is an array of its characters, counted from zero
        if let (t::NAME, [ast::Subscript::Index { index }]) = (array.data_type.oid, subscripts) {
            let index = self.expr(index)?;
            let index = self.coerce(index, &Type::of(t::INT4), Context::Assignment)?;
            let function = Function::new("character_of_name", |_, values| {
                let (text, place) = (values[0].as_text().unwrap_or_default(), values[1].as_int().unwrap_or(-1));
                let found = usize::try_from(place).ok().and_then(|place| text.chars().nth(place));
                Ok(found.map_or(Value::Null, |found| Value::text(found.to_string())))
            });
            return Ok(Expr::call(function, vec![array, index], Type::of(t::CHAR)));
        }
        let Some(element) = array.data_type.element() else {
            return Err(Error::new(
                "42804",
                format!("cannot subscript type {} because it does not support subscripting", array.data_type.name()),
            ));
        };
        let int = Type::of(t::INT4);
        let bound = |analyzer: &mut Self, expr: &ast::Expr| {
            let expr = analyzer.expr(expr)?;
            analyzer.coerce(expr, &int, Context::Assignment)
        };
        let has_slice = subscripts.iter().any(|subscript| matches!(subscript, ast::Subscript::Slice { .. }));
        if !has_slice {
            let mut indexes = Vec::new();
            for subscript in subscripts {
                if let ast::Subscript::Index { index } = subscript {
                    indexes.push(bound(self, index)?);
                }
            }
            return Ok(Expr::new(ExprKind::Subscript { array: Box::new(array), indexes }, element));
        }
        let mut bounds = Vec::new();
        for subscript in subscripts {
            bounds.push(match subscript {
                ast::Subscript::Index { index } => (None, Some(bound(self, index)?)),
                ast::Subscript::Slice { lower_bound, upper_bound, .. } => (
                    lower_bound.as_ref().map(|lower| bound(self, lower)).transpose()?,
                    upper_bound.as_ref().map(|upper| bound(self, upper)).transpose()?,
                ),
            });
        }
        let data_type = array.data_type.clone();
        Ok(Expr::new(ExprKind::Slice { array: Box::new(array), bounds }, data_type))
    }
}

/// Words that are values without being columns.
fn keyword(ident: &ast::Ident) -> Option<&'static str> {
    const WORDS: [&str; 11] = [
        "current_user",
        "user",
        "current_role",
        "session_user",
        "current_catalog",
        "current_schema",
        "current_date",
        "current_timestamp",
        "localtimestamp",
        "localtime",
        "current_time",
    ];
    if ident.quote_style.is_some() {
        return None;
    }
    WORDS.into_iter().find(|word| ident.value.eq_ignore_ascii_case(word))
}

fn is_empty_array(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Array(array) => array.elem.is_empty(),
        ast::Expr::Nested(inner) => is_empty_array(inner),
        _ => false,
    }
}

pub(super) fn is_row(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Tuple(_) => true,
        ast::Expr::Nested(inner) => is_row(inner),
        ast::Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case("row"),
        _ => false,
    }
}

fn number(digits: &str) -> Result<Expr> {
    let is_whole = digits.strip_prefix('-').unwrap_or(digits).bytes().all(|byte| byte.is_ascii_digit());
    if is_whole && let Ok(number) = digits.parse::<i64>() {
        let oid = if i32::try_from(number).is_ok() { t::INT4 } else { t::INT8 };
        return Ok(Expr::constant(Value::Int(number), Type::of(oid)));
    }
    Ok(Expr::constant(Value::Numeric(digits.parse()?), Type::of(t::NUMERIC)))
}

pub(super) fn boolean(kind: ExprKind) -> Expr {
    Expr::new(kind, Type::of(t::BOOL))
}

pub(super) fn call(function: Function, arguments: Vec<Expr>, data_type: Type) -> Expr {
    Expr::call(function, arguments, data_type)
}

pub(super) fn row(items: Vec<Expr>) -> Expr {
    let fields =
        items.iter().enumerate().map(|(index, item)| (format!("f{}", index + 1), item.data_type.clone())).collect();
    Expr::new(ExprKind::Row(items), Type::record(fields))
}

/// The type of a query's only column.
pub(super) fn single_column(query: &Arc<crate::plan::Query>, message: &str) -> Result<Type> {
    match query.columns.as_slice() {
        [column] => Ok(column.data_type.clone()),
        _ => Err(Error::new("42601", message)),
    }
}
