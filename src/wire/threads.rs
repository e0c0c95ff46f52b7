//! The threads that listen to clients. Each client stays on one of them, which it shares with some others: an answer
//! then wakes no second thread, which would cost more than a lookup does.

use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::priority::STACK_BYTES;

/// See the module. They end when it is dropped, and what still runs on them.
pub struct ClientThreads {
    handles: Vec<Handle>,
    next: usize,
    end: CancellationToken,
}

impl ClientThreads {
    pub fn start(count: usize) -> Result<ClientThreads> {
        let end = CancellationToken::new();
        let no_thread = |error: std::io::Error| {
            Error::new(Kind::IoError, format!("no thread to listen to clients: {error}")).with_source(error)
        };
        let mut threads = ClientThreads { handles: Vec::with_capacity(count), next: 0, end: end.clone() };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
            threads.handles.push(runtime.handle().clone());
            let end = end.clone();
            let run = move || runtime.block_on(end.cancelled());
            let thread = thread::Builder::new().name(format!("granary-client-{number}")).stack_size(STACK_BYTES);
            thread.spawn(run).map_err(no_thread)?;
        }
        Ok(threads)
    }

    /// The one for the next client, in turn.
    pub fn next(&mut self) -> &Handle {
        self.next = (self.next + 1) % self.handles.len();
        &self.handles[self.next]
    }
}

impl Drop for ClientThreads {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
