//! What a statement needs the right to do, before and after it was looked at. What it reads is checked where it is
//! planned; statements about roles and rights check for themselves.

use granary_catalog::{Change, Job, Object, ObjectId, ObjectKind, PredefinedRole, Privilege};
use granary_sql::Statement;
use granary_sql::name::fold;
use granary_sql::statement::{AlertAction, CommentTarget, Copy, CopySource, CopyTarget, SourceOrigin, StreamOrigin};
use sqlparser::ast::{self, ObjectName};

use super::context::StatementContext;
use super::execute::first_words;
use super::workspace::kind_of;
use crate::access::Access;
use crate::engine::{Interface, table_reference};
use crate::error::Result;

/// Refuses a statement that the session's role may not make. What it is about and does not exist is left to it.
pub fn check(context: &StatementContext, statement: &Statement) -> Result<()> {
    let access = context.scope.access();
    if access.is_unlimited() {
        return Ok(());
    }
    let check = Check { context, access, statement };
    match statement {
        Statement::CreateEntity(create) => check.create(ObjectKind::Entity, &create.name, create.or_replace),
        Statement::CreateSource(create) => {
            if matches!(create.origin, SourceOrigin::Files { .. }) {
                check.access.check_server_files(PredefinedRole::ReadServerFiles, "read files of the server")?;
            }
            check.create(ObjectKind::Source, &create.name, create.or_replace)
        }
        Statement::CreateStream(create) => {
            // it says files of certificates, and where the server connects to
            let outside = match create.origin {
                StreamOrigin::Push => None,
                StreamOrigin::Kafka(_) => Some("read from Kafka"),
                StreamOrigin::Postgres { .. } => Some("read from Postgres"),
            };
            if let Some(what) = outside {
                check.access.check_server_files(PredefinedRole::ReadServerFiles, what)?;
            }
            check.create(ObjectKind::Stream, &create.name, create.or_replace)
        }
        Statement::CreateSink(create) => {
            // as for a stream
            check.access.check_server_files(PredefinedRole::ReadServerFiles, "write to Kafka")?;
            check.create(ObjectKind::Sink, &create.name, create.or_replace)
        }
        Statement::CreateExpectation(create) => {
            check.create(ObjectKind::Expectation, &create.name, create.or_replace)?;
            // it may keep the view's runs from being served
            check.manage(ObjectKind::FeatureView, &create.view)
        }
        Statement::CreateAlert(create) => {
            check.create(ObjectKind::Alert, &create.name, create.or_replace)?;
            // the server calls out from inside of its network
            let is_outside = |action: &AlertAction| !matches!(action, AlertAction::Notify(_));
            match create.actions.iter().any(is_outside) {
                true => check.workspace(&[Privilege::Owner, Privilege::Editor]),
                false => Ok(()),
            }
        }
        Statement::CheckAlert(alert) => check.operate(ObjectKind::Alert, &alert.name),
        Statement::CreateFeatureView(create) => check.create(ObjectKind::FeatureView, &create.name, create.or_replace),
        Statement::CreateFeatureTable(create) => {
            check.create(ObjectKind::FeatureTable, &create.name, create.or_replace)
        }
        Statement::CreateRealtimeFeatureView(create) => {
            check.create(ObjectKind::RealtimeView, &create.name, create.or_replace)
        }
        Statement::CreateFeatureService(create) => {
            check.create(ObjectKind::FeatureService, &create.name, create.or_replace)
        }
        Statement::CreateTest(create) => check.create(ObjectKind::Test, &create.name, create.or_replace),
        Statement::CreateFunction(create) => check.create(ObjectKind::Function, &create.name, create.or_replace),
        Statement::CreateDataset(create) => check.create(ObjectKind::Dataset, &create.name, create.or_replace),
        Statement::CreateWorkspace(_) => check.superuser("permission denied to create database"),
        Statement::CreateSecret(_) => check.workspace(&[Privilege::Owner, Privilege::Editor]),
        Statement::Refresh(refresh) => check.operate(ObjectKind::FeatureView, &refresh.view),
        Statement::Replay(replay) => check.operate(ObjectKind::Stream, &replay.stream),
        Statement::Optimize(optimize) => check.operate_relation(&optimize.name),
        Statement::Vacuum(vacuum) if vacuum.names.is_empty() => {
            check.workspace(&[Privilege::Owner, Privilege::Editor, Privilege::Operator])
        }
        Statement::Vacuum(vacuum) => vacuum.names.iter().try_for_each(|name| check.operate_relation(name)),
        // it has everybody's rows and verifiers, and makes the server write where it is told to
        Statement::Backup(_) => check.superuser("permission denied to take a backup"),
        Statement::Verify(verify) => {
            check.operate_relation(&verify.view)?;
            check.relation(&verify.view, |object| check.access.check(object, Privilege::Select))
        }
        Statement::CancelJob(cancel) => check.job(cancel.job),
        Statement::RetryJob(retry) => check.job(retry.job),
        Statement::WaitForJob(wait) => check.job(wait.job),
        Statement::Drop(drop) if drop.kind == granary_sql::ObjectKind::ApiKey => check.api_keys(&drop.names),
        Statement::Drop(drop) => check.manage_all(kind_of(drop.kind), &drop.names),
        Statement::Alter(alter) if alter.kind == granary_sql::ObjectKind::ApiKey => {
            check.api_keys(std::slice::from_ref(&alter.name))
        }
        Statement::Alter(alter) => check.manage(kind_of(alter.kind), &alter.name),
        Statement::AlterSequence(alter) => check.manage(ObjectKind::Sequence, &alter.name),
        Statement::CommentOn(comment) => check.comment(&comment.target),
        Statement::Copy(copy) => check.copy(copy),
        Statement::Postgres(statement) => check.postgres(&statement.ast),
        // what is read is checked when it is planned; roles, rights and keys check for themselves
        Statement::Query(_)
        | Statement::Explain(_)
        | Statement::ShowCreate(_)
        | Statement::CreateApiKey(_)
        | Statement::GrantRole(_)
        | Statement::RevokeRole(_) => Ok(()),
        // the session has done those that there are
        Statement::Utility(granary_sql::statement::Utility::RefreshMaterializedView { name, .. }) => {
            check.manage_relation(name)
        }
        Statement::Utility(_)
        | Statement::Declare(_)
        | Statement::Fetch(_)
        | Statement::Close(_)
        | Statement::Prepare(_)
        | Statement::Execute(_) => Ok(()),
    }
}

