//! Calls: of functions, of aggregates, over windows, and of what gives rows.

use std::sync::Arc;

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr};

use super::expr::{boolean, row, single_column};
use super::{Analyzer, Clause, place_of};
use crate::error::{Error, Result};
use crate::functions::{self, aggregates, sets, sql};
use crate::plan::{AggregateCall, Expr, ExprKind, SetCall, WindowCall, WindowFunction};
use crate::resolve::{self, Call, Context, Resolved};
use crate::types::{self as t, Type};
use crate::value::Value;

impl Analyzer<'_> {
    pub(super) fn argument(&mut self, argument: &FunctionArg) -> Result<Expr> {
        let (FunctionArg::Unnamed(inner)
        | FunctionArg::Named { arg: inner, .. }
        | FunctionArg::ExprNamed { arg: inner, .. }) = argument;
        match inner {
            FunctionArgExpr::Expr(expr) => self.expr(expr),
            // the row as a whole
            FunctionArgExpr::QualifiedWildcard(name) => {
                let starred = self.starred(Some(name))?;
                let fields = starred.iter().map(|part| (part.name.clone(), part.expr.data_type.clone())).collect();
                let parts = starred.into_iter().map(|part| part.expr).collect();
                Ok(Expr::new(ExprKind::Row(parts), Type::record(fields)))
            }
            other => Err(Error::new("42601", format!("{other} cannot stand here"))),
        }
    }

    pub(super) fn function(&mut self, function: &ast::Function) -> Result<Expr> {
        let (schema, name) = super::split_name(&function.name)?;
        let place = place_of(&function.name);
        let arguments: &[FunctionArg] = match &function.args {
            ast::FunctionArguments::None => {
                return self.keyword_value(&name).map_err(|error| error.at(place));
            }
            ast::FunctionArguments::Subquery(query) if name == "array" => {
                let query = self.subquery(query)?;
                let element = single_column(&query, "subquery must return only one column")?;
                let array = if element.is_array() { Some(element.clone()) } else { element.array() };
                let array = array.ok_or_else(|| {
                    Error::new("42704", format!("could not find array type for data type {}", element.name()))
                })?;
                return Ok(Expr::new(ExprKind::ArrayOf(query), array));
            }
            ast::FunctionArguments::Subquery(query) => {
                let query = self.subquery(query)?;
                let data_type = single_column(&query, "subquery must return only one column")?;
                let argument = Expr::new(ExprKind::Scalar(query), data_type);
                return self.call_function(&name, vec![argument], false).map_err(|error| error.at(place));
            }
            ast::FunctionArguments::List(list) => &list.args,
        };
        if schema.is_none()
            && let Some(found) = self.grammar_call(&name, function, arguments)?
        {
            return Ok(found);
        }
        let is_known_schema =
            schema.as_deref().is_none_or(|schema| matches!(schema, "pg_catalog" | "information_schema"));
        let is_star =
            arguments.iter().any(|argument| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)));
        let is_aggregate = is_known_schema && resolve::procs_named(&name).any(|proc| proc.kind == 'a');
        let is_window = is_known_schema && resolve::procs_named(&name).any(|proc| proc.kind == 'w');
        if function.over.is_some() || (is_window && function.within_group.is_empty()) {
            return self.window_call(&name, function, arguments, is_star).map_err(|error| error.at(place));
        }
        if is_aggregate {
            return self.aggregate_call(&name, function, arguments, is_star).map_err(|error| error.at(place));
        }
        let unpacked = variadic(arguments);
        let is_variadic = unpacked.is_some();
        let arguments = unpacked.as_deref().unwrap_or(arguments);
        let names: Vec<Option<String>> = arguments.iter().map(argument_name).collect();
        let values = arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
        let values = if names.iter().any(Option::is_some) {
            in_their_places(&name, names, values).map_err(|error| error.at(place))?
        } else {
            values
        };
        if !is_known_schema {
            let is_own = schema.as_deref() == self.world.current_schema().as_deref();
            if let Some(schema) = schema.filter(|_| !is_own)
                && matches!(self.world.number_of(crate::NameKind::Schema, &schema), Ok(None))
            {
                return Err(Error::new("3F000", format!("schema \"{schema}\" does not exist")).at(place));
            }
            let types: Vec<String> = values.iter().map(|value| value.data_type.name()).collect();
            let message = format!("function {}({}) does not exist", function.name, types.join(", "));
            return Err(Error::new("42883", message).at(place));
        }
        let takes_any = resolve::procs_named(&name).any(|proc| proc.variadic == t::ANY);
        if is_variadic && takes_any {
            let values = spread(values).ok_or_else(|| {
                Error::not_supported(format!("VARIADIC of {name} with what is no array constructor")).at(place)
            })?;
            return self.call_function(&name, values, false).map_err(|error| error.at(place));
        }
        let called = self.call_function(&name, values, is_variadic).map_err(|error| error.at(place))?;
        check_plain(&name, function).map_err(|error| error.at(place))?;
        Ok(called)
    }

    /// What looks like a function and is a part of the grammar.
    fn grammar_call(
        &mut self,
        name: &str,
        function: &ast::Function,
        arguments: &[FunctionArg],
    ) -> Result<Option<Expr>> {
        let n_sets = self.n_sets();
        let mut values = || arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>();
        Ok(Some(match name {
            "coalesce" | "greatest" | "least" if arguments.is_empty() => return Err(syntax_error(")")),
            "coalesce" => {
                let items = values()?;
                self.without_sets(n_sets, "COALESCE")?;
                let (items, data_type) = self.common(items, "COALESCE")?;
                Expr::new(ExprKind::Coalesce(items), data_type)
            }
            "greatest" | "least" => {
                let items = values()?;
                let (items, data_type) = self.common(items, if name == "greatest" { "GREATEST" } else { "LEAST" })?;
                Expr::new(ExprKind::Extreme { items, is_greatest: name == "greatest" }, data_type)
            }
            "nullif" => {
                let mut items = values()?;
                let (Some(right), Some(left), None) = (items.pop(), items.pop(), items.pop()) else {
                    return Err(syntax_error(if arguments.len() < 2 { ")" } else { "," }));
                };
                let equal = self.operation("=", left.clone(), right.clone())?;
                // it is of the type that the comparison makes of it
                let left = match &equal.kind {
                    ExprKind::Call { arguments, .. } => arguments[0].clone(),
                    _ => self.settled(left)?,
                };
                let data_type = left.data_type.clone();
                Expr::new(
                    ExprKind::NullIf { left: Box::new(left), right: Box::new(right), equal: Box::new(equal) },
                    data_type,
                )
            }
            "row" => row(values()?),
            "normalize" => {
                let [first, form] = arguments else { return Ok(None) };
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(form))) = form else {
                    return Ok(None);
                };
                let value = self.argument(first)?;
                let form = Expr::constant(Value::text(&form.value), Type::of(t::TEXT));
                self.call_function("normalize", vec![value, form], false)?
            }
            "grouping" => {
                let keys = values()?;
                return self.grouping_call(keys).map(Some);
            }
            "current_timestamp" | "localtimestamp" | "current_time" | "localtime" if arguments.len() <= 1 => {
                self.keyword_value(name)?
            }
            _ => {
                let is_quoted =
                    function.name.0.iter().all(|part| part.as_ident().is_some_and(|ident| ident.quote_style.is_some()));
                return if is_quoted { self.marked_call(name, arguments) } else { Ok(None) };
            }
        }))
    }

    /// A function of `pg_proc`, or a cast in its form.
    pub(super) fn call_function(&mut self, name: &str, arguments: Vec<Expr>, is_variadic: bool) -> Result<Expr> {
        let types: Vec<Type> = arguments.iter().map(|argument| argument.data_type.clone()).collect();
        let resolved = match resolve::function(name, &types, is_variadic)? {
            Call::Cast(data_type) => {
                let [argument] =
                    <[Expr; 1]>::try_from(arguments).map_err(|_| Error::new("42601", "a cast takes one value"))?;
                return self.coerce(argument, &data_type, Context::Explicit);
            }
            Call::Function(resolved) => resolved,
        };
        let unsupported = || {
            let types: Vec<String> = types.iter().map(Type::name).collect();
            Error::not_supported(format!("the function {name}({})", types.join(", ")))
        };
        let arguments = self.arguments(&resolved, arguments)?;
        let proc = resolved.proc;
        let mut kept: Vec<Type> = resolved.arguments.clone();
        for (kept, argument) in kept.iter_mut().zip(&arguments) {
            if argument.data_type.fields.is_some() {
                *kept = argument.data_type.clone();
            }
        }
        if let Some(text) = sql::body(proc) {
            let query = self.sql_function(text, &resolved.arguments)?;
            return Ok(Expr::new(ExprKind::Sql { query, arguments, is_strict: proc.is_strict }, resolved.result));
        }
        if proc.gives_set {
            let set = sets::function(self.world, proc, &kept, &resolved.result).ok_or_else(unsupported)?;
            let data_type = set.row_type();
            let call = SetCall { function: set.function, arguments, is_strict: proc.is_strict };
            return self.set_call(call, data_type, name);
        }
        let function = functions::scalar(self.world, proc, &kept, &resolved.result).ok_or_else(unsupported)?;
        let is_volatile = proc.volatility == 'v';
        let kind = ExprKind::Call { function, arguments, is_strict: proc.is_strict, is_volatile };
        Ok(Expr::new(kind, resolved.result))
    }

    /// Arguments as the function takes them, those of a variadic one collected.
    pub(super) fn arguments(&mut self, resolved: &Resolved, arguments: Vec<Expr>) -> Result<Vec<Expr>> {
        let mut converted = Vec::with_capacity(arguments.len());
        for (argument, data_type) in arguments.into_iter().zip(&resolved.arguments) {
            // the type of any argument may be anything, and stays what it is
            converted.push(self.coerce(argument, data_type, Context::Implicit)?);
        }
        if let Some(n_variadic) = resolved.n_variadic
            && resolved.proc.variadic != t::ANY
        {
            let items = converted.split_off(converted.len() - n_variadic);
            let element = items.first().map_or(Type::of(t::TEXT), |item| item.data_type.clone());
            let array = element.array().unwrap_or(Type::of(t::TEXT_ARRAY));
            converted.push(Expr::new(ExprKind::Array(items), array));
        }
        Ok(converted)
    }

    /// The query of a function that is written in SQL.
    fn sql_function(&mut self, text: &'static str, parameters: &[Type]) -> Result<Arc<crate::plan::Query>> {
        let parsed = sql::parse(text)?;
        let declared: Vec<Option<Type>> = parameters.iter().cloned().map(Some).collect();
        let analyzed = super::analyze(&parsed, &declared, self.world)?;
        Ok(analyzed.query)
    }

    fn set_call(&mut self, call: SetCall, data_type: Type, name: &str) -> Result<Expr> {
        let Some(scope) = self.scopes.last_mut() else {
            return Err(Error::new("0A000", "set-returning functions are not allowed here"));
        };
        match scope.clause {
            Clause::Targets | Clause::OrderBy => {
                scope.sets.push(call);
                Ok(Expr::new(ExprKind::SetResult(scope.sets.len() - 1), data_type))
            }
            clause => {
                let _ = name;
                Err(Error::new("0A000", format!("set-returning functions are not allowed in {}", clause.words())))
            }
        }
    }

    fn aggregate_call(
        &mut self,
        name: &str,
        function: &ast::Function,
        arguments: &[FunctionArg],
        is_star: bool,
    ) -> Result<Expr> {
        let clause = self.scopes.last().map_or(Clause::Values, |scope| scope.clause);
        if matches!(
            clause,
            Clause::Where | Clause::On | Clause::From | Clause::GroupBy | Clause::Limit | Clause::Values
        ) {
            return Err(Error::new("42803", format!("aggregate functions are not allowed in {}", clause.words())));
        }
        if self.scopes.last().is_some_and(|scope| scope.in_aggregate) {
            return Err(Error::new("42803", "aggregate function calls cannot be nested"));
        }
        let scope = self.scope();
        scope.in_aggregate = true;
        let (n_sets, n_windows) = (scope.sets.len(), scope.windows.len());
        let call = self.aggregate(name, function, arguments, is_star);
        self.scope().in_aggregate = false;
        let (call, data_type) = call?;
        let scope = self.scope();
        if scope.windows.len() > n_windows {
            return Err(Error::new("42803", "aggregate function calls cannot contain window function calls"));
        }
        if scope.sets.len() > n_sets {
            return Err(Error::new("0A000", "aggregate function calls cannot contain set-returning function calls")
                .with_hint("You might be able to move the set-returning function into a LATERAL FROM item."));
        }
        scope.aggregates.push(call);
        Ok(Expr::new(ExprKind::Aggregate(scope.aggregates.len() - 1), data_type))
    }

    fn aggregate(
        &mut self,
        name: &str,
        function: &ast::Function,
        arguments: &[FunctionArg],
        is_star: bool,
    ) -> Result<(AggregateCall, Type)> {
        let mut order_by = Vec::new();
        let mut is_distinct = false;
        if let ast::FunctionArguments::List(list) = &function.args {
            is_distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
            for clause in &list.clauses {
                match clause {
                    ast::FunctionArgumentClause::OrderBy(keys) => order_by.extend(self.aggregate_order(keys)?),
                    other => return Err(Error::not_supported(format!("{other} in an aggregate"))),
                }
            }
        }
        let within = self.aggregate_order(&function.within_group)?;
        let values = if is_star {
            Vec::new()
        } else {
            arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?
        };
        let filter = function.filter.as_ref().map(|filter| self.expr(filter)).transpose()?;
        let filter = filter.map(|filter| self.condition(filter, "FILTER")).transpose()?;
        if values.is_empty() && !is_star && name == "count" {
            return Err(Error::new("42809", "count(*) must be used to call a parameterless aggregate function"));
        }
        let is_ordered_set = matches!(name, "percentile_cont" | "percentile_disc" | "mode");
        if is_ordered_set && function.within_group.is_empty() {
            return Err(Error::new("42809", format!("WITHIN GROUP is required for ordered-set aggregate {name}")));
        }
        if is_distinct && !order_by.iter().all(|(key, ..)| values.iter().any(|value| value.is_same(key))) {
            let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
            return Err(Error::new("42P10", message));
        }
        let (direct, values, order_by) = if function.within_group.is_empty() {
            (Vec::new(), values, order_by)
        } else {
            let ordered = within.iter().map(|(expr, ..)| expr.clone()).collect();
            (values, ordered, within)
        };
        let is_ordered_set = matches!(name, "percentile_cont" | "percentile_disc" | "mode");
        if function.within_group.is_empty() && is_ordered_set {
            let message = format!("WITHIN GROUP is required for ordered-set aggregate {name}");
            return Err(Error::new("42809", message));
        }
        if name == "count" && !is_star && values.is_empty() && function.within_group.is_empty() {
            return Err(Error::new("42809", "count(*) must be used to call a parameterless aggregate function"));
        }
        if is_distinct
            && let Some((other, ..)) = order_by.iter().find(|(key, ..)| !values.iter().any(|value| value.is_same(key)))
            && !matches!(other.kind, ExprKind::Constant(_))
            && !values.iter().any(|value| value.data_type.oid == t::UNKNOWN)
        {
            let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
            return Err(Error::new("42P10", message));
        }
        if is_star && name != "count" {
            return Err(Error::new("42883", format!("function {name}() does not exist")));
        }
        let all: Vec<Type> = direct.iter().chain(&values).map(|value| value.data_type.clone()).collect();
        let Call::Function(resolved) = resolve::function(name, &all, false)? else {
            return Err(Error::new("42883", format!("function {name} does not exist")));
        };
        let is_hypothetical = matches!(name, "rank" | "dense_rank" | "percent_rank" | "cume_dist");
        if is_hypothetical {
            if direct.len() != values.len() {
                let types: Vec<String> = all.iter().map(Type::name).collect();
                return Err(Error::new("42883", format!("function {name}({}) does not exist", types.join(", "))).with_hint(
                    format!(
                        "To use the hypothetical-set aggregate {name}, the number of hypothetical direct arguments (here {}) must match the number of ordering columns (here {}).",
                        direct.len(), values.len()
                    ),
                ));
            }
            return self.hypothetical(resolved.proc.name, direct, (values, order_by), (filter, resolved.result));
        }
        let n_direct = direct.len();
        let mut converted = self.arguments(&resolved, direct.into_iter().chain(values).collect())?;
        let values = converted.split_off(n_direct);
        let types: Vec<Type> = values.iter().map(|value| value.data_type.clone()).collect();
        let aggregate = aggregates::function(resolved.proc, &types, &resolved.result)
            .ok_or_else(|| Error::not_supported(format!("the aggregate {name}")))?;
        let data_type = resolved.result.clone();
        let call = AggregateCall {
            function: aggregate,
            arguments: values,
            filter,
            is_distinct,
            order_by,
            direct: converted,
            data_type,
        };
        Ok((call, resolved.result))
    }

    /// What a row would be among those of the group.
    fn hypothetical(
        &mut self,
        name: &'static str,
        direct: Vec<Expr>,
        (values, order_by): (Vec<Expr>, Vec<(Expr, bool, bool)>),
        (filter, data_type): (Option<Expr>, Type),
    ) -> Result<(AggregateCall, Type)> {
        let (mut own, mut others, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for ((direct, value), (_, descending, nulls_first)) in direct.into_iter().zip(values).zip(order_by) {
            let (mut both, _) = self.common(vec![direct, value], "WITHIN GROUP")?;
            let (value, direct) = (both.pop().expect("two"), both.pop().expect("two"));
            keys.push((value.clone(), descending, nulls_first));
            own.push(direct);
            others.push(value);
        }
        let flags = keys.iter().map(|(_, descending, nulls_first)| (*descending, *nulls_first)).collect();
        let call = AggregateCall {
            function: aggregates::hypothetical(name, flags),
            arguments: others,
            filter,
            is_distinct: false,
            order_by: keys,
            direct: own,
            data_type: data_type.clone(),
        };
        Ok((call, data_type))
    }

    fn aggregate_order(&mut self, keys: &[ast::OrderByExpr]) -> Result<Vec<(Expr, bool, bool)>> {
        keys.iter()
            .map(|key| {
                let expr = self.expr(&key.expr)?;
                let expr = self.settled(expr)?;
                let descending = key.options.asc == Some(false);
                Ok((expr, descending, key.options.nulls_first.unwrap_or(descending)))
            })
            .collect()
    }

    fn grouping_call(&mut self, keys: Vec<Expr>) -> Result<Expr> {
        // found among the keys once these are known
        let kind = ExprKind::Row(keys);
        let marker = crate::plan::Function::new("grouping", |_, _| {
            Err(Error::new("42803", "arguments to GROUPING must be grouping expressions of the associated query level"))
        });
        let arguments = vec![Expr::new(kind, Type::of(t::RECORD))];
        Ok(Expr::new(
            ExprKind::Call { function: marker, arguments, is_strict: false, is_volatile: false },
            Type::of(t::INT4),
        ))
    }

    fn window_call(
        &mut self,
        name: &str,
        function: &ast::Function,
        arguments: &[FunctionArg],
        is_star: bool,
    ) -> Result<Expr> {
        let clause = self.scopes.last().map_or(Clause::Values, |scope| scope.clause);
        if !matches!(clause, Clause::Targets | Clause::OrderBy) {
            return Err(Error::new("42P20", format!("window functions are not allowed in {}", clause.words())));
        }
        let Some(over) = &function.over else {
            return Err(Error::new("42809", format!("window function {name} requires an OVER clause")));
        };
        let spec = self.window_spec(over)?;
        let n_windows = self.scope().windows.len();
        let own = match name {
            "row_number" => Some(WindowFunction::RowNumber),
            "rank" => Some(WindowFunction::Rank),
            "dense_rank" => Some(WindowFunction::DenseRank),
            "percent_rank" => Some(WindowFunction::PercentRank),
            "cume_dist" => Some(WindowFunction::CumeDist),
            "ntile" => Some(WindowFunction::Ntile),
            "lag" => Some(WindowFunction::Lag),
            "lead" => Some(WindowFunction::Lead),
            "first_value" => Some(WindowFunction::FirstValue),
            "last_value" => Some(WindowFunction::LastValue),
            "nth_value" => Some(WindowFunction::NthValue),
            _ => None,
        };
        let is_aggregate = own.is_none() && resolve::procs_named(name).any(|proc| proc.kind == 'a');
        let (function_kind, values, filter, data_type) = match own {
            Some(own) => {
                let values = arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
                let types: Vec<Type> = values.iter().map(|value| value.data_type.clone()).collect();
                let Call::Function(resolved) = resolve::function(name, &types, false)? else {
                    return Err(Error::new("42883", format!("function {name} does not exist")));
                };
                let values = self.arguments(&resolved, values)?;
                (own, values, None, resolved.result)
            }
            None if is_aggregate => {
                let (call, data_type) = self.aggregate(name, function, arguments, is_star)?;
                if call.is_distinct {
                    return Err(Error::new("0A000", "DISTINCT is not implemented for window functions"));
                }
                (WindowFunction::Aggregate(call.function), call.arguments, call.filter, data_type)
            }
            None => {
                return Err(Error::new(
                    "42809",
                    format!("OVER specified, but {name} is not a window function nor an aggregate function"),
                ));
            }
        };
        let keys = spec.partition_by.iter().filter(|key| super::frames::excluded(key).is_none());
        let partition_by = keys.map(|key| self.expr(key)).collect::<Result<Vec<_>>>()?;
        let order_by = self.aggregate_order(&spec.order_by)?;
        let frame = self.frame(&spec, &order_by)?;
        let scope = self.scope();
        if scope.windows.len() > n_windows {
            return Err(Error::new("42P20", "window function calls cannot be nested"));
        }
        scope.windows.push(WindowCall {
            function: function_kind,
            arguments: values,
            filter,
            partition_by,
            order_by,
            frame,
            data_type: data_type.clone(),
        });
        Ok(Expr::new(ExprKind::Window(scope.windows.len() - 1), data_type))
    }

    /// Makes the keys of a group what mentions of them say, and refuses other columns.
    pub(super) fn over_groups(&self, expr: &mut Expr, keys: &[Expr], is_free: &dyn Fn(usize) -> bool) -> Result<()> {
        if let ExprKind::Call { function, arguments, .. } = &expr.kind
            && function.name == "grouping"
        {
            let Some(ExprKind::Row(items)) = arguments.first().map(|argument| &argument.kind) else {
                return Err(Error::new("XX000", "GROUPING has its arguments as a row"));
            };
            let places = items.iter().map(|item| {
                keys.iter().position(|key| key.is_same(item)).ok_or_else(|| {
                    Error::new(
                        "42803",
                        "arguments to GROUPING must be grouping expressions of the associated query level",
                    )
                })
            });
            expr.kind = ExprKind::Grouping(places.collect::<Result<_>>()?);
            return Ok(());
        }
        if let Some(index) = keys.iter().position(|key| key.is_same(expr)) {
            expr.kind = ExprKind::GroupKey(index);
            return Ok(());
        }
        if let ExprKind::Column { level: 0, slot } = expr.kind
            && !is_free(slot)
        {
            return Err(self.ungrouped(slot));
        }
        for part in expr.parts_mut() {
            self.over_groups(part, keys, is_free)?;
        }
        Ok(())
    }

    fn ungrouped(&self, slot: usize) -> Error {
        let scope = self.scopes.last();
        let named = scope.into_iter().flat_map(|scope| &scope.items).find_map(|item| {
            let column = item.columns.iter().find(|column| column.slot == Some(slot))?;
            Some(format!("{}.{}", item.alias, column.name))
        });
        let named = named.unwrap_or_else(|| "a column".to_owned());
        Error::new(
            "42803",
            format!("column \"{named}\" must appear in the GROUP BY clause or be used in an aggregate function"),
        )
    }

    /// `x IS TRUE` for conditions that count rows.
    pub(super) fn truth(value: bool) -> Expr {
        boolean(ExprKind::Constant(Value::Bool(value)))
    }
}

