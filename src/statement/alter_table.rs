//! `ALTER TABLE` of ordinary tables, and `ALTER … RENAME` of whatever PostgreSQL has.
//!
//! What changes columns, or what rows have to fulfil, writes the rows anew into a place of their own: readers of the
//! version before keep it, and nothing is changed if a row does not fit.

use std::sync::Arc;

use granary_catalog::{
    Change, Column, ColumnDefault, ConstraintKind, Home, Identity, Object, ObjectId, ObjectKind, Sequence, Table,
};
use granary_sql::name::{fold, quote};
use sqlparser::ast::{self, AlterColumnOperation, AlterTableOperation};
use tokio_util::sync::CancellationToken;

use super::changing::parse_query;
use super::context::StatementContext;
use super::execute::Parameters;
use super::table::{self, Declared};
use super::{alter, follow, policy, select, sequence, types};
use crate::engine::{GivenRelation, max_length, table_reference};
use crate::error::{Error, Kind, Result};
use crate::warehouse::LockMode;

pub async fn alter(context: &mut StatementContext, alter: &ast::AlterTable, cancel: &CancellationToken) -> Result<()> {
    if let Some(owner) = alter::new_owner(context, alter) {
        return alter::relation_owner(context, alter, owner);
    }
    let reference = table_reference(&alter.name);
    let found = reference.as_ref().map(|name| context.scope.relation(name)).transpose()?.flatten().cloned();
    let Some(object) = found else {
        let message = format!("relation \"{}\" does not exist", granary_sql::name::shown(&alter.name));
        if alter.if_exists {
            context.notices.push(Error::new(Kind::UndefinedTable, format!("{message}, skipping")));
            return Ok(());
        }
        return Err(context.at(&alter.name, Error::new(Kind::UndefinedTable, message)));
    };
    if let [AlterTableOperation::RenameTable { table_name }] = alter.operations.as_slice() {
        let (ast::RenameTableNameKind::As(to) | ast::RenameTableNameKind::To(to)) = table_name;
        let parts = granary_sql::name::parts(to);
        lock(context, &object).await?;
        return match parts.as_slice() {
            [word, schema] if word == granary_sql::SET_SCHEMA => set_schema(context, &object, schema),
            [name] => rename(context, &object, name),
            _ => Err(Error::new(Kind::Syntax, format!("\"{to}\" is not a new name"))),
        };
    }
    if let Some(action) = alter.operations.iter().find_map(policy::row_security_action) {
        policy::check_action(&object, action)?;
    }
    if object.kind() == ObjectKind::Dataset {
        // which says that its rows never change
        return table::writable(context, &alter.name, "ALTER").map(drop);
    }
    let Object::Table(table) = object.as_ref() else {
        let message = format!("\"{}\" is not a table", object.name());
        return Err(context.at(&alter.name, Error::new(Kind::WrongObjectType, message)));
    };
    if table.materialized.is_some() {
        let message = format!("\"{}\" is not a table", object.name());
        return Err(context.at(&alter.name, Error::new(Kind::WrongObjectType, message)));
    }
    lock(context, &object).await?;
    let mut altered = Altered::new(table);
    let snapshot = Arc::clone(context.snapshot());
    for operation in &alter.operations {
        altered.apply(context, operation)?;
    }
    altered.finish(context, &object, cancel).await?;
    // new sequences were seen while rows were written; the changes are made on what was there before
    context.scope.snapshot = snapshot;
    Ok(())
}

async fn lock(context: &mut StatementContext, object: &Arc<Object>) -> Result<()> {
    match object.downcast::<Table>() {
        Some(table) => context.lock(&table.clone(), LockMode::Alter).await,
        None => Ok(()),
    }
}

/// A table on its way.
struct Altered {
    before: Table,
    table: Table,
    /// of each column, what its values are made of
    values: Vec<ast::Expr>,
    is_rewritten: bool,
    cascades: bool,
    changes: Vec<Change>,
    n_sequences: u64,
}

impl Altered {
    fn new(table: &Table) -> Altered {
        Altered {
            before: table.clone(),
            table: table.clone(),
            values: table.columns.iter().map(|column| own(&column.name)).collect(),
            is_rewritten: false,
            cascades: false,
            changes: Vec::new(),
            n_sequences: 0,
        }
    }

