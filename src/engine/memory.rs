//! The memory that all queries together may hold.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

use crate::error::Result;

/// One part in so many is lent to nobody but sorts that merge.
///
/// A sort fills its share with rows and merges them then, which takes their keys once more, in another form: at most
/// about a fifth of what it held. It cannot go to disk any more at that point, so there must be room.
const KEPT_BACK: usize = 5;

/// The name of what a sort reserves for its merge.
const MERGE_OF_A_SORT: &str = "ExternalSorterMerge";

/// Shares out memory fairly among those who can spill, and keeps some back for sorts that merge.
#[derive(Debug)]
pub struct SharedMemory {
    shares: FairSpillPool,
    limit_bytes: usize,
    kept_back_bytes: usize,
    lent_bytes: Mutex<usize>,
}

impl SharedMemory {
    pub fn new(limit_bytes: usize) -> SharedMemory {
        let kept_back_bytes = limit_bytes / KEPT_BACK;
        SharedMemory {
            shares: FairSpillPool::new(limit_bytes - kept_back_bytes),
            limit_bytes,
            kept_back_bytes,
            lent_bytes: Mutex::new(0),
        }
    }

    fn lent(&self) -> MutexGuard<'_, usize> {
        self.lent_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_merging(reservation: &MemoryReservation) -> bool {
    reservation.consumer().name().starts_with(MERGE_OF_A_SORT)
}

impl fmt::Display for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), human_readable_size(self.limit_bytes))
    }
}

impl MemoryPool for SharedMemory {
    fn name(&self) -> &str {
        "memory"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shares.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shares.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.shares.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut given_back = 0;
        if is_merging(reservation) {
            let mut lent = self.lent();
            given_back = shrink.min(*lent);
            *lent -= given_back;
        }
        self.shares.shrink(reservation, shrink - given_back);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        let refused = match self.shares.try_grow(reservation, additional) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let mut lent = self.lent();
        if !is_merging(reservation) || *lent + additional > self.kept_back_bytes {
            return Err(refused);
        }
        *lent += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.shares.reserved() + *self.lent()
    }

    /// What those can have who do not merge.
    fn memory_limit(&self) -> MemoryLimit {
        self.shares.memory_limit()
    }
}

/// Memory that is held for a client, not for a plan. It is given back when this is dropped.
#[derive(Debug)]
pub struct HeldMemory(MemoryReservation);

impl HeldMemory {
    pub fn new(pool: &Arc<dyn MemoryPool>, name: &str) -> HeldMemory {
        HeldMemory(MemoryConsumer::new(name).register(pool))
    }

    /// Errors: `OutOfMemory` (53200).
    pub fn grow(&self, bytes: usize) -> Result<()> {
        Ok(self.0.try_grow(bytes)?)
    }

    /// Gives all of it back.
    pub fn shrink(&self) {
        self.0.free();
    }
}

/// A part of the memory, for a plan that would otherwise take all there is: a sort on disk merges as many of its runs
/// at once as it is given room for.
#[derive(Debug)]
pub struct PartOfMemory {
    whole: Arc<dyn MemoryPool>,
    limit_bytes: usize,
    taken_bytes: Mutex<usize>,
}

impl PartOfMemory {
    pub fn new(whole: &Arc<dyn MemoryPool>, limit_bytes: usize) -> PartOfMemory {
        PartOfMemory { whole: Arc::clone(whole), limit_bytes, taken_bytes: Mutex::new(0) }
    }

    fn taken(&self) -> MutexGuard<'_, usize> {
        self.taken_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for PartOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) of {}", self.name(), human_readable_size(self.limit_bytes), self.whole)
    }
}

impl MemoryPool for PartOfMemory {
    fn name(&self) -> &str {
        "a part of the memory"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.whole.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.whole.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.taken() += additional;
        self.whole.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        *self.taken() -= shrink;
        self.whole.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        let mut taken = self.taken();
        let wanted = *taken + additional;
        if wanted > self.limit_bytes {
            let (wanted, limit) = (human_readable_size(wanted), human_readable_size(self.limit_bytes));
            let message = format!("{} needs {wanted} of the {limit} that it may have", reservation.consumer().name());
            return Err(DataFusionError::ResourcesExhausted(message));
        }
        self.whole.try_grow(reservation, additional)?;
        *taken = wanted;
        Ok(())
    }

    fn reserved(&self) -> usize {
        *self.taken()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_memory_is_no_more_than_that() {
        let whole: Arc<dyn MemoryPool> = Arc::new(SharedMemory::new(1000));
        let part: Arc<dyn MemoryPool> = Arc::new(PartOfMemory::new(&whole, 300));
        let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&part);
        let rows = MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true).register(&part);
        merge.try_grow(100).unwrap();
        rows.try_grow(200).unwrap();
        assert!(merge.try_grow(1).is_err());
        assert_eq!((part.reserved(), whole.reserved()), (300, 300));
        rows.free();
        merge.try_grow(200).unwrap();
        // what the whole has not, a part has not either
        let other = MemoryConsumer::new("a join").register(&whole);
        merge.free();
        other.try_grow(750).unwrap();
        assert!(rows.try_grow(100).is_err());
        assert_eq!((part.reserved(), whole.reserved()), (0, 750));
    }

    #[test]
    fn what_is_kept_back_is_lent_to_merges_alone() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedMemory::new(1000));
        let rows = MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true).register(&pool);
        let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
        let other = MemoryConsumer::new("a join").register(&pool);
        assert!(rows.try_grow(801).is_err());
        rows.try_grow(700).unwrap();
        other.try_grow(100).unwrap();
        assert!(other.try_grow(1).is_err());
        merge.try_grow(150).unwrap();
        assert!(merge.try_grow(51).is_err());
        merge.try_grow(50).unwrap();
        assert_eq!(pool.reserved(), 1000);
        // rows that are let go make room for the merge, which gives back what was lent first
        rows.shrink(300);
        merge.try_grow(300).unwrap();
        merge.shrink(200);
        assert_eq!(pool.reserved(), 800);
        assert!(other.try_grow(1).is_err());
        drop(merge);
        other.try_grow(300).unwrap();
        assert_eq!(pool.reserved(), 800);
        drop((rows, other));
        assert_eq!(pool.reserved(), 0);
    }
}