/// Refuses those who may not tend a job: it is for who started it, and for who may tend all jobs of its workspace.
pub fn check_job(context: &StatementContext, job: &Job, action: &str) -> Result<()> {
    let access = context.scope.access();
    if job.request.author.role == context.role || access.may_operate_in(job.request.workspace) {
        return Ok(());
    }
    access.check_superuser(format!("permission denied for job {}", job.id), action)
}

/// Refuses what a statement has left to be done: giving objects to strangers, and letting others read what its author
/// may not read. (What a query reads was checked when it was planned.)
pub fn check_changes(context: &StatementContext, statement: &Statement) -> Result<()> {
    for change in &context.changes {
        match change {
            Change::Put(object) => super::policy::check_made(context, object)?,
            Change::SetOwner { id, owner } => {
                if let Some(object) = context.snapshot().get(*id) {
                    let mut object = Object::clone(object);
                    object.header_mut().owner.clone_from(owner);
                    super::policy::check_made(context, &object)?;
                }
            }
            _ => {}
        }
    }
    let access = context.scope.access();
    if access.is_unlimited() {
        return Ok(());
    }
    for change in &context.changes {
        let (id, owner) = match change {
            Change::Put(Object::Role(_)) => continue,
            Change::Put(object) => {
                check_inputs(context, &access, object)?;
                (object.id(), &object.header().owner)
            }
            Change::SetOwner { id, owner } => (*id, owner),
            _ => continue,
        };
        check_owner(context, id, owner, &first_words(&statement.to_string()))?;
    }
    Ok(())
}

