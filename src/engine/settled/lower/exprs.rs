//! Expressions: those that DataFusion has an equal of, and all others as one evaluation.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InSubquery, Placeholder};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, Operator, lit};
use granary_postgres::datetime::Zone;
use granary_postgres::plan::{self, ExprKind, Function};
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Value as Pg, World, resolve};

use super::{Lower, Lowered, Lowering, Stop, carry, field};
use crate::engine::catalog_query::PRINTED;
use crate::engine::settled::call::Evaluation;

impl Lower<'_> {
    pub(super) fn expr(&mut self, expr: &plan::Expr) -> Lowering<Lowered> {
        match self.native(expr)? {
            Some(native) => Ok(native),
            None => self.evaluated(expr, &carry::carrier(&expr.data_type)),
        }
    }

    /// The expression in the type that carries its own.
    pub(super) fn carried(&mut self, expr: &plan::Expr) -> Lowering<Lowered> {
        let lowered = self.expr(expr)?;
        self.recarried(lowered, &expr.data_type, &carry::carrier(&expr.data_type))
    }

    /// The same values in another type.
    pub fn recarried(&self, lowered: Lowered, data_type: &Type, wanted: &DataType) -> Lowering<Lowered> {
        if lowered.data_type == *wanted {
            return Ok(lowered);
        }
        if data_type.oid == t::RECORD {
            return Err(Stop::NoEqual("a record in another form"));
        }
        let column = plan::Expr::new(ExprKind::Column { level: 0, slot: 0 }, data_type.clone());
        let expr = Evaluation::call(
            (column, false),
            vec![(lowered.expr, data_type.clone())],
            field("value", data_type, wanted),
            self.world(),
        );
        Ok(Lowered::new(expr, wanted.clone()))
    }

    /// The expression as it sorts.
    pub(super) fn sortable(&self, lowered: &Lowered, data_type: &Type) -> Lowering<Expr> {
        let is_as_it_is = match &lowered.data_type {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
                (carry::is_text(data_type.oid) && data_type.oid != t::JSON) || data_type.oid == t::UUID
            }
            DataType::List(_) => false,
            other => super::is_groupable(other, data_type),
        };
        if is_as_it_is {
            return Ok(lowered.expr.clone());
        }
        let column = plan::Expr::new(ExprKind::Column { level: 0, slot: 0 }, data_type.clone());
        let function = match data_type.oid {
            t::NUMERIC => Function::new("sort_key", |_, values| match &values[0] {
                Pg::Numeric(number) => Ok(Pg::Bytes(number.sort_key().into())),
                _ => Ok(Pg::Null),
            }),
            t::INTERVAL => Function::new("sort_key", |_, values| match &values[0] {
                Pg::Interval(interval) => {
                    let span = interval.span().cast_unsigned() ^ (1 << 127);
                    Ok(Pg::Bytes(span.to_be_bytes().as_slice().into()))
                }
                _ => Ok(Pg::Null),
            }),
            _ => return Err(Stop::NoEqual("the order of values of this type")),
        };
        let key = plan::Expr::call(function, vec![column], Type::of(t::BYTEA));
        let arguments = vec![(lowered.expr.clone(), data_type.clone())];
        let key_field = field("sort_key", &Type::of(t::BYTEA), &DataType::Binary);
        Ok(Evaluation::call((key, false), arguments, key_field, self.world()))
    }

    /// All of the expression as one function of what it names.
    pub(super) fn evaluated(&mut self, expr: &plan::Expr, wanted: &DataType) -> Lowering<Lowered> {
        let mut own = expr.clone();
        let mut leaves: Vec<(plan::Expr, Lowered)> = Vec::new();
        let mut is_volatile = false;
        self.leaves(&mut own, &mut leaves, &mut is_volatile)?;
        let arguments = leaves.into_iter().map(|(leaf, lowered)| (lowered.expr, leaf.data_type)).collect();
        let result = field("value", &expr.data_type, wanted);
        Ok(Lowered::new(Evaluation::call((own, is_volatile), arguments, result, self.world()), wanted.clone()))
    }

    /// Puts columns in the places of what the expression names.
    fn leaves(
        &mut self,
        expr: &mut plan::Expr,
        leaves: &mut Vec<(plan::Expr, Lowered)>,
        is_volatile: &mut bool,
    ) -> Lowering<()> {
        let is_leaf = match &expr.kind {
            ExprKind::Column { .. }
            | ExprKind::Parameter(_)
            | ExprKind::Aggregate(_)
            | ExprKind::GroupKey(_)
            | ExprKind::Window(_)
            | ExprKind::Scalar(_)
            | ExprKind::Exists(_)
            | ExprKind::OverQuery { .. } => true,
            ExprKind::Operand(number) => self.scope().operands.get(*number).is_some(),
            ExprKind::Grouping(_) | ExprKind::SetResult(_) | ExprKind::ArrayOf(_) => {
                return Err(Stop::NoEqual("this part of an expression"));
            }
            ExprKind::Call { is_volatile: true, .. } => {
                *is_volatile = true;
                false
            }
            _ => false,
        };
        if !is_leaf {
            for part in expr.parts_mut() {
                self.leaves(part, leaves, is_volatile)?;
            }
            return Ok(());
        }
        if expr.data_type.oid == t::RECORD {
            return Err(Stop::NoEqual("a record in an expression"));
        }
        let known = leaves.iter().position(|(leaf, _)| leaf.is_same(expr));
        let slot = match known {
            Some(slot) => slot,
            None => {
                let lowered = self.native(expr)?.ok_or(Stop::NoEqual("a leaf of an expression"))?;
                leaves.push((expr.clone(), lowered));
                leaves.len() - 1
            }
        };
        expr.kind = ExprKind::Column { level: 0, slot };
        Ok(())
    }

    /// The expression as DataFusion's own; None where it has none that means the same.
    fn native(&mut self, expr: &plan::Expr) -> Lowering<Option<Lowered>> {
        let boolean = |expr: Expr| Ok(Some(Lowered::new(expr, DataType::Boolean)));
        Ok(match &expr.kind {
            ExprKind::Constant(value) => self.literal(value, &expr.data_type),
            ExprKind::Parameter(index) => {
                let taken_as = self.taken_as.get(*index).cloned().flatten();
                Some(parameter(*index, &expr.data_type, taken_as))
            }
            ExprKind::Column { level, slot } => {
                let scope = self.scopes.len().checked_sub(1 + level).and_then(|place| self.scopes.get(place));
                let scope = scope.ok_or(Stop::NoEqual("a column from outside"))?;
                let slots = if scope.groups.is_some() { &scope.decided } else { &scope.slots };
                let found = slots.get(slot).cloned().ok_or(Stop::NoEqual("a column out of sight"))?;
                Some(if *level == 0 { found } else { from_outside(found) })
            }
            ExprKind::GroupKey(index) => self.scope().groups.as_ref().and_then(|(keys, _)| keys.get(*index)).cloned(),
            ExprKind::Aggregate(index) => {
                self.scope().groups.as_ref().and_then(|(_, aggregates)| aggregates.get(*index)).cloned()
            }
            ExprKind::Window(index) => self.scope().windows.get(*index).cloned(),
            ExprKind::Operand(index) => self.scope().operands.get(*index).cloned(),
            ExprKind::And(parts) => {
                let parts = self.all(parts)?;
                return boolean(parts.into_iter().reduce(Expr::and).unwrap_or_else(|| lit(true)));
            }
            ExprKind::Or(parts) => {
                let parts = self.all(parts)?;
                return boolean(parts.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false)));
            }
            ExprKind::Not(inner) => match self.expr(inner)?.expr {
                Expr::InSubquery(inner) => {
                    return boolean(Expr::InSubquery(InSubquery { negated: !inner.negated, ..inner }));
                }
                inner => return boolean(Expr::Not(Box::new(inner))),
            },
            ExprKind::IsNull { inner, negated } if inner.data_type.oid != t::RECORD => {
                let inner = Box::new(self.expr(inner)?.expr);
                return boolean(if *negated { Expr::IsNotNull(inner) } else { Expr::IsNull(inner) });
            }
            ExprKind::IsTruth { inner, truth, negated } => {
                let inner = Box::new(self.expr(inner)?.expr);
                return boolean(match (truth, negated) {
                    (Some(true), false) => Expr::IsTrue(inner),
                    (Some(true), true) => Expr::IsNotTrue(inner),
                    (Some(false), false) => Expr::IsFalse(inner),
                    (Some(false), true) => Expr::IsNotFalse(inner),
                    (None, false) => Expr::IsUnknown(inner),
                    (None, true) => Expr::IsNotUnknown(inner),
                });
            }
            ExprKind::IsDistinct { left, right, negated } => {
                let operator = if *negated { Operator::IsNotDistinctFrom } else { Operator::IsDistinctFrom };
                self.compared(operator, left, right)?
            }
            ExprKind::Case { branches, otherwise } => self.case(branches, otherwise.as_deref())?,
            ExprKind::Coalesce(items) => {
                let items = items.iter().map(|item| self.expr(item)).collect::<Lowering<Vec<_>>>()?;
                let Some(data_type) = items.first().map(|item| item.data_type.clone()) else { return Ok(None) };
                if items.iter().any(|item| item.data_type != data_type) {
                    return Ok(None);
                }
                let items = items.into_iter().map(|item| item.expr).collect();
                Some(Lowered::new(datafusion::functions::core::expr_fn::coalesce(items), data_type))
            }
            ExprKind::Call { function, arguments, is_volatile: false, .. } => {
                self.native_call(function.name, arguments, &expr.data_type)?
            }
            ExprKind::Exists(query) => Some(self.exists(query)?),
            ExprKind::Scalar(query) => Some(self.scalar(query)?),
            ExprKind::OverQuery { left, query, comparison, all } => {
                Some(self.over_query(left, query, (comparison, *all))?)
            }
            _ => None,
        })
    }

    pub(super) fn literal(&self, value: &Pg, data_type: &Type) -> Option<Lowered> {
        let wanted = match value {
            // as a decimal number it compares with columns as they are
            Pg::Numeric(number) if number.finite().is_some() && number.scale() <= 30 => {
                let scale = i8::try_from(number.scale()).ok()?;
                let unscaled = number.unscaled(number.scale())?;
                let precision = u8::try_from(unscaled.unsigned_abs().to_string().len()).ok()?.max(scale.unsigned_abs());
                if precision > 38 {
                    return None;
                }
                let precision = precision.max(1);
                let scalar = ScalarValue::Decimal128(Some(unscaled), precision, scale);
                return Some(Lowered::new(lit(scalar), DataType::Decimal128(precision, scale)));
            }
            _ => carry::carrier(data_type),
        };
        let array = carry::array(&wanted, data_type, std::slice::from_ref(value), self.world.as_ref()).ok()?;
        let scalar = ScalarValue::try_from_array(&array, 0).ok()?;
        let metadata = field("value", data_type, &wanted).metadata().clone();
        let metadata = (!metadata.is_empty()).then(|| metadata.into());
        Some(Lowered::new(Expr::Literal(scalar, metadata), wanted))
    }

    fn case(
        &mut self,
        branches: &[(plan::Expr, plan::Expr)],
        otherwise: Option<&plan::Expr>,
    ) -> Lowering<Option<Lowered>> {
        let mut when_then = Vec::with_capacity(branches.len());
        let mut data_type: Option<DataType> = None;
        let mut is_of_one_type = true;
        let mut seen = |lowered: &Lowered| {
            is_of_one_type &= data_type.get_or_insert_with(|| lowered.data_type.clone()) == &lowered.data_type;
        };
        for (condition, result) in branches {
            let (condition, result) = (self.expr(condition)?, self.expr(result)?);
            seen(&result);
            when_then.push((Box::new(condition.expr), Box::new(result.expr)));
        }
        let otherwise = otherwise.map(|otherwise| self.expr(otherwise)).transpose()?;
        if let Some(otherwise) = &otherwise {
            seen(otherwise);
        }
        Ok(match data_type {
            Some(data_type) if is_of_one_type => {
                let otherwise = otherwise.map(|otherwise| Box::new(otherwise.expr));
                Some(Lowered::new(Expr::Case(Case::new(None, when_then, otherwise)), data_type))
            }
            _ => None,
        })
    }

    /// A comparison, in a type in which both sides compare as PostgreSQL's.
    pub(super) fn compared(
        &mut self,
        operator: Operator,
        left: &plan::Expr,
        right: &plan::Expr,
    ) -> Lowering<Option<Lowered>> {
        let types = (left.data_type.clone(), right.data_type.clone());
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        Ok(comparison(operator, (left, &types.0), (right, &types.1), self.world.clock().zone))
    }

    fn native_call(&mut self, name: &str, arguments: &[plan::Expr], result: &Type) -> Lowering<Option<Lowered>> {
        let comparison = match name {
            "equal" | "eq" => Some(Operator::Eq),
            "ne" => Some(Operator::NotEq),
            "lt" => Some(Operator::Lt),
            "le" => Some(Operator::LtEq),
            "gt" => Some(Operator::Gt),
            "ge" => Some(Operator::GtEq),
            _ => None,
        };
        if let (Some(comparison), [left, right]) = (comparison, arguments) {
            return self.compared(comparison, left, right);
        }
        let is_whole = |data_type: &Type| matches!(data_type.oid, t::INT2 | t::INT4 | t::INT8);
        let arithmetic = match name {
            "+" => Some(Operator::Plus),
            "-" => Some(Operator::Minus),
            "*" => Some(Operator::Multiply),
            "/" => Some(Operator::Divide),
            "%" => Some(Operator::Modulo),
            _ => None,
        };
        if let (Some(operator), [left, right]) = (arithmetic, arguments)
            && is_whole(&left.data_type)
            && is_whole(&right.data_type)
            && is_whole(result)
        {
            let wanted = carry::carrier(result);
            let (left, right) = (self.expr(left)?.cast(wanted.clone()), self.expr(right)?.cast(wanted.clone()));
            let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr)));
            return Ok(Some(Lowered::new(expr, wanted)));
        }
        if let (Some(operator @ (Operator::Plus | Operator::Minus | Operator::Multiply)), [left, right]) =
            (arithmetic, arguments)
            && [left, right].iter().all(|side| side.data_type.oid == t::NUMERIC)
        {
            let (left, right) = (self.expr(left)?, self.expr(right)?);
            let (DataType::Decimal128(left_digits, left_scale), DataType::Decimal128(right_digits, right_scale)) =
                (&left.data_type, &right.data_type)
            else {
                return Ok(None);
            };
            // a scale that nobody said is none
            if left.data_type == carry::ANY_NUMERIC || right.data_type == carry::ANY_NUMERIC {
                return Ok(None);
            }
            let (digits, scale) = match operator {
                Operator::Multiply => (left_digits + right_digits + 1, left_scale + right_scale),
                _ => {
                    let scale = *left_scale.max(right_scale);
                    let before = (*left_digits as i8 - left_scale).max(*right_digits as i8 - right_scale);
                    ((before + scale + 1).cast_unsigned(), scale)
                }
            };
            if digits > 38 {
                return Ok(None);
            }
            let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr)));
            let wanted = DataType::Decimal128(digits, scale);
            return Ok(Some(Lowered::new(datafusion::logical_expr::cast(expr, wanted.clone()), wanted)));
        }
        let [inner] = arguments else { return Ok(None) };
        let from = &inner.data_type;
        Ok(match (name, result.oid) {
            ("whole", t::INT4 | t::INT8) if is_whole(from) && width(from) <= width(result) => {
                Some(self.expr(inner)?.cast(carry::carrier(result)))
            }
            ("float8", t::FLOAT8) if is_whole(from) || from.oid == t::FLOAT4 => {
                Some(self.expr(inner)?.cast(DataType::Float64))
            }
            ("numeric", t::NUMERIC) if is_whole(from) => {
                let digits = match from.oid {
                    t::INT2 => 5,
                    t::INT4 => 10,
                    _ => 19,
                };
                Some(self.expr(inner)?.cast(DataType::Decimal128(digits, 0)))
            }
            _ => None,
        })
    }
}

