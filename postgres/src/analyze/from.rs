//! FROM: relations, queries and functions in it, and how they are joined.

use std::sync::Arc;

use sqlparser::ast::{self, FunctionArg, JoinConstraint, JoinOperator, TableFactor};

use super::query::Wanted;
use super::{Analyzer, Clause, Item, ItemColumn, Meaning, Name, fold, place_of, split_name};
use crate::error::{Error, Result};
use crate::functions::{self, sets};
use crate::plan::{Expr, ExprKind, From, FromCall, OuterJoin, Query, Scan, SetCall, Source};
use crate::resolve::{self, Call};
use crate::types::{self as t, Type};

/// A part of FROM: its plan, and the columns that it gives in the order of `*`.
struct Part {
    from: From,
    names: Vec<Name>,
}

/// Calls in FROM with how many columns each has, and these.
type Calls = (Vec<(FromCall, usize)>, Vec<ItemColumn>);

impl Analyzer<'_> {
    /// All of FROM, joined in any order.
    pub(super) fn from_clause(&mut self, tables: &[ast::TableWithJoins]) -> Result<Option<From>> {
        let mut inputs = Vec::new();
        let mut names = Vec::new();
        for table in tables {
            let part = self.table(table, &names)?;
            inputs.push(part.from);
            names.extend(part.names);
            self.scope().names = names.clone();
        }
        self.check_aliases()?;
        Ok(match inputs.len() {
            0 => None,
            1 => inputs.pop(),
            _ => Some(From::Inner { inputs, conditions: Vec::new() }),
        })
    }

    fn check_aliases(&mut self) -> Result<()> {
        let items = &self.scope().items;
        for (index, item) in items.iter().enumerate() {
            if items[..index].iter().any(|other| {
                !other.is_inside
                    && !item.is_inside
                    && other.alias == item.alias
                    && (other.schema == item.schema || other.schema.is_none() || item.schema.is_none())
                    && !item.alias.is_empty()
            }) {
                return Err(Error::new("42712", format!("table name \"{}\" specified more than once", item.alias)));
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &ast::TableWithJoins, before: &[Name]) -> Result<Part> {
        let mut left = self.factor(&table.relation, before)?;
        for join in &table.joins {
            let visible: Vec<Name> = before.iter().chain(&left.names).cloned().collect();
            let right = self.factor(&join.relation, &visible)?;
            left = self.join(left, right, &join.join_operator, before)?;
        }
        Ok(left)
    }

    fn join(&mut self, left: Part, right: Part, operator: &JoinOperator, before: &[Name]) -> Result<Part> {
        let none = JoinConstraint::None;
        let (kind, constraint) = match operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (None, constraint),
            JoinOperator::CrossJoin(_) => (None, &none),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (Some(OuterJoin::Left), constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (Some(OuterJoin::Right), constraint)
            }
            JoinOperator::FullOuter(constraint) => (Some(OuterJoin::Full), constraint),
            _ => return Err(Error::not_supported("this kind of join")),
        };
        let mut conditions = Vec::new();
        let mut names: Vec<Name> = left.names.iter().chain(&right.names).cloned().collect();
        match constraint {
            JoinConstraint::None => {}
            JoinConstraint::On(condition) => {
                // a join sees what it joins, and what stands before it only if it is LATERAL
                let _ = before;
                let scope = self.scope();
                scope.names = names.clone();
                let clause = std::mem::replace(&mut scope.clause, Clause::On);
                let condition = self.expr(condition)?;
                let condition = self.condition(condition, "JOIN/ON")?;
                self.scope().clause = clause;
                conditions = conjuncts(condition);
            }
            JoinConstraint::Using(columns) => {
                let mut columns = columns.iter().map(split_name).collect::<Result<Vec<_>>>()?;
                let is_alias =
                    |(mark, _): &mut (Option<String>, String)| mark.as_deref() == Some(granary_sql::marks::USING_ALIAS);
                let alias = columns.pop_if(is_alias);
                let columns: Vec<String> = columns.into_iter().map(|(_, name)| name).collect();
                names = self.merged((&left.names, &right.names), &columns, kind, &mut conditions)?;
                if let Some((_, alias)) = alias {
                    let merged = &names[..columns.len()];
                    self.stand_in(alias, merged);
                }
            }
            JoinConstraint::Natural => {
                let visible = |names: &[Name]| -> Vec<String> {
                    names.iter().filter(|name| !name.is_merged).map(|name| name.name.clone()).collect()
                };
                let right_names = visible(&right.names);
                let columns: Vec<String> =
                    visible(&left.names).into_iter().filter(|name| right_names.contains(name)).collect();
                names = self.merged((&left.names, &right.names), &columns, kind, &mut conditions)?;
            }
        }
        let from = match kind {
            None => {
                let mut inputs = Vec::new();
                for part in [left.from, right.from] {
                    match part {
                        From::Inner { inputs: inner, conditions: more } => {
                            inputs.extend(inner);
                            conditions.extend(more);
                        }
                        other => inputs.push(other),
                    }
                }
                From::Inner { inputs, conditions }
            }
            Some(kind) => From::Outer { kind, left: Box::new(left.from), right: Box::new(right.from), conditions },
        };
        Ok(Part { from, names })
    }

    /// The columns of a join USING these: each stands once, first, for those of both sides.
    fn merged(
        &mut self,
        (left, right): (&[Name], &[Name]),
        columns: &[String],
        kind: Option<OuterJoin>,
        conditions: &mut Vec<Expr>,
    ) -> Result<Vec<Name>> {
        let mut merged = Vec::new();
        let (mut left, mut right) = (left.to_vec(), right.to_vec());
        for column in columns {
            let side = |analyzer: &mut Self, names: &mut Vec<Name>, which: &str| -> Result<Expr> {
                let found: Vec<usize> = (0..names.len())
                    .filter(|index| names[*index].name == *column && !names[*index].is_merged)
                    .collect();
                match found.as_slice() {
                    [one] => {
                        analyzer.scope().names = vec![names[*one].clone()];
                        let expr = analyzer.identifier(&ast::Ident::with_quote('"', column))?;
                        names[*one].is_merged = true;
                        Ok(expr)
                    }
                    [] => Err(Error::new(
                        "42703",
                        format!("column \"{column}\" specified in USING clause does not exist in {which} table"),
                    )),
                    _ => Err(Error::new(
                        "42702",
                        format!("common column name \"{column}\" appears more than once in {which} table"),
                    )),
                }
            };
            let left_side = side(self, &mut left, "left")?;
            let right_side = side(self, &mut right, "right")?;
            resolve::common_type(&[left_side.data_type.clone(), right_side.data_type.clone()], "JOIN/USING")?;
            conditions.push(self.operation("=", left_side.clone(), right_side.clone())?);
            let expr = match kind {
                None | Some(OuterJoin::Left) => left_side,
                Some(OuterJoin::Right) => right_side,
                Some(OuterJoin::Full) => {
                    let (both, data_type) = self.common(vec![left_side, right_side], "JOIN/USING")?;
                    Expr::new(ExprKind::Coalesce(both), data_type)
                }
            };
            merged.push(Name { name: column.clone(), meaning: Meaning::Expr(expr), is_merged: false });
        }
        merged.extend(left);
        merged.extend(right);
        Ok(merged)
    }

    fn factor(&mut self, factor: &TableFactor, before: &[Name]) -> Result<Part> {
        match factor {
            TableFactor::Table { name, alias, args: None, with_ordinality: false, .. } => {
                self.relation(name, alias.as_ref())
            }
            TableFactor::Table { name, alias, args: Some(arguments), with_ordinality, .. } => {
                self.function_factor(name, &arguments.args, alias.as_ref(), (*with_ordinality, before))
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                self.function_factor(name, args, alias.as_ref(), (*with_ordinality, before))
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                let arguments: Vec<FunctionArg> = array_exprs
                    .iter()
                    .map(|expr| FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr.clone())))
                    .collect();
                let name = ast::ObjectName::from(vec![ast::Ident::new("unnest")]);
                self.function_factor(&name, &arguments, alias.as_ref(), (*with_ordinality, before))
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                self.derived(*lateral, subquery, alias.as_ref(), before)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let first = self.scope().items.len();
                let part = self.table(table_with_joins, before)?;
                match alias {
                    None => Ok(part),
                    Some(alias) => self.renamed_join(part, alias, first),
                }
            }
            other => Err(Error::not_supported(format!("{other} in FROM"))),
        }
    }

    /// `(a JOIN b …) AS j`, whose own tables nobody can name; they are those from `first` on.
    fn renamed_join(&mut self, part: Part, alias: &ast::TableAlias, first: usize) -> Result<Part> {
        let alias_name = fold(&alias.name);
        let mut names: Vec<Name> = part.names.into_iter().filter(|name| !name.is_merged).collect();
        if alias.columns.len() > names.len() {
            return Err(too_many_columns(&alias_name, names.len(), alias.columns.len()));
        }
        for (name, renamed) in names.iter_mut().zip(&alias.columns) {
            name.name = fold(&renamed.name);
        }
        self.scope().items[first..].iter_mut().for_each(|item| item.is_inside = true);
        self.stand_in(alias_name, &names);
        Ok(Part { from: part.from, names })
    }

    /// An alias of columns that other tables have.
    fn stand_in(&mut self, alias: String, names: &[Name]) {
        let scope = self.scope();
        let columns = names.iter().map(|name| match &name.meaning {
            Meaning::Column { item, column: place } => {
                let own = &scope.items[*item].columns[*place];
                column(&name.name, &own.data_type, own.relation, own.number)
            }
            Meaning::Expr(expr) => column(&name.name, &expr.data_type, 0, 0),
        });
        let columns = columns.collect();
        let stands_for = Some(names.iter().map(|name| name.meaning.clone()).collect());
        scope.items.push(Item {
            schema: None,
            alias,
            columns,
            key: Vec::new(),
            is_value: false,
            stands_for,
            is_inside: false,
        });
    }

    fn relation(&mut self, name: &ast::ObjectName, alias: Option<&ast::TableAlias>) -> Result<Part> {
        let (schema, table) = split_name(name)?;
        if schema.is_none()
            && let Some(cte) = self.ctes.iter().rev().find(|cte| cte.name == table).cloned()
        {
            self.reads_cte = true;
            self.read.insert(cte.id);
            let columns = cte.columns.iter().map(|(name, data_type)| column(name, data_type, 0, 0)).collect();
            return self.item((None, &table), columns, alias, Source::Cte(cte.id), true);
        }
        let relation = self.world.relation(schema.as_deref(), &table).ok_or_else(|| {
            Error::new("42P01", format!("relation \"{}\" does not exist", spelled(schema.as_deref(), &table)))
                .at(place_of(name))
        })?;
        let numbered = relation.columns.iter().zip(1..);
        let columns: Vec<ItemColumn> =
            numbered.map(|(own, number)| column(&own.name, &own.data_type, relation.oid, number)).collect();
        let schema = relation.schema.clone();
        let source = match relation.view {
            None => Source::Relation(Arc::clone(&relation)),
            Some(text) => {
                let query = self.view(text, &relation)?;
                Source::Query(query)
            }
        };
        let key = relation.key.clone();
        let part = self.item((Some(schema), &table), columns, alias, source, false)?;
        if let Some(item) = self.scope().items.last_mut() {
            item.key = key;
        }
        Ok(part)
    }

    /// The query of a view sees nothing of the statement around it. Its columns are cast to those that were declared.
    fn view(&mut self, text: &'static str, relation: &crate::Relation) -> Result<Arc<Query>> {
        let parsed = crate::functions::sql::parse(text)?;
        let (scopes, ctes) = (std::mem::take(&mut self.scopes), std::mem::take(&mut self.ctes));
        let wanted: Vec<Type> = relation.columns.iter().map(|column| column.data_type.clone()).collect();
        let query = self.deeper(|analyzer| analyzer.query(&parsed, Some(Wanted::in_common(&wanted))));
        (self.scopes, self.ctes) = (scopes, ctes);
        let mut query = query?;
        assert_eq!(
            query.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
            relation.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
            "the columns of {}.{} and of its query",
            relation.schema,
            relation.name
        );
        query.id = self.new_id();
        query.is_fixed = true;
        Ok(Arc::new(query))
    }

    fn derived(
        &mut self,
        lateral: bool,
        subquery: &ast::Query,
        alias: Option<&ast::TableAlias>,
        before: &[Name],
    ) -> Result<Part> {
        let base = self.scopes.len();
        let scope = self.scope();
        scope.names = before.to_vec();
        let was_hidden = std::mem::replace(&mut scope.is_hidden, !lateral);
        let query = self.watched(base, |analyzer| analyzer.deeper(|analyzer| analyzer.query(subquery, None)));
        self.scopes[base - 1].is_hidden = was_hidden;
        let (mut query, is_fixed) = query?;
        query.id = self.new_id();
        query.is_fixed = is_fixed;
        let columns = query
            .columns
            .iter()
            .map(|output| column(&output.name, &output.data_type, output.relation, output.number))
            .collect();
        let Some(alias) = alias else {
            let (what, example) = match subquery.body.as_ref() {
                ast::SetExpr::Values(_) => ("VALUES", "(VALUES ...)"),
                _ => ("subquery", "(SELECT ...)"),
            };
            // the parenthesis before it
            let place = match subquery.body.as_ref() {
                ast::SetExpr::Values(values) => values.rows.first().and_then(|row| {
                    super::place(row.opening_token.0.span).map(|(line, column)| (line, column.saturating_sub(8)))
                }),
                _ => place_of(subquery).map(|(line, column)| (line, column.saturating_sub(1))),
            };
            return Err(Error::new("42601", format!("{what} in FROM must have an alias"))
                .with_hint(format!("For example, FROM {example} [AS] foo."))
                .at(place));
        };
        self.item((None, &fold(&alias.name)), columns, Some(alias), Source::Query(Arc::new(query)), !is_fixed)
    }

    fn function_factor(
        &mut self,
        name: &ast::ObjectName,
        arguments: &[FunctionArg],
        alias: Option<&ast::TableAlias>,
        (with_ordinality, before): (bool, &[Name]),
    ) -> Result<Part> {
        // a column of what stands before it is of the same SELECT
        let base = self.scopes.len();
        let scope = self.scope();
        scope.names = before.to_vec();
        let clause = std::mem::replace(&mut scope.clause, Clause::From);
        let declared = self.declared_columns(alias)?;
        let found = self.watched(base, |analyzer| analyzer.values_in_from(name, arguments, declared.as_deref()));
        self.scope().clause = clause;
        let of_declared = declared.as_ref().and(alias).and_then(|alias| alias.columns.first());
        let (((calls, mut columns), function_name), is_fixed) = found.map_err(|error| match of_declared {
            Some(first) if error.sqlstate == "42601" => error.at(super::place_of_ident(&first.name)),
            _ => error.at(place_of(name)),
        })?;
        let alias_name = alias.map(|alias| fold(&alias.name));
        // a function of one value is called as its alias is
        if let ([only], [(_, 1)]) = (columns.as_mut_slice(), calls.as_slice())
            && (only.name == function_name)
            && let Some(alias) = &alias_name
        {
            only.name.clone_from(alias);
        }
        if with_ordinality {
            columns.push(column("ordinality", &Type::of(t::INT8), 0, 0));
        }
        let source = Source::Functions { calls, with_ordinality };
        self.item((None, &alias_name.unwrap_or(function_name)), columns, alias, source, !is_fixed)
    }

    /// Names and types of `AS r (a int, b text)`.
    fn declared_columns(&self, alias: Option<&ast::TableAlias>) -> Result<Option<Vec<(String, Type)>>> {
        let columns = alias.map_or(&[][..], |alias| &alias.columns);
        let typed = columns.iter().map(|column| {
            let data_type = column.data_type.as_ref().map(|data_type| self.type_of(data_type)).transpose()?;
            Ok(data_type.map(|data_type| (fold(&column.name), data_type)))
        });
        let declared: Option<Vec<(String, Type)>> = typed.collect::<Result<Option<Vec<_>>>>()?;
        Ok(declared.filter(|declared| !declared.is_empty()))
    }

    /// The calls of a function in FROM or of ROWS FROM, the columns that they give, and the name of the first.
    fn values_in_from(
        &mut self,
        name: &ast::ObjectName,
        arguments: &[FunctionArg],
        declared: Option<&[(String, Type)]>,
    ) -> Result<(Calls, String)> {
        let is_rows_from = matches!(name.0.as_slice(), [ast::ObjectNamePart::Identifier(ident)]
            if ident.quote_style.is_some() && ident.value == granary_sql::marks::ROWS_FROM);
        if !is_rows_from {
            return Ok((self.from_calls(name, arguments, declared)?, split_name(name)?.1));
        }
        let (mut calls, mut columns, mut first) = (Vec::new(), Vec::new(), None);
        for argument in arguments {
            let FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) = argument else {
                return Err(Error::new("42601", format!("{argument} cannot stand here")));
            };
            let label = super::label_of(expr);
            let (mut own_calls, mut own) = match expr {
                ast::Expr::Function(ast::Function { name, args: ast::FunctionArguments::List(list), .. })
                    if !is_of_grammar(name) =>
                {
                    self.from_calls(name, &list.args, None).map_err(|error| error.at(place_of(name)))?
                }
                other => {
                    let value = self.expr(other)?;
                    let value = self.settled(value)?;
                    let own = vec![column(&label, &value.data_type, 0, 0)];
                    (vec![(FromCall::Scalar(value), 1)], own)
                }
            };
            first.get_or_insert(label);
            calls.append(&mut own_calls);
            columns.append(&mut own);
        }
        Ok(((calls, columns), first.unwrap_or_default()))
    }

    /// The calls of a function in FROM, and the columns that they give.
    fn from_calls(
        &mut self,
        name: &ast::ObjectName,
        arguments: &[FunctionArg],
        declared: Option<&[(String, Type)]>,
    ) -> Result<Calls> {
        let (schema, function_name) = split_name(name)?;
        if schema.as_deref().is_some_and(|schema| !matches!(schema, "pg_catalog" | "information_schema")) {
            return Err(Error::new("42883", format!("function {name} does not exist")));
        }
        let values = arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
        // each array of several is a column
        if function_name == "unnest" && values.len() > 1 {
            let mut calls = Vec::new();
            let mut columns = Vec::new();
            for value in values {
                let (call, mut own) = self.from_call("unnest", vec![value], None)?;
                calls.push((call, own.len()));
                columns.append(&mut own);
            }
            return Ok((calls, columns));
        }
        let (call, columns) = self.from_call(&function_name, values, declared)?;
        Ok((vec![(call, columns.len())], columns))
    }

    /// `declared`: columns of a record whose function does not say them; the function finds them in its result's type.
    fn from_call(
        &mut self,
        name: &str,
        values: Vec<Expr>,
        declared: Option<&[(String, Type)]>,
    ) -> Result<(FromCall, Vec<ItemColumn>)> {
        let types: Vec<Type> = values.iter().map(|value| value.data_type.clone()).collect();
        let is_set = match resolve::function(name, &types, false) {
            Ok(Call::Function(resolved)) => Some(resolved)
                .filter(|resolved| resolved.proc.gives_set && functions::sql::body(resolved.proc).is_none()),
            Ok(Call::Cast(_)) => None,
            // coalesce(…) and its like are no functions
            Err(error) => return Err(error),
        };
        if let Some(declared) = declared {
            return self.declared_call(name, values, declared);
        }
        if record_function(name).is_some() && is_set.as_ref().is_none_or(|resolved| resolved.result.oid == t::RECORD) {
            let message = "a column definition list is required for functions returning \"record\"";
            return Err(Error::new("42601", message));
        }
        let Some(resolved) = is_set else {
            let value = self.call_function(name, values, false)?;
            let own = column(name, &value.data_type, 0, 0);
            return Ok((FromCall::Scalar(value), vec![own]));
        };
        let arguments = self.arguments(&resolved, values)?;
        let mut kept = resolved.arguments.clone();
        for (kept, argument) in kept.iter_mut().zip(&arguments) {
            if argument.data_type.fields.is_some() {
                *kept = argument.data_type.clone();
            }
        }
        let set = sets::function(self.world, resolved.proc, &kept, &resolved.result)
            .ok_or_else(|| Error::not_supported(format!("the function {name} in FROM")))?;
        let columns = match &set.columns {
            sets::Columns::One(data_type) if data_type.oid == t::RECORD && data_type.fields.is_none() => {
                let message = "a column definition list is required for functions returning \"record\"";
                return Err(Error::new("42601", message));
            }
            sets::Columns::One(data_type) => vec![column(name, data_type, 0, 0)],
            sets::Columns::Many(fields) => {
                fields.iter().map(|(name, data_type)| column(name, data_type, 0, 0)).collect()
            }
        };
        Ok((FromCall::Set(SetCall { function: set.function, arguments, is_strict: resolved.proc.is_strict }), columns))
    }

    /// A function that gives records of columns that the statement declares.
    fn declared_call(
        &mut self,
        name: &str,
        values: Vec<Expr>,
        declared: &[(String, Type)],
    ) -> Result<(FromCall, Vec<ItemColumn>)> {
        let types: Vec<Type> = values.iter().map(|value| value.data_type.clone()).collect();
        let resolved = match resolve::function(name, &types, false)? {
            Call::Function(resolved) if resolved.result.oid == t::RECORD => resolved,
            _ => {
                let message = "a column definition list is only allowed for functions returning \"record\"";
                return Err(Error::new("42601", message));
            }
        };
        if resolved.proc.argument_modes.iter().any(|mode| matches!(mode, 'o' | 't' | 'b')) {
            let message = "a column definition list is redundant for a function with OUT parameters";
            return Err(Error::new("42601", message));
        }
        let columns: Vec<ItemColumn> = declared.iter().map(|(name, own)| column(name, own, 0, 0)).collect();
        let result = Type::record(declared.to_vec());
        let arguments = self.arguments(&resolved, values)?;
        let kept: Vec<Type> = arguments.iter().map(|argument| argument.data_type.clone()).collect();
        if let Some(name) = record_function(name) {
            let function = functions::json::records::function(name, declared.to_vec());
            return Ok((FromCall::Set(SetCall { function, arguments, is_strict: false }), columns));
        }
        let unsupported = || Error::not_supported(format!("the function {name} in FROM"));
        let is_strict = resolved.proc.is_strict;
        if resolved.proc.gives_set {
            let set = sets::function(self.world, resolved.proc, &kept, &result).ok_or_else(unsupported)?;
            return Ok((FromCall::Set(SetCall { function: set.function, arguments, is_strict }), columns));
        }
        let function = functions::scalar(self.world, resolved.proc, &kept, &result).ok_or_else(unsupported)?;
        let kind = ExprKind::Call { function, arguments, is_strict, is_volatile: false };
        Ok((FromCall::Scalar(Expr::new(kind, result)), columns))
    }

    /// Adds an item to the SELECT, under its alias.
    fn item(
        &mut self,
        (schema, name): (Option<String>, &str),
        mut columns: Vec<ItemColumn>,
        alias: Option<&ast::TableAlias>,
        source: Source,
        is_correlated: bool,
    ) -> Result<Part> {
        let (schema, alias_name) = match alias {
            Some(alias) => (None, fold(&alias.name)),
            None => (schema, name.to_owned()),
        };
        if let Some(alias) = alias {
            if alias.columns.len() > columns.len() {
                return Err(too_many_columns(&alias_name, columns.len(), alias.columns.len()));
            }
            for (own, renamed) in columns.iter_mut().zip(&alias.columns) {
                own.name = fold(&renamed.name);
            }
        }
        let is_value = match &source {
            Source::Functions { calls, with_ordinality: false } => matches!(calls.as_slice(), [(_, 1)]),
            _ => false,
        };
        let id = self.new_id();
        let scope = self.scope();
        let item = scope.items.len();
        let names = columns
            .iter()
            .enumerate()
            .map(|(column, own)| Name {
                name: own.name.clone(),
                meaning: Meaning::Column { item, column },
                is_merged: false,
            })
            .collect();
        let (key, stands_for, is_inside) = (Vec::new(), None, false);
        scope.items.push(Item { schema, alias: alias_name, columns, key, is_value, stands_for, is_inside });
        // which slots are read is known when all of the SELECT is; the item's number stands in for them
        let from = From::Scan(Scan { id, source, slots: vec![(item, usize::MAX)], types: Vec::new(), is_correlated });
        Ok(Part { from, names })
    }

    /// Puts in which columns of the items are read, now that all names are settled.
    pub(super) fn fill_slots(&mut self, from: &mut From) {
        match from {
            From::Scan(scan) => {
                let item = scan.slots[0].0;
                let columns = &self.scope().items[item].columns;
                scan.types = columns.iter().map(|column| column.data_type.clone()).collect();
                scan.slots =
                    columns.iter().enumerate().filter_map(|(index, column)| Some((index, column.slot?))).collect();
            }
            From::Inner { inputs, .. } => inputs.iter_mut().for_each(|input| self.fill_slots(input)),
            From::Outer { left, right, .. } => {
                self.fill_slots(left);
                self.fill_slots(right);
            }
        }
    }
}

