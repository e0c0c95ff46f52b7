//! The one error that a client can see: a kind (hence a SQLSTATE), a message, and what helps its reader.
//!
//! Every layer makes it at the spot where the fact is known; callers branch on [`Error::kind`], never on text.
//! Foreign errors are converted by the module that owns the foreign crate.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in PostgreSQL's terms. Each kind has exactly one SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    // 00: of notices
    SuccessfulCompletion,
    // 0A
    FeatureNotSupported,
    // 08, 0L
    ProtocolViolation,
    InvalidGrantOperation,
    // 21
    CardinalityViolation,
    // 22
    InvalidParameterValue,
    NumericValueOutOfRange,
    DivisionByZero,
    InvalidTextRepresentation,
    InvalidBinaryRepresentation,
    InvalidDatetimeFormat,
    DatetimeFieldOverflow,
    StringTooLong,
    CharacterNotInRepertoire,
    NullValueNotAllowed,
    SequenceLimitExceeded,
    BadCopyFormat,
    // 23
    NotNullViolation,
    UniqueViolation,
    CheckViolation,
    // 25
    ActiveTransaction,
    NoActiveTransaction,
    InFailedTransaction,
    ReadOnlyTransaction,
    IdleInTransactionTimeout,
    // 26, 28, 2B, 34, 3D, 3F
    InvalidSavepoint,
    InvalidStatementName,
    InvalidAuthorization,
    InvalidPassword,
    DependentObjectsStillExist,
    InvalidCursorName,
    InvalidCatalogName,
    InvalidSchemaName,
    // 40
    SerializationFailure,
    DeadlockDetected,
    // 42
    Syntax,
    InsufficientPrivilege,
    GroupingError,
    DatatypeMismatch,
    WrongObjectType,
    UndefinedColumn,
    InvalidColumnReference,
    UndefinedFunction,
    UndefinedTable,
    UndefinedParameter,
    UndefinedObject,
    AmbiguousColumn,
    DuplicateColumn,
    DuplicateTable,
    DuplicateObject,
    DuplicateFunction,
    DuplicateDatabase,
    DuplicateSchema,
    DuplicatePreparedStatement,
    DuplicateCursor,
    IndeterminateDatatype,
    InvalidObjectDefinition,
    InvalidTableDefinition,
    GeneratedAlways,
    DuplicateAlias,
    InvalidColumnDefinition,
    CannotCoerce,
    InvalidCursorDefinition,
    InvalidFunctionDefinition,
    InvalidName,
    ReservedName,
    // 53, 54, 55, 57, 58
    DiskFull,
    OutOfMemory,
    TooManyConnections,
    ConfigurationLimitExceeded,
    StatementTooComplex,
    TooManyColumns,
    TooManyNotifications,
    ObjectNotInPrerequisiteState,
    ObjectInUse,
    LockNotAvailable,
    QueryCanceled,
    AdminShutdown,
    IdleSessionTimeout,
    IoError,
    UndefinedFile,
    // one of PostgreSQL's that is nothing else here
    Postgres(&'static str),
    // XX
    DataCorrupted,
    Internal,
}

impl Kind {
    /// The kind of an error that was kept as its SQLSTATE; None for one that nothing here ends with.
    pub fn of_sqlstate(sqlstate: &str) -> Option<Kind> {
        const KEPT: [Kind; 29] = [
            Kind::CheckViolation,
            Kind::FeatureNotSupported,
            Kind::CardinalityViolation,
            Kind::InvalidParameterValue,
            Kind::NumericValueOutOfRange,
            Kind::DivisionByZero,
            Kind::InvalidTextRepresentation,
            Kind::InvalidDatetimeFormat,
            Kind::DatetimeFieldOverflow,
            Kind::NullValueNotAllowed,
            Kind::InvalidSchemaName,
            Kind::SerializationFailure,
            Kind::Syntax,
            Kind::InsufficientPrivilege,
            Kind::DatatypeMismatch,
            Kind::WrongObjectType,
            Kind::UndefinedColumn,
            Kind::UndefinedFunction,
            Kind::UndefinedTable,
            Kind::UndefinedObject,
            Kind::DiskFull,
            Kind::OutOfMemory,
            Kind::ConfigurationLimitExceeded,
            Kind::StatementTooComplex,
            Kind::ObjectInUse,
            Kind::IoError,
            Kind::UndefinedFile,
            Kind::DataCorrupted,
            Kind::Internal,
        ];
        KEPT.into_iter().find(|kind| kind.sqlstate() == sqlstate)
    }