/// Refuses to give an object to a role that the session's does not belong to.
pub fn check_owner(context: &StatementContext, id: ObjectId, owner: &str, action: &str) -> Result<()> {
    let is_given = context.snapshot().get(id).is_none_or(|before| before.header().owner != owner);
    match context.snapshot().role(owner) {
        Some(role) if is_given => context.scope.access().check_member(role, action),
        _ => Ok(()),
    }
}

/// Relations that name their inputs without a query over them.
fn check_inputs(context: &StatementContext, access: &Access<'_>, object: &Object) -> Result<()> {
    let snapshot = context.snapshot();
    match object {
        Object::FeatureService(service) => {
            for member in &service.members {
                let Some(view) = snapshot.get(member.view) else { continue };
                match &member.features {
                    None => access.check(view, Privilege::Select)?,
                    Some(features) => {
                        let keys = Interface::of(snapshot, view)?.keys;
                        let keys = keys.iter().map(|key| key.name.as_str());
                        access.check_select(view, keys.chain(features.iter().map(String::as_str)))?;
                    }
                }
            }
            Ok(())
        }
        Object::RealtimeView(_) | Object::Stream(_) | Object::Sink(_) => {
            let inputs = object.depends_on().into_iter().filter_map(|id| snapshot.get(id));
            inputs
                .filter(|input| input.kind().is_relation())
                .try_for_each(|input| access.check(input, Privilege::Select))
        }
        _ => Ok(()),
    }
}

struct Check<'a> {
    context: &'a StatementContext,
    access: Access<'a>,
    statement: &'a Statement,
}