/// Functions that give records of which they do not know the fields.
fn record_function(name: &str) -> Option<&'static str> {
    ["json_to_record", "jsonb_to_record", "json_to_recordset", "jsonb_to_recordset"]
        .into_iter()
        .find(|own| *own == name)
}

/// What looks like a function in FROM and is a part of the grammar.
fn is_of_grammar(name: &ast::ObjectName) -> bool {
    ["coalesce", "nullif", "greatest", "least", "row", "grouping"]
        .iter()
        .any(|own| name.to_string().eq_ignore_ascii_case(own))
}

fn column(name: &str, data_type: &Type, relation: u32, number: i16) -> ItemColumn {
    ItemColumn { name: name.to_owned(), data_type: data_type.clone(), slot: None, relation, number }
}

fn too_many_columns(alias: &str, available: usize, specified: usize) -> Error {
    let message = format!("table \"{alias}\" has {available} columns available but {specified} columns specified");
    Error::new("42P10", message)
}

fn spelled(schema: Option<&str>, name: &str) -> String {
    schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"))
}

/// The parts of a condition that all have to hold.
pub fn conjuncts(condition: Expr) -> Vec<Expr> {
    match condition.kind {
        ExprKind::And(parts) => parts,
        kind => vec![Expr { kind, ..condition }],
    }
}
