//! Changes of a table of a PostgreSQL server: how it is reached (`dsn`), what it says of itself and its rows at one moment
//! (`session`), and its log as it is decoded there (`changes`, `pgoutput`).
//!
//! The one owner of pgwire-replication. Which changes are taken, and how far that is, is decided by who asks. Knows neither
//! catalog nor stores.

mod changes;
mod dsn;
mod pgoutput;
mod session;

pub use changes::{Captured, Change, Changes, Op};
pub use dsn::Dsn;
pub use pgoutput::Field;
pub use session::{Control, Lsn, Slot, Snapshot, System, Table};

use std::time::Duration;

use pgwire_replication::PgWireError;

/// How long a server may take to answer a question that is no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The server does not answer, or not yet as it should; it may by itself.
    Away(String),
    /// Somebody has to do something.
    Failed(String),
}

pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// Errors of a server that pass by themselves: it starts, stops, has no room, or holds a slot for a connection that it does
/// not know is dead; the classes of connections and of resources, too.
const AWAY: [&str; 6] = ["57P01", "57P02", "57P03", "55006", "42710", "40001"];
const AWAY_CLASSES: [&str; 2] = ["08", "53"];

impl From<PgWireError> for Problem {
    fn from(error: PgWireError) -> Problem {
        let text = error.to_string();
        let state = text.rsplit_once("(SQLSTATE ").map_or("", |(_, state)| state.trim_end_matches(')'));
        let passes = match &error {
            PgWireError::Io(_) | PgWireError::Task(_) | PgWireError::Protocol(_) | PgWireError::Internal(_) => true,
            PgWireError::Server(_) => {
                AWAY.contains(&state) || AWAY_CLASSES.iter().any(|class| state.starts_with(class))
            }
            _ => false,
        };
        if passes { Problem::Away(text) } else { Problem::Failed(text) }
    }
}

fn silent() -> Problem {
    Problem::Away(format!("the server has not answered in {} seconds", ANSWER_TIMEOUT.as_secs()))
}
