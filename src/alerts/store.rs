//! The file of alerts: what is known of each, and what was and is to be told. A state and what it has to tell are one write;
//! so a restart finds both, and what was on its way is sent again.
//!
//! All of it is in memory, too: what is kept of an alert is little, and old deliveries go.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::message::Message;
use super::state::{AlertState, Event, LONGEST_WAIT_US, next_attempt_us};
use crate::error::Result;
use crate::store_file::{CopyTables, FileImage, Records, copy_table};

/// By alert.
const STATES: TableDefinition<u64, &[u8]> = TableDefinition::new("states");
/// By number.
const DELIVERIES: TableDefinition<u64, &[u8]> = TableDefinition::new("deliveries");
const RECORDS: Records = Records { one: "an alert", many: "alerts", format: 1 };
const CACHE_BYTES: usize = 1 << 20;
/// Deliveries of an alert that have ended are kept, the newest of them.
const KEPT_DELIVERIES: usize = 200;
/// So many wait for one action at most: the oldest are given up.
const MOST_WAITING: usize = 100;

/// One thing that one action of an alert is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    #[serde(skip)]
    pub id: u64,
    pub alert: u64,
    pub event: Event,
    /// its place among the alert's
    pub action: usize,
    pub kind: String,
    /// whom it tells, without secrets
    pub target: String,
    pub created_us: i64,
    pub state: DeliveryState,
    pub attempts: u32,
    pub attempted_us: Option<i64>,
    /// while it is pending
    pub next_attempt_us: Option<i64>,
    /// of the last attempt, if that has failed
    pub error: Option<String>,
    /// while it is pending
    pub message: Option<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// it is not tried any more
    Failed,
}

impl DeliveryState {
    pub const fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        }
    }
}

/// What an action is to be told.
#[derive(Debug, Clone)]
pub struct Telling {
    pub action: usize,
    pub kind: &'static str,
    pub target: String,
    /// it was told the like before: it is left out while that waits
    pub is_repeated: bool,
    pub message: Message,
}

/// See the module.
pub struct AlertStore {
    path: PathBuf,
    database: Database,
    known: Mutex<Known>,
    /// held, by alert, while it is evaluated
    checking: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// told when there is something to look at or to deliver
    pub changed: Notify,
    /// whether the server has been told of a mail server
    pub sends_mail: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    states: BTreeMap<u64, AlertState>,
    deliveries: BTreeMap<u64, Delivery>,
    /// the next delivery's number: none is used twice
    next: u64,
}

