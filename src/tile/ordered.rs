//! The first or last rows by (time, arrival), all or of distinct values: first, last and their forms for n.

use std::collections::HashSet;

use crate::row::Value;

/// Where a row stands among those of its key: by event time, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// Event time, microseconds since 1970 UTC.
    pub ts_us: i64,
    /// Breaks ties of `ts_us`; stored with the row.
    pub arrival: i64,
}

/// The order is the fields' order; the value only decides between rows that claim one place, so that the outcome
/// never depends on which came first here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub order: Order,
    pub value: Value,
}

/// Which rows an ordered state keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Keep {
    pub end: End,
    pub limit: u32,
    /// Only the latest (earliest) row of each value counts.
    pub distinct: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Latest,
    Earliest,
}

impl Keep {
    /// Merges `others` into `entries`; both ascend and keep what `self` says, and so does the result.
    ///
    /// What is dropped can never be wanted again: a value among the last n of a union is among the last n of each
    /// part that has its last occurrence.
    pub fn merge(self, entries: &mut Vec<Entry>, others: &[Entry]) {
        let limit = self.limit as usize;
        if limit == 1 {
            self.merge_one(entries, others);
            return;
        }
        let in_order = entries.last().is_none_or(|last| others.first().is_none_or(|first| last <= first));
        entries.extend_from_slice(others);
        if !in_order {
            entries.sort_unstable();
        }
        if self.distinct {
            self.drop_repeated(entries);
        }
        if entries.len() > limit {
            match self.end {
                End::Latest => drop(entries.drain(..entries.len() - limit)),
                End::Earliest => entries.truncate(limit),
            }
        }
    }

    fn merge_one(self, entries: &mut Vec<Entry>, others: &[Entry]) {
        let Some(other) = others.first() else { return };
        match entries.first_mut() {
            None => entries.push(other.clone()),
            Some(entry) => {
                let wins = match self.end {
                    End::Latest => other > entry,
                    End::Earliest => other < entry,
                };
                if wins {
                    entry.clone_from(other);
                }
            }
        }
    }

    /// Leaves of each value its latest (earliest) entry; `entries` ascend.
    fn drop_repeated(self, entries: &mut Vec<Entry>) {
        let mut keep = vec![false; entries.len()];
        {
            let mut seen = HashSet::with_capacity(entries.len());
            let mut look = |index: usize| keep[index] = seen.insert(&entries[index].value);
            match self.end {
                End::Latest => (0..entries.len()).rev().for_each(&mut look),
                End::Earliest => (0..entries.len()).for_each(&mut look),
            }
        }
        let mut kept = keep.into_iter();
        entries.retain(|_| kept.next().unwrap_or(false));
    }
}
