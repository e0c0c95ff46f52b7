//! What a workspace becomes by a repository: every declaration that differs is made on a copy of the catalog, in order,
//! and what nothing declares goes from it. Nothing of that is seen outside before its changes are committed.

use std::collections::HashSet;
use std::sync::Arc;

use granary_catalog::{Change, Object, ObjectId, ObjectKind, PlanId, PlannedChange, Snapshot, Workspace, diff};
use granary_sql::Statement;
use granary_sql::declaration::{self, DeclaredKind};
use sqlparser::ast::{self, Ident, ObjectName};

use super::super::alter::own_statement;
use super::super::{comment, execute, grant, rights, view, workspace};
use super::order::{in_order, named};
use super::rename::{self, Renames};
use super::texts::{Declaration, Texts};
use super::{compare, consequences};
use crate::engine::StorageChange;
use crate::error::{Error, Kind, Result};
use crate::statement::context::StatementContext;

/// A plan that is not kept yet.
pub struct Planned {
    /// the catalog as it would be
    pub snapshot: Arc<Snapshot>,
    /// the objects that differ, in the order in which they are made
    pub changes: Vec<PlannedChange>,
}

impl Planned {
    /// The changes of the catalog from what there was, with a note of the plan in its workspace: so of two plans that
    /// are applied at once only one is.
    pub fn catalog_changes(&self, before: &Snapshot, workspace: ObjectId, plan: PlanId) -> Vec<Change> {
        let mut changes = diff(before, &self.snapshot);
        if let Some(workspace) = before.get_as::<Workspace>(workspace) {
            changes.push(Change::put(Workspace { applied_plan: Some(plan), ..workspace.clone() }));
        }
        changes
    }
}

/// The kind of the catalog that a declared one is.
pub fn kind_of(kind: DeclaredKind) -> ObjectKind {
    match kind {
        DeclaredKind::Schema => ObjectKind::Schema,
        DeclaredKind::Entity => ObjectKind::Entity,
        DeclaredKind::Source => ObjectKind::Source,
        DeclaredKind::Stream => ObjectKind::Stream,
        DeclaredKind::View => ObjectKind::View,
        DeclaredKind::Function => ObjectKind::Function,
        DeclaredKind::FeatureView => ObjectKind::FeatureView,
        DeclaredKind::FeatureTable => ObjectKind::FeatureTable,
        DeclaredKind::RealtimeFeatureView => ObjectKind::RealtimeView,
        DeclaredKind::FeatureService => ObjectKind::FeatureService,
        DeclaredKind::Sink => ObjectKind::Sink,
        DeclaredKind::Expectation => ObjectKind::Expectation,
        DeclaredKind::Alert => ObjectKind::Alert,
        DeclaredKind::Test => ObjectKind::Test,
    }
}

/// What an object is declared by, as far as its own text says it.
pub fn stated(object: &Object) -> Option<Statement> {
    own_statement(object).ok().map(declaration::bare)
}

/// Whether objects of a kind are the repository's: who is not declared is dropped.
fn is_managed(kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::Entity
        | ObjectKind::Source
        | ObjectKind::Stream
        | ObjectKind::FeatureView
        | ObjectKind::FeatureTable
        | ObjectKind::FeatureService
        | ObjectKind::RealtimeView
        | ObjectKind::Function
        | ObjectKind::Sink
        | ObjectKind::Expectation
        | ObjectKind::Alert
        | ObjectKind::Test => true,
        ObjectKind::Workspace
        | ObjectKind::Schema
        | ObjectKind::Table
        | ObjectKind::View
        | ObjectKind::Dataset
        | ObjectKind::Role
        | ObjectKind::Secret
        | ObjectKind::ApiKey
        | ObjectKind::Sequence => false,
    }
}

/// The objects of a workspace that are more than a session's.
pub fn objects_of(snapshot: &Snapshot, workspace: ObjectId) -> impl Iterator<Item = &Arc<Object>> {
    let is_own =
        move |object: &&Arc<Object>| object.home().workspace() == Some(workspace) && !object.id().is_temporary();
    snapshot.objects().filter(is_own)
}

