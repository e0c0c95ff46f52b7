//! Rows that are asked for, answered: what the cache has out of the cache, the rest out of the store, part by part, in
//! the time that there is. Knows nothing of JSON's outer form.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::bound::BoundService;
use super::cache::{CacheKey, ServingCache};
use super::fragment::Fragment;
use super::request::Params;
use crate::engine::{AskedRow, Moment};
use crate::error::{Error, Kind, Result};
use crate::http::refusal::Answered;
use crate::row::Value;
use crate::time::Stopwatch;

/// How long a request may take that has no latency budget.
pub const LONGEST: Duration = Duration::from_secs(2);
/// So many rows are looked up where the request was read: handing them over would take longer.
const FEW_ROWS: usize = 16;

/// What is asked for.
pub struct Ask {
    pub rows: Vec<AskedRow>,
    pub reads_cache: bool,
    pub writes_cache: bool,
    pub latency_budget: Option<Duration>,
    /// what is not ready in time is left out, rather than that the request fails
    pub is_partial: bool,
    pub moment: Moment,
    /// [`Warehouse::n_forgotten`](crate::warehouse::Warehouse::n_forgotten) before anything is read
    pub n_forgotten: u64,
}

impl Ask {
    pub fn new(rows: Vec<AskedRow>, params: &Params, moment: Moment, n_forgotten: u64) -> Ask {
        let options = &params.request_options;
        Ask {
            rows,
            // what is kept is of the edges that the views say
            reads_cache: options.reads_cache() && moment.edge.is_none(),
            writes_cache: options.writes_cache() && moment.edge.is_none(),
            latency_budget: options.latency_budget(),
            is_partial: params.allows_partial_results(),
            moment,
            n_forgotten,
        }
    }
}

/// The answers of all rows.
pub struct Answer {
    /// by part, then by row
    pub parts: Vec<Vec<Found>>,
    /// of the part that took longest
    pub store_time: Duration,
}

/// The features of one part for one row.
#[derive(Debug, Clone)]
pub struct Found {
    /// `None`: there was no time
    pub fragment: Option<Arc<Fragment>>,
    pub is_cached: bool,
}

impl Answer {
    pub fn is_complete(&self) -> bool {
        self.parts.iter().flatten().all(|found| found.fragment.is_some())
    }
}

/// The rows of one part that the cache does not have.
struct Missing {
    part: usize,
    rows: Vec<usize>,
    asked: Vec<AskedRow>,
}

/// `seat` is given back when the work ends, which may be after the answer. Errors: 57014 if there was not enough time.
pub async fn answer(
    bound: &Arc<BoundService>,
    cache: &Arc<ServingCache>,
    ask: Ask,
    seat: OwnedSemaphorePermit,
) -> Answered<Answer> {
    let deadline = Instant::now() + ask.latency_budget.unwrap_or(LONGEST);
    let mut answer = Answer { parts: Vec::with_capacity(bound.parts.len()), store_time: Duration::ZERO };
    let mut open = Vec::new();
    for (part, of_part) in bound.parts.iter().enumerate() {
        let max_age_us = of_part.max_age_us.filter(|_| ask.reads_cache);
        let mut found = Vec::with_capacity(ask.rows.len());
        let mut missing = Missing { part, rows: Vec::new(), asked: Vec::new() };
        for (row, whole) in ask.rows.iter().enumerate() {
            let asked = of_part.asked_row(whole);
            let key = || CacheKey::of(bound, part, &asked.keys, ask.n_forgotten);
            let kept = |max_age_us| cache.get(&key(), max_age_us, ask.moment.now_us);
            let fragment = max_age_us.and_then(kept);
            let is_cached = fragment.is_some();
            if !is_cached {
                missing.rows.push(row);
                missing.asked.push(asked);
            }
            found.push(Found { fragment, is_cached });
        }
        if max_age_us.is_some() {
            bound.metrics.cache_looked_up(found.len() - missing.rows.len(), missing.rows.len());
        }
        if !missing.rows.is_empty() {
            open.push(missing);
        }
        answer.parts.push(found);
    }
    // whoever asks for less time than there is wants to be answered in it, and expressions may take any
    let is_quick = ask.latency_budget.is_none()
        && ask.rows.len() <= FEW_ROWS
        && open.iter().all(|missing| !bound.parts[missing.part].is_realtime);
    let seat = Arc::new(seat);
    let mut running = Vec::new();
    for missing in open {
        let work = Work {
            bound: Arc::clone(bound),
            cache: Arc::clone(cache),
            writes_cache: ask.writes_cache,
            moment: ask.moment,
            n_forgotten: ask.n_forgotten,
            _seat: Arc::clone(&seat),
        };
        if is_quick {
            let (fragments, took) = work.run(missing.part, &missing.asked)?;
            answer.take(missing.part, missing.rows, fragments, took);
        } else {
            let (part, asked) = (missing.part, missing.asked);
            running.push((part, missing.rows, tokio::task::spawn_blocking(move || work.run(part, &asked))));
        }
    }
    for (part, rows, task) in running {
        match timeout_at(deadline, task).await {
            Ok(Ok(done)) => {
                let (fragments, took) = done?;
                answer.take(part, rows, fragments, took);
            }
            Ok(Err(error)) => return Err(Error::internal("a lookup ended by a panic").with_source(error).into()),
            Err(_) if ask.is_partial => {}
            Err(_) => {
                let hint = "ask for fewer rows at a time, or set \"allowPartialResults\"";
                return Err(not_ready().with_hint(hint).into());
            }
        }
    }
    Ok(answer)
}

pub fn not_ready() -> Error {
    Error::new(Kind::QueryCanceled, format!("the features were not ready within {} ms", LONGEST.as_millis()))
}

impl Answer {
    fn take(&mut self, part: usize, rows: Vec<usize>, fragments: Vec<Arc<Fragment>>, took: Duration) {
        for (row, fragment) in rows.into_iter().zip(fragments) {
            self.parts[part][row] = Found { fragment: Some(fragment), is_cached: false };
        }
        self.store_time = self.store_time.max(took);
    }
}

impl CacheKey {
    fn of(bound: &BoundService, part: usize, keys: &[Option<Value>], n_forgotten: u64) -> CacheKey {
        CacheKey { object: bound.object.id(), definition: bound.definition, n_forgotten, part, keys: keys.to_vec() }
    }
}

/// A lookup in the store; it may run where threads may block.
struct Work {
    bound: Arc<BoundService>,
    cache: Arc<ServingCache>,
    writes_cache: bool,
    moment: Moment,
    n_forgotten: u64,
    /// one of those that may be at work
    _seat: Arc<OwnedSemaphorePermit>,
}

impl Work {
    fn run(&self, part: usize, asked: &[AskedRow]) -> Result<(Vec<Arc<Fragment>>, Duration)> {
        let watch = Stopwatch::start();
        let of_part = &self.bound.parts[part];
        let rows = of_part.lookup.answer(asked, self.moment)?;
        let fragment = |row| Arc::new(Fragment::of_row(&rows, &of_part.lookup.features, row));
        let fragments: Vec<Arc<Fragment>> = (0..asked.len()).map(fragment).collect();
        if self.writes_cache && of_part.max_age_us.is_some() {
            for (row, fragment) in asked.iter().zip(&fragments) {
                let key = CacheKey::of(&self.bound, part, &row.keys, self.n_forgotten);
                self.cache.put(key, Arc::clone(fragment), self.moment.now_us);
            }
        }
        Ok((fragments, watch.elapsed()))
    }
}
