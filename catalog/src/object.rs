//! The objects of the catalog: one struct per kind, one enum over them all. No storage, no names of other layers.
//!
//! Stored as JSON. A field added later carries `#[serde(default)]`, so that older records still read.

mod aggregate;
mod alert;
mod column;
mod dataset;
mod entity;
mod exact_float;
mod expectation;
mod feature;
mod feature_service;
mod feature_table;
mod feature_view;
mod function;
mod grant;
mod header;
mod policy;
mod realtime_view;
pub(crate) mod reference;
mod role;
mod sealed;
mod secret;
mod sequence;
mod sink;
mod source;
mod stream;
mod table;
mod test;
#[cfg(test)]
mod tests;
mod view_storage;
mod window;
mod workspace;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use aggregate::AggregateFunction;
pub use alert::{Alert, AlertAction, AlertRepeat, AlertSeverity};
pub use column::{Column, ColumnDefault, Identity};
pub use dataset::{Dataset, DatasetInput, DatasetVersion};
pub use entity::Entity;
pub use expectation::{Expectation, OnFailure, Severity};
pub use feature::{Feature, FeatureDefinition};
pub use feature_service::{FeatureService, ServiceMember};
pub use feature_table::FeatureTable;
pub use feature_view::{FeatureView, LeadingEdge, Trigger, ViewKind};
pub use function::{Function, FunctionArgument, Volatility};
pub use grant::{Grant, Privilege};
pub use header::{Header, Home, NameSpace};
pub use policy::{Policy, PolicyCommand, PolicyExpression, PolicyRead, RowSecurity};
pub use realtime_view::RealtimeView;
pub use role::{ApiKey, PredefinedRole, Role};
pub use sealed::SealedText;
pub use secret::Secret;
pub use sequence::{Sequence, SequenceState};
pub use sink::{Sink, SinkTarget};
pub use source::{FileFormat, Source, SourceDefinition};
pub use stream::{Backfill, Stream, StreamIngest};
pub use table::{Constraint, ConstraintKind, Index, Materialized, OnCommit, Table, View};
pub use test::Test;
pub use view_storage::{ColumnGroup, StoredColumn, StoredValue, ViewStorage};
pub use window::{Reach, RelativeSpan, SeriesWindows, Window};
pub use workspace::{Schema, Workspace};

use crate::id::ObjectId;
use reference::Reference;

/// A struct that is one kind of object.
pub trait Definition: Sized + Into<Object> {
    const KIND: ObjectKind;
    fn header(&self) -> &Header;
    fn from_object(object: &Object) -> Option<&Self>;
}

/// Declares the kinds of objects once: the enum, its kinds, and the way from and to each struct.
macro_rules! objects {
    ($($kind:ident => $text:literal,)*) => {
        /// Any object of the catalog.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Object {
            $($kind($kind),)*
        }

        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ObjectKind {
            $($kind,)*
        }

        impl ObjectKind {
            pub const ALL: &[ObjectKind] = &[$(ObjectKind::$kind,)*];

            /// The kind as an error message or a statement names it, in lower case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(ObjectKind::$kind => $text,)*
                }
            }
        }

        impl Object {
            pub fn kind(&self) -> ObjectKind {
                match self {
                    $(Object::$kind(_) => ObjectKind::$kind,)*
                }
            }

            pub fn header(&self) -> &Header {
                match self {
                    $(Object::$kind(object) => &object.header,)*
                }
            }

            pub fn header_mut(&mut self) -> &mut Header {
                match self {
                    $(Object::$kind(object) => &mut object.header,)*
                }
            }
        }

        $(
            impl From<$kind> for Object {
                fn from(object: $kind) -> Object {
                    Object::$kind(object)
                }
            }

            impl Definition for $kind {
                const KIND: ObjectKind = ObjectKind::$kind;

                fn header(&self) -> &Header {
                    &self.header
                }

                fn from_object(object: &Object) -> Option<&Self> {
                    match object {
                        Object::$kind(object) => Some(object),
                        _ => None,
                    }
                }
            }
        )*
    };
}

