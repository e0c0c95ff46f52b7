//! `CREATE TABLE t (…)`, `CREATE TABLE t AS …`, `CREATE TABLE t (LIKE u)`, `SELECT … INTO t`: columns and what their rows
//! have to fulfil.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use granary_catalog::{
    Change, Column, ColumnDefault, Constraint, ConstraintKind, Identity, ObjectKind, OnCommit, Table,
};
use granary_sql::SqlText;
use granary_sql::name::fold;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::{Target, fill, new_storage_id, parse_expression};
use crate::engine::{LogicalPlan, RowExpression, max_length, sequence_named, with_sequence_name};
use crate::error::{Error, Kind, Result};
use crate::row::{normalize_type, type_name};
use crate::statement::context::{NewObject, StatementContext, Writing};
use crate::statement::select::{self, PlannedQuery};
use crate::statement::{sequence, types, view};

/// Gives the number of rows for `CREATE TABLE t AS …`.
pub async fn create(
    context: &mut StatementContext,
    create: &ast::CreateTable,
    statement: &str,
    cancel: &CancellationToken,
) -> Result<Option<u64>> {
    let is_temporary = create.temporary || context.is_temporary_name(&create.name);
    let on_commit = match create.on_commit {
        None | Some(ast::OnCommit::PreserveRows) => None,
        Some(_) if !is_temporary => {
            return Err(Error::new(Kind::InvalidTableDefinition, "ON COMMIT can only be used on temporary tables"));
        }
        Some(ast::OnCommit::DeleteRows) => Some(OnCommit::DeleteRows),
        Some(ast::OnCommit::Drop) => Some(OnCommit::Drop),
    };
    let query = match &create.query {
        None => None,
        Some(query) => {
            let query = SqlText::new(query.clone(), view::query_text(statement, query));
            Some(select::plan_relation(context, &query).await?)
        }
    };
    let mut declared = match &query {
        None => declared(context, create)?,
        Some(query) => Declared { columns: renamed(columns_of(query)?, &create.columns)?, ..Declared::default() },
    };
    if let Some(like) = &create.like {
        declared.add_like(context, like, statement)?;
    }
    check_distinct(&declared.columns)?;
    let anew = match &create.query {
        Some(query) => format!("CREATE TABLE {} AS {}", create.name, view::query_text(statement, query)),
        None => ast::CreateTable { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    };
    let new = NewObject {
        kind: ObjectKind::Table,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: anew,
    };
    let Some(mut table) = make_table(context, new, (declared, is_temporary))? else { return Ok(None) };
    if on_commit.is_some() {
        table.on_commit = on_commit;
        context.changes.push(Change::put(table.clone()));
    }
    match query {
        None => Ok(None),
        Some(_) if view::is_without_data(statement) => Ok(Some(0)),
        Some(query) => fill_table(context, &table, query.plan, cancel).await.map(Some),
    }
}

/// Puts rows into a table that the statement has made.
pub async fn fill_table(
    context: &mut StatementContext,
    table: &Table,
    plan: LogicalPlan,
    cancel: &CancellationToken,
) -> Result<u64> {
    fill(context, &Target::of_table(table), (plan, Vec::new(), Writing::default()), cancel).await
}

/// Leaves a new table in the context; `None` if there is one already and that is fine.
pub fn make_table(
    context: &mut StatementContext,
    new: NewObject<'_>,
    (declared, is_temporary): (Declared, bool),
) -> Result<Option<Table>> {
    let header = match is_temporary {
        true => context.new_temporary_header(new)?,
        false => context.new_header(new)?,
    };
    let Some(header) = header else { return Ok(None) };
    let Declared { mut columns, keys, checks, numbered } = declared;
    let mut sequences = Vec::new();
    for (place, options, identity) in numbered {
        let id = header.id.after(1 + sequences.len() as u64);
        let column = &mut columns[place];
        let made = sequence::of_column(context, &header, (id, column), &options)?;
        let text = format!("nextval('{}'::regclass)", made.header.name.replace('\'', "''"));
        column.default = Some(ColumnDefault { text, sequence: Some(id), identity });
        column.nullable = false;
        sequences.push(made);
    }
    let mut table = Table::new(header, columns, new_storage_id()?);
    for constraint in keys.into_iter().chain(checks) {
        add_constraint(context, &mut table, constraint)?;
    }
    context.changes.push(Change::put(table.clone()));
    context.changes.extend(sequences.into_iter().map(Change::put));
    // a taken name is refused before there are rows
    context.snapshot().apply(&context.changes)?;
    check_constraints(context, &table)?;
    Ok(Some(table))
}

/// The columns that keep the rows of a query.
pub fn columns_of(query: &PlannedQuery) -> Result<Vec<Column>> {
    let columns = query.columns.iter().map(|column| match normalize_type(&column.data_type) {
        Some(data_type) => {
            let (declared, max_length) = (column.declared.clone(), column.max_length);
            Ok(Column { declared, max_length, ..Column::new(&column.name, data_type, true) })
        }
        None => Err(Error::not_supported(format!("a table column of type {}", column.data_type))),
    });
    let columns = columns.collect::<Result<Vec<Column>>>()?;
    check_distinct(&columns)?;
    Ok(columns)
}

/// `CREATE TABLE t (a, b) AS …` names the first columns.
fn renamed(mut columns: Vec<Column>, names: &[ast::ColumnDef]) -> Result<Vec<Column>> {
    if names.len() > columns.len() {
        return Err(Error::new(Kind::Syntax, "too many column names were specified"));
    }
    for (column, named) in columns.iter_mut().zip(names) {
        column.name = fold(&named.name);
    }
    Ok(columns)
}

fn check_distinct(columns: &[Column]) -> Result<()> {
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Error::new(Kind::DuplicateColumn, format!("column \"{}\" specified more than once", pair[0])))
        }
        None => Ok(()),
    }
}

