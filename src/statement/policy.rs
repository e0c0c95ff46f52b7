//! `CREATE POLICY`, `ALTER POLICY`, `DROP POLICY`, and what becomes of policies when what they name changes. Policies are
//! part of their table; who looks at them is the planner.

use std::ops::ControlFlow;
use std::sync::Arc;

use granary_catalog::{
    Change, Object, ObjectId, ObjectKind, Policy, PolicyCommand, PolicyExpression, Role, Snapshot, Table,
};
use granary_sql::name::fold;
use sqlparser::ast::{self, Ident, ObjectName};

use super::context::StatementContext;
use super::table::parse_expression;
use super::{follow, role};
use crate::engine::table_reference;
use crate::error::{Error, Kind, Result};
use crate::warehouse::LockMode;

pub async fn create(context: &mut StatementContext, create: &ast::CreatePolicy) -> Result<()> {
    let command = match create.command {
        None | Some(ast::CreatePolicyCommand::All) => PolicyCommand::All,
        Some(ast::CreatePolicyCommand::Select) => PolicyCommand::Select,
        Some(ast::CreatePolicyCommand::Insert) => PolicyCommand::Insert,
        Some(ast::CreatePolicyCommand::Update) => PolicyCommand::Update,
        Some(ast::CreatePolicyCommand::Delete) => PolicyCommand::Delete,
    };
    if matches!(command, PolicyCommand::Select | PolicyCommand::Delete) && create.with_check.is_some() {
        return Err(Error::new(Kind::Syntax, "WITH CHECK cannot be applied to SELECT or DELETE"));
    }
    if command == PolicyCommand::Insert && create.using.is_some() {
        return Err(Error::new(Kind::Syntax, "only WITH CHECK expression allowed for INSERT"));
    }
    let roles = roles(context, create.to.as_deref().unwrap_or_default())?;
    let mut table = table_named(context, &create.table_name)?;
    context.lock(&table, LockMode::Alter).await?;
    let using = expression(context, &table, create.using.as_ref()).await?;
    let check = expression(context, &table, create.with_check.as_ref()).await?;
    let name = fold(&create.name);
    check_new(&table, &name)?;
    let permissive = !matches!(create.policy_type, Some(ast::CreatePolicyType::Restrictive));
    table.policies.push(Policy { name, permissive, command, roles, using, check, comment: None });
    put(context, table);
    Ok(())
}

pub async fn alter(context: &mut StatementContext, alter: &ast::AlterPolicy) -> Result<()> {
    match &alter.operation {
        ast::AlterPolicyOperation::Rename { new_name } => {
            let mut table = table_named(context, &alter.table_name)?;
            context.lock(&table, LockMode::Alter).await?;
            let place = place_of(&table, &alter.name)?;
            let to = fold(new_name);
            check_new(&table, &to)?;
            table.policies[place].name = to;
            put(context, table);
        }
        ast::AlterPolicyOperation::Apply { to, using, with_check } => {
            let roles = to.as_ref().map(|to| roles(context, to)).transpose()?;
            let mut table = table_named(context, &alter.table_name)?;
            context.lock(&table, LockMode::Alter).await?;
            let using = expression(context, &table, using.as_ref()).await?;
            let check = expression(context, &table, with_check.as_ref()).await?;
            let place = place_of(&table, &alter.name)?;
            let policy = &mut table.policies[place];
            let refused = match policy.command {
                PolicyCommand::Select | PolicyCommand::Delete if check.is_some() => {
                    Some("only USING expression allowed for SELECT, DELETE")
                }
                PolicyCommand::Insert if using.is_some() => Some("only WITH CHECK expression allowed for INSERT"),
                _ => None,
            };
            if let Some(message) = refused {
                return Err(Error::new(Kind::Syntax, message));
            }
            if let Some(roles) = roles {
                policy.roles = roles;
            }
            policy.using = using.or(policy.using.take());
            policy.check = check.or(policy.check.take());
            put(context, table);
        }
    }
    Ok(())
}

