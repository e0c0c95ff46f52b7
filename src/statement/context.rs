//! What a statement sees and leaves behind: names, role, time; then the changes and writes that it wants made.

use std::collections::HashSet;
use std::sync::Arc;

use granary_catalog::{Change, Column, Header, Home, NameSpace, Object, ObjectId, ObjectKind, Schema, Snapshot, Table};
use granary_sql::QualifiedName;
use granary_sql::name::fold;
use sqlparser::ast::{Ident, ObjectName, Spanned, With};

use crate::engine::{
    FromSource, GivenRelation, Interface, NameScope, QueryPlanner, SessionFacts, SettingChange, TableWrite, placed,
};
use crate::error::{Error, Kind, Result};
use crate::ingest::ViewCount;
use crate::offline::ReadVersions;
use crate::warehouse::{LockHolder, LockMode, Warehouse};

/// How rows are written that a client sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writing {
    /// all is checked, and nothing kept
    pub is_dry_run: bool,
    /// rows that do not fit are left out, rather than to fail the call
    pub leaves_out: bool,
}

/// What a transaction sees of those that others commit meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// each statement what is committed when it begins
    #[default]
    ReadCommitted,
    /// what was committed when its first statement began
    Snapshot,
    /// the same, and it commits only if that is still so of all that it has read
    Serializable,
}

/// One statement's surroundings. Made by the session, for one statement.
pub struct StatementContext {
    pub warehouse: Arc<Warehouse>,
    pub scope: NameScope,
    pub role: String,
    /// the statement's wall time, microseconds
    pub now_us: i64,
    pub from_source: FromSource,
    /// as typed; positions of errors count in it
    pub text: String,
    /// changes in the order in which they are to be made
    pub changes: Vec<Change>,
    /// what the statement does to tables, one entry a table
    pub writes: Vec<TableWrite>,
    /// what the open transaction has done to tables before, one entry a table
    pub pending: Arc<Vec<TableWrite>>,
    /// which state of the tables it reads; None: the newest
    pub read_versions: Option<Arc<ReadVersions>>,
    /// the tables that the transaction keeps others from writing to
    pub locks: Arc<LockHolder>,
    pub isolation: Isolation,
    /// objects that it has changed before
    pub changed: Arc<HashSet<ObjectId>>,
    pub notices: Vec<Error>,
    /// what `set_config` wants done to the session
    pub setting_changes: Vec<SettingChange>,
    /// how INSERT and COPY write
    pub writing: Writing,
    /// how many rows the statement has of each view over the streams that it writes to
    pub view_counts: Vec<ViewCount>,
    /// what functions and system views are told of the session
    pub facts: Arc<SessionFacts>,
    /// the queries before an UPDATE or DELETE, which it may name
    pub with: Option<With>,
    /// objects that the statement defines anew, all of them: what they need of each other is looked at at the end
    pub redefined: Arc<HashSet<ObjectId>>,
    /// stored rows stay where definitions change in what decides them: their owners say that they are the same
    pub suppresses_recreates: bool,
    /// rows that parts of the statement have returned, which the others may name
    pub given: Vec<GivenRelation>,
}

impl StatementContext {
    /// Of who has no session: the newest rows, by this scope, for a role.
    pub fn without_session(warehouse: &Arc<Warehouse>, scope: NameScope, role: &str, text: String) -> StatementContext {
        StatementContext {
            warehouse: Arc::clone(warehouse),
            scope,
            role: role.to_owned(),
            now_us: warehouse.clock.now_us(),
            from_source: FromSource::Unset,
            text,
            changes: Vec::new(),
            writes: Vec::new(),
            pending: Arc::default(),
            read_versions: None,
            locks: Arc::new(LockHolder::new(&warehouse.locks)),
            isolation: Isolation::ReadCommitted,
            changed: Arc::default(),
            notices: Vec::new(),
            setting_changes: Vec::new(),
            writing: Writing::default(),
            view_counts: Vec::new(),
            facts: Arc::default(),
            with: None,
            redefined: Arc::default(),
            suppresses_recreates: false,
            given: Vec::new(),
        }
    }

    pub fn planner(&self) -> QueryPlanner {
        self.warehouse
            .planner(self.scope.clone(), self.now_us)
            .with_from_source(self.from_source)
            .with_pending(Arc::clone(&self.pending))
            .with_read_versions(self.read_versions.clone())
            .with_facts(Arc::clone(&self.facts))
            .with_given(self.given.iter().cloned())
    }

