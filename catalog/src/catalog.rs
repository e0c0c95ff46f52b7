//! The catalog itself: the current snapshot, the file behind it, and the one way from one version to the next.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Deserialize;

use crate::audit::{Action, Entry, HistoryFilter};
use crate::change::{Author, Change};
use crate::error::Error;
use crate::id::{ObjectId, Version};
use crate::ledger::Ledger;
use crate::object::{Dataset, Object};
use crate::plans::Plans;
use crate::record::Records;
use crate::sequences::Sequences;
use crate::snapshot::{Applied, Snapshot};
use crate::store::{Image, Number, Order, Store, Table};

pub struct Catalog {
    store: Arc<Store>,
    current: RwLock<Arc<Snapshot>>,
    /// Held by the one commit at a time, its fsync included. Readers never take it.
    writer: Mutex<()>,
    ledger: Ledger,
    sequences: Sequences,
    records: Records,
    plans: Plans,
}

impl Catalog {
    /// Opens the catalog's file, or makes an empty catalog. One process at a time: another gets [`Error::InUse`].
    ///
    /// Jobs that had not ended when the file was last in use are failed here; see [`Ledger::interrupted_at_open`].
    pub fn open(path: &Path) -> Result<Catalog, Error> {
        let empty = Snapshot::empty();
        let first = [
            (Number::Version, empty.version().0),
            (Number::NextObject, empty.next_id().0),
            (Number::NextJob, Ledger::FIRST_JOB.0),
        ];
        let store = Arc::new(Store::open(path, &first)?);
        let snapshot = load(&store)?;
        let versions = snapshot.all::<Dataset>().into_iter().flat_map(Dataset::versions);
        let made = versions.filter_map(|version| Some((version.job?, version))).collect();
        let ledger = Ledger::open(Arc::clone(&store), &made)?;
        let sequences = Sequences::new(Arc::clone(&store));
        let records = Records::open(Arc::clone(&store), Records::KEPT)?;
        let plans = Plans::open(Arc::clone(&store))?;
        let (current, writer) = (RwLock::new(Arc::new(snapshot)), Mutex::new(()));
        Ok(Catalog { store, current, writer, ledger, sequences, records, plans })
    }

    /// The latest committed version. Never waits for a commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // Only a pointer is ever replaced under this lock, so a panic elsewhere cannot leave it half done.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the changes, all or none, durable when it returns. `base` is the version the caller looked at.
    ///
    /// Commits that others made since then are no obstacle unless they touched an object that these changes touch or
    /// refer to: that is [`Error::Conflict`]. New objects numbered from `base`'s next id are numbered again if those
    /// ids are taken by now, so look them up by name in the result.
    ///
    /// Changes without an effect make no version.
    pub fn commit(&self, base: Version, author: &Author, changes: Vec<Change>) -> Result<Arc<Snapshot>, Error> {
        self.commit_step(base, author, changes).map(|step| step.after)
    }

