//! The thread that settles what is in front of the files of a store: soon after the first write, at once when there is much.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::Shard;
use crate::priority::let_others_go_first;

/// Items wait for each other so long.
const SETTLE_AFTER: Duration = Duration::from_millis(500);

/// What writers want of the thread.
#[derive(Debug, Default)]
pub struct Wanted {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    #[default]
    Nothing,
    Soon,
    Now,
    /// that it ends
    End,
}

impl Wanted {
    pub fn soon(&self) {
        self.raise(State::Soon);
    }

    pub fn now(&self) {
        self.raise(State::Now);
    }

    fn raise(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state < to {
            *state = to;
            self.changed.notify_one();
        }
    }

    /// Waits until there is something to do; false: nothing will be any more.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(state, |state| *state == State::Nothing);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, SETTLE_AFTER, |state| *state == State::Soon);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *state == State::End {
            return false;
        }
        *state = State::Nothing;
        true
    }
}

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub struct Settler {
    wanted: Arc<Wanted>,
    thread: Option<JoinHandle<()>>,
}

impl Settler {
    /// `wanted` is what the shards raise.
    pub fn start(shards: Vec<Arc<Shard>>, wanted: Arc<Wanted>) -> std::io::Result<Settler> {
        let own = Arc::clone(&wanted);
        let thread = Builder::new().name("online-settle".to_owned()).spawn(move || {
            let_others_go_first();
            while own.wait() {
                for shard in &shards {
                    // the items stay in front, and whoever writes too many more hears the error
                    if let Err(error) = shard.settle() {
                        tracing::warn!(%error, "items could not be settled in the online store");
                    }
                }
            }
        })?;
        Ok(Settler { wanted, thread: Some(thread) })
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.wanted.raise(State::End);
        if let Some(thread) = self.thread.take() {
            // what it was about to settle a crash would have forgotten, too
            let _ = thread.join();
        }
    }
}