    /// Keeps others from writing to a table, as far as `mode` does, up to the end of the transaction. Whoever has waited
    /// reads what there is then. Errors: `SerializationFailure` if the table was changed meanwhile.
    pub async fn lock(&mut self, table: &Table, mode: LockMode) -> Result<()> {
        let is_committed = |snapshot: &Snapshot| {
            snapshot.get(table.header.id).is_some_and(|object| object.header().created == table.header.created)
        };
        if !is_committed(&self.warehouse.catalog.snapshot()) {
            return Ok(());
        }
        let locks = Arc::clone(&self.locks);
        locks.lock(table.header.id, mode).await?;
        let newest = self.warehouse.catalog.snapshot();
        let same = |id| newest.get(id).zip(self.snapshot().get(id)).is_some_and(|(newest, own)| newest == own);
        if newest.version() != self.snapshot().version() && !same(table.header.id) && !self.has_changed(table.header.id)
        {
            return Err(crate::offline::changed_meanwhile());
        }
        if self.isolation == Isolation::ReadCommitted {
            self.read_versions = Some(self.warehouse.offline.read_versions());
        }
        Ok(())
    }

    /// Whether the open transaction has changed the object before.
    fn has_changed(&self, id: ObjectId) -> bool {
        self.changed.contains(&id)
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.scope.snapshot
    }

    /// The schema and folded name that a new object's name means.
    pub fn new_name(&self, name: &ObjectName) -> Result<(ObjectId, String)> {
        let qualified = self.qualified(name)?;
        self.scope.check_workspace(qualified.catalog.as_deref())?;
        let schema = match &qualified.schema {
            Some(schema) => self.schema(&self.scope.schema_named(schema))?,
            None => self
                .scope
                .search_path
                .iter()
                .find_map(|schema| self.snapshot().schema(self.scope.workspace, schema))
                .ok_or_else(|| {
                    Error::new(Kind::InvalidSchemaName, "no schema has been selected to create in")
                        .with_hint("SET search_path = public")
                })?,
        };
        Ok((schema.header.id, qualified.name))
    }

    pub fn schema(&self, name: &str) -> Result<&Schema> {
        self.snapshot()
            .schema(self.scope.workspace, name)
            .ok_or_else(|| Error::new(Kind::InvalidSchemaName, format!("schema \"{name}\" does not exist")))
    }

    pub fn qualified(&self, name: &ObjectName) -> Result<QualifiedName> {
        QualifiedName::of(name)
            .ok_or_else(|| self.at(name, Error::new(Kind::InvalidName, format!("\"{name}\" is not a name"))))
    }

    /// An error with the place of what it is about.
    pub fn at(&self, node: &impl Spanned, error: Error) -> Error {
        self.at_place(node.span().start, error)
    }

    fn at_place(&self, start: sqlparser::tokenizer::Location, error: Error) -> Error {
        placed(error, &self.text, start)
    }

    pub fn at_ident(&self, ident: &Ident, error: Error) -> Error {
        self.at_place(ident.span.start, error)
    }

    /// The name of a role that a statement says; some words mean the session's.
    pub fn role_named(&self, ident: &Ident) -> String {
        match fold(ident) {
            word if ident.quote_style.is_none()
                && matches!(word.as_str(), "current_user" | "current_role" | "session_user") =>
            {
                self.role.clone()
            }
            name => name,
        }
    }

    /// Refuses what another role than the session's should have granted or revoked.
    pub fn check_grantor(&self, grantor: Option<&Ident>) -> Result<()> {
        let Some(grantor) = grantor else { return Ok(()) };
        let name = self.role_named(grantor);
        let error = match self.snapshot().role(&name) {
            None => Error::new(Kind::UndefinedObject, format!("role \"{name}\" does not exist")),
            Some(_) if name != self.role => Error::new(Kind::FeatureNotSupported, "grantor must be current user"),
            Some(_) => return Ok(()),
        };
        Err(self.at_ident(grantor, error))
    }

    /// Where a new object of a schema lives.
    pub fn home(&self, schema: ObjectId) -> Home {
        Home::Schema { workspace: self.scope.workspace, schema }
    }

    /// The object of that name among the schema's relations, entities or functions.
    pub fn existing(&self, schema: ObjectId, kind: ObjectKind, name: &str) -> Option<&Arc<Object>> {
        let space = match kind {
            ObjectKind::Entity => NameSpace::Entities(schema),
            ObjectKind::Function => NameSpace::Functions(schema),
            ObjectKind::Sink => NameSpace::Sinks(schema),
            ObjectKind::Test => NameSpace::Tests(schema),
            ObjectKind::Expectation => NameSpace::Expectations(schema),
            ObjectKind::Alert => NameSpace::Alerts(schema),
            _ => NameSpace::Relations(schema),
        };
        self.snapshot().find(space, name)
    }

