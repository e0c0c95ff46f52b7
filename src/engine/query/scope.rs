//! Which objects names can mean.

use std::sync::Arc;

use datafusion::common::TableReference;
use granary_catalog::{Object, ObjectId, Snapshot};

use super::super::tables;
use super::system_time;
use crate::access::{Access, Asker};
use crate::engine::relation::{EFFECTIVE_TIME, STATUS, VALID_FROM, VALID_TO};
use crate::error::{Error, Kind, Result};

/// Which objects names can mean: a snapshot of the catalog, a workspace in it, and a search path.
#[derive(Debug, Clone)]
pub struct NameScope {
    pub snapshot: Arc<Snapshot>,
    pub workspace: ObjectId,
    pub search_path: Vec<String>,
    /// of the session, by which its own schema is called
    pub process_id: i32,
    /// names without a schema mean one of these, if there is one: what a stored query has meant by them
    pub meant: Vec<ObjectId>,
    /// whose rights count
    pub asker: Asker,
}

impl NameScope {
    /// From here on names without a schema mean one of these, wherever it is now; only others what they mean to the session.
    pub fn mean(&mut self, objects: Vec<ObjectId>) {
        let mut path = schemas_of(&self.snapshot, objects.iter().copied());
        self.search_path.retain(|schema| !path.contains(schema));
        path.append(&mut self.search_path);
        (self.search_path, self.meant) = (path, objects);
    }

    /// What the asker may do.
    pub fn access(&self) -> Access<'_> {
        self.asker.access(&self.snapshot)
    }

    /// The schema of the session's own objects. `pg_temp` is another name of it.
    pub fn temporary_schema_name(&self) -> String {
        format!("pg_temp_{}", self.process_id)
    }

    pub fn is_temporary_schema(&self, schema: &str) -> bool {
        schema == "pg_temp" || schema == self.temporary_schema_name()
    }

    pub fn schema_named(&self, schema: &str) -> String {
        if schema == "pg_temp" { self.temporary_schema_name() } else { schema.to_owned() }
    }

    /// The schemas in which relations are looked for: the session's own first.
    pub fn relation_path(&self) -> Vec<String> {
        let own = self.temporary_schema_name();
        let path = self.search_path.iter().map(|schema| self.schema_named(schema)).filter(|schema| *schema != own);
        let path: Vec<String> = path.collect();
        std::iter::once(own).chain(path).collect()
    }

    /// The relation that `name` stands for. `granary`, `pg_catalog` and `information_schema` are not looked up here.
    pub fn relation(&self, name: &TableReference) -> Result<Option<&Arc<Object>>> {
        self.check_workspace(name.catalog())?;
        let by_schema = |schema: &str| {
            let schema = self.snapshot.schema(self.workspace, schema)?;
            self.snapshot.relation(schema.header.id, name.table())
        };
        match name.schema() {
            Some(schema) => {
                let schema = &self.schema_named(schema);
                if self.is_temporary_schema(schema) && self.snapshot.schema(self.workspace, schema).is_none() {
                    return Ok(None);
                }
                if self.snapshot.schema(self.workspace, schema).is_none() {
                    return Err(Error::new(Kind::InvalidSchemaName, format!("schema \"{schema}\" does not exist")));
                }
                Ok(by_schema(schema))
            }
            None => {
                let path = self.relation_path();
                let mut found = path.iter().filter_map(|schema| by_schema(schema));
                let meant = found.clone().find(|object| self.meant.contains(&object.id()));
                Ok(meant.or_else(|| found.next()))
            }
        }
    }

    /// The same for who reads or writes rows: in a schema that there is not there is no relation.
    pub fn read_relation(&self, name: &TableReference) -> Result<Option<&Arc<Object>>> {
        match self.relation(name) {
            Err(error) if error.kind() == Kind::InvalidSchemaName => Ok(None),
            found => found,
        }
    }

    /// Refuses to read these columns of a relation. Hidden ones, which it has beside its own, need a right on any.
    pub(in crate::engine) fn check_select<'c>(
        &self,
        object: &Object,
        named: impl Iterator<Item = &'c str>,
    ) -> Result<()> {
        let own = tables::system::names::columns(&self.snapshot, object);
        let is_hidden = |name: &str| {
            let hidden =
                [EFFECTIVE_TIME, STATUS, VALID_FROM, VALID_TO].contains(&name) || system_time::is_as_of_column(name);
            hidden && own.iter().all(|column| column.name != name)
        };
        self.access().check_select(object, named.filter(|name| !is_hidden(name)))
    }

    /// A name that says a database must say this one.
    pub fn check_workspace(&self, named: Option<&str>) -> Result<()> {
        let Some(named) = named else { return Ok(()) };
        let own = self.snapshot.get_as::<granary_catalog::Workspace>(self.workspace);
        if own.is_some_and(|own| own.header.name == named) {
            return Ok(());
        }
        Err(Error::new(Kind::FeatureNotSupported, format!("\"{named}\" is another workspace than the connection's"))
            .with_hint(format!("connect to it: \\c {named}")))
    }

    /// The name of the schema that an object is in.
    pub(in crate::engine) fn schema_name_of(&self, object: &Object) -> String {
        self.snapshot.schema_of(object).map_or_else(String::new, |schema| schema.header.name.clone())
    }

    pub fn is_live(&self) -> bool {
        self.snapshot.is_live(Some(self.workspace))
    }
}

/// The names of the schemas in which objects are, each once.
pub fn schemas_of(snapshot: &Snapshot, objects: impl IntoIterator<Item = ObjectId>) -> Vec<String> {
    let schema_of = |id: ObjectId| snapshot.get(snapshot.get(id)?.home().schema()?);
    let mut names: Vec<String> = Vec::new();
    for schema in objects.into_iter().filter_map(schema_of) {
        if !names.iter().any(|known| known == schema.name()) {
            names.push(schema.name().to_owned());
        }
    }
    names
}
