//! The memory that all queries together may hold.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

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
