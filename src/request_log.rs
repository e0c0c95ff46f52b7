//! Feature vectors that were served, on their way into the offline store: a sample of the requests to services that log.
//!
//! Who serves puts rows into a queue that never waits and holds so many: what does not fit is counted and lost. A flush
//! takes the queue and appends it to one stored table a service, in one commit each. A crash loses what is in the queue.
//! Knows columns and values, neither catalog nor requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::StreamExt;
use tokio::sync::Notify;
use twox_hash::XxHash64;

use crate::error::{Error, Result};
use crate::metrics::ServiceMetrics;
use crate::offline::{Layout, OfflineStore, Write, WriteKind};
use crate::row::{Value, array_of, put_value};

/// So many rows wait at most.
const MOST_QUEUED: usize = 64 * 1024;
/// With so many a flush is wanted at once.
const MANY: usize = 8 * 1024;

/// The system columns in front of keys, request columns and features.
pub const TIME: &str = "_request_time";
pub const DOOR: &str = "_door";
/// Behind them, each an array by feature: which were asked for, since when they hold, whether the key is known.
pub const ASKED: &str = "_asked";
pub const EFFECTIVE_TIMES: &str = "_effective_times";
pub const STATUSES: &str = "_statuses";

/// Where the requests of a service are logged.
#[derive(Debug)]
pub struct LogTarget {
    pub table: String,
    /// the share of requests that is logged
    pub rate: f64,
    pub schema: SchemaRef,
    /// features, behind keys and request columns
    pub n_features: usize,
    pub metrics: Arc<ServiceMetrics>,
}

/// What begins the name of a stored table of these.
pub const LOG: &str = "log-";

impl LogTarget {
    /// `asked`: keys and request columns. The table is of just these columns: a service with others has another one.
    pub fn new(
        service: u64,
        rate: f64,
        asked: &[(String, DataType)],
        features: &[(String, DataType)],
        metrics: Arc<ServiceMetrics>,
    ) -> LogTarget {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let field = |(name, data_type): &(String, DataType)| Field::new(name, data_type.clone(), true);
        let mut fields = vec![Field::new(TIME, time.clone(), false), Field::new(DOOR, DataType::Utf8, false)];
        fields.extend(asked.iter().chain(features).map(field));
        fields.push(Field::new(ASKED, DataType::new_list(DataType::Boolean, true), true));
        fields.push(Field::new(EFFECTIVE_TIMES, DataType::new_list(time, true), true));
        fields.push(Field::new(STATUSES, DataType::new_list(DataType::Utf8, true), true));
        let schema = Arc::new(Schema::new(fields));
        let form = XxHash64::oneshot(0, format!("{:?}", schema.fields()).as_bytes());
        LogTarget { table: format!("{LOG}{service}-{form:016x}"), rate, schema, n_features: features.len(), metrics }
    }

    /// Whether a request is one of the sample: by a hash of what it asks for and when, so that no entity is always in it.
    pub fn samples(&self, keys: &[Option<Value>], request: &[Option<Value>], now_us: i64) -> bool {
        if self.rate >= 1.0 {
            return true;
        }
        let mut bytes = now_us.to_be_bytes().to_vec();
        keys.iter().chain(request).for_each(|value| put_value(&mut bytes, value.as_ref()));
        // the upper 53 bits as a share
        let share = (XxHash64::oneshot(0, &bytes) >> 11) as f64 / (1_u64 << 53) as f64;
        share < self.rate
    }
}

/// One served vector.
#[derive(Debug)]
pub struct LoggedVector {
    pub time_us: i64,
    pub door: &'static str,
    /// keys, then request columns
    pub asked: Vec<Option<Value>>,
    pub features: Vec<LoggedFeature>,
}

/// One feature of it.
#[derive(Debug, Clone)]
pub struct LoggedFeature {
    /// None also where it was not asked for
    pub value: Option<Value>,
    pub was_asked: bool,
    pub effective_us: Option<i64>,
    pub status: &'static str,
}

