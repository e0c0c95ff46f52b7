//! Which threads go first: those that listen to clients and answer lookups, before those that keep the stores in order,
//! before those of queries. And where work goes that blocks.

use std::fmt;

use thread_priority::{ThreadPriority, ThreadPriorityValue};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Kind, Result};

/// Of each thread that reads or carries out what clients send: how deep that may be nested is limited by counting, and
/// this is enough for it in any build. The system gives the memory only as it is used.
pub const STACK_BYTES: usize = 32 << 20;

/// Does work that blocks on a thread for such work. Errors: its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a blocking task died").with_source(error))?
}

/// Threads of a runtime of their own, which end with it.
pub struct Threads {
    /// taken when it ends
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// `begin` is what each of them does first: it may take a lower priority.
    pub fn new(name: &str, count: usize, begin: fn()) -> Result<Threads> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(count.max(1))
            .thread_stack_size(STACK_BYTES)
            .thread_name(name)
            .on_thread_start(begin)
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| Error::new(Kind::IoError, format!("no threads \"{name}\": {error}")).with_source(error))?;
        Ok(Threads { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // waits for nobody, as this may be dropped on one of them
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

/// For a thread that works long, so that those who answer need not wait for it. Where the system does not let it, nothing
/// is changed.
pub fn let_others_go_first() {
    // of 99; on Linux a niceness of 9: beside a thread of the usual priority it gets an eighth of a core
    const PRIORITY: u8 = 23;
    if let Ok(priority) = ThreadPriorityValue::try_from(PRIORITY) {
        let _ = ThreadPriority::Crossplatform(priority).set_for_current();
    }
}

/// For a thread that uses what all others leave. On Linux whoever wakes up takes its place at once, and need not wait until
/// its share of time is over, which is some milliseconds.
pub fn take_what_is_left() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
        };
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        if set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle).is_ok() {
            return;
        }
    }
    let_others_go_first();
}