pub async fn drop(context: &mut StatementContext, drop: &ast::DropPolicy) -> Result<()> {
    let table = match table_named(context, &drop.table_name) {
        Err(error) if drop.if_exists && error.kind() == Kind::UndefinedTable => {
            context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
            return Ok(());
        }
        table => table,
    };
    let mut table = table?;
    context.lock(&table, LockMode::Alter).await?;
    match place_of(&table, &drop.name) {
        Ok(place) => {
            table.policies.remove(place);
            put(context, table);
            Ok(())
        }
        Err(error) if drop.if_exists => {
            let (policy, table) = (fold(&drop.name), &table.header.name);
            let message = format!("policy \"{policy}\" for relation \"{table}\" does not exist, skipping");
            context.notices.push(Error::new(error.kind(), message));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// `COMMENT ON POLICY name ON table`.
pub fn comment(
    context: &mut StatementContext,
    (name, relation): (&Ident, &ObjectName),
    comment: Option<&String>,
) -> Result<()> {
    let mut table = table_named(context, relation)?;
    let place = place_of(&table, name)?;
    table.policies[place].comment = comment.cloned();
    put(context, table);
    Ok(())
}

fn put(context: &mut StatementContext, mut table: Table) {
    table.policies.sort_by(|one, other| one.name.cmp(&other.name));
    context.changes.push(Change::put(table));
}

/// Refuses relations that cannot have policies: a warehouse that does not carry them through everywhere has none there.
pub fn check_policed(object: &Object) -> Result<&Table> {
    let is_no_table = || Error::new(Kind::WrongObjectType, format!("\"{}\" is not a table", object.name()));
    match object {
        Object::Table(table) if table.materialized.is_none() => Ok(table),
        Object::Table(_) | Object::View(_) | Object::Sequence(_) => Err(is_no_table()),
        other => {
            let (kind, name) = (other.kind().as_str(), other.name());
            Err(Error::not_supported(format!("row-level security of {kind} \"{name}\""))
                .with_hint("policies are for tables; GRANT SELECT (columns) says who may read what of others"))
        }
    }
}

fn table_named(context: &StatementContext, name: &ObjectName) -> Result<Table> {
    let reference = table_reference(name);
    if let Some(reference) = &reference
        && crate::engine::is_system_schema(reference.schema())
    {
        let message = format!("permission denied: \"{}\" is a system catalog", reference.table());
        return Err(Error::new(Kind::InsufficientPrivilege, message));
    }
    let found = reference.as_ref().map(|name| context.scope.relation(name)).transpose()?.flatten();
    let object = found.ok_or_else(|| {
        let message = format!("relation \"{}\" does not exist", granary_sql::name::shown(name));
        Error::new(Kind::UndefinedTable, message)
    })?;
    check_policed(object).cloned()
}

fn place_of(table: &Table, name: &Ident) -> Result<usize> {
    let name = fold(name);
    table.policies.iter().position(|policy| policy.name == name).ok_or_else(|| {
        let message = format!("policy \"{name}\" for table \"{}\" does not exist", table.header.name);
        Error::new(Kind::UndefinedObject, message)
    })
}

fn check_new(table: &Table, name: &str) -> Result<()> {
    if table.policies.iter().all(|policy| policy.name != name) {
        return Ok(());
    }
    let message = format!("policy \"{name}\" for table \"{}\" already exists", table.header.name);
    Err(Error::new(Kind::DuplicateObject, message))
}

/// The roles that TO names; none for PUBLIC.
fn roles(context: &mut StatementContext, owners: &[ast::Owner]) -> Result<Vec<ObjectId>> {
    let is_public = |owner: &ast::Owner| matches!(owner, ast::Owner::Ident(ident) if ident.quote_style.is_none() && fold(ident) == "public");
    if owners.iter().any(is_public) {
        if owners.len() > 1 {
            let message = "ignoring specified roles other than PUBLIC";
            let notice = Error::new(Kind::SuccessfulCompletion, message);
            context.notices.push(notice.with_hint("All roles are members of the PUBLIC role."));
        }
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for owner in owners {
        let id = match owner {
            ast::Owner::Ident(ident) => role::id_of(context, ident)?,
            ast::Owner::CurrentRole | ast::Owner::CurrentUser | ast::Owner::SessionUser => {
                let own = context.snapshot().role(&context.role);
                own.ok_or_else(|| Error::internal("the session's role is gone"))?.header.id
            }
        };
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

async fn expression(
    context: &StatementContext,
    table: &Table,
    expr: Option<&ast::Expr>,
) -> Result<Option<PolicyExpression>> {
    let Some(expr) = expr else { return Ok(None) };
    context.planner().policy_expression(table, expr.clone(), &context.text).await.map(Some)
}

/// What keeps a role from being dropped, a line each.
pub fn targets(object: &Object, role: &Role) -> Vec<String> {
    let Object::Table(table) = object else { return Vec::new() };
    let policies = table.policies.iter().filter(|policy| policy.roles.contains(&role.header.id));
    policies.map(|policy| format!("target of policy {} on table {}", policy.name, table.header.name)).collect()
}

/// The policies that read a relation, each with its table's name.
pub fn readers(snapshot: &Snapshot, id: ObjectId) -> Vec<(String, String)> {
    let tables = snapshot.all::<Table>().into_iter();
    let of_table = |table: &Table| {
        let reading = table.policies.iter().filter(|policy| policy.reads(id));
        reading.map(|policy| (policy.name.clone(), table.header.name.clone())).collect::<Vec<_>>()
    };
    tables.flat_map(of_table).collect()
}

/// A column goes, and policies of its table with it, if those that name it may go.
pub fn column_dropped(context: &mut StatementContext, table: &mut Table, column: &str, cascades: bool) -> Result<()> {
    let name = table.header.name.clone();
    for policy in table.policies.iter().filter(|policy| policy.names_column(column)) {
        let of = format!("policy {} on table {name}", policy.name);
        if !cascades {
            let message = format!("cannot drop column {column} of table {name} because other objects depend on it");
            return Err(Error::new(Kind::DependentObjectsStillExist, message)
                .with_detail(format!("{of} depends on column {column} of table {name}"))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        context.notices.push(Error::new(Kind::SuccessfulCompletion, format!("drop cascades to {of}")));
    }
    table.policies.retain(|policy| !policy.names_column(column));
    Ok(())
}

fn retyped(policy: &Policy, table: &str, column: &str) -> Error {
    let message = "cannot alter type of a column used in a policy definition";
    Error::new(Kind::FeatureNotSupported, message)
        .with_detail(format!("policy {} on table {table} depends on column \"{column}\"", policy.name))
}

/// Refuses another type of a column that a policy of its table names.
pub fn check_retyped(table: &Table, column: &str) -> Result<()> {
    match table.policies.iter().find(|policy| policy.names_column(column)) {
        Some(policy) => Err(retyped(policy, &table.header.name, column)),
        None => Ok(()),
    }
}

/// Policies of a table follow a column's name.
pub fn column_renamed(table: &mut Table, from: &str, to: &str) -> Result<()> {
    for policy in &mut table.policies {
        let name = policy.name.clone();
        for expression in policy.expressions_mut() {
            if !expression.columns.iter().any(|column| column == from) {
                continue;
            }
            // a column of another relation may have the name, too
            if has_query(&parse_expression(&expression.text)?) {
                let what = format!("renaming column \"{from}\", which policy \"{name}\" names beside a subquery");
                return Err(Error::not_supported(what).with_hint("DROP POLICY, and make it anew afterwards"));
            }
            expression.text = follow::column_renamed(&expression.text, from, to)?;
            expression.columns.iter_mut().filter(|column| *column == from).for_each(|column| to.clone_into(column));
            expression.columns.sort_unstable();
        }
    }
    Ok(())
}

/// Policies of other tables that read columns of a table which it will not have: they keep it from changing, or go.
pub fn check_readers(context: &mut StatementContext, (before, after): (&Table, &Table), cascades: bool) -> Result<()> {
    let id = before.header.id;
    let kept = |name: &String| {
        let of = |table: &Table| table.columns.iter().find(|column| column.name == *name).cloned();
        let same = |(old, new): (granary_catalog::Column, granary_catalog::Column)| {
            old.data_type == new.data_type && old.declared == new.declared
        };
        of(before).zip(of(after)).is_some_and(same)
    };
    let lost = |policy: &Policy| {
        let reads = policy.expressions().flat_map(|expression| &expression.reads);
        let columns = reads.filter(|read| read.relation == id).flat_map(|read| &read.columns);
        columns.into_iter().find(|column| !kept(column)).cloned()
    };
    let tables: Vec<Table> = context.snapshot().all::<Table>().into_iter().cloned().collect();
    for mut table in tables.into_iter().filter(|table| table.header.id != id) {
        let found = table.policies.iter().find_map(|policy| Some((policy.name.clone(), lost(policy)?)));
        let Some((policy, column)) = found else { continue };
        let (own, name) = (&before.header.name, table.header.name.clone());
        if !cascades {
            let message = format!("cannot change column {column} of table {own} because other objects depend on it");
            return Err(Error::new(Kind::DependentObjectsStillExist, message)
                .with_detail(format!("policy {policy} on table {name} depends on column {column} of table {own}"))
                .with_hint("drop it first, and make it anew afterwards"));
        }
        table.policies.retain(|policy| lost(policy).is_none());
        let notice = format!("drop cascades to policy {policy} on table {name}");
        context.notices.push(Error::new(Kind::SuccessfulCompletion, notice));
        context.changes.push(Change::put(table));
    }
    Ok(())
}

/// The policies of a table under another name of it.
pub fn table_renamed(table: &Table, to: &str) -> Result<Table> {
    let from = table.header.name.clone();
    let mut renamed = table.clone();
    for policy in &mut renamed.policies {
        let name = policy.name.clone();
        for expression in policy.expressions_mut() {
            let mut expr = parse_expression(&expression.text)?;
            // another relation of the expression may be called so
            if has_query(&expr) && is_called(&expr, &[&from, to]) {
                let what = format!("renaming table \"{from}\", whose policy \"{name}\" calls another relation so");
                return Err(Error::not_supported(what).with_hint("DROP POLICY, and make it anew afterwards"));
            }
            let _ = ast::visit_expressions_mut(&mut expr, |expr| {
                if let ast::Expr::CompoundIdentifier(parts) = expr
                    && let [first, _, ..] = parts.as_mut_slice()
                    && fold(first) == from
                {
                    *first = granary_sql::name::canonical(&Ident::with_quote('"', to));
                }
                ControlFlow::<()>::Continue(())
            });
            expression.text = expr.to_string();
        }
    }
    to.clone_into(&mut renamed.header.name);
    Ok(renamed)
}

fn has_query(expr: &ast::Expr) -> bool {
    struct Queries;
    impl ast::Visitor for Queries {
        type Break = ();

        fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    ast::Visit::visit(expr, &mut Queries).is_break()
}

/// Whether a relation in FROM has one of these names.
fn is_called(expr: &ast::Expr, names: &[&str]) -> bool {
    struct Called<'n>(&'n [&'n str]);
    impl ast::Visitor for Called<'_> {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<()> {
            let alias = match factor {
                ast::TableFactor::Table { alias, .. }
                | ast::TableFactor::Derived { alias, .. }
                | ast::TableFactor::Function { alias, .. }
                | ast::TableFactor::UNNEST { alias, .. }
                | ast::TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
                _ => return ControlFlow::Break(()),
            };
            match alias.is_some_and(|alias| self.0.contains(&fold(&alias.name).as_str())) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    ast::Visit::visit(expr, &mut Called(names)).is_break()
}

/// Tables whose policies read one of some relations, with their expressions under other names for these.
pub fn reworded(context: &StatementContext, renamed: &dyn Fn(&Object) -> Option<String>) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    // names mean relations of this workspace
    let own = |table: &&Table| table.header.home.workspace() == Some(context.scope.workspace);
    let tables = context.snapshot().all::<Table>().into_iter().filter(own);
    for table in tables.filter(|table| !table.policies.is_empty()) {
        let mut new = table.clone();
        for expression in new.policies.iter_mut().flat_map(Policy::expressions_mut) {
            let query = format!("SELECT {}", expression.text);
            if let Some(query) = follow::names_in(context, &query, renamed)? {
                expression.text = query.trim_start_matches("SELECT ").to_owned();
            }
        }
        if new != *table {
            changes.push(Change::put(new));
        }
    }
    Ok(changes)
}

/// `ALTER TABLE … ENABLE ROW LEVEL SECURITY` and its like, as PostgreSQL calls them.
pub fn row_security_action(operation: &ast::AlterTableOperation) -> Option<&'static str> {
    match operation {
        ast::AlterTableOperation::EnableRowLevelSecurity => Some("ENABLE ROW SECURITY"),
        ast::AlterTableOperation::DisableRowLevelSecurity => Some("DISABLE ROW SECURITY"),
        ast::AlterTableOperation::ForceRowLevelSecurity => Some("FORCE ROW SECURITY"),
        ast::AlterTableOperation::NoForceRowLevelSecurity => Some("NO FORCE ROW SECURITY"),
        _ => None,
    }
}

/// The error of such an action on what is no table.
pub fn check_action(object: &Arc<Object>, action: &str) -> Result<()> {
    let kinds = match object.as_ref() {
        Object::Table(table) if table.materialized.is_some() => "materialized views",
        Object::Table(_) => return Ok(()),
        Object::View(_) => "views",
        Object::Sequence(_) => "sequences",
        other => return check_policed(other).map(|_| ()),
    };
    let message = format!("ALTER action {action} cannot be performed on relation \"{}\"", object.name());
    Err(Error::new(Kind::WrongObjectType, message).with_detail(format!("This operation is not supported for {kinds}.")))
}

/// Refuses to make relations of features of rows that policies hide from their owner: they are for whoever may read the
/// relation.
pub fn check_made(context: &StatementContext, object: &Object) -> Result<()> {
    let is_computed = matches!(
        object.kind(),
        ObjectKind::Source | ObjectKind::FeatureView | ObjectKind::Stream | ObjectKind::RealtimeView
    );
    if !is_computed {
        return Ok(());
    }
    let snapshot = context.snapshot();
    let mut waiting: Vec<(ObjectId, String)> =
        object.depends_on().into_iter().map(|id| (id, object.header().owner.clone())).collect();
    let mut seen = std::collections::BTreeSet::new();
    while let Some((id, owner)) = waiting.pop() {
        let Some(input) = snapshot.get(id).filter(|_| seen.insert((id, owner.clone()))) else { continue };
        match input.as_ref() {
            Object::Table(table) if table.materialized.is_none() => {
                if table.row_security.enabled && !crate::access::bypasses_policies(snapshot, &owner, table) {
                    let (kind, name) = (object.kind().as_str(), &table.header.name);
                    let message = format!("a {kind} over table \"{name}\", which has row-level security");
                    return Err(
                        Error::not_supported(message).with_hint("a role for whom its policies do not hold can make it")
                    );
                }
            }
            Object::View(view) if view.security_invoker => {
                waiting.extend(input.depends_on().into_iter().map(|id| (id, owner.clone())));
            }
            other => {
                let owner = &other.header().owner;
                waiting.extend(other.depends_on().into_iter().map(|id| (id, owner.clone())));
            }
        }
    }
    Ok(())
}

/// Whether something a statement says names a column: who looks at rows is to see them.
pub fn names_columns(node: &impl ast::Visit) -> bool {
    struct Names;
    impl ast::Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            let is_name = match expr {
                ast::Expr::Identifier(_) => !super::changing::is_default(expr),
                ast::Expr::CompoundIdentifier(_) | ast::Expr::Wildcard(_) | ast::Expr::QualifiedWildcard(..) => true,
                _ => false,
            };
            if is_name { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<()> {
            // which may be about columns of the statement in any way
            ControlFlow::Break(())
        }
    }
    ast::Visit::visit(node, &mut Names).is_break()
}

/// The same of what RETURNING shows.
pub fn returns_columns(item: &ast::SelectItem) -> bool {
    matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..)) || names_columns(item)
}
