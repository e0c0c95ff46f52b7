//! Rows that were asked for and wait to be fetched, each under a handle, and those that are being fetched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sessions::new_handle;
use crate::error::{Error, Kind, Result};
use crate::session::BatchStream;

/// So many of a session may wait; the oldest goes when there is one more.
const MOST_WAITING: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Results {
    waiting: Mutex<VecDeque<Waiting>>,
    fetching: Arc<Mutex<Vec<(String, CancellationToken)>>>,
}

struct Waiting {
    handle: String,
    rows: FlightRows,
}

/// The rows of a statement, and what stops it.
pub struct FlightRows {
    pub schema: SchemaRef,
    pub rows: BatchStream,
    pub token: CancellationToken,
}

/// Takes rows off the list of those that are being fetched, and stops what makes them.
struct Fetching {
    handle: String,
    list: Arc<Mutex<Vec<(String, CancellationToken)>>>,
    _stop: DropGuard,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).retain(|(handle, _)| *handle != self.handle);
    }
}

impl Results {
    /// Keeps rows until they are fetched; gives their handle.
    pub fn add(&self, rows: FlightRows) -> Result<String> {
        let handle = new_handle()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(Waiting { handle: handle.clone(), rows });
        Ok(handle)
    }

    /// The rows of a handle, which can be fetched once.
    pub fn take(&self, handle: &str) -> Result<FlightRows> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waiting.iter().position(|waiting| waiting.handle == handle);
        let found = place.and_then(|place| waiting.remove(place)).ok_or_else(|| {
            Error::new(Kind::InvalidCursorName, "there are no rows under this ticket")
                .with_hint("a ticket is good for one fetch, in the session that it was made for")
        })?;
        Ok(self.fetched(found.handle, found.rows))
    }

    /// Rows that a cancel of the handle stops, as does who no longer wants them.
    pub fn fetched(&self, handle: String, FlightRows { schema, rows, token }: FlightRows) -> FlightRows {
        let list = Arc::clone(&self.fetching);
        list.lock().unwrap_or_else(PoisonError::into_inner).push((handle.clone(), token.clone()));
        let guard = Fetching { handle, list, _stop: token.clone().drop_guard() };
        let stop = token.clone();
        let rows = futures::stream::unfold(Some((rows, stop, guard)), |state| async move {
            let (mut rows, stop, guard) = state?;
            tokio::select! {
                biased;
                () = stop.cancelled() => Some((Err(canceled()), None)),
                batch = rows.next() => batch.map(|batch| (batch, Some((rows, stop, guard)))),
            }
        });
        FlightRows { schema, rows: rows.boxed(), token }
    }

    /// Stops what makes the rows of the handles for which this holds; false if there are none.
    pub fn cancel(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.len();
        waiting.retain(|waiting| !is_meant(&waiting.handle));
        let mut any = waiting.len() < before;
        for (handle, token) in self.fetching.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if is_meant(handle) {
                token.cancel();
                any = true;
            }
        }
        any
    }

    pub fn is_fetching(&self) -> bool {
        !self.fetching.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

fn canceled() -> Error {
    Error::new(Kind::QueryCanceled, "canceling statement due to user request")
}
