//! Which threads go first: those that listen to clients and answer lookups, before those that work long.

use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// For a thread that works long, so that those who answer need not wait for it. Where the system does not let it, nothing
/// is changed.
pub fn let_others_go_first() {
    // of 99; on Linux a niceness of 9: beside a thread of the usual priority it gets an eighth of a core
    const PRIORITY: u8 = 23;
    if let Ok(priority) = ThreadPriorityValue::try_from(PRIORITY) {
        let _ = ThreadPriority::Crossplatform(priority).set_for_current();
    }
}
