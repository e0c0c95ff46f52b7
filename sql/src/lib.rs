//! The language of granary: PostgreSQL's SQL plus feature objects, as text, as trees, and back.
//! It is pure: no I/O, no clock, no catalog. What names mean is decided elsewhere.

mod clause;
mod column;
mod cursor;
pub mod declaration;
mod dialect;
mod error;
mod feature;
mod grammar;
mod head;
pub mod interval;
mod keyword;
mod limits;
pub mod name;
mod object_kind;
mod option;
mod parser;
mod postgres;
/// How parts of queries are said that sqlparser's tree has no place for.
pub mod marks {
    pub use crate::dialect::{PREFIX_OPERATOR, SYMMETRIC};
    pub use crate::postgres::queries::{
        ASSIGN, CYCLE, CYCLE_DEFAULT, CYCLE_SET, CYCLE_TO, CYCLE_USING, DISTINCT_SETS, EXCLUDE, ROWS_FROM,
        SEARCH_BREADTH, SEARCH_DEPTH, SEARCH_SET, USING_ALIAS, VARIADIC,
    };
}
mod reserved;
mod rows;
mod secrets;
mod signature;
mod source;
pub mod statement;
mod system_time;
mod text;
pub mod timestamp;
mod window;

pub use clause::Backfill;
pub use column::Column;
pub use error::{ParseError, ParseErrorKind};
pub use feature::{AggregateCall, Arguments, FeatureItem};
pub use interval::Interval;
pub use name::QualifiedName;
pub use object_kind::ObjectKind;
pub use option::{OptionEntry, OptionValue, Options, boolean};
pub use parser::{Parsed, parse};
pub use postgres::{ALL_FIELDS, SET_SCHEMA, identity_sequence, overrides_identity};
pub use secrets::{is_masked_url, masked_url, without_secrets};
pub use signature::Signature;
pub use source::position_of;
pub use statement::Statement;
pub use system_time::{SystemTime, time_of};
pub use text::SqlText;
pub use window::{NamedWindow, Window, WindowRef};
