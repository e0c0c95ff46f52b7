//! Alerts at work: those of live workspaces are evaluated when they are due, and what they tell is delivered, again and again
//! until it is taken. Rules and records are in `alerts`, evaluation in `statement`; what to wait for is decided here.
//!
//! Alerts of development workspaces are not looked at by themselves: nothing else happens there by itself either, and a copy
//! of an alert must not tell people of what a copy of a workspace lacks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{Alert, AlertAction, ObjectId, Snapshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::alerts::{Delivery, DeliveryState, Message};
use crate::error::{Error, Kind, Result};
use crate::outbound::{HttpClient, Letter, Mailer, OutboundConfig, Post};
use crate::statement;
use crate::time::{Stopwatch, until};
use crate::warehouse::{Notification, Warehouse};

/// So often it looks, if nobody tells it anything: also at a clock that was set.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Conditions that are evaluated at a time: they are queries, beside those of clients.
const MOST_CHECKS: usize = 4;
/// Deliveries at a time.
const MOST_DELIVERIES: usize = 16;
/// At the end of the server so long is waited for those that are under way. Others are made after the next start.
const LAST_DELIVERIES: Duration = Duration::from_secs(3);
/// Longer payloads are refused by NOTIFY.
const LONGEST_PAYLOAD: usize = 7999;
/// So long a request's body may be.
const LONGEST_BODY: usize = 256 << 10;

/// By whom things are delivered.
#[derive(Debug)]
pub struct Couriers {
    /// why there is none, if there is none
    http: std::result::Result<HttpClient, String>,
    mail: Option<Mailer>,
}

impl Couriers {
    /// Errors: `InvalidParameterValue` for a mail server or a sender that does not read.
    pub fn new(config: OutboundConfig) -> Result<Couriers> {
        let mail = match (&config.smtp_url, &config.smtp_from) {
            (Some(url), Some(from)) => Some(Mailer::new(url, from)?),
            (Some(_), None) => {
                let message = "mails need a sender";
                return Err(Error::new(Kind::InvalidParameterValue, message)
                    .with_hint("set smtp_from, or --smtp-from granary@example.com"));
            }
            (None, _) => None,
        };
        let http = HttpClient::new(config.hosts).map_err(|error| error.to_string());
        Ok(Couriers { http, mail })
    }

    pub fn sends_mail(&self) -> bool {
        self.mail.is_some()
    }
}

