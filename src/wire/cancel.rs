//! Who may stop which running statement: process id and secret of a connection to the token of what it runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};

/// All connections that a CancelRequest can name.
#[derive(Default)]
pub struct Registry {
    connections: Mutex<HashMap<i32, Arc<Slot>>>,
    last_process_id: AtomicI32,
}

/// One connection's part: its secret, and its running statement if any.
#[derive(Debug)]
pub struct Slot {
    secret: i32,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    token: CancellationToken,
    busy: bool,
}

/// A connection's entry in the registry, for as long as it lives.
pub struct Registration {
    registry: Arc<Registry>,
    slot: Arc<Slot>,
    process_id: i32,
}

impl Registry {
    /// `secret`: what a CancelRequest must show, from a good random source.
    pub fn register(self: &Arc<Self>, secret: i32) -> Registration {
        let slot = Arc::new(Slot { secret, running: Mutex::default() });
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let process_id = loop {
            let candidate = self.last_process_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if candidate > 0 && !connections.contains_key(&candidate) {
                break candidate;
            }
        };
        connections.insert(process_id, Arc::clone(&slot));
        Registration { registry: Arc::clone(self), slot, process_id }
    }

    /// Cancels what the connection runs; a wrong secret or an idle connection change nothing, and nobody is told.
    pub fn cancel(&self, process_id: i32, secret: i32) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = connections.get(&process_id)
            && slot.secret == secret
        {
            slot.cancel();
        }
    }
}

impl Slot {
    fn cancel(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.busy {
            running.token.cancel();
        }
    }
}

impl Registration {
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    pub fn secret(&self) -> i32 {
        self.slot.secret
    }

    /// From now on the connection can be cancelled, until [`Registration::end`]. The token is a fresh one after a
    /// cancel, else the one of the statement before: a cancel also ends every portal, so they may share it.
    pub fn begin(&self) -> CancellationToken {
        let mut running = self.slot.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.busy = true;
        if running.token.is_cancelled() {
            running.token = CancellationToken::new();
        }
        running.token.clone()
    }

    pub fn end(&self) {
        self.slot.running.lock().unwrap_or_else(PoisonError::into_inner).busy = false;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process_id);
    }
}

pub fn canceled_by_user() -> Error {
    Error::new(Kind::QueryCanceled, "canceling statement due to user request")
}

pub fn shutting_down() -> Error {
    Error::new(Kind::AdminShutdown, "terminating connection due to administrator command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_cancels_and_only_what_runs() {
        let registry = Arc::new(Registry::default());
        let registration = registry.register(42);
        registry.cancel(registration.process_id(), 42);
        let token = registration.begin();
        assert!(!token.is_cancelled(), "it was idle");
        registry.cancel(registration.process_id(), 43);
        registry.cancel(registration.process_id() + 1, 42);
        assert!(!token.is_cancelled());
        registry.cancel(registration.process_id(), 42);
        assert!(token.is_cancelled());
        registration.end();
        assert!(!registration.begin().is_cancelled(), "the next statement is another one");
    }

    #[test]
    fn a_closed_connection_leaves_nothing() {
        let registry = Arc::new(Registry::default());
        drop(registry.register(1));
        assert!(registry.connections.lock().expect("sound").is_empty());
    }
}
