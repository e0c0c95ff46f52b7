//! Window functions.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlanBuilder, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
    cast, lit,
};
use granary_postgres::Value as Pg;
use granary_postgres::plan::{self, AggregateCall, Bound, Exclude, Frame, FrameUnits, WindowCall};
use granary_postgres::types as t;

use super::{Lower, Lowered, Lowering, Stop, carry, is_groupable};

/// Whether a row that leaves a frame can be taken out of an aggregate, exactly.
fn can_forget(call: &WindowCall) -> bool {
    let plan::WindowFunction::Aggregate(function) = &call.function else { return true };
    let is_exact = |expr: &plan::Expr| !matches!(expr.data_type.oid, t::FLOAT4 | t::FLOAT8);
    match function.name {
        "count" | "min" | "max" => call.filter.is_none(),
        "sum" | "avg" => call.filter.is_none() && call.arguments.iter().all(is_exact),
        _ => false,
    }
}

impl Lower<'_> {
    pub(super) fn windowed(
        &mut self,
        builder: LogicalPlanBuilder,
        calls: &[WindowCall],
    ) -> Lowering<LogicalPlanBuilder> {
        let mut exprs: Vec<Expr> = Vec::new();
        let mut columns = Vec::with_capacity(calls.len());
        for call in calls {
            let mut own = Vec::new();
            let (parts, finish) = self.window(call)?;
            if !matches!(call.frame.start, Bound::UnboundedPreceding) && !can_forget(call) {
                return Err(Stop::NoEqual("an aggregate of rows that leave the frame"));
            }
            for (expr, data_type) in parts {
                let name = expr.schema_name().to_string();
                own.push(Lowered::of_column(name.clone(), data_type));
                if !exprs.contains(&expr) {
                    if exprs.iter().any(|other| other.schema_name().to_string() == name) {
                        return Err(Stop::NoEqual("window functions that look alike"));
                    }
                    exprs.push(expr);
                }
            }
            columns.push(self.finished(own, &finish)?);
        }
        let builder = LogicalPlanBuilder::from(LogicalPlanBuilder::window_plan(builder.build()?, exprs)?);
        // they have the types of DataFusion's functions
        for (column, call) in columns.iter_mut().zip(calls) {
            if matches!(column.data_type, DataType::UInt64) {
                let wanted = carry::carrier(&call.data_type);
                *column = Lowered::new(cast(column.expr.clone(), wanted.clone()), wanted);
            }
        }
        self.scope_mut().windows = columns;
        Ok(builder)
    }

    fn window(&mut self, call: &WindowCall) -> Lowering<(Vec<(Expr, DataType)>, super::grouping::Finish)> {
        use plan::WindowFunction as W;
        let mut partition_by = Vec::with_capacity(call.partition_by.len());
        for expr in &call.partition_by {
            let lowered = self.expr(expr)?;
            if !is_groupable(&lowered.data_type, &expr.data_type) {
                return Err(Stop::NoEqual("equal values of this type that look different"));
            }
            partition_by.push(lowered.expr);
        }
        let mut order_by = Vec::with_capacity(call.order_by.len());
        for (expr, descending, nulls_first) in &call.order_by {
            let lowered = self.expr(expr)?;
            let key = self.sortable(&lowered, &expr.data_type)?;
            order_by.push(SortExpr::new(key, !descending, *nulls_first));
        }
        let window_frame = self.frame(&call.frame, !call.order_by.is_empty())?;
        let ready = |fun: WindowFunctionDefinition, args: Vec<Expr>, filter: Option<Box<Expr>>, distinct: bool| {
            Expr::WindowFunction(Box::new(WindowFunction {
                fun,
                params: WindowFunctionParams {
                    args,
                    partition_by: partition_by.clone(),
                    order_by: order_by.clone(),
                    window_frame: window_frame.clone(),
                    filter,
                    null_treatment: None,
                    distinct,
                },
            }))
        };
        let name = match &call.function {
            W::Aggregate(function) => {
                let own = AggregateCall {
                    function: function.clone(),
                    arguments: call.arguments.clone(),
                    filter: call.filter.clone(),
                    is_distinct: false,
                    order_by: Vec::new(),
                    direct: Vec::new(),
                    data_type: call.data_type.clone(),
                };
                let made = self.aggregate(&own)?;
                let parts = made.parts.into_iter().map(|(expr, data_type)| match expr {
                    Expr::AggregateFunction(AggregateFunction { func, params }) => {
                        let fun = WindowFunctionDefinition::AggregateUDF(func);
                        Ok((ready(fun, params.args, params.filter, params.distinct), data_type))
                    }
                    _ => Err(Stop::NoEqual("a window over no aggregate")),
                });
                return Ok((parts.collect::<Lowering<_>>()?, made.finish));
            }
            W::RowNumber => "row_number",
            W::Rank => "rank",
            W::DenseRank => "dense_rank",
            W::PercentRank => "percent_rank",
            W::CumeDist => "cume_dist",
            W::Ntile => "ntile",
            W::Lag => "lag",
            W::Lead => "lead",
            W::FirstValue => "first_value",
            W::LastValue => "last_value",
            W::NthValue => "nth_value",
        };
        if call.filter.is_some() {
            return Err(Stop::NoEqual("FILTER of a window function"));
        }
        let constant = |lower: &Self, expr: &plan::Expr| match lower.constant(expr) {
            Some(Pg::Int(number)) => Ok(lit(number)),
            _ => Err(Stop::NoEqual("an argument that is no constant")),
        };
        let (args, data_type) = match (&call.function, call.arguments.as_slice()) {
            (W::RowNumber | W::Rank | W::DenseRank, []) => (Vec::new(), DataType::UInt64),
            (W::PercentRank | W::CumeDist, []) => (Vec::new(), DataType::Float64),
            (W::FirstValue | W::LastValue, [value]) => {
                let value = self.expr(value)?;
                (vec![value.expr], value.data_type)
            }
            (W::NthValue, [value, nth]) => {
                let nth = constant(self, nth)?;
                if matches!(&nth, Expr::Literal(ScalarValue::Int64(Some(nth)), _) if *nth <= 0) {
                    return Err(Stop::NoEqual("an argument of nth_value that is not positive"));
                }
                let value = self.expr(value)?;
                (vec![value.expr, nth], value.data_type)
            }
            (W::Lag | W::Lead, [value]) => {
                let value = self.expr(value)?;
                (vec![value.expr], value.data_type)
            }
            (W::Lag | W::Lead, [value, by]) => {
                let by = constant(self, by)?;
                let value = self.expr(value)?;
                (vec![value.expr, by], value.data_type)
            }
            _ => return Err(Stop::NoEqual("this window function")),
        };
        let functions = self.state.window_functions();
        let function = functions.get(name).cloned().ok_or(Stop::NoEqual("a window function"))?;
        let expr = ready(WindowFunctionDefinition::WindowUDF(function), args, None, false);
        Ok((vec![(expr, data_type)], super::grouping::Finish::Itself))
    }

    fn frame(&self, frame: &Frame, is_ordered: bool) -> Lowering<WindowFrame> {
        if frame.exclude != Exclude::Nothing {
            return Err(Stop::NoEqual("EXCLUDE"));
        }
        let units = match frame.units {
            FrameUnits::Rows => WindowFrameUnits::Rows,
            FrameUnits::Range => WindowFrameUnits::Range,
            FrameUnits::Groups => return Err(Stop::NoEqual("GROUPS")),
        };
        let rows = |expr: &plan::Expr| match self.constant(expr) {
            Some(Pg::Int(number)) if units == WindowFrameUnits::Rows && number >= 0 => {
                Ok(ScalarValue::UInt64(u64::try_from(number).ok()))
            }
            _ => Err(Stop::NoEqual("this frame")),
        };
        let bound = |bound: &Bound| -> Lowering<WindowFrameBound> {
            Ok(match bound {
                Bound::UnboundedPreceding => WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
                Bound::Preceding(expr) => WindowFrameBound::Preceding(rows(expr)?),
                Bound::CurrentRow => WindowFrameBound::CurrentRow,
                Bound::Following(expr) => WindowFrameBound::Following(rows(expr)?),
                Bound::UnboundedFollowing => WindowFrameBound::Following(ScalarValue::UInt64(None)),
            })
        };
        let (start, end) = (bound(&frame.start)?, bound(&frame.end)?);
        if start > end {
            return Err(Stop::NoEqual("a frame without rows"));
        }
        // without an order all rows are peers
        if !is_ordered && units == WindowFrameUnits::Range {
            return Ok(WindowFrame::new(None));
        }
        Ok(WindowFrame::new_bounds(units, start, end))
    }
}