    /// The object that an existing name means, which must be of `kind`.
    pub fn find(&self, kind: ObjectKind, name: &ObjectName) -> Result<Arc<Object>> {
        let missing = |what: &str| {
            let undefined = match kind {
                ObjectKind::Workspace => Kind::InvalidCatalogName,
                ObjectKind::Schema => Kind::InvalidSchemaName,
                _ if kind.is_relation() => Kind::UndefinedTable,
                _ => Kind::UndefinedObject,
            };
            match kind {
                ObjectKind::Function => {
                    Error::new(Kind::UndefinedFunction, format!("could not find a function named \"{what}\""))
                }
                _ => Error::new(undefined, format!("{} \"{what}\" does not exist", kind.as_str())),
            }
        };
        let qualified = self.qualified(name)?;
        self.scope.check_workspace(qualified.catalog.as_deref())?;
        let found = match kind {
            ObjectKind::Workspace => self.snapshot().find(NameSpace::Workspaces, &qualified.name),
            ObjectKind::Role => self.snapshot().find(NameSpace::Roles, &qualified.name),
            ObjectKind::ApiKey => self.snapshot().find(NameSpace::ApiKeys, &qualified.name),
            ObjectKind::Schema => self.snapshot().find(NameSpace::Schemas(self.scope.workspace), &qualified.name),
            _ => {
                let schemas: Vec<String> = match &qualified.schema {
                    Some(schema) => vec![self.scope.schema_named(schema)],
                    None => self.scope.relation_path(),
                };
                schemas.iter().find_map(|schema| {
                    let schema = self.snapshot().schema(self.scope.workspace, schema)?;
                    self.existing(schema.header.id, kind, &qualified.name)
                })
            }
        };
        let found = found.ok_or_else(|| self.at(name, missing(&qualified.name)))?;
        if found.kind() == kind {
            return Ok(Arc::clone(found));
        }
        Err(self.at(
            name,
            Error::new(
                Kind::WrongObjectType,
                format!("\"{}\" is a {}, not a {}", qualified.name, found.kind().as_str(), kind.as_str()),
            ),
        ))
    }

    /// Refuses a replacement that takes columns away, or their types, from an object that others read.
    pub fn check_replaced_columns(&self, old: &Object, old_columns: &[Column], new_columns: &[Column]) -> Result<()> {
        let kept = |column: &Column| {
            new_columns.iter().any(|new| new.name == column.name && new.data_type == column.data_type)
        };
        match old_columns.iter().find(|column| !kept(column)) {
            Some(lost) => self.check_not_needed(old, "take away or retype", &lost.name),
            None => Ok(()),
        }
    }

    /// The same for a feature relation, whose readers bind every key and request column: there may be none more.
    pub fn check_replaced_interface(&self, old: &Object, new: &Interface) -> Result<()> {
        let before = Interface::of(self.snapshot(), old)?;
        self.check_replaced_columns(old, &before.clone().into_columns(), &new.clone().into_columns())?;
        let was_asked = |name: &str| before.keys.iter().chain(&before.request).any(|column| column.name == name);
        match new.keys.iter().chain(&new.request).find(|column| !was_asked(&column.name)) {
            Some(added) => self.check_not_needed(old, "add key or request", &added.name),
            None => Ok(()),
        }
    }

    /// Refuses to do something to a column of an object that others read.
    fn check_not_needed(&self, object: &Object, verb: &str, column: &str) -> Result<()> {
        let mut dependents = self.snapshot().dependents(object.id());
        dependents.retain(|dependent| !self.redefined.contains(&dependent.id()));
        if dependents.is_empty() {
            return Ok(());
        }
        let names: Vec<String> =
            dependents.iter().map(|object| format!("{} \"{}\"", object.kind().as_str(), object.name())).collect();
        let message = format!(
            "cannot {verb} column \"{column}\" of {} \"{}\" because other objects depend on it",
            object.kind().as_str(),
            object.name()
        );
        Err(Error::new(Kind::DependentObjectsStillExist, message)
            .with_detail(format!("These depend on it: {}.", names.join(", ")))
            .with_hint("drop them first, or make a new object under another name"))
    }

    /// Whether a name says that its object is the session's alone.
    pub fn is_temporary_name(&self, name: &ObjectName) -> bool {
        let qualified = self.qualified(name);
        qualified.is_ok_and(|name| name.schema.is_some_and(|schema| self.scope.is_temporary_schema(&schema)))
    }

    /// Whether a relation of that schema has the name, or an index.
    pub fn is_relation_name(&self, home: Home, name: &str) -> bool {
        let Some(schema) = home.schema() else { return false };
        let tables = self.snapshot().objects_in(NameSpace::Relations(schema));
        let mut tables = tables.filter_map(|object| object.downcast::<Table>());
        self.snapshot().relation(schema, name).is_some()
            || tables.any(|table| {
                table.indexes.iter().any(|index| index.name == name)
                    || table.constraints.iter().any(|known| known.name == name && !known.columns().is_empty())
            })
    }