    /// The same, with what there was just before it: between the two lie these changes and no others.
    pub fn commit_step(&self, base: Version, author: &Author, changes: Vec<Change>) -> Result<Step, Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let changes = self.rebase(base, &before, changes)?;
        let applied = before.apply_recorded(&changes)?;
        if applied.effects.is_empty() {
            return Ok(Step { after: Arc::clone(&before), before });
        }
        refuse_unseen_drops(base, &before, &applied)?;
        self.write(author, &changes, &applied)?;
        let after = Arc::new(applied.snapshot);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&after);
        Ok(Step { before, after })
    }

    /// Commits, newest first.
    pub fn history(&self, filter: &HistoryFilter) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        if filter.limit == 0 || filter.after >= filter.until {
            return Ok(entries);
        }
        let (after, until) = ([filter.after.0], [filter.until.0]);
        let range = (Bound::Excluded(after.as_slice()), Bound::Included(until.as_slice()));
        self.store.scan(Table::Log, range, Order::Descending, |entry: Entry| {
            if filter.object.is_none_or(|id| entry.touches(id)) {
                entries.push(entry);
            }
            if entries.len() >= filter.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(entries)
    }

    /// One state of everything that is in the file, with jobs and records: as it is while `meanwhile` runs, for whose end
    /// every commit waits.
    pub fn image_while<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<(Image, T), Error> {
        self.store.image_while(meanwhile)
    }

    /// The numbers of sequences.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Refusals and changes of rows.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What workspaces were to become.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The jobs and what they have materialized.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Fits changes that were made against `base` to the current snapshot, or tells why that cannot be.
    fn rebase(&self, base: Version, current: &Snapshot, mut changes: Vec<Change>) -> Result<Vec<Change>, Error> {
        if base == current.version() {
            return Ok(changes);
        }
        if base > current.version() {
            return Err(Error::UndefinedVersion { version: base, latest: current.version() });
        }
        let base_next = self.next_id_at(base)?;
        let taken = current.next_id().0 - base_next.0;
        for change in &mut changes {
            if let Some(id) =
                known_ids(change).into_iter().find(|&id| id < base_next && changed_since(current, id, base))
            {
                return Err(Error::Conflict { id, base });
            }
            change.remap(&mut |id| {
                if *id >= base_next {
                    *id = id.after(taken);
                }
            });
        }
        Ok(changes)
    }

    fn next_id_at(&self, version: Version) -> Result<ObjectId, Error> {
        if version == Version::ZERO {
            return Ok(Snapshot::empty().next_id());
        }
        let entry: Option<NextId> = self.store.get(Table::Log, &[version.0])?;
        let missing = || self.store.damaged(format!("it has no entry of version {version}"));
        let entry = entry.ok_or_else(missing)?;
        Ok(entry.next_id)
    }

    fn write(&self, author: &Author, changes: &[Change], applied: &Applied) -> Result<(), Error> {
        let snapshot = &applied.snapshot;
        let entry = Entry {
            version: snapshot.version(),
            author: author.clone(),
            changes: changes.iter().map(Change::redacted).collect(),
            effects: applied.effects.clone(),
            next_id: snapshot.next_id(),
        };
        let mut batch = self.store.batch();
        let touched: BTreeSet<ObjectId> = applied.effects.iter().map(|effect| effect.id).collect();
        for id in touched {
            match snapshot.get(id) {
                Some(object) => batch.put(Table::Objects, &[id.0], &**object)?,
                None => batch.delete(Table::Objects, &[id.0]),
            }
        }
        batch.put(Table::Log, &[entry.version.0], &entry)?;
        batch.set(Number::Version, entry.version.0);
        batch.set(Number::NextObject, entry.next_id.0);
        batch.commit()
    }
}

/// The snapshots on both sides of a commit.
#[derive(Debug, Clone)]
pub struct Step {
    pub before: Arc<Snapshot>,
    pub after: Arc<Snapshot>,
}

/// The one field of an [`Entry`] that a rebase needs: an entry may hold thousands of objects.
#[derive(Deserialize)]
struct NextId {
    next_id: ObjectId,
}

/// The ids whose state the change takes for granted. Its home is not among them: a renamed schema is no obstacle, and
/// a dropped one is found out anyway.
fn known_ids(change: &Change) -> Vec<ObjectId> {
    let mut ids = vec![change.id()];
    if let Change::Put(object) = change {
        ids.extend(object.depends_on());
    }
    ids
}

fn changed_since(current: &Snapshot, id: ObjectId, base: Version) -> bool {
    current.get(id).is_none_or(|object| object.header().changed > base)
}

/// A cascade must not take objects along that the caller could not know of.
fn refuse_unseen_drops(base: Version, before: &Snapshot, applied: &Applied) -> Result<(), Error> {
    let dropped = applied.effects.iter().filter(|effect| effect.action == Action::Dropped);
    let known = dropped.filter_map(|effect| before.get(effect.id));
    match known.map(|object| object.header()).find(|header| header.changed > base) {
        Some(header) => Err(Error::Conflict { id: header.id, base }),
        None => Ok(()),
    }
}

fn load(store: &Store) -> Result<Snapshot, Error> {
    let version = Version(store.required_number(Number::Version)?);
    let next_id = ObjectId(store.required_number(Number::NextObject)?);
    let objects: Vec<Object> = store.all(Table::Objects)?;
    if let Some(object) = objects.iter().find(|object| object.id() >= next_id) {
        return Err(store.damaged(format!("object {} has an id not given yet", object.id())));
    }
    Snapshot::restore(version, next_id, objects).map_err(|error| store.damaged(error.to_string()))
}
