//! The groups of columns of a view's stored rows: each is materialized by itself, in ranges of its own. Most views have
//! one, the first.

use std::collections::BTreeSet;

use super::{Interval, IntervalSet, Ledger, State, StoreKind};
use crate::error::Error;
use crate::id::ObjectId;
use crate::store::{Batch, Table};

/// Stored rows: those of one group of columns of one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    pub view: ObjectId,
    pub group: u64,
}

impl GroupId {
    pub fn new(view: ObjectId, group: u64) -> GroupId {
        GroupId { view, group }
    }

    /// Keys from before there were groups name none.
    pub(super) fn ranges_key(self, store: StoreKind) -> Vec<u64> {
        let store = match store {
            StoreKind::Offline => 0,
            StoreKind::Online => 1,
        };
        if self.group == 0 { vec![self.view.0, store] } else { vec![self.view.0, store, self.group] }
    }

    pub(super) fn folded_key(self) -> Vec<u64> {
        if self.group == 0 { vec![self.view.0] } else { vec![self.view.0, self.group] }
    }
}

/// A view's first group.
impl From<ObjectId> for GroupId {
    fn from(view: ObjectId) -> GroupId {
        GroupId { view, group: 0 }
    }
}

impl Ledger {
    /// What is materialized of all of these groups of a view.
    pub fn ranges_of_all(&self, view: ObjectId, groups: &[u64], store: StoreKind) -> IntervalSet {
        let mut sets = groups.iter().map(|group| self.ranges(GroupId::new(view, *group), store));
        let first = sets.next().unwrap_or_default();
        sets.fold(first, |common, set| common.common(&set))
    }

    /// Of a range what a group lacks in the offline store, where rows are that any job of it has written.
    pub fn missing(&self, group: GroupId, range: Interval) -> IntervalSet {
        let mut missing = IntervalSet::from_iter([range]);
        for store in StoreKind::ALL {
            self.ranges(group, store).iter().for_each(|known| missing.remove(known));
        }
        missing
    }

    /// Forgets what is materialized of a group that is gone, or about to come.
    pub fn forget_group(&self, group: GroupId) -> Result<(), Error> {
        let _writer = self.writer();
        self.forget_groups(&[group])
    }

    /// Forgets all groups of views but those that `is_known` says.
    pub fn keep_groups(&self, is_known: impl Fn(GroupId) -> bool) -> Result<(), Error> {
        let _writer = self.writer();
        let unknown: BTreeSet<GroupId> = {
            let state = self.state();
            let all = state.ranges.keys().map(|(group, _)| *group).chain(state.folded.keys().copied());
            all.filter(|group| !is_known(*group)).collect()
        };
        self.forget_groups(&unknown.into_iter().collect::<Vec<_>>())
    }

    fn forget_groups(&self, groups: &[GroupId]) -> Result<(), Error> {
        if groups.is_empty() {
            return Ok(());
        }
        let mut batch = self.store.batch();
        groups.iter().for_each(|group| delete_group(&mut batch, *group));
        batch.commit()?;
        self.change(|state| {
            state.ranges.retain(|(group, _), _| !groups.contains(group));
            state.folded.retain(|group, _| !groups.contains(group));
        });
        Ok(())
    }

    /// Notes that a group has, of every store, what all of these have. Its rows are those of the others.
    pub fn take_over(&self, group: GroupId, from: &[u64]) -> Result<(), Error> {
        let _writer = self.writer();
        let taken = StoreKind::ALL.map(|store| (store, self.ranges_of_all(group.view, from, store)));
        let mut batch = self.store.batch();
        for (store, intervals) in &taken {
            batch.put(Table::Ranges, &group.ranges_key(*store), &super::RangesRecord::new(group, *store, intervals))?;
        }
        batch.commit()?;
        self.change(|state| state.ranges.extend(taken.map(|(store, intervals)| ((group, store), intervals))));
        Ok(())
    }
}

pub(super) fn delete_group(batch: &mut Batch<'_>, group: GroupId) {
    for store in StoreKind::ALL {
        batch.delete(Table::Ranges, &group.ranges_key(store));
    }
    batch.delete(Table::Folded, &group.folded_key());
}

impl State {
    /// What is materialized of a range already, so that a job of these groups would do it again. Where some groups lack
    /// what others have, a job is there for that.
    pub(super) fn done_before(
        &self,
        view: ObjectId,
        groups: &[u64],
        store: StoreKind,
        range: Interval,
    ) -> Option<Interval> {
        let of_group = |group: &u64| {
            let known = self.ranges.get(&(GroupId::new(view, *group), store));
            known.map(|known| known.intersection(&range)).unwrap_or_default()
        };
        let mut sets = groups.iter().map(of_group);
        let first = sets.next()?;
        if sets.all(|set| set == first) { first.first_overlap(&range) } else { None }
    }
}