/// Runs until `shutdown`.
pub async fn run(warehouse: Arc<Warehouse>, couriers: Couriers, shutdown: CancellationToken) {
    let mut attendant = Attendant {
        couriers: Arc::new(couriers),
        snapshot: None,
        alerts: BTreeMap::new(),
        looked: HashMap::new(),
        stopwatch: Stopwatch::start(),
        checks: JoinSet::new(),
        checking: HashMap::new(),
        deliveries: JoinSet::new(),
        delivering: HashMap::new(),
        warehouse,
    };
    loop {
        let wait = attendant.step();
        let warehouse = Arc::clone(&attendant.warehouse);
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = attendant.checks.join_next_with_id(), if !attendant.checks.is_empty() => {
                if let Some(alert) = attendant.checking.remove(&task_of(&ended, "the evaluation of an alert")) {
                    attendant.note_look(alert);
                }
            }
            Some(ended) = attendant.deliveries.join_next_with_id(), if !attendant.deliveries.is_empty() => {
                attendant.delivering.remove(&task_of(&ended, "a delivery of an alert"));
            }
            () = warehouse.alerts.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    attendant.checks.shutdown().await;
    let under_way = async { while attendant.deliveries.join_next().await.is_some() {} };
    // what is not noted as delivered is delivered again
    let _ = tokio::time::timeout(LAST_DELIVERIES, under_way).await;
    attendant.deliveries.shutdown().await;
}

fn task_of(ended: &std::result::Result<(Id, ()), JoinError>, what: &str) -> Id {
    match ended {
        Ok((task, ())) => *task,
        Err(error) => {
            tracing::error!(%error, "{what} died");
            error.id()
        }
    }
}

struct Attendant {
    warehouse: Arc<Warehouse>,
    couriers: Arc<Couriers>,
    snapshot: Option<Arc<Snapshot>>,
    /// of live workspaces, that are not paused
    alerts: BTreeMap<ObjectId, Arc<Alert>>,
    /// which definition of an alert was looked at last, and when, by a clock that nobody sets
    looked: HashMap<ObjectId, (Arc<Alert>, Duration)>,
    stopwatch: Stopwatch,
    checks: JoinSet<()>,
    checking: HashMap<Id, ObjectId>,
    deliveries: JoinSet<()>,
    delivering: HashMap<Id, (u64, usize)>,
}

impl Attendant {
    /// Begins what is due; gives how long nothing else is.
    fn step(&mut self) -> Duration {
        self.read_catalog();
        let now_us = self.warehouse.clock.now_us();
        let wake_us = [self.begin_checks(now_us), self.begin_deliveries(now_us)].into_iter().flatten().min();
        until(now_us, wake_us, LOOK_INTERVAL)
    }

    fn read_catalog(&mut self) {
        let snapshot = self.warehouse.catalog.snapshot();
        if self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, &snapshot)) {
            return;
        }
        let is_watched = |alert: &&Alert| !alert.paused && snapshot.is_live(alert.header.home.workspace());
        let watched = snapshot.all::<Alert>().into_iter().filter(is_watched);
        self.alerts = watched.map(|alert| (alert.header.id, Arc::new(alert.clone()))).collect();
        let looked = std::mem::take(&mut self.looked);
        let is_same = |(id, (alert, _)): &(ObjectId, (Arc<Alert>, _))| self.alerts.get(id) == Some(alert);
        self.looked = looked.into_iter().filter(is_same).collect();
        let ids: HashSet<u64> = snapshot.all::<Alert>().into_iter().map(|alert| alert.header.id.0).collect();
        if let Err(error) = self.warehouse.alerts.retain(|alert| ids.contains(&alert)) {
            tracing::warn!(%error, "alerts that are gone could not be forgotten");
        }
        self.snapshot = Some(snapshot);
    }

    fn note_look(&mut self, id: ObjectId) {
        if let Some(alert) = self.alerts.get(&id) {
            self.looked.insert(id, (Arc::clone(alert), self.stopwatch.elapsed()));
        }
    }

    /// When an alert is to be looked at. One that this server has not looked at as it is now is looked at at once: its
    /// repeats keep their distance by what was told.
    fn due_us(&self, id: ObjectId, alert: &Alert, now_us: i64) -> i64 {
        let Some((_, at)) = self.looked.get(&id) else { return now_us };
        let since = self.stopwatch.elapsed().saturating_sub(*at);
        let since_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        now_us.saturating_add(alert.check_every_us.saturating_sub(since_us))
    }

    fn begin_checks(&mut self, now_us: i64) -> Option<i64> {
        let checking: HashSet<ObjectId> = self.checking.values().copied().collect();
        let mut due: Vec<(i64, ObjectId)> = self
            .alerts
            .iter()
            .filter(|(id, _)| !checking.contains(id))
            .map(|(id, alert)| (self.due_us(*id, alert, now_us), *id))
            .collect();
        due.sort_unstable();
        for (due_us, id) in due {
            if due_us > now_us {
                return Some(due_us);
            }
            if self.checks.len() >= MOST_CHECKS {
                // the end of one of them wakes
                return None;
            }
            let Some(alert) = self.alerts.get(&id).cloned() else { continue };
            let warehouse = Arc::clone(&self.warehouse);
            let check = async move {
                if let Err(error) = statement::evaluate_alert(&warehouse, &alert).await {
                    tracing::error!(alert = alert.header.name, %error, "what an alert has found could not be noted");
                }
            };
            let task = self.checks.spawn(check);
            self.checking.insert(task.id(), id);
        }
        None
    }

    fn begin_deliveries(&mut self, now_us: i64) -> Option<i64> {
        let delivering: HashSet<(u64, usize)> = self.delivering.values().copied().collect();
        let mut wake_us: Option<i64> = None;
        for delivery in self.warehouse.alerts.first_pending() {
            let to = (delivery.alert, delivery.action);
            if delivering.contains(&to) {
                continue;
            }
            let due_us = delivery.due_us(now_us);
            if due_us > now_us {
                wake_us = Some(wake_us.map_or(due_us, |wake_us| wake_us.min(due_us)));
                continue;
            }
            if self.deliveries.len() >= MOST_DELIVERIES {
                break;
            }
            let (warehouse, couriers) = (Arc::clone(&self.warehouse), Arc::clone(&self.couriers));
            let task = self.deliveries.spawn(async move { attempt(&warehouse, &couriers, &delivery).await });
            self.delivering.insert(task.id(), to);
        }
        wake_us
    }
}

