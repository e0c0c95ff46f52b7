//! One state of all tables: who holds it reads each table as it was when it was taken, whatever is committed since.
//!
//! Nothing is noted when a state is taken; who changes a table leaves the version before for those that hold a state.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{OfflineStore, OfflineTable};
use crate::error::Result;

/// One state of all tables.
#[derive(Debug, Default)]
pub struct ReadVersions {
    /// of tables that have changed since
    before: Mutex<HashMap<String, Arc<OfflineTable>>>,
    /// what was read in this state
    read: Mutex<HashSet<String>>,
}

impl ReadVersions {
    fn of(&self, id: &str) -> Option<Arc<OfflineTable>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The stored tables that were read in this state.
    pub fn read(&self) -> Vec<String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether a table has changed since.
    pub fn has_changed(&self, id: &str) -> bool {
        self.of(id).is_some()
    }
}

/// The states that somebody holds.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Weak<ReadVersions>>>);

impl Readers {
    /// Changes a table, of which `before` was the newest version.
    pub(super) fn changing(&self, before: &Arc<OfflineTable>, change: impl FnOnce()) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.strong_count() > 0);
        for reader in readers.iter().filter_map(Weak::upgrade) {
            let mut known = reader.before.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(before.id.clone()).or_insert_with(|| Arc::clone(before));
        }
        change();
    }
}

impl OfflineStore {
    /// The state of all tables as it is now.
    pub fn read_versions(&self) -> Arc<ReadVersions> {
        self.read_versions_while(|| ()).0
    }

    /// The state of all tables as it is while `meanwhile` runs: nobody sees a change of a table begin or end in it.
    pub fn read_versions_while<T>(&self, meanwhile: impl FnOnce() -> T) -> (Arc<ReadVersions>, T) {
        let versions = Arc::new(ReadVersions::default());
        let mut readers = self.readers.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&versions));
        let done = meanwhile();
        (versions, done)
    }

    /// As [`OfflineStore::table`], in a state that was taken before.
    pub async fn table_in(&self, id: &str, versions: &ReadVersions) -> Result<Option<Arc<OfflineTable>>> {
        versions.read.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        let newest = self.table(id).await?;
        let readers = self.readers.0.lock().unwrap_or_else(PoisonError::into_inner);
        // under the lock of who changes: either it has left the version before, or what is newest is that of the state
        let slot = self.slot(id);
        let found = versions.of(id).or_else(|| slot.newest().map(|newest| newest.table));
        drop(readers);
        Ok(found.or(newest))
    }
}