/// The arguments, of which the last is an array of all that a function takes; None: it is not.
fn variadic(arguments: &[FunctionArg]) -> Option<Vec<FunctionArg>> {
    let (last, others) = arguments.split_last()?;
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Function(call))) = last else { return None };
    let ast::FunctionArguments::List(inner) = &call.args else { return None };
    super::marks::is_marked(call, granary_sql::marks::VARIADIC).then(|| [others, &inner.args].concat())
}

/// The items of the last argument, an array, as arguments of their own.
fn spread(mut values: Vec<Expr>) -> Option<Vec<Expr>> {
    match values.pop()?.kind {
        ExprKind::Array(items) => values.extend(items),
        _ => return None,
    }
    Some(values)
}

/// Of a call that did not come through the grammar.
fn syntax_error(near: &str) -> Error {
    Error::new("42601", format!("syntax error at or near \"{near}\""))
}

/// The name in `name => value`.
fn argument_name(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Unnamed(_) => None,
        FunctionArg::Named { name, .. } => Some(super::fold(name)),
        FunctionArg::ExprNamed { name, .. } => match name {
            ast::Expr::Identifier(ident) => Some(super::fold(ident)),
            other => Some(other.to_string()),
        },
    }
}

/// Refuses what only aggregates take.
fn check_plain(name: &str, function: &ast::Function) -> Result<()> {
    let list = match &function.args {
        ast::FunctionArguments::List(list) => Some(list),
        _ => None,
    };
    let is_distinct =
        list.is_some_and(|list| matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)));
    let is_ordered = list.is_some_and(|list| {
        list.clauses.iter().any(|clause| matches!(clause, ast::FunctionArgumentClause::OrderBy(_)))
    });
    let refused = [
        (is_distinct, "DISTINCT"),
        (!function.within_group.is_empty(), "WITHIN GROUP"),
        (is_ordered, "ORDER BY"),
        (function.filter.is_some(), "FILTER"),
    ];
    match refused.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => {
            Err(Error::new("42809", format!("{what} specified, but {name} is not an aggregate function")))
        }
        None => Ok(()),
    }
}