/// Plans. Of what is to be applied it is looked at whether the asker may do it. The context is left as it was.
pub async fn plan(context: &mut StatementContext, texts: &Texts, is_to_be_applied: bool) -> Result<Planned> {
    let before = Arc::clone(context.snapshot());
    let text = std::mem::take(&mut context.text);
    let n_notices = context.notices.len();
    let mut planner = Planner { context, texts, is_to_be_applied, before: Arc::clone(&before), declared: Vec::new() };
    let made = planner.make().await;
    let declared = std::mem::take(&mut planner.declared);
    let snapshot = Arc::clone(context.snapshot());
    context.scope.snapshot = Arc::clone(&before);
    context.text = text;
    context.changes.clear();
    context.redefined = Arc::default();
    context.notices.truncate(n_notices);
    made?;
    let mut changes = compare::changes(context, texts, &declared, (&before, &snapshot))?;
    if context.suppresses_recreates {
        check_kept(context, (&before, &snapshot), &changes, is_to_be_applied)?;
    }
    refuse_protected(&before, &changes)?;
    consequences::add(context, &snapshot, &mut changes).await?;
    let changes = changes.into_iter().map(|change| change.planned).collect();
    Ok(Planned { snapshot, changes })
}

struct Planner<'a> {
    context: &'a mut StatementContext,
    texts: &'a Texts,
    is_to_be_applied: bool,
    before: Arc<Snapshot>,
    /// the id of each declaration's object, by its place; `None` while there is none
    declared: Vec<Option<ObjectId>>,
}