fn width(data_type: &Type) -> u8 {
    match data_type.oid {
        t::INT2 => 2,
        t::INT4 => 4,
        _ => 8,
    }
}

fn parameter(index: usize, data_type: &Type, taken_as: Option<DataType>) -> Lowered {
    let carrier = taken_as.unwrap_or_else(|| parameter_type(data_type).0);
    let field = field("value", data_type, &carry::carrier(data_type));
    let field = field.as_ref().clone().with_data_type(carrier.clone());
    let placeholder = Placeholder::new_with_field(format!("${}", index + 1), Some(Arc::new(field)));
    Lowered::new(Expr::Placeholder(placeholder), carrier)
}

/// In which type values of a parameter are taken, and the OID of its type.
pub fn parameter_type(data_type: &Type) -> (DataType, u32) {
    let carrier = match carry::carrier(data_type) {
        DataType::Utf8 if !matches!(data_type.oid, t::TEXT) => PRINTED,
        DataType::Interval(_) | DataType::Struct(_) => PRINTED,
        DataType::Int64 if data_type.oid != t::INT8 => PRINTED,
        other => other,
    };
    (carrier, data_type.oid)
}

fn from_outside(column: Lowered) -> Lowered {
    let Expr::Column(name) = column.expr else { return column };
    let field = Arc::new(datafusion::arrow::datatypes::Field::new(&name.name, column.data_type.clone(), true));
    Lowered::new(Expr::OuterReferenceColumn(field, name), column.data_type)
}