/// A constraint as it is declared: its name, if it has one, and what it is about.
pub struct NewConstraint {
    pub name: Option<String>,
    pub kind: ConstraintKind,
    /// The column that it stands behind.
    pub column: Option<String>,
}

/// Columns, and what stands behind them.
#[derive(Default)]
pub struct Declared {
    pub columns: Vec<Column>,
    pub keys: Vec<NewConstraint>,
    pub checks: Vec<NewConstraint>,
    /// places of columns with a sequence of their own
    pub numbered: Vec<(usize, Vec<ast::SequenceOptions>, Option<Identity>)>,
}

fn declared(context: &StatementContext, create: &ast::CreateTable) -> Result<Declared> {
    let mut declared = Declared::default();
    for column in &create.columns {
        declared_column(context, &mut declared, column)?;
    }
    for constraint in &create.constraints {
        declared.add(declared_constraint(constraint)?);
    }
    Ok(declared)
}

impl Declared {
    fn add(&mut self, constraint: NewConstraint) {
        match constraint.kind {
            ConstraintKind::Check { .. } => self.checks.push(constraint),
            _ => self.keys.push(constraint),
        }
    }

    /// The columns of another table, and as much of what stands behind them as the statement says.
    fn add_like(&mut self, context: &StatementContext, like: &ast::CreateTableLikeKind, statement: &str) -> Result<()> {
        let (ast::CreateTableLikeKind::Plain(like) | ast::CreateTableLikeKind::Parenthesized(like)) = like;
        let included = statement.to_lowercase();
        let includes =
            |what: &str| included.contains("including all") || included.contains(&format!("including {what}"));
        let reference = crate::engine::table_reference(&like.name);
        let found = reference.as_ref().map(|name| context.scope.relation(name)).transpose()?.flatten();
        let Some(object) = found else {
            let message = format!("relation \"{}\" does not exist", granary_sql::name::shown(&like.name));
            return Err(context.at(&like.name, Error::new(Kind::UndefinedTable, message)));
        };
        let table = object.downcast::<Table>();
        for column in crate::engine::columns_of_relation(context.snapshot(), object) {
            let mut column = table
                .and_then(|table| table.columns.iter().find(|own| own.name == column.name).cloned())
                .unwrap_or(column);
            let place = self.columns.len();
            let default = column.default.take();
            match default {
                Some(default) if default.identity.is_some() => {
                    if includes("identity") {
                        self.numbered.push((place, Vec::new(), default.identity));
                    }
                }
                Some(default) if includes("defaults") => column.default = Some(default),
                _ => {}
            }
            self.columns.push(column);
        }
        for constraint in table.iter().flat_map(|table| &table.constraints) {
            let (name, kind) = (Some(constraint.name.clone()), constraint.kind.clone());
            match constraint.kind {
                ConstraintKind::Check { .. } if includes("constraints") => {
                    self.checks.push(NewConstraint { name, kind, column: None });
                }
                ConstraintKind::Check { .. } => {}
                _ if includes("indexes") => self.keys.push(NewConstraint { name: None, kind, column: None }),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Takes in a column and the constraints behind it.
pub fn declared_column(context: &StatementContext, declared: &mut Declared, column: &ast::ColumnDef) -> Result<()> {
    let placed = |error| context.at_ident(&column.name, error);
    let name = fold(&column.name);
    let place = declared.columns.len();
    let serial = types::serial(&column.data_type);
    let data_type = match &serial {
        Some(data_type) => data_type.clone(),
        None => types::data_type(&column.data_type).map_err(placed)?,
    };
    let declared_as = types::declared_in_table(&column.data_type);
    let max_length = max_length(&column.data_type);
    let mut new = Column { max_length, declared: declared_as, ..Column::new(&name, data_type, true) };
    if serial.is_some() {
        declared.numbered.push((place, Vec::new(), None));
    }
    for option in &column.options {
        let constraint_name = option.name.as_ref().map(fold);
        let of_column = |kind| NewConstraint { name: constraint_name.clone(), kind, column: Some(name.clone()) };
        let columns = vec![name.clone()];
        match &option.option {
            ast::ColumnOption::Null => {}
            ast::ColumnOption::NotNull => new.nullable = false,
            ast::ColumnOption::Default(expr) => new.default = Some(default(context, &new, expr)?),
            ast::ColumnOption::PrimaryKey(key) => {
                refuse_deferred(key.characteristics.as_ref())?;
                declared.keys.push(of_column(ConstraintKind::PrimaryKey { columns }));
            }
            ast::ColumnOption::Unique(key) => {
                refuse_deferred(key.characteristics.as_ref())?;
                refuse_nulls(key.nulls_distinct)?;
                declared.keys.push(of_column(ConstraintKind::Unique { columns }));
            }
            ast::ColumnOption::Check(check) => {
                declared.checks.push(of_column(ConstraintKind::Check { text: check.expr.to_string() }));
            }
            ast::ColumnOption::Generated { generated_as, sequence_options, generation_expr: None, .. } => {
                let identity = match generated_as {
                    ast::GeneratedAs::Always => Identity::Always,
                    _ => Identity::ByDefault,
                };
                declared.numbered.push((place, sequence_options.clone().unwrap_or_default(), Some(identity)));
            }
            ast::ColumnOption::ForeignKey(_) => return Err(placed(foreign_key())),
            other => return Err(placed(Error::not_supported(format!("the column constraint {other}")))),
        }
    }
    declared.columns.push(new);
    Ok(())
}

fn foreign_key() -> Error {
    Error::not_supported("a FOREIGN KEY constraint").with_hint("leave REFERENCES out: it would not be enforced")
}

fn refuse_deferred(characteristics: Option<&ast::ConstraintCharacteristics>) -> Result<()> {
    let is_deferred = characteristics.is_some_and(|said| said.deferrable == Some(true) || said.initially.is_some());
    if is_deferred { Err(Error::not_supported("a DEFERRABLE constraint")) } else { Ok(()) }
}

fn refuse_nulls(nulls: ast::NullsDistinctOption) -> Result<()> {
    match nulls {
        ast::NullsDistinctOption::NotDistinct => Err(Error::not_supported("UNIQUE NULLS NOT DISTINCT")),
        _ => Ok(()),
    }
}

/// A column's DEFAULT, if it is an expression of its type that stands on no column.
pub fn default(context: &StatementContext, column: &Column, expr: &ast::Expr) -> Result<ColumnDefault> {
    let refused = |what: &str| {
        let message = format!("cannot use {what} in DEFAULT expression");
        Err(context.at(expr, Error::new(Kind::FeatureNotSupported, message)))
    };
    if has_subquery(expr) {
        return refused("subquery");
    }
    if !column_names(expr).is_empty() {
        return refused("column reference");
    }
    let nothing = std::sync::Arc::new(arrow::datatypes::Schema::empty());
    let planner = context.planner();
    let text = expr.to_string();
    let sequence = sequence::named_by(context, expr)?;
    // a name is a sequence's without saying so
    let plain = match sequence_named(expr) {
        Some(name) => with_sequence_name(expr.clone(), &name),
        None => expr.clone(),
    };
    let data_type = RowExpression::type_of(&planner, plain, (&column.name, &nothing))?;
    let is_literal = matches!(expr, ast::Expr::Value(_));
    let suits =
        is_literal || data_type == column.data_type || arrow::compute::can_cast_types(&data_type, &column.data_type);
    if !suits || data_type == arrow::datatypes::DataType::Boolean && column.data_type.is_numeric() {
        let message = format!(
            "column \"{}\" is of type {} but default expression is of type {}",
            column.name,
            type_name(&column.data_type),
            type_name(&data_type)
        );
        return Err(
            Error::new(Kind::DatatypeMismatch, message).with_hint("You will need to rewrite or cast the expression.")
        );
    }
    if is_literal {
        // a text that is no value of the type is refused now
        let value = RowExpression::of(&planner, expr.clone(), (&column.name, &nothing), Some(&column.data_type))?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        value.values(&arrow::array::RecordBatch::try_new_with_options(nothing, Vec::new(), &options)?)?;
    }
    Ok(ColumnDefault { text, sequence, identity: None })
}

pub fn declared_constraint(constraint: &ast::TableConstraint) -> Result<NewConstraint> {
    let named = |name: &Option<ast::Ident>, kind| NewConstraint { name: name.as_ref().map(fold), kind, column: None };
    match constraint {
        ast::TableConstraint::PrimaryKey(key) => {
            refuse_deferred(key.characteristics.as_ref())?;
            Ok(named(&key.name, ConstraintKind::PrimaryKey { columns: key_columns(&key.columns)? }))
        }
        ast::TableConstraint::Unique(key) => {
            refuse_deferred(key.characteristics.as_ref())?;
            refuse_nulls(key.nulls_distinct)?;
            Ok(named(&key.name, ConstraintKind::Unique { columns: key_columns(&key.columns)? }))
        }
        ast::TableConstraint::Check(check) => {
            Ok(named(&check.name, ConstraintKind::Check { text: check.expr.to_string() }))
        }
        ast::TableConstraint::ForeignKey(_) => Err(foreign_key()),
        other => Err(Error::not_supported(format!("the table constraint {other}"))),
    }
}

/// Names of columns in a key.
pub fn key_columns(columns: &[ast::IndexColumn]) -> Result<Vec<String>> {
    let name = |column: &ast::IndexColumn| match &column.column.expr {
        ast::Expr::Identifier(name) => Ok(fold(name)),
        other => Err(Error::not_supported(format!("a key over the expression {other}"))),
    };
    columns.iter().map(name).collect()
}

/// Gives a constraint its name and adds it to the table. Errors: its columns are not there, or its name is taken.
pub fn add_constraint(context: &StatementContext, table: &mut Table, new: NewConstraint) -> Result<()> {
    let NewConstraint { name, kind, column } = new;
    let table_name = table.header.name.clone();
    let (start, end) = match &kind {
        ConstraintKind::PrimaryKey { columns } | ConstraintKind::Unique { columns } => {
            for (place, name) in columns.iter().enumerate() {
                let Some(column) = table.columns.iter_mut().find(|column| column.name == *name) else {
                    let message = format!("column \"{name}\" named in key does not exist");
                    return Err(Error::new(Kind::UndefinedColumn, message));
                };
                if matches!(kind, ConstraintKind::PrimaryKey { .. }) {
                    column.nullable = false;
                }
                if columns[..place].contains(name) {
                    let what = if matches!(kind, ConstraintKind::PrimaryKey { .. }) { "primary key" } else { "unique" };
                    let message = format!("column \"{name}\" appears twice in {what} constraint");
                    return Err(Error::new(Kind::DuplicateColumn, message));
                }
            }
            let is_primary = |known: &Constraint| matches!(known.kind, ConstraintKind::PrimaryKey { .. });
            if matches!(kind, ConstraintKind::PrimaryKey { .. }) {
                if table.constraints.iter().any(is_primary) {
                    let message = format!("multiple primary keys for table \"{table_name}\" are not allowed");
                    return Err(Error::new(Kind::InvalidTableDefinition, message));
                }
                (table_name.clone(), "pkey")
            } else {
                (format!("{table_name}_{}", columns.join("_")), "key")
            }
        }
        ConstraintKind::Check { text } => {
            let expr = parse_expression(text)?;
            if has_subquery(&expr) {
                return Err(Error::new(Kind::FeatureNotSupported, "cannot use subquery in check constraint"));
            }
            let named = column_names(&expr);
            match (column, named.iter().next()) {
                (None, Some(only)) if named.len() == 1 => (format!("{table_name}_{only}"), "check"),
                (Some(_), Some(only)) if named.len() == 1 => (format!("{table_name}_{only}"), "check"),
                _ => (table_name.clone(), "check"),
            }
        }
    };
    let is_key = !matches!(kind, ConstraintKind::Check { .. });
    let is_taken = |name: &str| {
        table.constraints.iter().any(|known| known.name == name)
            || is_key && context.is_relation_name(table.header.home, name)
            || is_key && table.indexes.iter().any(|index| index.name == name)
    };
    let name = match name {
        Some(name) if table.constraints.iter().any(|known| known.name == name) => {
            let message = format!("constraint \"{name}\" for relation \"{table_name}\" already exists");
            return Err(Error::new(Kind::DuplicateObject, message));
        }
        Some(name) if is_taken(&name) => {
            return Err(Error::new(Kind::DuplicateTable, format!("relation \"{name}\" already exists")));
        }
        Some(name) => name,
        None => free_name(&start, end, is_taken),
    };
    table.constraints.push(Constraint { name, kind });
    Ok(())
}

/// `start_end`, or that with the first number that makes it free.
pub fn free_name(start: &str, end: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = format!("{start}_{end}");
    let mut numbered = (1..).map(|number| format!("{plain}{number}"));
    if is_taken(&plain) { numbered.find(|name| !is_taken(name)).unwrap_or(plain) } else { plain }
}

/// Refuses checks that are no conditions over the table's columns.
pub fn check_constraints(context: &StatementContext, table: &Table) -> Result<()> {
    let target = Target::of_table(table);
    let columns = target.nullable_schema();
    for constraint in &table.constraints {
        let ConstraintKind::Check { text } = &constraint.kind else { continue };
        let data_type = RowExpression::type_of(&context.planner(), parse_expression(text)?, (&target.name, &columns));
        let data_type = data_type.map_err(Error::without_position)?;
        if !matches!(data_type, arrow::datatypes::DataType::Boolean | arrow::datatypes::DataType::Null) {
            let message = format!("argument of CHECK must be type boolean, not type {}", type_name(&data_type));
            return Err(Error::new(Kind::DatatypeMismatch, message));
        }
    }
    Ok(())
}

/// The columns that an expression names.
pub fn column_names(expr: &ast::Expr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let _ = ast::visit_expressions(expr, |expr| {
        match expr {
            ast::Expr::Identifier(name) if !is_word_of_sql(name) => drop(names.insert(fold(name))),
            ast::Expr::CompoundIdentifier(parts) => names.extend(parts.last().map(fold)),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    names
}

/// `current_date` and the like, which sqlparser may take for names.
fn is_word_of_sql(name: &ast::Ident) -> bool {
    let words =
        ["current_date", "current_timestamp", "current_time", "localtimestamp", "current_user", "session_user", "user"];
    name.quote_style.is_none() && words.contains(&name.value.to_lowercase().as_str())
}

pub fn has_subquery(node: &impl ast::Visit) -> bool {
    ast::visit_expressions(node, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