    fn place(&self, name: &ast::Ident) -> Result<usize> {
        let name = fold(name);
        let place = self.table.columns.iter().position(|column| column.name == name);
        place.ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", self.table.header.name);
            Error::new(Kind::UndefinedColumn, message)
        })
    }

    fn apply(&mut self, context: &mut StatementContext, operation: &AlterTableOperation) -> Result<()> {
        match operation {
            AlterTableOperation::AddColumn { if_not_exists, column_def, .. } => {
                self.add_column(context, column_def, *if_not_exists)
            }
            AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
                self.cascades |= matches!(drop_behavior, Some(ast::DropBehavior::Cascade));
                column_names.iter().try_for_each(|name| self.drop_column(context, name, *if_exists))
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                let place = self.place(old_column_name).map_err(|_| {
                    let message = format!("column \"{}\" does not exist", fold(old_column_name));
                    Error::new(Kind::UndefinedColumn, message)
                })?;
                let to = fold(new_column_name);
                self.check_new(&to)?;
                let from = std::mem::replace(&mut self.table.columns[place].name, to.clone());
                self.rename_in_constraints(&from, &to)?;
                policy::column_renamed(&mut self.table, &from, &to)?;
                self.is_rewritten = true;
                Ok(())
            }
            AlterTableOperation::AlterColumn { column_name, op } => self.alter_column(context, column_name, op),
            AlterTableOperation::AddConstraint { constraint, .. } => {
                let constraint = table::declared_constraint(constraint)?;
                self.is_rewritten = true;
                table::add_constraint(context, &mut self.table, constraint)?;
                table::check_constraints(context, &self.table)
            }
            AlterTableOperation::DropConstraint { name, if_exists, .. } => {
                self.drop_constraint(context, name, *if_exists)
            }
            AlterTableOperation::RenameConstraint { old_name, new_name } => {
                let name = fold(old_name);
                match self.table.constraints.iter_mut().find(|known| known.name == name) {
                    Some(known) => known.name = fold(new_name),
                    None => return Err(self.no_constraint(&name)),
                }
                Ok(())
            }
            AlterTableOperation::EnableRowLevelSecurity => {
                self.table.row_security.enabled = true;
                Ok(())
            }
            AlterTableOperation::DisableRowLevelSecurity => {
                self.table.row_security.enabled = false;
                Ok(())
            }
            AlterTableOperation::ForceRowLevelSecurity => {
                self.table.row_security.forced = true;
                Ok(())
            }
            AlterTableOperation::NoForceRowLevelSecurity => {
                self.table.row_security.forced = false;
                Ok(())
            }
            AlterTableOperation::OwnerTo { new_owner: ast::Owner::Ident(owner) } => {
                self.table.header.owner = context.role_named(owner);
                Ok(())
            }
            other => Err(Error::not_supported(format!("ALTER TABLE … {other}"))),
        }
    }

    fn check_new(&self, name: &str) -> Result<()> {
        if self.table.columns.iter().all(|column| column.name != name) {
            return Ok(());
        }
        let message = format!("column \"{name}\" of relation \"{}\" already exists", self.table.header.name);
        Err(Error::new(Kind::DuplicateColumn, message))
    }

    fn add_column(
        &mut self,
        context: &mut StatementContext,
        column: &ast::ColumnDef,
        if_not_exists: bool,
    ) -> Result<()> {
        let mut declared = Declared::default();
        table::declared_column(context, &mut declared, column)?;
        let Some(mut new) = declared.columns.pop() else { return Ok(()) };
        if let Err(error) = self.check_new(&new.name) {
            if !if_not_exists {
                return Err(error);
            }
            context.notices.push(Error::new(Kind::DuplicateColumn, format!("{}, skipping", error.message())));
            return Ok(());
        }
        if let Some((_, options, identity)) = declared.numbered.pop() {
            new.default = Some(self.numbered(context, &new, &options, identity)?);
            new.nullable = false;
        }
        // what is there has the default of now
        let table_now = self.with_sequences(context)?;
        self.values.push(table::default_expression(&table_now, &new)?);
        self.table.columns.push(new);
        self.is_rewritten = true;
        for constraint in declared.keys.into_iter().chain(declared.checks) {
            table::add_constraint(context, &mut self.table, constraint)?;
        }
        table::check_constraints(context, &self.table)
    }

    /// The catalog with the sequences that the statement has made.
    fn with_sequences(&self, context: &StatementContext) -> Result<granary_catalog::Snapshot> {
        Ok(context.snapshot().apply(&self.changes)?)
    }

    fn numbered(
        &mut self,
        context: &mut StatementContext,
        column: &Column,
        options: &[ast::SequenceOptions],
        identity: Option<Identity>,
    ) -> Result<ColumnDefault> {
        let next = match self.table.header.id.is_temporary() {
            true => context.snapshot().next_temporary_id(),
            false => context.snapshot().next_id(),
        };
        let id = next.after(self.n_sequences);
        self.n_sequences += 1;
        let made = sequence::of_column(context, &self.table.header, (id, column), options)?;
        let text = format!("nextval('{}'::regclass)", made.header.name);
        // its numbers are taken while the rows are written
        let put = Change::put(made);
        context.scope.snapshot = Arc::new(context.snapshot().apply(std::slice::from_ref(&put))?);
        context.changes.push(put);
        Ok(ColumnDefault { text, sequence: Some(id), identity })
    }

    fn drop_column(&mut self, context: &mut StatementContext, name: &ast::Ident, if_exists: bool) -> Result<()> {
        let place = match self.place(name) {
            Ok(place) => place,
            Err(error) if if_exists => {
                context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let dropped = self.table.columns[place].name.clone();
        policy::column_dropped(context, &mut self.table, &dropped, self.cascades)?;
        let column = self.table.columns.remove(place);
        self.values.remove(place);
        self.table.constraints.retain(|known| match &known.kind {
            ConstraintKind::Check { text } => {
                table::parse_expression(text).is_ok_and(|expr| !table::column_names(&expr).contains(&column.name))
            }
            _ => !known.columns().contains(&column.name),
        });
        self.table.indexes.retain(|index| !index.columns.contains(&column.name));
        if let Some(id) = owned(context, self.table.header.id, &column.name) {
            self.changes.push(Change::Drop { id, cascade: true });
        }
        self.is_rewritten = true;
        Ok(())
    }

    fn rename_in_constraints(&mut self, from: &str, to: &str) -> Result<()> {
        for known in &mut self.table.constraints {
            match &mut known.kind {
                ConstraintKind::PrimaryKey { columns } | ConstraintKind::Unique { columns } => {
                    columns.iter_mut().filter(|name| *name == from).for_each(|name| to.clone_into(name));
                }
                ConstraintKind::Check { text } => *text = follow::column_renamed(text, from, to)?,
            }
        }
        for index in &mut self.table.indexes {
            index.columns.iter_mut().filter(|name| *name == from).for_each(|name| to.clone_into(name));
            index.definition = format!("USING btree ({})", index.columns.join(", "));
        }
        Ok(())
    }

    fn alter_column(
        &mut self,
        context: &mut StatementContext,
        name: &ast::Ident,
        operation: &AlterColumnOperation,
    ) -> Result<()> {
        let place = self.place(name)?;
        match operation {
            AlterColumnOperation::SetNotNull => {
                self.is_rewritten |= self.table.columns[place].nullable;
                self.table.columns[place].nullable = false;
            }
            AlterColumnOperation::DropNotNull => {
                let column = &self.table.columns[place].name;
                let is_primary = self.table.constraints.iter().any(|known| {
                    matches!(known.kind, ConstraintKind::PrimaryKey { .. }) && known.columns().contains(column)
                });
                if is_primary {
                    let message = format!("column \"{column}\" is in a primary key");
                    return Err(Error::new(Kind::InvalidTableDefinition, message));
                }
                self.is_rewritten |= !self.table.columns[place].nullable;
                self.table.columns[place].nullable = true;
            }
            AlterColumnOperation::SetDefault { value } => {
                let default = table::default(context, &self.table.columns[place], value)?;
                self.table.columns[place].default = Some(default);
            }
            AlterColumnOperation::DropDefault => self.table.columns[place].default = None,
            AlterColumnOperation::SetDataType { data_type, using, .. } => {
                let new = types::data_type(data_type)?;
                policy::check_retyped(&self.table, &self.table.columns[place].name)?;
                let column = &mut self.table.columns[place];
                let (old, max) = (column.data_type.clone(), max_length(data_type));
                if using.is_none() && !casts_by_itself(&old, &new) {
                    let data_type = types::type_name(&new);
                    let message =
                        format!("column \"{}\" cannot be cast automatically to type {data_type}", column.name);
                    let name = &column.name;
                    return Err(Error::new(Kind::DatatypeMismatch, message)
                        .with_hint(format!("You might need to specify \"USING {name}::{data_type}\".")));
                }
                column.data_type = new;
                column.max_length = max;
                column.declared = types::declared_in_table(data_type);
                let value = using.clone().unwrap_or_else(|| self.values[place].clone());
                self.values[place] = cast(value, data_type);
                self.is_rewritten = true;
            }
            AlterColumnOperation::AddGenerated { generated_as, sequence_options } => {
                if self.table.columns[place].default.is_some() {
                    let name = &self.table.columns[place].name;
                    let message = format!(
                        "column \"{name}\" of relation \"{}\" already has a default value",
                        self.table.header.name
                    );
                    return Err(Error::new(Kind::Syntax, message));
                }
                let identity = match generated_as {
                    Some(ast::GeneratedAs::Always) => Identity::Always,
                    _ => Identity::ByDefault,
                };
                let column = self.table.columns[place].clone();
                let options = sequence_options.clone().unwrap_or_default();
                self.table.columns[place].default = Some(self.numbered(context, &column, &options, Some(identity))?);
            }
        }
        Ok(())
    }

    fn no_constraint(&self, name: &str) -> Error {
        let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", self.table.header.name);
        Error::new(Kind::UndefinedObject, message)
    }

    fn drop_constraint(&mut self, context: &mut StatementContext, name: &ast::Ident, if_exists: bool) -> Result<()> {
        let name = fold(name);
        let before = self.table.constraints.len();
        self.table.constraints.retain(|known| known.name != name);
        if self.table.constraints.len() < before {
            return Ok(());
        }
        let error = self.no_constraint(&name);
        if !if_exists {
            return Err(error);
        }
        context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
        Ok(())
    }

    async fn finish(
        mut self,
        context: &mut StatementContext,
        object: &Arc<Object>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        if self.is_rewritten {
            self.table.storage_id = table::new_storage_id()?;
        }
        if self.table != self.before {
            self.changes.push(Change::put(self.table.clone()));
        }
        let changes = std::mem::take(&mut self.changes);
        follow::check_readers(context, object, &changes, self.cascades).await?;
        policy::check_readers(context, (&self.before, &self.table), self.cascades)?;
        context.changes.extend(changes);
        if self.is_rewritten {
            self.rewrite(context, cancel).await?;
        }
        Ok(())
    }

    async fn rewrite(&self, context: &mut StatementContext, cancel: &CancellationToken) -> Result<()> {
        let name = format!("{}@before", self.before.header.name);
        let mut query = parse_query(&format!("SELECT 1 FROM {} AS {}", quote(&name), quote(&self.before.header.name)))?;
        if let ast::SetExpr::Select(select) = query.body.as_mut() {
            let item = |(value, column): (&ast::Expr, &Column)| ast::SelectItem::ExprWithAlias {
                expr: value.clone(),
                alias: ast::Ident::with_quote('"', &column.name),
            };
            select.projection = self.values.iter().zip(&self.table.columns).map(item).collect();
        }
        // whoever may alter the table, no row of it is lost
        let rows = context.planner().all_rows(&self.before).await?;
        let before = GivenRelation { name, rows, columns: self.before.columns.clone() };
        let columns = (0, self.table.columns.as_slice());
        let plan = select::plan_change(context, query, &Parameters::default(), columns, vec![before]).await?;
        table::fill_table(context, &self.table, plan, cancel).await.map_err(|error| self.of_rows(error))?;
        Ok(())
    }

    /// The error of a row that is there, and not of a new one.
    fn of_rows(&self, error: Error) -> Error {
        let table = &self.table.header.name;
        let named = |error: &Error| error.message().split('"').nth(1).unwrap_or_default().to_owned();
        match error.kind() {
            Kind::NotNullViolation => {
                let message = format!("column \"{}\" of relation \"{table}\" contains null values", named(&error));
                Error::new(Kind::NotNullViolation, message)
            }
            Kind::CheckViolation => {
                let name = error.message().split('"').nth(3).unwrap_or_default();
                let message = format!("check constraint \"{name}\" of relation \"{table}\" is violated by some row");
                Error::new(Kind::CheckViolation, message)
            }
            Kind::UniqueViolation => {
                let message = format!("could not create unique index \"{}\"", named(&error));
                let detail = error.detail().unwrap_or_default().replace("already exists", "is duplicated");
                Error::new(Kind::UniqueViolation, message).with_detail(detail)
            }
            _ => error,
        }
    }
}

/// As assignments are: to a text always, between numbers, between times.
fn casts_by_itself(from: &arrow::datatypes::DataType, to: &arrow::datatypes::DataType) -> bool {
    use arrow::datatypes::DataType;
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    from == to || to.is_string() || from.is_numeric() && to.is_numeric() || is_time(from) && is_time(to)
}

fn own(name: &str) -> ast::Expr {
    ast::Expr::Identifier(ast::Ident::with_quote('"', name))
}

fn cast(expr: ast::Expr, data_type: &ast::DataType) -> ast::Expr {
    ast::Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(ast::Expr::Nested(Box::new(expr))),
        data_type: data_type.clone(),
        array: false,
        format: None,
    }
}

