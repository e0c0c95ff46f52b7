//! The kinds of feature objects, by their words.

use std::fmt::{self, Display};

use crate::cursor::Cursor;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    Entity,
    Source,
    Stream,
    Sink,
    FeatureView,
    FeatureTable,
    RealtimeFeatureView,
    FeatureService,
    Workspace,
    Dataset,
    Secret,
    ApiKey,
    Function,
    Test,
    Expectation,
    Alert,
}

impl ObjectKind {
    pub const ALL: [ObjectKind; 16] = [
        ObjectKind::Entity,
        ObjectKind::Source,
        ObjectKind::Stream,
        ObjectKind::Sink,
        ObjectKind::FeatureView,
        ObjectKind::FeatureTable,
        ObjectKind::RealtimeFeatureView,
        ObjectKind::FeatureService,
        ObjectKind::Workspace,
        ObjectKind::Dataset,
        ObjectKind::Secret,
        ObjectKind::ApiKey,
        ObjectKind::Function,
        ObjectKind::Test,
        ObjectKind::Expectation,
        ObjectKind::Alert,
    ];

    /// In lower case, as in an error: `feature view`.
    pub fn words(self) -> &'static str {
        match self {
            ObjectKind::Entity => "entity",
            ObjectKind::Source => "source",
            ObjectKind::Stream => "stream",
            ObjectKind::Sink => "sink",
            ObjectKind::FeatureView => "feature view",
            ObjectKind::FeatureTable => "feature table",
            ObjectKind::RealtimeFeatureView => "realtime feature view",
            ObjectKind::FeatureService => "feature service",
            ObjectKind::Workspace => "workspace",
            ObjectKind::Dataset => "dataset",
            ObjectKind::Secret => "secret",
            ObjectKind::ApiKey => "api key",
            ObjectKind::Function => "function",
            ObjectKind::Test => "test",
            ObjectKind::Expectation => "expectation",
            ObjectKind::Alert => "alert",
        }
    }

    /// Takes a kind if one comes next. A workspace may be called a database, as PostgreSQL calls it.
    pub(crate) fn take(cursor: &mut Cursor) -> Option<ObjectKind> {
        let kind = ObjectKind::see(cursor, 0)?;
        if !cursor.take(&["database"]) {
            kind.words().split(' ').for_each(|_| cursor.advance());
        }
        Some(kind)
    }

    /// The kind whose words begin at the nth token from here.
    pub(crate) fn see(cursor: &Cursor, nth: usize) -> Option<ObjectKind> {
        if crate::source::is_word(cursor.peek_nth(nth), "database") {
            return Some(ObjectKind::Workspace);
        }
        ObjectKind::ALL.into_iter().find(|kind| {
            let mut words = kind.words().split(' ').enumerate();
            words.all(|(index, word)| crate::source::is_word(cursor.peek_nth(nth + index), word))
        })
    }
}

/// As in SQL: `FEATURE VIEW`.
impl Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words().to_uppercase())
    }
}