    /// The five-character SQLSTATE, as PostgreSQL 15 gives it (Appendix A of its manual).
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Kind::Postgres(sqlstate) => sqlstate,
            Kind::SuccessfulCompletion => "00000",
            Kind::FeatureNotSupported => "0A000",
            Kind::ProtocolViolation => "08P01",
            Kind::CardinalityViolation => "21000",
            Kind::InvalidParameterValue => "22023",
            Kind::NumericValueOutOfRange => "22003",
            Kind::DivisionByZero => "22012",
            Kind::InvalidTextRepresentation => "22P02",
            Kind::InvalidBinaryRepresentation => "22P03",
            Kind::InvalidDatetimeFormat => "22007",
            Kind::DatetimeFieldOverflow => "22008",
            Kind::StringTooLong => "22001",
            Kind::CharacterNotInRepertoire => "22021",
            Kind::SequenceLimitExceeded => "2200H",
            Kind::NullValueNotAllowed => "22004",
            Kind::BadCopyFormat => "22P04",
            Kind::NotNullViolation => "23502",
            Kind::UniqueViolation => "23505",
            Kind::CheckViolation => "23514",
            Kind::ActiveTransaction => "25001",
            Kind::NoActiveTransaction => "25P01",
            Kind::InFailedTransaction => "25P02",
            Kind::ReadOnlyTransaction => "25006",
            Kind::InvalidSavepoint => "3B001",
            Kind::IdleInTransactionTimeout => "25P03",
            Kind::InvalidStatementName => "26000",
            Kind::InvalidGrantOperation => "0LP01",
            Kind::InvalidAuthorization => "28000",
            Kind::InvalidPassword => "28P01",
            Kind::DependentObjectsStillExist => "2BP01",
            Kind::InvalidCursorName => "34000",
            Kind::InvalidCatalogName => "3D000",
            Kind::InvalidSchemaName => "3F000",
            Kind::SerializationFailure => "40001",
            Kind::DeadlockDetected => "40P01",
            Kind::Syntax => "42601",
            Kind::InsufficientPrivilege => "42501",
            Kind::GroupingError => "42803",
            Kind::DatatypeMismatch => "42804",
            Kind::WrongObjectType => "42809",
            Kind::UndefinedColumn => "42703",
            Kind::InvalidColumnReference => "42P10",
            Kind::UndefinedFunction => "42883",
            Kind::UndefinedTable => "42P01",
            Kind::UndefinedParameter => "42P02",
            Kind::UndefinedObject => "42704",
            Kind::AmbiguousColumn => "42702",
            Kind::DuplicateColumn => "42701",
            Kind::DuplicateTable => "42P07",
            Kind::DuplicateObject => "42710",
            Kind::DuplicateFunction => "42723",
            Kind::DuplicateDatabase => "42P04",
            Kind::DuplicateSchema => "42P06",
            Kind::DuplicatePreparedStatement => "42P05",
            Kind::DuplicateCursor => "42P03",
            Kind::IndeterminateDatatype => "42P18",
            Kind::InvalidObjectDefinition => "42P17",
            Kind::InvalidCursorDefinition => "42P11",
            Kind::InvalidFunctionDefinition => "42P13",
            Kind::InvalidTableDefinition => "42P16",
            Kind::InvalidColumnDefinition => "42611",
            Kind::GeneratedAlways => "428C9",
            Kind::DuplicateAlias => "42712",
            Kind::CannotCoerce => "42846",
            Kind::InvalidName => "42602",
            Kind::ReservedName => "42939",
            Kind::DiskFull => "53100",
            Kind::OutOfMemory => "53200",
            Kind::TooManyConnections => "53300",
            Kind::ConfigurationLimitExceeded => "53400",
            Kind::StatementTooComplex => "54001",
            Kind::TooManyColumns => "54011",
            Kind::TooManyNotifications => "54000",
            Kind::ObjectNotInPrerequisiteState => "55000",
            Kind::ObjectInUse => "55006",
            Kind::LockNotAvailable => "55P03",
            Kind::QueryCanceled => "57014",
            Kind::AdminShutdown => "57P01",
            Kind::IdleSessionTimeout => "57P05",
            Kind::IoError => "58030",
            Kind::UndefinedFile => "58P01",
            Kind::DataCorrupted => "XX001",
            Kind::Internal => "XX000",
        }
    }
}

/// The only error a client can see. Boxed, so that a `Result` stays small.
pub struct Error(Box<Inner>);

/// What an error is about, for programs that want its parts.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    pub schema: Option<String>,
    pub relation: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
}