impl std::fmt::Debug for AlertStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl AlertStore {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<AlertStore> {
        let failed = |error: redb::Error| RECORDS.error(path, error);
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| failed(error.into()))?;
        type Stored = Vec<(u64, Vec<u8>)>;
        let read = || -> std::result::Result<(Stored, Stored), redb::Error> {
            let transaction = database.begin_write()?;
            transaction.open_table(STATES)?;
            transaction.open_table(DELIVERIES)?;
            transaction.commit()?;
            let transaction = database.begin_read()?;
            let mut found = (Vec::new(), Vec::new());
            for entry in transaction.open_table(STATES)?.iter()? {
                let (key, value) = entry?;
                found.0.push((key.value(), value.value().to_vec()));
            }
            for entry in transaction.open_table(DELIVERIES)?.iter()? {
                let (key, value) = entry?;
                found.1.push((key.value(), value.value().to_vec()));
            }
            Ok(found)
        };
        let (states, deliveries) = read().map_err(failed)?;
        let mut known = Known { next: deliveries.last().map_or(1, |(id, _)| id.saturating_add(1)), ..Known::default() };
        for (alert, bytes) in states {
            known.states.insert(alert, RECORDS.decode(path, &bytes)?);
        }
        for (id, bytes) in deliveries {
            known.deliveries.insert(id, Delivery { id, ..RECORDS.decode(path, &bytes)? });
        }
        Ok(AlertStore {
            path: path.to_owned(),
            database,
            known: Mutex::new(known),
            checking: Mutex::default(),
            changed: Notify::new(),
            sends_mail: AtomicBool::new(false),
        })
    }

    /// The states and deliveries as they are now.
    pub fn image(&self) -> Result<FileImage> {
        let copy: CopyTables =
            |from, into| copy_table(from, STATES, into).and_then(|()| copy_table(from, DELIVERIES, into));
        FileImage::take(&self.path, &self.database, copy, |path, error| RECORDS.error(path, error))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be locked by who evaluates an alert, up to [`AlertStore::record`]: one at a time.
    pub fn checking(&self, alert: u64) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.checking.lock().unwrap_or_else(PoisonError::into_inner).entry(alert).or_default())
    }

    pub fn state(&self, alert: u64) -> AlertState {
        self.known().states.get(&alert).cloned().unwrap_or_default()
    }

    /// Deliveries in the order in which they were to be made.
    pub fn deliveries(&self, alert: u64) -> Vec<Delivery> {
        self.known().deliveries.values().filter(|delivery| delivery.alert == alert).cloned().collect()
    }

    /// The first that waits for each action of each alert: later ones wait for it.
    pub fn first_pending(&self) -> Vec<Delivery> {
        let known = self.known();
        let mut first: BTreeMap<(u64, usize), &Delivery> = BTreeMap::new();
        for delivery in known.deliveries.values().filter(|delivery| delivery.state == DeliveryState::Pending) {
            first.entry((delivery.alert, delivery.action)).or_insert(delivery);
        }
        first.into_values().cloned().collect()
    }

    /// What an evaluation has made of an alert, and what is to be told. Durable, but for when it was looked at.
    pub fn record(&self, alert: u64, state: AlertState, tellings: Vec<Telling>, now_us: i64) -> Result<()> {
        let mut known = self.known();
        let is_news = known.states.get(&alert).is_none_or(|before| !before.is_same_but_checked(&state));
        if !is_news && tellings.is_empty() {
            known.states.insert(alert, state);
            return Ok(());
        }
        let (mut put, mut next) = (Vec::new(), known.next);
        for telling in tellings {
            let Telling { action, kind, target, is_repeated, message } = telling;
            let waits = |delivery: &&Delivery| {
                delivery.alert == alert && delivery.action == action && delivery.state == DeliveryState::Pending
            };
            let mut waiting = known.deliveries.values().filter(waits);
            if is_repeated && waiting.next().is_some() {
                continue;
            }
            let n_waiting = known.deliveries.values().filter(waits).count();
            let too_many = (n_waiting + 1).saturating_sub(MOST_WAITING);
            put.extend(known.deliveries.values().filter(waits).take(too_many).map(|old| Delivery {
                state: DeliveryState::Failed,
                next_attempt_us: None,
                message: None,
                error: Some("too much was waiting to be delivered".to_owned()),
                ..old.clone()
            }));
            put.push(Delivery {
                id: next,
                alert,
                event: message.event,
                action,
                kind: kind.to_owned(),
                target,
                created_us: now_us,
                state: DeliveryState::Pending,
                attempts: 0,
                attempted_us: None,
                next_attempt_us: Some(now_us),
                error: None,
                message: Some(message),
            });
            next += 1;
        }
        let ended = known.deliveries.values().filter(|old| old.alert == alert && old.state != DeliveryState::Pending);
        let ended: Vec<u64> = ended.map(|old| old.id).collect();
        let beyond = ended.len().saturating_sub(KEPT_DELIVERIES);
        let gone = &ended[..beyond];
        self.write(Some((alert, &state)), &put, gone)?;
        known.states.insert(alert, state);
        gone.iter().for_each(|id| drop(known.deliveries.remove(id)));
        known.deliveries.extend(put.into_iter().map(|delivery| (delivery.id, delivery)));
        known.next = next;
        drop(known);
        self.changed.notify_one();
        Ok(())
    }

    /// What became of an attempt to deliver. One that cannot succeed later is not tried again.
    pub fn attempted(
        &self,
        id: u64,
        outcome: std::result::Result<(), String>,
        may_retry: bool,
        now_us: i64,
    ) -> Result<()> {
        let mut known = self.known();
        let Some(before) = known.deliveries.get(&id) else { return Ok(()) };
        let attempts = before.attempts.saturating_add(1);
        let mut after = Delivery { attempts, attempted_us: Some(now_us), next_attempt_us: None, ..before.clone() };
        (after.state, after.error) = match outcome {
            Ok(()) => (DeliveryState::Delivered, None),
            Err(error) => {
                after.next_attempt_us = next_attempt_us(before.created_us, attempts, now_us).filter(|_| may_retry);
                let is_over = after.next_attempt_us.is_none();
                (if is_over { DeliveryState::Failed } else { DeliveryState::Pending }, Some(error))
            }
        };
        if after.state != DeliveryState::Pending {
            after.message = None;
        }
        self.write(None, std::slice::from_ref(&after), &[])?;
        known.deliveries.insert(id, after);
        Ok(())
    }

    /// Forgets alerts that `is_known` denies, and what was to be told of them.
    pub fn retain(&self, is_known: impl Fn(u64) -> bool) -> Result<()> {
        let mut known = self.known();
        let alerts: Vec<u64> = known.states.keys().copied().filter(|alert| !is_known(*alert)).collect();
        let of_others = known.deliveries.values().filter(|delivery| !is_known(delivery.alert));
        let gone: Vec<u64> = of_others.map(|delivery| delivery.id).collect();
        if alerts.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let write = || -> std::result::Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut states = transaction.open_table(STATES)?;
                for alert in &alerts {
                    states.remove(alert)?;
                }
                let mut deliveries = transaction.open_table(DELIVERIES)?;
                for id in &gone {
                    deliveries.remove(id)?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| RECORDS.error(&self.path, error))?;
        alerts.iter().for_each(|alert| drop(known.states.remove(alert)));
        gone.iter().for_each(|id| drop(known.deliveries.remove(id)));
        self.checking.lock().unwrap_or_else(PoisonError::into_inner).retain(|alert, _| is_known(*alert));
        Ok(())
    }

    fn write(&self, state: Option<(u64, &AlertState)>, put: &[Delivery], gone: &[u64]) -> Result<()> {
        let state = state.map(|(alert, state)| RECORDS.encode(state).map(|state| (alert, state))).transpose()?;
        let put =
            put.iter().map(|delivery| Ok((delivery.id, RECORDS.encode(delivery)?))).collect::<Result<Vec<_>>>()?;
        let write = || -> std::result::Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                if let Some((alert, state)) = &state {
                    transaction.open_table(STATES)?.insert(alert, state.as_slice())?;
                }
                let mut deliveries = transaction.open_table(DELIVERIES)?;
                for id in gone {
                    deliveries.remove(id)?;
                }
                for (id, delivery) in &put {
                    deliveries.insert(id, delivery.as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| RECORDS.error(&self.path, error))
    }
}