/// Both sides in a type in which they compare as PostgreSQL's, compared.
pub fn comparison(
    operator: Operator,
    (left, left_type): (Lowered, &Type),
    (right, right_type): (Lowered, &Type),
    zone: Zone,
) -> Option<Lowered> {
    let is_order =
        !matches!(operator, Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    let common = match (&left.data_type, &right.data_type) {
        (left, right) if left.is_integer() && right.is_integer() => {
            if width_of(left) >= width_of(right) {
                left.clone()
            } else {
                right.clone()
            }
        }
        (left, right) if left.is_floating() && right.is_floating() => DataType::Float64,
        (DataType::Decimal128(left_digits, left_scale), DataType::Decimal128(right_digits, right_scale)) => {
            let scale = *left_scale.max(right_scale);
            let before = (*left_digits as i8 - left_scale).max(*right_digits as i8 - right_scale);
            let digits = u8::try_from(before + scale).ok()?;
            if digits > 38 {
                return None;
            }
            DataType::Decimal128(digits, scale)
        }
        (left, right) if left.is_string() && right.is_string() => {
            let is_plain = |data_type: &Type| {
                let oid = resolve::base_type(data_type.oid);
                (carry::is_text(oid) && oid != t::BPCHAR && oid != t::JSON) || oid == t::UUID
            };
            if !is_plain(left_type) || !is_plain(right_type) {
                return None;
            }
            DataType::Utf8
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            return compared_times(operator, (left, left_type), (right, right_type), zone);
        }
        (left, right) if left == right => match left {
            DataType::Boolean | DataType::Date32 | DataType::Time64(_) | DataType::Binary => left.clone(),
            DataType::List(_) if !is_order && super::is_groupable(left, left_type) => left.clone(),
            _ => return None,
        },
        _ => return None,
    };
    let is_float = common == DataType::Float64;
    let (left, right) = (left.cast(common.clone()).expr, right.cast(common).expr);
    let expr =
        if is_float { compared_floats(operator, left, right) } else { compared_as_they_are(operator, left, right) };
    Some(Lowered::new(expr, DataType::Boolean))
}

/// Times of one type as they are; one of another becomes one of the other's, if it is constant, or both are numbers.
fn compared_times(
    operator: Operator,
    (left, left_type): (Lowered, &Type),
    (right, right_type): (Lowered, &Type),
    zone: Zone,
) -> Option<Lowered> {
    if left_type.oid != right_type.oid && zone != Zone::UTC {
        return None;
    }
    let as_other = |one: &Lowered, other: &Lowered| match &one.expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(time_us, _), _) => {
            let DataType::Timestamp(_, zone) = &other.data_type else { return None };
            Some(lit(ScalarValue::TimestampMicrosecond(*time_us, zone.clone())))
        }
        _ => None,
    };
    let (left, right) = if left.data_type == right.data_type {
        (left.expr, right.expr)
    } else if let Some(left) = as_other(&left, &right) {
        (left, right.expr)
    } else if let Some(right) = as_other(&right, &left) {
        (left.expr, right)
    } else {
        (left.cast(DataType::Int64).expr, right.cast(DataType::Int64).expr)
    };
    Some(Lowered::new(compared_as_they_are(operator, left, right), DataType::Boolean))
}