struct Inner {
    kind: Kind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// where it happened, such as a line of a COPY
    context: Option<String>,
    subject: Subject,
    /// 1-based character position in the statement's text
    position: Option<u32>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            subject: Subject::default(),
            position: None,
            source: None,
        }))
    }

    /// A missing feature: always SQLSTATE 0A000, always named.
    pub fn not_supported(what: impl fmt::Display) -> Self {
        Error::new(Kind::FeatureNotSupported, format!("{what} is not supported yet"))
    }

    /// A broken promise of our own code. The message goes to the client, the source to the log.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(Kind::Internal, message)
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn without_detail(mut self) -> Self {
        self.0.detail = None;
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Where it happened, if that is not in the statement's text.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.0.context = Some(context.into());
        self
    }

    /// Which column of a relation it is about.
    #[must_use]
    pub fn of_column(mut self, relation: &str, column: &str) -> Self {
        self.0.subject.relation = Some(relation.to_owned());
        self.0.subject.column = Some(column.to_owned());
        self
    }

    /// Which constraint of a relation it is about.
    #[must_use]
    pub fn of_constraint(mut self, relation: &str, constraint: &str) -> Self {
        self.0.subject.relation = Some(relation.to_owned());
        self.0.subject.constraint = Some(constraint.to_owned());
        self
    }

    /// The schema of the relation that it is about, if it is about one.
    #[must_use]
    pub fn in_schema(mut self, schema: Option<&str>) -> Self {
        if self.0.subject.relation.is_some() {
            self.0.subject.schema = schema.map(str::to_owned);
        }
        self
    }

    /// `position`: 1-based character position in the statement's text.
    #[must_use]
    pub fn at(mut self, position: u32) -> Self {
        self.0.position = Some(position);
        self
    }

    /// For an error whose place was in another text than the one that the client sent.
    #[must_use]
    pub fn without_position(mut self) -> Self {
        self.0.position = None;
        self
    }

    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// A copy without its source, for an error that several readers share.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Error(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            detail: self.0.detail.clone(),
            hint: self.0.hint.clone(),
            context: self.0.context.clone(),
            subject: self.0.subject.clone(),
            position: self.0.position,
            source: None,
        }))
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn sqlstate(&self) -> &'static str {
        self.0.kind.sqlstate()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub fn context(&self) -> Option<&str> {
        self.0.context.as_deref()
    }

    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    pub fn position(&self) -> Option<u32> {
        self.0.position
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.0.kind, self.sqlstate(), self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, "; detail: {detail}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "; hint: {hint}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, "; source: {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An operating-system error met while `action` was done on `path`.
pub fn io_error(action: &str, path: &std::path::Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => Kind::UndefinedFile,
        std::io::ErrorKind::PermissionDenied => Kind::InsufficientPrivilege,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::DiskFull,
        std::io::ErrorKind::OutOfMemory => Kind::OutOfMemory,
        _ => Kind::IoError,
    };
    Error::new(kind, format!("could not {action} \"{}\": {error}", path.display())).with_source(error)
}

impl From<granary_sql::ParseError> for Error {
    fn from(error: granary_sql::ParseError) -> Self {
        use granary_sql::ParseErrorKind;
        let kind = match error.kind {
            ParseErrorKind::Syntax => Kind::Syntax,
            ParseErrorKind::FeatureNotSupported => Kind::FeatureNotSupported,
            ParseErrorKind::InvalidParameter => Kind::InvalidParameterValue,
            ParseErrorKind::InvalidDatetime => Kind::InvalidDatetimeFormat,
            ParseErrorKind::DuplicateColumn => Kind::DuplicateColumn,
            ParseErrorKind::InvalidText => Kind::InvalidTextRepresentation,
            ParseErrorKind::DatetimeOverflow => Kind::DatetimeFieldOverflow,
            ParseErrorKind::InvalidName => Kind::InvalidName,
            ParseErrorKind::InvalidCursorDefinition => Kind::InvalidCursorDefinition,
            ParseErrorKind::InvalidFunctionDefinition => Kind::InvalidFunctionDefinition,
            ParseErrorKind::TooComplex => Kind::StatementTooComplex,
            ParseErrorKind::TooManyColumns => Kind::TooManyColumns,
        };
        let mut result = Error::new(kind, error.message);
        result.0.detail = error.detail;
        result.0.hint = error.hint;
        result.0.position = error.position.and_then(|position| u32::try_from(position).ok());
        result
    }
}