impl Planner<'_> {
    async fn make(&mut self) -> Result<()> {
        let named = named(self.texts);
        let order = in_order(self.texts, &named)?;
        self.declared = self.texts.declarations.iter().map(|declaration| self.existing(declaration)).collect();
        self.check_kinds()?;
        let was_declared = self.views_declared_before()?;
        let renamed = self.rename(&order, &was_declared)?;
        let known: HashSet<ObjectId> = self.declared.iter().copied().flatten().collect();
        let mut to_drop = self.to_drop(&known, &was_declared);
        self.drop(&mut to_drop)?;
        self.context.redefined = Arc::new(known);
        let mut is_changed = vec![false; named.len()];
        for place in order {
            let declaration = &self.texts.declarations[place];
            let object = self.declared[place].and_then(|id| self.context.snapshot().get(id)).cloned();
            let reads_changed = named[place].iter().any(|on| is_changed[*on]);
            if let Some(object) = &object
                && !reads_changed
                && (renamed.contains(&place) || stated(object).as_ref() == Some(&declaration.statement))
            {
                continue;
            }
            self.define(place).await.map_err(|error| self.texts.at(declaration.place, error))?;
            is_changed[place] = match (object, self.declared[place].and_then(|id| self.context.snapshot().get(id))) {
                (Some(before), Some(after)) => !before.same_definition(after),
                _ => true,
            };
        }
        for remark in &self.texts.remarks {
            self.remark(&remark.statement, &remark.text).map_err(|error| self.texts.at(remark.place, error))?;
        }
        self.drop(&mut to_drop)?;
        match to_drop.first() {
            None => Ok(()),
            // it says who is in the way
            Some(first) => {
                self.context.snapshot().apply(&[Change::Drop { id: first.id(), cascade: false }])?;
                Err(Error::internal("an object could not be dropped"))
            }
        }
    }

    /// The object that a declaration's name means now.
    fn existing(&self, declaration: &Declaration) -> Option<ObjectId> {
        let context = &self.context;
        if declaration.kind == DeclaredKind::Schema {
            return context
                .snapshot()
                .schema(context.scope.workspace, &declaration.name)
                .map(|schema| schema.header.id);
        }
        let (schema, name) = context.new_name(&self.name(declaration)).ok()?;
        context.existing(schema, kind_of(declaration.kind), &name).map(|object| object.id())
    }

    fn name(&self, declaration: &Declaration) -> ObjectName {
        let quoted = |name: &String| Ident::with_quote('"', name);
        let parts = declaration.schema.iter().chain([&declaration.name]).map(quoted);
        ObjectName::from(parts.collect::<Vec<_>>())
    }

    /// Errors: an object of another kind has the name.
    fn check_kinds(&self) -> Result<()> {
        for (declaration, id) in self.texts.declarations.iter().zip(&self.declared) {
            let Some(object) = id.and_then(|id| self.before.get(id)) else { continue };
            if object.kind() != kind_of(declaration.kind) {
                let (name, is) = (&declaration.name, object.kind().as_str());
                let message = format!("\"{name}\" is a {is}, and is declared as a {}", kind_of(declaration.kind));
                let error = Error::new(Kind::WrongObjectType, message)
                    .with_hint("give it another name, or drop the one that there is first");
                return Err(self.texts.at(declaration.place, error));
            }
        }
        Ok(())
    }

    /// Gives objects their new names. Tells which declarations are that much and no more.
    fn rename(&mut self, order: &[usize], was_declared: &HashSet<String>) -> Result<HashSet<usize>> {
        let known: HashSet<ObjectId> = self.declared.iter().copied().flatten().collect();
        let mut orphans = self.to_drop(&known, was_declared);
        let mut renames = Renames::default();
        let mut renamed = HashSet::new();
        for &place in order {
            let declaration = &self.texts.declarations[place];
            let object = match self.declared[place] {
                None => renames.find(declaration, &orphans),
                Some(id) => self.context.snapshot().get(id).cloned().filter(|object| {
                    stated(object).as_ref() != Some(&declaration.statement)
                        && renames.is_same_but_named(object, declaration)
                }),
            };
            let Some(object) = object else { continue };
            orphans.retain(|orphan| orphan.id() != object.id());
            self.declared[place] = Some(object.id());
            self.check_manage(&object, "ALTER")?;
            self.apply(rename::changes(&object, declaration))?;
            renamed.insert(place);
        }
        Ok(renamed)
    }

    /// The objects that nothing declares: those of the repository's kinds, and views that the plan before had declared.
    fn to_drop(&self, known: &HashSet<ObjectId>, was_declared: &HashSet<String>) -> Vec<Arc<Object>> {
        let goes = |object: &&Arc<Object>| {
            let kind = object.kind();
            !known.contains(&object.id())
                && (is_managed(kind) || kind == ObjectKind::View && was_declared.contains(object.name()))
        };
        objects_of(self.context.snapshot(), self.context.scope.workspace).filter(goes).cloned().collect()
    }

    fn views_declared_before(&self) -> Result<HashSet<String>> {
        let own = self.before.get_as::<Workspace>(self.context.scope.workspace);
        let plan = match own.and_then(|workspace| workspace.applied_plan) {
            Some(plan) => self.context.warehouse.catalog.plans().get(plan)?,
            None => None,
        };
        let mut names = HashSet::new();
        for file in plan.iter().flat_map(|plan| &plan.new.files) {
            for parsed in granary_sql::parse(&file.text).unwrap_or_default() {
                if let Some((DeclaredKind::View, name)) = declaration::declared(&parsed.statement) {
                    names.extend(granary_sql::name::parts(name).pop());
                }
            }
        }
        Ok(names)
    }

    /// Drops what can be dropped by now; leaves the others in the list.
    fn drop(&mut self, objects: &mut Vec<Arc<Object>>) -> Result<()> {
        loop {
            let n_before = objects.len();
            let mut left = Vec::new();
            for object in std::mem::take(objects) {
                self.check_manage(&object, "DROP")?;
                // who is protected is told with all others, later
                let id = object.id();
                let changes =
                    [Change::SetPreventDestroy { id, prevent_destroy: false }, Change::Drop { id, cascade: false }];
                match self.context.snapshot().apply(&changes) {
                    Ok(working) => self.context.scope.snapshot = Arc::new(working),
                    Err(_) => left.push(object),
                }
            }
            *objects = left;
            if objects.len() == n_before || objects.is_empty() {
                return Ok(());
            }
        }
    }

    fn check_manage(&self, object: &Object, action: &str) -> Result<()> {
        match self.is_to_be_applied {
            true => self.context.scope.access().check_manage(object, action),
            false => Ok(()),
        }
    }

    /// Makes a declaration's object, or makes it anew.
    async fn define(&mut self, place: usize) -> Result<()> {
        let declaration = &self.texts.declarations[place];
        let statement = match self.declared[place] {
            Some(_) => declaration::replacing(declaration.statement.clone()),
            None => declaration.statement.clone(),
        };
        // positions of errors count in it
        self.context.text.clone_from(&self.texts.files[declaration.place.file].text);
        if self.is_to_be_applied {
            rights::check(self.context, &statement)?;
        }
        match &statement {
            Statement::Postgres(postgres) => match postgres.ast.as_ref() {
                ast::Statement::CreateView(create) => {
                    Box::pin(view::create(self.context, create, &declaration.text)).await?;
                }
                ast::Statement::CreateSchema { schema_name, .. } => {
                    workspace::create_schema(self.context, schema_name, true)?;
                }
                _ => return Err(Error::internal("a declaration of no kind")),
            },
            other => Box::pin(execute::define(self.context, other)).await?,
        }
        let changes = std::mem::take(&mut self.context.changes);
        self.apply(changes)?;
        if self.declared[place].is_none() {
            self.declared[place] = self.existing(declaration);
        }
        Ok(())
    }

    fn remark(&mut self, statement: &Statement, text: &str) -> Result<()> {
        text.clone_into(&mut self.context.text);
        if self.is_to_be_applied {
            rights::check(self.context, statement)?;
        }
        match statement {
            Statement::CommentOn(statement) => comment::comment(self.context, statement)?,
            Statement::Postgres(postgres) => match postgres.ast.as_ref() {
                ast::Statement::Grant(statement) => grant::grant(self.context, statement)?,
                ast::Statement::Revoke(statement) => grant::revoke(self.context, statement)?,
                _ => return Err(Error::internal("a remark of no kind")),
            },
            _ => return Err(Error::internal("a remark of no kind")),
        }
        let changes = std::mem::take(&mut self.context.changes);
        self.apply(changes)
    }

    fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        if !changes.is_empty() {
            self.context.scope.snapshot = Arc::new(self.context.snapshot().apply(&changes)?);
        }
        Ok(())
    }
}