/// Arguments of which some are named, in the order of the function's own.
fn in_their_places(function: &str, names: Vec<Option<String>>, values: Vec<Expr>) -> Result<Vec<Expr>> {
    let n_positional = names.iter().take_while(|name| name.is_none()).count();
    if names[n_positional..].iter().any(Option::is_none) {
        return Err(Error::new("42601", "positional argument cannot follow named argument"));
    }
    let has_all = |proc: &&'static resolve::Proc| {
        names.iter().flatten().all(|name| proc.argument_names.iter().any(|own| own == name))
    };
    let proc = resolve::procs_named(function).find(has_all).ok_or_else(|| {
        let given = names.iter().zip(&values).map(|(name, value)| match name {
            Some(name) => format!("{name} => {}", value.data_type.name()),
            None => value.data_type.name(),
        });
        let given: Vec<String> = given.collect();
        Error::new("42883", format!("function {function}({}) does not exist", given.join(", ")))
    })?;
    let mut places: Vec<Option<Expr>> = vec![None; proc.arguments.len()];
    for (index, (name, value)) in names.iter().zip(values).enumerate() {
        let place = match name {
            None => index,
            Some(name) => proc.argument_names.iter().position(|own| own == name).unwrap_or(index),
        };
        let free = places.get_mut(place).filter(|place| place.is_none());
        *free.ok_or_else(|| Error::new("42601", format!("argument name used more than once in {function}")))? =
            Some(value);
    }
    let last = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    places.truncate(last);
    let default = |oid: u32| match oid {
        // all that make_interval takes is nothing where it is not said
        t::INT4 if function == "make_interval" => Ok(Expr::constant(crate::Value::Int(0), Type::of(t::INT4))),
        t::FLOAT8 if function == "make_interval" => Ok(Expr::constant(crate::Value::Float(0.0), Type::of(t::FLOAT8))),
        _ => Err(Error::not_supported(format!("{function} without one of the arguments before a named one"))),
    };
    places.into_iter().zip(&proc.arguments).map(|(place, oid)| place.map_or_else(|| default(*oid), Ok)).collect()
}