impl From<granary_catalog::Error> for Error {
    fn from(error: granary_catalog::Error) -> Self {
        use granary_catalog::Error as Catalog;
        let message = error.to_string();
        let quoted = |names: &[granary_catalog::ObjectName]| {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        match error {
            Catalog::InUse { ref path } => {
                let folder = path.parent().unwrap_or(path).display().to_string();
                Error::new(Kind::ObjectInUse, format!("data folder \"{folder}\" is in use by another server"))
                    .with_hint("stop that server first, or give this one its own folder with --data")
            }
            Catalog::NotACatalog { .. } | Catalog::NewerFormat { .. } => {
                Error::new(Kind::ObjectNotInPrerequisiteState, message)
            }
            Catalog::Damaged { .. } | Catalog::Record { .. } => {
                Error::new(Kind::DataCorrupted, message).with_source(error)
            }
            Catalog::Storage { .. } | Catalog::File { .. } => storage_error(message, error),
            Catalog::Unusable { .. } => {
                Error::new(Kind::IoError, message).with_hint("restart the server once the disk is well")
            }
            Catalog::Conflict { .. } => {
                Error::new(Kind::SerializationFailure, "could not commit: another session changed the same objects")
                    .with_hint("run the transaction again")
            }
            Catalog::UndefinedVersion { .. } => Error::new(Kind::UndefinedObject, message),
            Catalog::DuplicateObject { existing } => duplicate(&existing),
            Catalog::UndefinedObject { .. } | Catalog::UndefinedJob { .. } => {
                Error::new(Kind::UndefinedObject, message)
            }
            Catalog::WrongKind { .. } | Catalog::NoQuery { .. } | Catalog::Misplaced { .. } => {
                Error::new(Kind::WrongObjectType, message)
            }
            Catalog::OtherWorkspace { .. } => Error::new(Kind::FeatureNotSupported, message),
            Catalog::DependencyCycle { .. } => Error::new(Kind::InvalidObjectDefinition, message)
                .with_hint("an object cannot be defined by itself, not even through others"),
            Catalog::DependentObjects { object, dependents } => Error::new(
                Kind::DependentObjectsStillExist,
                format!("cannot drop {object} because other objects depend on it"),
            )
            .with_detail(format!("These depend on it: {}.", quoted(&dependents)))
            .with_hint("use DROP … CASCADE to drop the dependent objects too"),
            Catalog::PreventDestroy { object } => {
                Error::new(Kind::ObjectNotInPrerequisiteState, format!("{object} has prevent_destroy set"))
                    .with_hint("ALTER … SET (prevent_destroy = false) first")
            }
            Catalog::EmptyRange { .. } => Error::new(Kind::InvalidParameterValue, "the range is empty"),
            Catalog::AlreadyMaterialized { store, overlap } => {
                let text = |us: i64| {
                    if us == i64::MIN {
                        "the beginning".to_owned()
                    } else {
                        granary_sql::timestamp::format_timestamp(us)
                    }
                };
                Error::new(
                    Kind::ObjectNotInPrerequisiteState,
                    format!(
                        "the range from {} to {} is already materialized in the {store} store",
                        text(overlap.start_us),
                        text(overlap.end_us)
                    ),
                )
                .with_hint("add OVERWRITE to do it again")
            }
            Catalog::JobConflict { job } => {
                Error::new(Kind::ObjectInUse, format!("job {job} works on this and has not ended"))
                    .with_hint(format!("wait for it, or CANCEL JOB {job}"))
            }
            Catalog::JobState { .. } => Error::new(Kind::ObjectNotInPrerequisiteState, message),
        }
    }
}

fn duplicate(existing: &granary_catalog::ObjectName) -> Error {
    use granary_catalog::ObjectKind;
    let (kind, what) = match existing.kind {
        ObjectKind::Workspace => (Kind::DuplicateDatabase, "database"),
        ObjectKind::Schema => (Kind::DuplicateSchema, "schema"),
        ObjectKind::Entity
        | ObjectKind::Role
        | ObjectKind::Secret
        | ObjectKind::ApiKey
        | ObjectKind::Sink
        | ObjectKind::Test
        | ObjectKind::Expectation
        | ObjectKind::Alert => (Kind::DuplicateObject, existing.kind.as_str()),
        ObjectKind::Function => (Kind::DuplicateFunction, existing.kind.as_str()),
        ObjectKind::Source
        | ObjectKind::Stream
        | ObjectKind::FeatureView
        | ObjectKind::FeatureTable
        | ObjectKind::FeatureService
        | ObjectKind::RealtimeView
        | ObjectKind::Table
        | ObjectKind::View
        | ObjectKind::Dataset
        | ObjectKind::Sequence => (Kind::DuplicateTable, "relation"),
    };
    Error::new(kind, format!("{what} \"{}\" already exists", existing.name))
}

/// A failed read or write of a store's file: told apart by the operating system's error inside.
fn storage_error(message: String, error: granary_catalog::Error) -> Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut kind = Kind::IoError;
    let mut cause = String::new();
    while let Some(inner) = next {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            kind = match io.kind() {
                std::io::ErrorKind::StorageFull => Kind::DiskFull,
                std::io::ErrorKind::PermissionDenied => Kind::InsufficientPrivilege,
                std::io::ErrorKind::NotFound => Kind::UndefinedFile,
                _ => Kind::IoError,
            };
        }
        cause = inner.to_string();
        next = inner.source();
    }
    Error::new(kind, format!("{message}: {cause}")).with_source(error)
}