/// The sequence of a table's column.
fn owned(context: &StatementContext, table: ObjectId, column: &str) -> Option<ObjectId> {
    let mut sequences = context.snapshot().objects().filter_map(|object| object.downcast::<Sequence>());
    let of_column =
        |sequence: &&Sequence| sequence.owned_by.as_ref().is_some_and(|(id, name)| *id == table && name == column);
    sequences.find(of_column).map(|sequence| sequence.header.id)
}

/// The name is another; whoever reads the object reads it under that.
pub fn rename(context: &mut StatementContext, object: &Object, to: &str) -> Result<()> {
    if object.name() == to || context.is_relation_name(object.home(), to) {
        return Err(Error::new(Kind::DuplicateTable, format!("relation \"{to}\" already exists")));
    }
    match object.kind() {
        ObjectKind::Table | ObjectKind::View | ObjectKind::Sequence => {}
        other => {
            let message = format!("\"{}\" is a {}", object.name(), other.as_str());
            let hint = format!("ALTER {} {} RENAME TO …", other.as_str().to_uppercase(), object.name());
            return Err(Error::new(Kind::WrongObjectType, message).with_hint(hint));
        }
    }
    let schema = context.snapshot().schema_of(object).map(|schema| schema.header.name.clone()).unwrap_or_default();
    let reworded = follow::relation_renamed(context, object, (&schema, to))?;
    context.changes.push(Change::Rename { id: object.id(), to: to.to_owned() });
    if let Some(table) = object.downcast::<Table>().filter(|table| !table.policies.is_empty()) {
        context.changes.push(Change::put(policy::table_renamed(table, to)?));
    }
    context.changes.extend(reworded);
    Ok(())
}

