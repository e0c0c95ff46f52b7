//! Who may write to which table: held by transactions up to their end. Readers never wait.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use granary_catalog::ObjectId;
use tokio::sync::Notify;

use crate::error::{Error, Kind, Result};

/// What a transaction does to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// rows come, whatever the others are
    Append,
    /// rows go, or come only if others are not there
    Modify,
    /// the table becomes another
    Alter,
}

impl LockMode {
    fn admits(self, other: LockMode) -> bool {
        self == LockMode::Append && other <= LockMode::Modify || other == LockMode::Append && self <= LockMode::Modify
    }
}

/// The locks of all transactions.
#[derive(Debug, Default)]
pub struct TableLocks {
    state: Mutex<State>,
    released: Notify,
    last_owner: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<ObjectId, Vec<(u64, LockMode)>>,
    /// what owners wait for
    waiting: HashMap<u64, (ObjectId, LockMode)>,
}

impl State {
    /// The others that keep an owner from a lock.
    fn in_the_way(&self, owner: u64, table: ObjectId, mode: LockMode) -> Vec<u64> {
        let held = self.held.get(&table).into_iter().flatten();
        held.filter(|(other, held)| *other != owner && !held.admits(mode)).map(|(other, _)| *other).collect()
    }

    /// Whether one of `others` waits, through any number of them, for `owner`.
    fn waits_for(&self, others: &[u64], owner: u64) -> bool {
        let (mut seen, mut next) = (HashSet::new(), others.to_vec());
        while let Some(other) = next.pop() {
            if other == owner {
                return true;
            }
            if let (true, Some((table, mode))) = (seen.insert(other), self.waiting.get(&other)) {
                next.extend(self.in_the_way(other, *table, *mode));
            }
        }
        false
    }
}

impl TableLocks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The locks of one transaction; they go with it.
#[derive(Debug)]
pub struct LockHolder {
    locks: Arc<TableLocks>,
    owner: u64,
}

impl LockHolder {
    pub fn new(locks: &Arc<TableLocks>) -> LockHolder {
        LockHolder { locks: Arc::clone(locks), owner: locks.last_owner.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Waits until nobody is in the way. Errors: 40P01 if they wait for this transaction.
    pub async fn lock(&self, table: ObjectId, mode: LockMode) -> Result<()> {
        // however the waiting ends, nobody is to be told to wait for it
        let _waiting = Waiting(self);
        loop {
            let released = self.locks.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.try_lock(table, mode)? {
                return Ok(());
            }
            released.await;
        }
    }

    /// The same without waiting.
    pub fn lock_at_once(&self, table: ObjectId, name: &str, mode: LockMode) -> Result<()> {
        let _waiting = Waiting(self);
        match self.try_lock(table, mode)? {
            true => Ok(()),
            false => Err(Error::new(Kind::LockNotAvailable, format!("could not obtain lock on relation \"{name}\""))),
        }
    }

    fn try_lock(&self, table: ObjectId, mode: LockMode) -> Result<bool> {
        let mut state = self.locks.state();
        let others = state.in_the_way(self.owner, table, mode);
        if others.is_empty() {
            let held = state.held.entry(table).or_default();
            match held.iter_mut().find(|(owner, _)| *owner == self.owner) {
                Some((_, held)) => *held = mode.max(*held),
                None => held.push((self.owner, mode)),
            }
            return Ok(true);
        }
        if state.waits_for(&others, self.owner) {
            let message = "deadlock detected";
            let detail = "Two transactions wait for tables that the other one writes to.";
            return Err(Error::new(Kind::DeadlockDetected, message).with_detail(detail));
        }
        state.waiting.insert(self.owner, (table, mode));
        Ok(false)
    }
}

struct Waiting<'a>(&'a LockHolder);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.locks.state().waiting.remove(&self.0.owner);
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        let mut state = self.locks.state();
        state.held.retain(|_, held| {
            held.retain(|(owner, _)| *owner != self.owner);
            !held.is_empty()
        });
        drop(state);
        self.locks.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_come_beside_others_and_go_one_after_the_other() {
        let locks = Arc::new(TableLocks::default());
        let (one, two) = (LockHolder::new(&locks), LockHolder::new(&locks));
        let (table, other) = (ObjectId(1), ObjectId(2));
        one.lock(table, LockMode::Append).await.expect("nobody holds it");
        two.lock(table, LockMode::Modify).await.expect("rows may come meanwhile");
        assert!(one.lock_at_once(table, "t", LockMode::Modify).is_err());
        one.lock(other, LockMode::Modify).await.expect("nobody holds it");
        let waits = tokio::spawn(async move { two.lock(other, LockMode::Alter).await });
        while locks.state().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let error = one.lock(table, LockMode::Modify).await.expect_err("each waits for the other");
        assert_eq!(error.sqlstate(), "40P01");
        drop(one);
        waits.await.expect("it ends").expect("nobody is in the way any more");
        assert!(locks.state().held.is_empty());
    }
}