objects! {
    Workspace => "workspace",
    Schema => "schema",
    Entity => "entity",
    Source => "source",
    Stream => "stream",
    FeatureView => "feature view",
    FeatureTable => "feature table",
    FeatureService => "feature service",
    RealtimeView => "realtime feature view",
    Table => "table",
    View => "view",
    Dataset => "dataset",
    Role => "role",
    Secret => "secret",
    ApiKey => "API key",
    Function => "function",
    Sink => "sink",
    Sequence => "sequence",
    Test => "test",
    Expectation => "expectation",
    Alert => "alert",
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl ObjectKind {
    /// Whether the object can stand in a FROM; all of these share one name space per schema.
    pub fn is_relation(self) -> bool {
        match self {
            ObjectKind::Source
            | ObjectKind::Stream
            | ObjectKind::FeatureView
            | ObjectKind::FeatureTable
            | ObjectKind::FeatureService
            | ObjectKind::RealtimeView
            | ObjectKind::Table
            | ObjectKind::View
            | ObjectKind::Dataset
            | ObjectKind::Sequence => true,
            ObjectKind::Workspace
            | ObjectKind::Schema
            | ObjectKind::Entity
            | ObjectKind::Role
            | ObjectKind::Secret
            | ObjectKind::ApiKey
            | ObjectKind::Function
            | ObjectKind::Sink
            | ObjectKind::Test
            | ObjectKind::Expectation
            | ObjectKind::Alert => false,
        }
    }

    /// The set that names of this kind must be unique in, or `None` if the kind does not live in such a home.
    pub fn name_space(self, home: Home) -> Option<NameSpace> {
        match (self, home) {
            (ObjectKind::Workspace, Home::Server) => Some(NameSpace::Workspaces),
            (ObjectKind::Role, Home::Server) => Some(NameSpace::Roles),
            (ObjectKind::ApiKey, Home::Server) => Some(NameSpace::ApiKeys),
            (ObjectKind::Schema, Home::Workspace(workspace)) => Some(NameSpace::Schemas(workspace)),
            (ObjectKind::Secret, Home::Workspace(workspace)) => Some(NameSpace::Secrets(workspace)),
            (ObjectKind::Entity, Home::Schema { schema, .. }) => Some(NameSpace::Entities(schema)),
            (ObjectKind::Function, Home::Schema { schema, .. }) => Some(NameSpace::Functions(schema)),
            (ObjectKind::Sink, Home::Schema { schema, .. }) => Some(NameSpace::Sinks(schema)),
            (ObjectKind::Test, Home::Schema { schema, .. }) => Some(NameSpace::Tests(schema)),
            (ObjectKind::Expectation, Home::Schema { schema, .. }) => Some(NameSpace::Expectations(schema)),
            (ObjectKind::Alert, Home::Schema { schema, .. }) => Some(NameSpace::Alerts(schema)),
            (kind, Home::Schema { schema, .. }) if kind.is_relation() => Some(NameSpace::Relations(schema)),
            _ => None,
        }
    }
}

impl Object {
    pub fn id(&self) -> ObjectId {
        self.header().id
    }

    pub fn name(&self) -> &str {
        &self.header().name
    }

    pub fn home(&self) -> Home {
        self.header().home
    }

    /// The object as one kind, if it is of that kind.
    pub fn downcast<T: Definition>(&self) -> Option<&T> {
        T::from_object(self)
    }

    /// The SQL text the object is defined by, if it is defined by a query.
    pub fn query(&self) -> Option<&str> {
        match self {
            Object::Source(Source { definition: SourceDefinition::Query { sql }, .. }) => Some(sql),
            Object::FeatureView(view) => Some(&view.query),
            Object::RealtimeView(view) => Some(&view.query),
            Object::View(view) => Some(&view.query),
            Object::Table(Table { materialized: Some(materialized), .. }) => Some(&materialized.query),
            Object::Dataset(dataset) => Some(&dataset.newest.query),
            _ => None,
        }
    }

    pub(crate) fn query_mut(&mut self) -> Option<&mut String> {
        match self {
            Object::Source(Source { definition: SourceDefinition::Query { sql }, .. }) => Some(sql),
            Object::FeatureView(view) => Some(&mut view.query),
            Object::RealtimeView(view) => Some(&mut view.query),
            Object::View(view) => Some(&mut view.query),
            Object::Table(Table { materialized: Some(materialized), .. }) => Some(&mut materialized.query),
            Object::Dataset(dataset) => Some(&mut dataset.newest.query),
            // not a whole query, but it names what it reads as one does
            Object::Alert(alert) => Some(&mut alert.condition),
            _ => None,
        }
    }

    /// The objects this one cannot be without, in no particular order. Its home is not among them.
    pub fn depends_on(&self) -> Vec<ObjectId> {
        self.references().into_iter().map(|reference| reference.id).collect()
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        match self {
            Object::Source(object) => object.references(),
            Object::Stream(object) => object.references(),
            Object::FeatureView(object) => object.references(),
            Object::FeatureTable(object) => object.references(),
            Object::FeatureService(object) => object.references(),
            Object::RealtimeView(object) => object.references(),
            Object::View(object) => object.references(),
            Object::ApiKey(object) => object.references(),
            Object::Function(object) => object.references(),
            Object::Sink(object) => object.references(),
            Object::Table(object) => object.references(),
            Object::Sequence(object) => object.references(),
            Object::Expectation(object) => object.references(),
            Object::Alert(object) => object.references(),
            Object::Workspace(_)
            | Object::Schema(_)
            | Object::Entity(_)
            | Object::Dataset(_)
            | Object::Role(_)
            | Object::Secret(_)
            | Object::Test(_) => Vec::new(),
        }
    }

    /// Shows every id the object holds, its own included, to `map`, which may change it.
    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        let header = self.header_mut();
        map(&mut header.id);
        header.home.remap(map);
        header.grants.iter_mut().flatten().filter_map(|grant| grant.grantee.as_mut()).for_each(&mut *map);
        match self {
            Object::Source(object) => object.remap(map),
            Object::Stream(object) => object.remap(map),
            Object::FeatureView(object) => object.remap(map),
            Object::FeatureTable(object) => object.remap(map),
            Object::FeatureService(object) => object.remap(map),
            Object::RealtimeView(object) => object.remap(map),
            Object::View(object) => object.remap(map),
            Object::Dataset(object) => object.remap(map),
            Object::Role(object) => object.remap(map),
            Object::ApiKey(object) => object.remap(map),
            Object::Function(object) => object.remap(map),
            Object::Sink(object) => object.remap(map),
            Object::Table(object) => object.remap(map),
            Object::Sequence(object) => object.remap(map),
            Object::Expectation(object) => object.remap(map),
            Object::Alert(object) => object.remap(map),
            Object::Workspace(_) | Object::Schema(_) | Object::Entity(_) | Object::Secret(_) | Object::Test(_) => {}
        }
    }

    /// Whether both define the same thing, whatever they are called, who owns them and what is said about them.
    pub fn same_definition(&self, other: &Object) -> bool {
        let mut aligned = other.clone();
        *aligned.header_mut() = self.header().clone();
        *self == aligned
    }

    /// The object without its secret texts, as the history keeps it.
    pub(crate) fn redacted(&self) -> Object {
        let mut object = self.clone();
        match &mut object {
            Object::Secret(secret) => secret.value = SealedText::redacted(),
            Object::ApiKey(key) => key.digest = SealedText::redacted(),
            Object::Stream(Stream { ingest: StreamIngest::Kafka { secrets, .. }, .. })
            | Object::Sink(Sink { target: SinkTarget::Kafka { secrets, .. }, .. }) => {
                secrets.iter_mut().for_each(|(_, secret)| *secret = SealedText::redacted());
            }
            Object::Alert(alert) => alert.actions.iter_mut().for_each(AlertAction::redact),
            Object::Stream(Stream { ingest: StreamIngest::Postgres { dsn, .. }, .. }) => *dsn = SealedText::redacted(),
            Object::Role(role) => {
                if let Some(verifier) = &mut role.scram_verifier {
                    *verifier = SealedText::redacted();
                }
            }
            _ => {}
        }
        object
    }
}