/// Whose rows stay although their definition changes in what decides them, only who owns them may say so; nothing else is
/// recreated beside.
fn check_kept(
    context: &StatementContext,
    (before, after): (&Snapshot, &Snapshot),
    changes: &[compare::Compared],
    is_to_be_applied: bool,
) -> Result<()> {
    for change in changes {
        let Some(old) = before.get(change.id) else { continue };
        if change.planned.action == granary_catalog::PlanAction::Recreate {
            let (kind, name) = (&change.planned.kind, &change.planned.name);
            let reason = change.planned.reason.as_deref().unwrap_or("it is another one");
            let message = format!("the rows of {kind} \"{name}\" cannot be kept: {reason}");
            return Err(
                Error::new(Kind::InvalidTableDefinition, message).with_hint("plan without --suppress-recreates")
            );
        }
        let is_kept = match (old.as_ref(), after.get(change.id).map(AsRef::as_ref)) {
            (Object::FeatureView(old), Some(Object::FeatureView(new))) => {
                matches!(StorageChange::between(old, new)?, StorageChange::KeptByOwner { .. })
            }
            _ => false,
        };
        if is_kept && is_to_be_applied {
            context.scope.access().check_grant(old, "keep the rows of")?;
        }
    }
    Ok(())
}

/// Refuses to destroy what must not be.
fn refuse_protected(before: &Snapshot, changes: &[compare::Compared]) -> Result<()> {
    use granary_catalog::PlanAction;
    let protected = changes.iter().filter(|change| {
        let destroys = matches!(change.planned.action, PlanAction::Drop | PlanAction::Recreate);
        destroys && before.get(change.id).is_some_and(|object| object.header().prevent_destroy)
    });
    let protected: Vec<String> =
        protected.map(|change| format!("{} \"{}\"", change.planned.kind, change.planned.name)).collect();
    if protected.is_empty() {
        return Ok(());
    }
    let message = format!("the plan would destroy what must not be: {}", protected.join(", "));
    Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
        .with_detail("They have the option prevent_destroy.")
        .with_hint("ALTER … SET (prevent_destroy = false) first, or keep their declarations"))
}