/// One attempt, and a note of it.
async fn attempt(warehouse: &Warehouse, couriers: &Couriers, delivery: &Delivery) {
    debug_assert_eq!(delivery.state, DeliveryState::Pending);
    let snapshot = warehouse.catalog.snapshot();
    let alert = snapshot.get_as::<Alert>(ObjectId(delivery.alert));
    let action = alert.and_then(|alert| alert.actions.get(delivery.action));
    let action = action.filter(|action| action.as_str() == delivery.kind);
    let workspace = alert.and_then(|alert| alert.header.home.workspace());
    let (outcome, may_retry) = match (action, workspace, &delivery.message) {
        (Some(action), Some(workspace), Some(message)) => {
            let work = deliver(warehouse, couriers, (action, workspace), (delivery, message));
            (work.await.map_err(|error| error.to_string()), true)
        }
        _ => (Err("the alert has no such action any more".to_owned()), false),
    };
    if let Err(error) = &outcome {
        let alert = alert.map_or("", |alert| alert.header.name.as_str());
        tracing::warn!(
            alert,
            event = delivery.event.as_str(),
            target = delivery.target,
            error,
            "an alert was not delivered"
        );
    }
    let now_us = warehouse.clock.now_us();
    if let Err(error) = warehouse.alerts.attempted(delivery.id, outcome, may_retry, now_us) {
        tracing::error!(%error, "the delivery of an alert could not be noted, and will be made again");
    }
}

async fn deliver(
    warehouse: &Warehouse,
    couriers: &Couriers,
    (action, workspace): (&AlertAction, ObjectId),
    (delivery, message): (&Delivery, &Message),
) -> Result<()> {
    let key = delivery.key();
    match action {
        AlertAction::Webhook { url, headers, .. } => {
            let client = couriers.http.as_ref().map_err(|error| Error::new(Kind::IoError, error.as_str()))?;
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
            let (headers, body) = (headers.collect::<Vec<_>>(), message.json_within(&key, LONGEST_BODY));
            let content_type = "application/json";
            client.post(Post { url: url.expose(), headers: &headers, content_type, body: body.as_bytes() }).await
        }
        AlertAction::Email { to } => {
            let Some(mailer) = &couriers.mail else {
                return Err(Error::new(Kind::ObjectNotInPrerequisiteState, "this server has no mail server")
                    .with_hint("granary serve --smtp-url … --smtp-from …"));
            };
            let (subject, text) = (message.subject(), message.text());
            mailer.send(Letter { to, subject: &subject, text: &text, id: &key }).await
        }
        AlertAction::Notify { channel } => {
            warehouse.channels.check_room(workspace, channel)?;
            let payload = message.json_within(&key, LONGEST_PAYLOAD);
            warehouse.channels.send(workspace, &Notification { process_id: 0, channel: channel.clone(), payload });
            Ok(())
        }
    }
}
