//! PostgreSQL's types, operators and functions, and queries over rows in memory, as PostgreSQL 15 answers them.
//!
//! What clients ask of catalogs is small in rows and rich in SQL: correlated subqueries, `reg…` types, arrays, functions
//! that give rows. This package answers it from PostgreSQL's own tables of types, operators, casts and functions, which
//! decide what an expression means. It knows nothing of what is stored, nor of sessions: [`World`] tells it.

mod analyze;
pub mod builtin;
pub mod datetime;
pub mod error;
mod execute;
pub mod functions;
pub mod json;
pub mod numeric;
pub mod plan;
mod regexp;
pub mod resolve;
pub mod send;
pub mod text;
pub mod types;
pub mod value;
pub mod world;
mod zone_setting;

pub use analyze::{Analyzed, analyze, analyze_rows, label_of};
pub use error::{Error, Result};
pub use execute::{Context, aggregate, evaluate, execute};
pub use types::Type;
pub use value::{Row, Value};
pub use world::{Column, NameKind, Relation, World};
pub use zone_setting::zone_setting;