fn compared_as_they_are(operator: Operator, left: Expr, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

/// NaN is the greatest of all and is not counted in the bounds of a file, by which its rows would be left out; zeros of
/// both signs are equal.
fn compared_floats(operator: Operator, left: Expr, right: Expr) -> Expr {
    let constant = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => Some(*number),
        _ => None,
    };
    let (operator, left, right) = match (constant(&left), operator.swap()) {
        (Some(_), Some(swapped)) if constant(&right).is_none() => (swapped, right, left),
        _ => (operator, left, right),
    };
    let Some(number) = constant(&right) else { return compared_as_they_are(operator, left, right) };
    let is_nan = |of: Expr| datafusion::functions::math::expr_fn::isnan(of);
    if number.is_nan() {
        return match operator {
            Operator::Eq | Operator::GtEq => is_nan(left),
            Operator::NotEq | Operator::Lt => Expr::Not(Box::new(is_nan(left))),
            _ => compared_as_they_are(operator, left, right),
        };
    }
    let zero = |sign: f64| lit(0f64.copysign(sign));
    match (operator, number == 0.0) {
        (Operator::Eq, true) => left.clone().gt_eq(zero(-1.0)).and(left.lt_eq(zero(1.0))),
        (Operator::NotEq, true) => Expr::Not(Box::new(left.clone().gt_eq(zero(-1.0)).and(left.lt_eq(zero(1.0))))),
        (Operator::Lt, true) => left.lt(zero(-1.0)),
        (Operator::LtEq, true) => left.lt_eq(zero(1.0)),
        (Operator::Gt, true) => left.clone().gt(zero(1.0)).or(is_nan(left)),
        (Operator::GtEq, true) => left.clone().gt_eq(zero(-1.0)).or(is_nan(left)),
        (Operator::Gt | Operator::GtEq, false) => compared_as_they_are(operator, left.clone(), right).or(is_nan(left)),
        _ => compared_as_they_are(operator, left, right),
    }
}

fn width_of(data_type: &DataType) -> usize {
    data_type.primitive_width().unwrap_or(8)
}