fn set_schema(context: &mut StatementContext, object: &Object, schema: &str) -> Result<()> {
    let to = context.schema(&context.scope.schema_named(schema))?.header.id;
    if object.home().schema() == Some(to) {
        return Ok(());
    }
    let home = Home::Schema { workspace: context.scope.workspace, schema: to };
    if to.is_temporary() || object.id().is_temporary() {
        return Err(Error::new(Kind::FeatureNotSupported, "cannot move objects into or out of temporary schemas"));
    }
    if context.is_relation_name(home, object.name()) {
        let message = format!("relation \"{}\" already exists in schema \"{schema}\"", object.name());
        return Err(Error::new(Kind::DuplicateTable, message));
    }
    let reworded = follow::relation_renamed(context, object, (schema, object.name()))?;
    let mut moved = object.clone();
    moved.header_mut().home = home;
    context.changes.push(Change::Put(moved));
    // sequences of its columns go with it
    let sequences: Vec<Sequence> = context.snapshot().all::<Sequence>().into_iter().cloned().collect();
    for mut own in sequences {
        if own.owned_by.as_ref().is_some_and(|(table, _)| *table == object.id()) {
            own.header.home = home;
            context.changes.push(Change::put(own));
        }
    }
    context.changes.extend(reworded);
    Ok(())
}