impl Delivery {
    /// What receivers may know it by, if it comes twice.
    pub fn key(&self) -> String {
        format!("{}-{}", self.alert, self.id)
    }

    /// When it is to be tried; at once if the clock was set back since that was said.
    pub fn due_us(&self, now_us: i64) -> i64 {
        let due_us = self.next_attempt_us.unwrap_or(i64::MAX);
        if due_us.saturating_sub(now_us) > LONGEST_WAIT_US { now_us } else { due_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Phase;

    fn telling(event: Event) -> Telling {
        let message = Message {
            event,
            workspace: "w".to_owned(),
            schema: "public".to_owned(),
            alert: "a".to_owned(),
            severity: "info".to_owned(),
            condition: "true".to_owned(),
            description: None,
            since_us: None,
            at_us: 0,
            times_told: 1,
            rows: Vec::new(),
            n_rows: 0,
            error: None,
        };
        let is_repeated = event == Event::Repeated;
        Telling { action: 0, kind: "webhook", target: "https://h".to_owned(), is_repeated, message }
    }

    fn firing() -> AlertState {
        AlertState { phase: Phase::Firing, told_us: Some(5), times_told: 1, ..AlertState::default() }
    }

    #[test]
    fn what_is_to_be_told_outlives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.redb");
        let store = AlertStore::open(&path).expect("opens");
        store.record(7, firing(), vec![telling(Event::Firing)], 5).expect("records");
        store.record(7, firing(), vec![telling(Event::Resolved)], 6).expect("records");
        let first = store.first_pending();
        assert_eq!(first.iter().map(|delivery| delivery.event).collect::<Vec<_>>(), [Event::Firing]);
        store.attempted(first[0].id, Err("nobody listens".to_owned()), true, 6).expect("records");
        drop(store);
        let store = AlertStore::open(&path).expect("opens again");
        assert_eq!(store.state(7), firing());
        let first = store.first_pending().pop().expect("it still waits");
        assert_eq!((first.attempts, first.next_attempt_us), (1, Some(1_000_006)));
        assert_eq!(first.error.as_deref(), Some("nobody listens"));
        store.attempted(first.id, Ok(()), true, 7).expect("records");
        let last = store.first_pending().pop().expect("the next waits");
        assert_eq!(last.event, Event::Resolved);
        store.attempted(last.id, Err("no such action".to_owned()), false, 7).expect("records");
        assert_eq!(store.first_pending(), []);
        let states: Vec<DeliveryState> = store.deliveries(7).iter().map(|delivery| delivery.state).collect();
        assert_eq!(states, [DeliveryState::Delivered, DeliveryState::Failed]);
        store.retain(|_| false).expect("forgets");
        drop(store);
        let store = AlertStore::open(&path).expect("opens again");
        assert_eq!((store.state(7), store.deliveries(7)), (AlertState::default(), Vec::new()));
    }

    #[test]
    fn a_receiver_that_is_away_does_not_pile_up_messages() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = AlertStore::open(&folder.path().join("alerts.redb")).expect("opens");
        store.record(7, firing(), vec![telling(Event::Firing)], 0).expect("records");
        store.record(7, firing(), vec![telling(Event::Repeated)], 0).expect("records");
        assert_eq!(store.deliveries(7).len(), 1);
        for _ in 0..3 * MOST_WAITING {
            store.record(7, firing(), vec![telling(Event::Resolved)], 0).expect("records");
        }
        let waiting = store.deliveries(7).into_iter().filter(|delivery| delivery.state == DeliveryState::Pending);
        assert_eq!(waiting.count(), MOST_WAITING);
        assert!(store.deliveries(7).len() <= MOST_WAITING + KEPT_DELIVERIES + 1);
    }
}