impl LoggedVector {
    fn into_values(self) -> Vec<Option<Value>> {
        let LoggedVector { time_us, door, asked, features } = self;
        let list = |of: &dyn Fn(&LoggedFeature) -> Option<Value>| Some(Value::List(features.iter().map(of).collect()));
        let was_asked = list(&|feature| Some(Value::Bool(feature.was_asked)));
        let effective = list(&|feature| feature.effective_us.map(Value::Int));
        let statuses = list(&|feature| Some(Value::Text(feature.status.into())));
        let mut values = vec![Some(Value::Int(time_us)), Some(Value::Text(door.into()))];
        values.extend(asked);
        values.extend(features.into_iter().map(|feature| feature.value));
        values.extend([was_asked, effective, statuses]);
        values
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct RequestLog {
    queue: Mutex<Queue>,
    /// one flush at a time
    flushing: tokio::sync::Mutex<()>,
    /// told when there is much to be flushed
    pub wants_flush: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    n_rows: usize,
    by_table: BTreeMap<String, (Arc<LogTarget>, Vec<LoggedVector>)>,
}

impl RequestLog {
    /// Never waits for more than another's push.
    pub fn push(&self, target: &Arc<LogTarget>, vectors: Vec<LoggedVector>) {
        let mut queue = self.queue();
        let room = MOST_QUEUED.saturating_sub(queue.n_rows);
        let (kept, lost) = (vectors.len().min(room), vectors.len().saturating_sub(room));
        queue.n_rows += kept;
        let is_many = queue.n_rows >= MANY;
        if kept > 0 {
            let waiting =
                queue.by_table.entry(target.table.clone()).or_insert_with(|| (Arc::clone(target), Vec::new()));
            waiting.1.extend(vectors.into_iter().take(kept));
        }
        drop(queue);
        target.metrics.logged(kept, lost);
        if is_many {
            self.wants_flush.notify_one();
        }
    }

    /// Appends what waits to the stored tables. What cannot be written is lost, and counted.
    pub async fn flush(&self, offline: &OfflineStore) -> Result<()> {
        let _one_at_a_time = self.flushing.lock().await;
        let taken = std::mem::take(&mut *self.queue());
        let mut failed = None;
        for (table, (target, vectors)) in taken.by_table {
            let n_rows = vectors.len();
            if let Err(error) = append(offline, &table, &target, vectors).await {
                target.metrics.log_lost(n_rows);
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn append(offline: &OfflineStore, table: &str, target: &LogTarget, vectors: Vec<LoggedVector>) -> Result<()> {
    let rows: Vec<Vec<Option<Value>>> = vectors.into_iter().map(LoggedVector::into_values).collect();
    let arrays = target.schema.fields().iter().enumerate().map(|(column, field)| {
        array_of(field.data_type(), rows.iter().map(|row| row.get(column).and_then(Option::as_ref)))
    });
    let batch = RecordBatch::try_new(Arc::clone(&target.schema), arrays.collect::<Result<Vec<_>>>()?)
        .map_err(|error| Error::internal("a logged vector has other columns than its table").with_source(error))?;
    offline.create_table(table, Arc::clone(&target.schema), Layout::Plain).await?;
    let batches = futures::stream::iter([Ok(batch)]).boxed();
    offline.write(table, Write::new(WriteKind::Append, batches)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(rate: f64) -> Arc<LogTarget> {
        let columns = [("k".to_owned(), DataType::Utf8)];
        let features = [("f".to_owned(), DataType::Float64)];
        Arc::new(LogTarget::new(7, rate, &columns, &features, Arc::default()))
    }

    fn vector(time_us: i64) -> LoggedVector {
        let feature =
            LoggedFeature { value: Some(Value::Float(1.5)), was_asked: true, effective_us: None, status: "PRESENT" };
        LoggedVector { time_us, door: "pg", asked: vec![Some(Value::Text("u".into()))], features: vec![feature] }
    }

    #[test]
    fn about_the_share_is_sampled_and_always_the_same() {
        let sampled = |rate: f64| {
            let target = target(rate);
            (0..10_000).filter(|time_us| target.samples(&[Some(Value::Int(1))], &[], *time_us)).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&sampled(0.1)), "{}", sampled(0.1));
        assert_eq!(sampled(0.1), sampled(0.1));
    }

    #[tokio::test]
    async fn what_waits_is_written_and_what_does_not_fit_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let offline = OfflineStore::open(folder.path()).unwrap();
        let (log, target) = (RequestLog::default(), target(1.0));
        log.push(&target, (0..3).map(vector).collect());
        log.flush(&offline).await.unwrap();
        log.flush(&offline).await.unwrap();
        log.push(&target, (0..MOST_QUEUED as i64 + 5).map(vector).collect());
        assert_eq!(target.metrics.log_counts(), (MOST_QUEUED as u64 + 3, 5));
        log.flush(&offline).await.unwrap();
        let stored = offline.table(&target.table).await.unwrap().unwrap();
        assert_eq!(stored.files.iter().map(|file| file.rows).sum::<u64>(), MOST_QUEUED as u64 + 3);
    }
}