/// `ALTER SCHEMA … RENAME TO | OWNER TO`.
pub fn alter_schema(context: &mut StatementContext, alter: &ast::AlterSchema) -> Result<()> {
    let schema = match context.find(ObjectKind::Schema, &alter.name) {
        Ok(schema) => schema,
        Err(error) if alter.if_exists => {
            context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for operation in &alter.operations {
        match operation {
            ast::AlterSchemaOperation::Rename { name } => {
                let to = granary_sql::name::parts(name).pop().unwrap_or_default();
                if to.starts_with("pg_") {
                    let message = format!("unacceptable schema name \"{to}\"");
                    return Err(Error::new(Kind::ReservedName, message)
                        .with_detail("The prefix \"pg_\" is reserved for system schemas."));
                }
                let reworded = follow::schema_renamed(context, &schema, &to)?;
                context.changes.push(Change::Rename { id: schema.id(), to });
                context.changes.extend(reworded);
            }
            ast::AlterSchemaOperation::OwnerTo { owner } => {
                let owner = match owner {
                    ast::Owner::Ident(owner) => context.role_named(owner),
                    _ => context.role.clone(),
                };
                if context.snapshot().role(&owner).is_none() {
                    return Err(Error::new(Kind::UndefinedObject, format!("role \"{owner}\" does not exist")));
                }
                context.changes.push(Change::SetOwner { id: schema.id(), owner });
            }
            other => return Err(Error::not_supported(format!("ALTER SCHEMA … {other}"))),
        }
    }
    Ok(())
}