    /// As [`StatementContext::new_header`], of an object of the session alone.
    pub fn new_temporary_header(&mut self, request: NewObject<'_>) -> Result<Option<Header>> {
        let qualified = self.qualified(request.name)?;
        if qualified.schema.as_ref().is_some_and(|schema| !self.scope.is_temporary_schema(schema)) {
            let message = "cannot create temporary relation in non-temporary schema";
            return Err(self.at(request.name, Error::new(Kind::InvalidTableDefinition, message)));
        }
        let schema = self.temporary_schema()?;
        let name = ObjectName::from(vec![Ident::with_quote('"', &schema), Ident::with_quote('"', &qualified.name)]);
        self.new_header(NewObject { name: &name, ..request })
    }

    /// The name of the session's own schema, which is made with its first object.
    fn temporary_schema(&mut self) -> Result<String> {
        let name = self.scope.temporary_schema_name();
        if self.snapshot().schema(self.scope.workspace, &name).is_none() {
            let id = self.snapshot().next_temporary_id();
            let header = Header::new(id, Home::Workspace(self.scope.workspace), &name, self.role.clone());
            let made = Change::put(Schema { header });
            self.scope.snapshot = Arc::new(self.snapshot().apply(std::slice::from_ref(&made))?);
            self.changes.push(made);
        }
        Ok(name)
    }

    /// The id of a new object in that place.
    fn next_id(&self, home: Home) -> ObjectId {
        match home.schema().is_some_and(ObjectId::is_temporary) {
            true => self.snapshot().next_temporary_id(),
            false => self.snapshot().next_id(),
        }
    }

    /// What to do about a name that may be taken: the header of the new object, or None if nothing is to be done.
    pub fn new_header(&mut self, request: NewObject<'_>) -> Result<Option<Header>> {
        let (schema, name) = self.new_name(request.name)?;
        let existing = self.existing(schema, request.kind, &name).cloned();
        let mut header = match existing {
            Some(_) if request.if_not_exists => {
                let kind = match request.kind {
                    ObjectKind::Function => Kind::DuplicateFunction,
                    ObjectKind::Sink | ObjectKind::Test | ObjectKind::Expectation | ObjectKind::Alert => {
                        Kind::DuplicateObject
                    }
                    _ => Kind::DuplicateTable,
                };
                let what = match request.kind {
                    ObjectKind::Table | ObjectKind::View | ObjectKind::Sequence => "relation",
                    other => other.as_str(),
                };
                self.notices.push(Error::new(kind, format!("{what} \"{name}\" already exists, skipping")));
                return Ok(None);
            }
            Some(object) if request.or_replace => {
                if object.kind() != request.kind {
                    return Err(Error::new(
                        Kind::WrongObjectType,
                        format!("\"{name}\" is a {}, not a {}", object.kind().as_str(), request.kind.as_str()),
                    ));
                }
                object.header().clone()
            }
            // A taken name is refused by the catalog, which knows all of them.
            _ => {
                let home = self.home(schema);
                if self.is_relation_name(home, &name) && request.kind.is_relation() {
                    return Err(Error::new(Kind::DuplicateTable, format!("relation \"{name}\" already exists")));
                }
                Header::new(self.next_id(home), home, name, self.role.clone())
            }
        };
        header.statement = request.statement;
        if let Some(comment) = request.comment {
            header.comment = Some(comment);
        }
        apply_common_options(&mut header, request.options)?;
        Ok(Some(header))
    }
}

/// What every CREATE says about its object.
pub struct NewObject<'a> {
    pub kind: ObjectKind,
    pub name: &'a ObjectName,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub options: &'a granary_sql::Options,
    pub comment: Option<String>,
    /// what makes the object anew: without OR REPLACE and IF NOT EXISTS
    pub statement: String,
}

/// Options that every object has.
pub const COMMON_OPTIONS: [&str; 4] = ["owner", "tags", "prevent_destroy", "description"];

/// Takes owner, tags, description and prevent_destroy out of options; keeps all of them as typed.
pub fn apply_common_options(header: &mut Header, options: &granary_sql::Options) -> Result<()> {
    if let Some(owner) = options.string("owner")? {
        header.owner = owner;
    }
    if let Some(tags) = options.pairs("tags")? {
        header.tags = tags.into_iter().collect();
    }
    if let Some(description) = options.string("description")? {
        header.comment = Some(description);
    }
    if let Some(prevent_destroy) = options.bool("prevent_destroy")? {
        header.prevent_destroy = prevent_destroy;
    }
    header.options = options.entries.iter().map(|entry| (entry.name.clone(), entry.value.to_string())).collect();
    Ok(())
}

/// Refuses options outside of `own` and the common ones.
pub fn check_options(options: &granary_sql::Options, own: &[&str]) -> Result<()> {
    let allowed: Vec<&str> = own.iter().copied().chain(COMMON_OPTIONS).collect();
    match options.unknown(&allowed) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
