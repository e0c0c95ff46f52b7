//! GROUP BY and aggregates.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlanBuilder, lit};
use granary_postgres::Value as Pg;
use granary_postgres::numeric::Numeric;
use granary_postgres::plan::{self, AggregateCall, ExprKind, Function, Grouping, Select};
use granary_postgres::types::{self as t, Type};

use super::{Lower, Lowered, Lowering, Stop, carry, field, is_groupable};
use crate::engine::settled::aggregate::collected;
use crate::engine::settled::call::Evaluation;

/// The aggregates that an aggregate is made of, and how.
pub(super) struct Made {
    /// each with the type of its values
    pub parts: Vec<(Expr, DataType)>,
    pub finish: Finish,
}

pub(super) enum Finish {
    /// the only part is it
    Itself,
    /// a sum by a count
    Average,
}

impl Lower<'_> {
    /// The groups; expressions name their keys and aggregates from here on.
    pub(super) fn grouped(
        &mut self,
        builder: LogicalPlanBuilder,
        grouping: &Grouping,
        (select, number): (&Select, usize),
    ) -> Lowering<LogicalPlanBuilder> {
        let is_plain = match grouping.sets.as_slice() {
            [set] => (0..grouping.keys.len()).all(|key| set.contains(&key)),
            _ => false,
        };
        if !is_plain {
            return Err(Stop::NoEqual("grouping sets"));
        }
        let mut keys = Vec::with_capacity(grouping.keys.len());
        let mut key_columns = Vec::with_capacity(grouping.keys.len());
        for key in &grouping.keys {
            let lowered = self.expr(key)?;
            if !is_groupable(&lowered.data_type, &key.data_type) {
                return Err(Stop::NoEqual("equal values of this type that look different"));
            }
            let name = match &lowered.expr {
                Expr::Column(own) => self.name(&own.name),
                _ => self.name("key"),
            };
            keys.push(lowered.expr.alias(&name));
            key_columns.push(Lowered::of_column(name, lowered.data_type));
        }
        let mut parts = Vec::new();
        let mut columns = Vec::with_capacity(grouping.aggregates.len());
        for call in &grouping.aggregates {
            let made = self.aggregate(call)?;
            let mut own = Vec::with_capacity(made.parts.len());
            for (expr, data_type) in made.parts {
                let name = self.name(call.function.name);
                parts.push(expr.alias(&name));
                own.push(Lowered::of_column(name, data_type));
            }
            columns.push(self.finished(own, &made.finish)?);
        }
        let mut decided = HashMap::new();
        for (slot, data_type) in decided_columns(select, grouping) {
            let column = plan::Expr::new(ExprKind::Column { level: 0, slot }, data_type);
            let lowered = self.expr(&column)?;
            let name = format!("d{number}_{slot}");
            parts.push(aggregate_expr(self.function("first_value")?, vec![lowered.expr], (false, None)).alias(&name));
            decided.insert(slot, Lowered::of_column(name, lowered.data_type));
        }
        let mut builder = builder.aggregate(keys, parts)?;
        self.scope_mut().decided = decided;
        self.scope_mut().groups = Some((key_columns, columns));
        if let Some(having) = &grouping.having {
            builder = builder.filter(self.expr(having)?.expr)?;
        }
        Ok(builder)
    }

    pub(super) fn finished(&self, parts: Vec<Lowered>, finish: &Finish) -> Lowering<Lowered> {
        let mut parts = parts.into_iter();
        let first = parts.next().ok_or(Stop::NoEqual("an aggregate without parts"))?;
        match (finish, parts.next()) {
            (Finish::Average, Some(count)) => {
                let function = Function::new("avg", |_, values| match values {
                    [Pg::Numeric(sum), Pg::Int(count)] => Ok(Pg::Numeric(sum.divide(&Numeric::from(*count))?)),
                    _ => Ok(Pg::Null),
                });
                let column = |slot, oid| plan::Expr::new(ExprKind::Column { level: 0, slot }, Type::of(oid));
                let numeric = Type::of(t::NUMERIC);
                let call = plan::Expr::call(function, vec![column(0, t::NUMERIC), column(1, t::INT8)], numeric.clone());
                let arguments = vec![(first.expr, numeric.clone()), (count.expr, Type::of(t::INT8))];
                let carrier = carry::carrier(&numeric);
                let expr = Evaluation::call((call, false), arguments, field("avg", &numeric, &carrier), self.world());
                Ok(Lowered::new(expr, carrier))
            }
            _ => Ok(first),
        }
    }

    fn function(&self, name: &str) -> Lowering<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned().ok_or(Stop::NoEqual("an aggregate"))
    }

    pub(super) fn aggregate(&mut self, call: &AggregateCall) -> Lowering<Made> {
        let filter = match &call.filter {
            Some(filter) => Some(Box::new(self.expr(filter)?.expr)),
            None => None,
        };
        if call.direct.is_empty()
            && let Some(made) = self.native_aggregate(call, filter.clone())?
        {
            return Ok(made);
        }
        let is_fixed = |expr: &plan::Expr| matches!(expr.kind, ExprKind::Constant(_));
        if !call.direct.iter().all(is_fixed) {
            return Err(Stop::NoEqual("an aggregate of what is not constant"));
        }
        let result = call.data_type.clone();
        let mut arguments = Vec::new();
        let mut types = Vec::new();
        let mut own = AggregateCall { filter: None, ..call.clone() };
        let exprs = own.arguments.iter_mut().chain(own.order_by.iter_mut().map(|(expr, ..)| expr));
        for (slot, expr) in exprs.enumerate() {
            if expr.data_type.oid == t::RECORD {
                return Err(Stop::NoEqual("an aggregate of records"));
            }
            let lowered = self.expr(expr)?;
            types.push((expr.data_type.clone(), lowered.data_type.clone()));
            arguments.push(lowered.expr);
            expr.kind = ExprKind::Column { level: 0, slot };
        }
        if arguments.is_empty() {
            // it has to count rows
            arguments.push(lit(true));
            types.push((Type::of(t::BOOL), DataType::Boolean));
        }
        let carrier = carry::carrier(&result);
        let own_field = field(call.function.name, &result, &carrier);
        let function = Arc::new(collected(own, types, (result, own_field), self.world()));
        let expr = aggregate_expr(function, arguments, (false, filter));
        Ok(Made { parts: vec![(expr, carrier)], finish: Finish::Itself })
    }

    /// One of DataFusion's own, or several.
    fn native_aggregate(&mut self, call: &AggregateCall, filter: Option<Box<Expr>>) -> Lowering<Option<Made>> {
        let distinct = call.is_distinct;
        let one = |expr, data_type| Ok(Some(Made { parts: vec![(expr, data_type)], finish: Finish::Itself }));
        let argument = match call.arguments.as_slice() {
            [] if call.function.name == "count" => {
                let expr = aggregate_expr(self.function("count")?, vec![lit(1i64)], (false, filter));
                return one(expr, DataType::Int64);
            }
            [argument] => argument,
            _ => return Ok(None),
        };
        let oid = argument.data_type.oid;
        // their sums are of numbers that are all looked at in the end, in any order
        match call.function.name {
            "count" if oid != t::RECORD => {
                let argument_type = argument.data_type.clone();
                let argument = self.expr(argument)?;
                if distinct && !is_groupable(&argument.data_type, &argument_type) {
                    return Ok(None);
                }
                let expr = aggregate_expr(self.function("count")?, vec![argument.expr], (distinct, filter));
                one(expr, DataType::Int64)
            }
            "sum" | "avg" => {
                let Some(summed) = self.summed(argument)? else { return Ok(None) };
                if oid == t::FLOAT4 && call.function.name == "sum" {
                    return Ok(None);
                }
                let is_float = summed.data_type == DataType::Float64;
                let is_narrow = call.function.name == "sum" && matches!(oid, t::INT2 | t::INT4);
                let summed = if is_narrow { self.expr(argument)?.cast(DataType::Int64) } else { summed };
                if is_float && call.function.name == "avg" {
                    let expr = aggregate_expr(self.function("avg")?, vec![summed.expr], (distinct, filter));
                    return one(expr, DataType::Float64);
                }
                let data_type = match &summed.data_type {
                    DataType::Decimal128(digits, scale) => DataType::Decimal128((digits + 10).min(38), *scale),
                    other => other.clone(),
                };
                let sum = aggregate_expr(self.function("sum")?, vec![summed.expr.clone()], (distinct, filter.clone()));
                if call.function.name == "sum" {
                    return one(sum, data_type);
                }
                // of the values as they are, as a count beside it is
                let counted = self.expr(argument)?.expr;
                let count = aggregate_expr(self.function("count")?, vec![counted], (distinct, filter));
                Ok(Some(Made { parts: vec![(sum, data_type), (count, DataType::Int64)], finish: Finish::Average }))
            }
            "min" | "max" => {
                let argument_type = argument.data_type.clone();
                let argument = self.expr(argument)?;
                let is_ordered = is_groupable(&argument.data_type, &argument_type)
                    && !matches!(argument.data_type, DataType::List(_) | DataType::Boolean);
                if !is_ordered {
                    return Ok(None);
                }
                let data_type = argument.data_type.clone();
                one(aggregate_expr(self.function(call.function.name)?, vec![argument.expr], (false, filter)), data_type)
            }
            "bool_and" | "bool_or" | "every" if call.order_by.is_empty() => {
                let name = if call.function.name == "bool_or" { "bool_or" } else { "bool_and" };
                let argument = self.expr(argument)?;
                one(aggregate_expr(self.function(name)?, vec![argument.expr], (false, filter)), DataType::Boolean)
            }
            _ => Ok(None),
        }
    }

    /// What is added up, in a type whose sums are exact; None where there is none.
    fn summed(&mut self, argument: &plan::Expr) -> Lowering<Option<Lowered>> {
        let digits = match argument.data_type.oid {
            t::INT2 => 5,
            t::INT4 => 10,
            t::INT8 => 19,
            t::FLOAT4 | t::FLOAT8 => return Ok(Some(self.expr(argument)?.cast(DataType::Float64))),
            t::NUMERIC => {
                let argument = self.expr(argument)?;
                // ten digits more are for the sum
                let is_exact = matches!(argument.data_type, DataType::Decimal128(digits, _) if digits <= 28)
                    || argument.data_type == carry::ANY_NUMERIC;
                return Ok(is_exact.then_some(argument));
            }
            _ => return Ok(None),
        };
        Ok(Some(self.expr(argument)?.cast(DataType::Decimal128(digits, 0))))
    }
}

/// The columns that stand beside keys and aggregates: the keys decide them.
fn decided_columns(select: &Select, grouping: &Grouping) -> Vec<(usize, Type)> {
    fn find(expr: &plan::Expr, found: &mut Vec<(usize, Type)>) {
        if let ExprKind::Column { level: 0, slot } = expr.kind
            && !found.iter().any(|(other, _)| *other == slot)
        {
            found.push((slot, expr.data_type.clone()));
        }
        expr.parts().into_iter().for_each(|part| find(part, found));
    }
    let mut found = Vec::new();
    let of_windows = select.windows.iter().flat_map(|window| window.exprs());
    let all = select.targets.iter().chain(&grouping.having).chain(of_windows);
    all.for_each(|expr| find(expr, &mut found));
    found
}

pub(super) fn aggregate_expr(
    function: Arc<AggregateUDF>,
    args: Vec<Expr>,
    (distinct, filter): (bool, Option<Box<Expr>>),
) -> Expr {
    let params = AggregateFunctionParams { args, distinct, filter, order_by: Vec::new(), null_treatment: None };
    Expr::AggregateFunction(AggregateFunction { func: function, params })
}