impl Check<'_> {
    /// The statement's first words, for the log.
    fn action(&self) -> String {
        first_words(&self.statement.to_string())
    }

    /// A new object in a schema, or one in the place of another.
    fn create(&self, kind: ObjectKind, name: &ObjectName, or_replace: bool) -> Result<()> {
        let (schema, name) = self.context.new_name(name)?;
        let snapshot = self.context.snapshot();
        if let Some(schema) = snapshot.get(schema) {
            self.access.check_create(schema)?;
        }
        match self.context.existing(schema, kind, &name) {
            Some(existing) if or_replace => self.access.check_manage(existing, &self.action()),
            Some(_) | None => Ok(()),
        }
    }

    fn manage_all(&self, kind: ObjectKind, names: &[ObjectName]) -> Result<()> {
        names.iter().try_for_each(|name| self.manage(kind, name))
    }

    fn manage(&self, kind: ObjectKind, name: &ObjectName) -> Result<()> {
        self.named(kind, name, |object| self.access.check_manage(object, &self.action()))
    }

    fn operate(&self, kind: ObjectKind, name: &ObjectName) -> Result<()> {
        self.named(kind, name, |object| self.access.check_operate(object, &self.action()))
    }

    fn operate_relation(&self, name: &ObjectName) -> Result<()> {
        self.relation(name, |object| self.access.check_operate(object, &self.action()))
    }

    fn manage_relation(&self, name: &ObjectName) -> Result<()> {
        self.relation(name, |object| self.access.check_manage(object, &self.action()))
    }

    fn named(&self, kind: ObjectKind, name: &ObjectName, check: impl FnOnce(&Object) -> Result<()>) -> Result<()> {
        match self.context.find(kind, name) {
            Ok(object) => check(&object),
            // the statement says what is wrong with the name, if anything is
            Err(_) => Ok(()),
        }
    }

    /// Whatever relation has that name.
    fn relation(&self, name: &ObjectName, check: impl FnOnce(&Object) -> Result<()>) -> Result<()> {
        let Some(reference) = table_reference(name) else { return Ok(()) };
        match self.context.scope.relation(&reference) {
            Ok(Some(object)) => check(object),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn write(&self, name: &ObjectName, privilege: Privilege, columns: &[String]) -> Result<()> {
        self.relation(name, |object| self.access.check_write(object, privilege, columns.iter().map(String::as_str)))
    }

    /// What a statement that changes rows may look at of them.
    fn read(&self, name: &ObjectName, reads: bool) -> Result<()> {
        let is_table = |object: &Object| object.kind() == ObjectKind::Table;
        self.relation(name, |object| match reads && is_table(object) {
            true => self.access.check(object, Privilege::Select),
            false => Ok(()),
        })
    }

    fn superuser(&self, message: &str) -> Result<()> {
        self.access.check_superuser(message, &self.action())
    }

    /// Who has one of these predefined roles of the workspace.
    fn workspace(&self, roles: &[Privilege]) -> Result<()> {
        if self.access.has_workspace_role(self.context.scope.workspace, roles) {
            return Ok(());
        }
        let message = format!("permission denied to {}", self.action().to_lowercase());
        self.superuser(&message)
    }

    /// Who started a job may tend it, and who may tend all jobs of its workspace.
    fn job(&self, job: u64) -> Result<()> {
        let job = self.context.warehouse.catalog.ledger().get(granary_catalog::JobId(job))?;
        check_job(self.context, &job, &self.action())
    }

    /// Who owns a key may drop it, and whose role it stands for.
    fn api_keys(&self, names: &[ObjectName]) -> Result<()> {
        for name in names {
            let Ok(object) = self.context.find(ObjectKind::ApiKey, name) else { continue };
            let key = object.downcast::<granary_catalog::ApiKey>();
            let role = key.and_then(|key| self.context.snapshot().get_as::<granary_catalog::Role>(key.role));
            if role.is_none_or(|role| role.header.name != self.context.role) {
                self.access.check_manage(&object, &self.action())?;
            }
        }
        Ok(())
    }

    fn comment(&self, target: &CommentTarget) -> Result<()> {
        match target {
            CommentTarget::Object { kind: granary_sql::ObjectKind::ApiKey, name, .. } => {
                self.api_keys(std::slice::from_ref(name))
            }
            CommentTarget::Object { kind, name, .. } => self.manage(kind_of(*kind), name),
            CommentTarget::Postgres { kind, name } => match kind.to_ascii_lowercase().as_str() {
                "schema" => self.manage(ObjectKind::Schema, name),
                "database" => self.manage(ObjectKind::Workspace, name),
                "role" => self.superuser("permission denied"),
                _ => self.manage_relation(name),
            },
            CommentTarget::Column { relation, .. } | CommentTarget::OnRelation { relation, .. } => {
                self.manage_relation(relation)
            }
        }
    }

    fn copy(&self, copy: &Copy) -> Result<()> {
        if copy.target != CopyTarget::Client {
            let (role, what) = match copy.is_from {
                true => (PredefinedRole::ReadServerFiles, "COPY from a file"),
                false => (PredefinedRole::WriteServerFiles, "COPY to a file"),
            };
            self.access.check_server_files(role, what)?;
        }
        match &copy.source {
            CopySource::Relation { name, columns } if copy.is_from => {
                let columns: Vec<String> = columns.iter().map(fold).collect();
                self.write(name, Privilege::Insert, &columns)
            }
            _ => Ok(()),
        }
    }

    fn postgres(&self, statement: &ast::Statement) -> Result<()> {
        match statement {
            // temporary objects are everybody's own
            ast::Statement::CreateTable(create) if create.temporary || self.context.is_temporary_name(&create.name) => {
                Ok(())
            }
            ast::Statement::CreateView(create) if create.temporary || self.context.is_temporary_name(&create.name) => {
                Ok(())
            }
            ast::Statement::CreateSequence { temporary: true, .. } => Ok(()),
            ast::Statement::CreateTable(create) => self.create(ObjectKind::Table, &create.name, create.or_replace),
            ast::Statement::CreateView(create) if create.materialized => {
                self.create(ObjectKind::Table, &create.name, false)
            }
            ast::Statement::CreateView(create) => self.create(ObjectKind::View, &create.name, create.or_replace),
            ast::Statement::CreateSequence { name, .. } => self.create(ObjectKind::Sequence, name, false),
            ast::Statement::CreateIndex(create) => self.manage_relation(&create.table_name),
            // which table's it is, is looked for there
            ast::Statement::AlterIndex { .. } | ast::Statement::Drop { object_type: ast::ObjectType::Index, .. } => {
                Ok(())
            }
            ast::Statement::AlterSchema(alter) => self.manage(ObjectKind::Schema, &alter.name),
            ast::Statement::Query(query) => match super::select::into_table(query) {
                Some((create, _)) if create.temporary => Ok(()),
                Some((create, _)) => self.create(ObjectKind::Table, &create.name, false),
                None => match super::with::divided(query)? {
                    Some(divided) => {
                        divided.parts.iter().try_for_each(|part| self.postgres(&part.statement))?;
                        match divided.statement {
                            ast::Statement::Query(_) => Ok(()),
                            changing => self.postgres(&changing),
                        }
                    }
                    None => Ok(()),
                },
            },
            ast::Statement::Lock(lock) => lock.tables.iter().try_for_each(|table| match lock.lock_mode {
                Some(ast::LockTableMode::AccessShare) => self.read(&table.name, true),
                _ => self.write(&table.name, Privilege::Update, &[]),
            }),
            ast::Statement::CreateSchema { .. } => match self.context.snapshot().get(self.context.scope.workspace) {
                Some(workspace) => self.access.check_create(workspace),
                None => Ok(()),
            },
            ast::Statement::Insert(insert) => match &insert.table {
                ast::TableObject::TableName(name) => {
                    self.write(name, Privilege::Insert, &names_of(&insert.columns))?;
                    if let Some(ast::OnInsert::OnConflict(conflict)) = &insert.on
                        && matches!(conflict.action, ast::OnConflictAction::DoUpdate(_))
                    {
                        self.write(name, Privilege::Update, &[])?;
                    }
                    self.read(name, insert.on.is_some() || insert.returning.is_some())
                }
                _ => Ok(()),
            },
            ast::Statement::Update(update) => match &update.table.relation {
                ast::TableFactor::Table { name, .. } => {
                    self.write(name, Privilege::Update, &assigned(&update.assignments))?;
                    // what is looked at may be told by what is changed
                    self.read(name, update.selection.is_some() || update.returning.is_some() || update.from.is_some())
                }
                _ => Ok(()),
            },
            ast::Statement::Delete(delete) => {
                let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
                from.iter().try_for_each(|from| match &from.relation {
                    ast::TableFactor::Table { name, .. } => {
                        self.write(name, Privilege::Delete, &[])?;
                        self.read(name, delete.selection.is_some() || delete.returning.is_some())
                    }
                    _ => Ok(()),
                })
            }
            ast::Statement::Drop { object_type: ast::ObjectType::Role, .. } => Ok(()),
            ast::Statement::Drop { object_type, names, .. } => match object_type {
                ast::ObjectType::Schema => self.manage_all(ObjectKind::Schema, names),
                ast::ObjectType::Database => self.manage_all(ObjectKind::Workspace, names),
                _ => names.iter().try_for_each(|name| self.manage_relation(name)),
            },
            ast::Statement::AlterTable(alter) => self.manage_relation(&alter.name),
            ast::Statement::CreatePolicy(create) => self.manage_relation(&create.table_name),
            ast::Statement::AlterPolicy(alter) => self.manage_relation(&alter.table_name),
            ast::Statement::DropPolicy(drop) => self.manage_relation(&drop.table_name),
            ast::Statement::Truncate(truncate) => {
                truncate.table_names.iter().try_for_each(|table| self.manage_relation(&table.name))
            }
            ast::Statement::CreateRole(_)
            | ast::Statement::AlterRole { .. }
            | ast::Statement::Grant(_)
            | ast::Statement::Revoke(_) => Ok(()),
            // what nobody has thought of is not allowed
            _ => self.superuser(&format!("permission denied to {}", self.action().to_lowercase())),
        }
    }
}

/// The columns that an UPDATE assigns to.
fn assigned(assignments: &[ast::Assignment]) -> Vec<String> {
    let names = assignments.iter().flat_map(|assignment| match &assignment.target {
        ast::AssignmentTarget::ColumnName(name) => std::slice::from_ref(name),
        ast::AssignmentTarget::Tuple(names) => names.as_slice(),
    });
    names.filter_map(|name| granary_sql::name::parts(name).pop()).collect()
}

/// The columns that an INSERT names.
fn names_of(columns: &[ObjectName]) -> Vec<String> {
    columns.iter().filter_map(|column| granary_sql::name::parts(column).pop()).collect()
}
