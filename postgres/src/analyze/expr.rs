//! Expressions.

use std::sync::Arc;

use sqlparser::ast::{self};

use super::{Analyzer, place_of};
use crate::error::{Error, Result};
use crate::plan::{Expr, ExprKind, Function};
use crate::resolve::Context;
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

    pub(super) fn exprs(&mut self, exprs: &[ast::Expr]) -> Result<Vec<Expr>> {
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
            E::Collate { expr, collation } => {
                check_collation(collation)?;
                self.expr(expr)?
            }
            E::IsNormalized { expr, form, negated } => {
                let mut arguments = vec![self.expr(expr)?];
                let form = form.map_or_else(|| "NFC".to_owned(), |form| form.to_string());
                arguments.push(Expr::constant(Value::text(form), Type::of(t::TEXT)));
                let found = self.system_call("is_normalized", arguments)?;
                if *negated { boolean(ExprKind::Not(Box::new(found))) } else { found }
            }
            E::Like { negated, any: true, expr, pattern, escape_char: None } => {
                self.quantified_by(if *negated { "!~~" } else { "~~" }, expr, pattern, false)?
            }
            E::ILike { negated, any: true, expr, pattern, escape_char: None } => {
                self.quantified_by(if *negated { "!~~*" } else { "~~*" }, expr, pattern, false)?
            }
            E::Like { negated, expr, pattern, escape_char: None, .. } if all_of(pattern).is_some() => {
                let pattern = all_of(pattern).expect("it was just found");
                self.quantified_by(if *negated { "!~~" } else { "~~" }, expr, pattern, true)?
            }
            E::ILike { negated, expr, pattern, escape_char: None, .. } if all_of(pattern).is_some() => {
                let pattern = all_of(pattern).expect("it was just found");
                self.quantified_by(if *negated { "!~~*" } else { "~~*" }, expr, pattern, true)?
            }
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
                self.system_call("timezone", vec![zone, time])?
            }
            E::Extract { field, expr, .. } => {
                let value = self.expr(expr)?;
                let field = Value::text(field.to_string().trim_matches('\'').to_lowercase());
                let field = Expr::constant(field, Type::of(t::UNKNOWN));
                self.system_call("extract", vec![field, value])?
            }
            E::Ceil { expr, .. } => self.unary_call("ceil", expr)?,
            E::Floor { expr, .. } => self.unary_call("floor", expr)?,
            E::Position { expr, r#in } => {
                let (part, whole) = (self.expr(expr)?, self.expr(r#in)?);
                self.system_call("position", vec![whole, part])?
            }
            E::Substring { expr, substring_from, substring_for, shorthand, .. } => {
                let mut arguments = vec![self.expr(expr)?];
                match (substring_from, substring_for) {
                    (None, Some(_)) => arguments.push(Expr::constant(Value::Int(1), Type::of(t::INT4))),
                    (Some(from), _) => arguments.push(self.expr(from)?),
                    (None, None) => {}
                }
                if let Some(length) = substring_for {
                    arguments.push(self.expr(length)?);
                }
                if *shorthand {
                    self.call_function("substr", arguments, false)?
                } else {
                    self.system_call("substring", arguments)?
                }
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
                self.system_call(name, arguments)?
            }
            E::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut arguments = vec![self.expr(expr)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                if let Some(length) = overlay_for {
                    arguments.push(self.expr(length)?);
                }
                self.system_call("overlay", arguments)?
            }
            E::Function(function) => self.function(function)?,
            other => return Err(Error::not_supported(format!("the expression {other}")).at(place_of(other))),
        })
    }

    /// A function that the grammar calls: messages name it with its schema.
    pub(super) fn system_call(&mut self, name: &str, arguments: Vec<Expr>) -> Result<Expr> {
        self.call_function(name, arguments, false).map_err(|error| match error.sqlstate {
            "42883" | "42725" => {
                let message = error.message.replacen("function ", "function pg_catalog.", 1);
                Error { message, ..error }
            }
            _ => error,
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
            V::NationalStringLiteral(text) => Expr::constant(Value::text(text), Type::of(t::BPCHAR)),
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

    pub(super) fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        let value = self.expr(&interval.value)?;
        let ExprKind::Constant(Value::Text(_)) = &value.kind else {
            return Err(Error::new("42601", "an interval is a constant text"));
        };
        let precision = interval.fractional_seconds_precision.or(interval.leading_precision);
        let precision = precision.map(|precision| i32::try_from(precision).unwrap_or(i32::MAX));
        let word = |field: &ast::DateTimeField| field.to_string().to_lowercase();
        let data_type = match (&interval.leading_field, &interval.last_field) {
            (None, _) if precision.is_none() => Type::of(t::INTERVAL),
            (None, _) => t::interval_type(None, precision)?,
            (Some(first), last) => {
                let words = match last {
                    Some(last) => format!("{} to {}", word(first), word(last)),
                    None => word(first),
                };
                let fields = t::interval_fields(&words)
                    .ok_or_else(|| Error::new("42601", format!("syntax error at or near \"{}\"", word(first))))?;
                t::interval_type(Some(fields), precision)?
            }
        };
        self.coerce(value, &data_type, Context::Explicit)
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

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Result<Expr> {
        let n_sets = self.n_sets();
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
        // ELSE says the most about the type
        let has_else = otherwise.is_some();
        if let Some(otherwise) = otherwise {
            results.insert(0, self.expr(otherwise)?);
        }
        self.without_sets(n_sets, "CASE")?;
        let (mut results, data_type) = self.common(results, "CASE")?;
        let otherwise = has_else.then(|| Box::new(results.remove(0)));
        Ok(Expr::new(ExprKind::Case { branches: tests.into_iter().zip(results).collect(), otherwise }, data_type))
    }

    pub(super) fn n_sets(&self) -> usize {
        self.scopes.last().map_or(0, |scope| scope.sets.len())
    }

    /// Errors: 0A000 if something that gives rows was called since there were so many.
    pub(super) fn without_sets(&self, n_sets: usize, what: &str) -> Result<()> {
        if self.n_sets() > n_sets {
            return Err(Error::new("0A000", format!("set-returning functions are not allowed in {what}")));
        }
        Ok(())
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
        if array.data_type.oid == t::UNKNOWN && matches!(array.kind, ExprKind::Constant(_)) {
            return Err(Error::new("42804", "cannot subscript type unknown because it does not support subscripting"));
        }
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

/// The array of `ALL (array)`, which reads as a function there.
fn all_of(expr: &ast::Expr) -> Option<&ast::Expr> {
    let ast::Expr::Function(function) = expr else { return None };
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(inner))]
            if function.name.to_string().eq_ignore_ascii_case("all") =>
        {
            Some(inner)
        }
        _ => None,
    }
}

/// Errors: 42704 for what is no name of a collation. All that there are sort by bytes.
fn check_collation(name: &ast::ObjectName) -> Result<()> {
    let (_, name) = super::split_name(name)?;
    let is_language = name.get(..2).is_some_and(|language| language.bytes().all(|byte| byte.is_ascii_lowercase()))
        && name[2..].starts_with(['_', '-']);
    if matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic" | "unicode")
        || name.starts_with("C.")
        || is_language
    {
        return Ok(());
    }
    Err(Error::new("42704", format!("collation \"{name}\" for encoding \"UTF8\" does not exist")))
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

pub(super) fn number(digits: &str) -> Result<Expr> {
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
