//! Answers that may be given again for a while: bounded in bytes, each no older than the service or view allows.
//!
//! An entry is of one part of one definition, for one set of keys; a definition that has changed asks under another
//! version, so that nothing of the old one is found. Knows nothing of features: what it holds is JSON already.

use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{ObjectId, Version};
use moka::sync::Cache;

use super::fragment::Fragment;
use crate::metrics;
use crate::row::Value;

/// What an entry takes beside its keys and values, roughly.
const ENTRY_BYTES: usize = 160;
/// No option allows a longer age, so older entries only take up room.
const LONGEST_AGE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// the service, or the view that is asked for by itself
    pub object: ObjectId,
    /// the last change of it and of all that it stands on
    pub definition: Version,
    /// how often keys had been forgotten when the store was read: what was kept before is not found after
    pub n_forgotten: u64,
    pub part: usize,
    pub keys: Vec<Option<Value>>,
}

#[derive(Debug, Clone)]
struct Entry {
    filled_us: i64,
    fragment: Arc<Fragment>,
}

#[derive(Debug)]
pub struct ServingCache {
    entries: Cache<CacheKey, Entry>,
}

impl ServingCache {
    pub fn new(max_bytes: u64) -> ServingCache {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weight)
            .time_to_live(LONGEST_AGE)
            .eviction_listener(|key, entry, _| metrics::cache_changed(-1, -i64::from(weight(&key, &entry))))
            .build();
        ServingCache { entries }
    }

    /// What was kept less than `max_age_us` before `now_us`.
    pub fn get(&self, key: &CacheKey, max_age_us: i64, now_us: i64) -> Option<Arc<Fragment>> {
        let entry = self.entries.get(key)?;
        let age_us = now_us.saturating_sub(entry.filled_us);
        (0..max_age_us).contains(&age_us).then_some(entry.fragment)
    }

    pub fn put(&self, key: CacheKey, fragment: Arc<Fragment>, now_us: i64) {
        let entry = Entry { filled_us: now_us, fragment };
        metrics::cache_changed(1, weight(&key, &entry).into());
        self.entries.insert(key, entry);
    }
}

/// The bytes that an entry takes.
fn weight(key: &CacheKey, entry: &Entry) -> u32 {
    let bytes = ENTRY_BYTES + key.keys.iter().map(size_of_value).sum::<usize>() + entry.fragment.size();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn size_of_value(value: &Option<Value>) -> usize {
    let beside = match value {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(Value::List(items)) => items.iter().map(size_of_value).sum(),
        _ => 0,
    };
    size_of::<Option<Value>>() + beside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str) -> CacheKey {
        let keys = vec![Some(Value::Text(user.into()))];
        CacheKey { object: ObjectId(1), definition: Version(1), n_forgotten: 0, part: 0, keys }
    }

    fn fragment(bytes: usize) -> Arc<Fragment> {
        Arc::new(Fragment::of_json(&vec![b' '; bytes]))
    }

    #[test]
    fn an_entry_is_found_until_it_is_too_old() {
        let cache = ServingCache::new(1 << 20);
        cache.put(key("u1"), fragment(8), 1_000);
        let found = |key: &CacheKey, now_us| cache.get(key, 60, now_us).is_some();
        assert!(found(&key("u1"), 1_000) && found(&key("u1"), 1_059));
        assert!(!found(&key("u1"), 1_060), "it is as old as it may be");
        assert!(!found(&key("u1"), 999), "it is not known yet");
        assert!(!found(&key("u2"), 1_000));
        assert!(!found(&CacheKey { definition: Version(2), ..key("u1") }, 1_000), "the definition has changed");
        assert!(!found(&CacheKey { n_forgotten: 1, ..key("u1") }, 1_000), "it may have been forgotten");
        assert!(!found(&CacheKey { part: 1, ..key("u1") }, 1_000));
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let cache = ServingCache::new(64 * 1024);
        for user in 0..1_000 {
            cache.put(key(&user.to_string()), fragment(1024), 0);
        }
        cache.entries.run_pending_tasks();
        let bytes = cache.entries.weighted_size();
        assert!(bytes <= 64 * 1024, "{bytes}");
        assert!(cache.entries.entry_count() > 10, "it holds next to nothing");
    }
}
