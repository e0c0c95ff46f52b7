//! What every connected client does now: kept by the sessions, read by `pg_stat_activity`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use granary_catalog::ObjectId;
use tokio_util::sync::CancellationToken;

/// As much of a statement's text as is kept, in characters.
const MOST_OF_A_QUERY: usize = 1024;

/// The connected clients by process id.
#[derive(Debug, Default)]
pub struct Activity(Mutex<BTreeMap<i32, Arc<Mutex<ClientActivity>>>>);

/// A client and its statement: the running one, or the last.
#[derive(Debug, Clone)]
pub struct ClientActivity {
    pub workspace: ObjectId,
    pub database: String,
    pub user: String,
    /// the client's address
    pub client: String,
    pub application_name: String,
    /// as PostgreSQL names it, such as `active`
    pub state: &'static str,
    pub query: Arc<str>,
    pub connected_us: i64,
    pub query_start_us: Option<i64>,
    pub state_change_us: i64,
    /// stops what runs
    pub running: Option<CancellationToken>,
    /// ends the connection
    pub ended: CancellationToken,
}

/// A client's entry; it is gone with its session.
#[derive(Debug)]
pub struct ActivityEntry {
    activity: Arc<Activity>,
    process_id: i32,
    /// locked by itself: clients do not wait for each other
    client: Arc<Mutex<ClientActivity>>,
}

impl Activity {
    pub fn enter(self: &Arc<Self>, process_id: i32, client: ClientActivity) -> ActivityEntry {
        let client = Arc::new(Mutex::new(client));
        self.clients().insert(process_id, Arc::clone(&client));
        ActivityEntry { activity: Arc::clone(self), process_id, client }
    }

    pub fn all(&self) -> Vec<(i32, ClientActivity)> {
        self.clients().iter().map(|(process_id, client)| (*process_id, lock(client).clone())).collect()
    }

    /// A client of that process id.
    pub fn of(&self, process_id: i32) -> Option<ClientActivity> {
        self.clients().get(&process_id).map(|client| lock(client).clone())
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Mutex<ClientActivity>>>> {
        lock(&self.0)
    }
}

impl ActivityEntry {
    /// A statement begins, which `token` stops; without one it is only prepared, and who stops it then stops what runs of it.
    pub fn begin(&self, query: &Arc<str>, now_us: i64, token: Option<&CancellationToken>) {
        self.change("active", now_us, |client| {
            client.query = match query.len() <= MOST_OF_A_QUERY {
                true => Arc::clone(query),
                false => query.chars().take(MOST_OF_A_QUERY).collect::<String>().into(),
            };
            client.query_start_us = Some(now_us);
            let stopped_before = client.running.take().is_some_and(|running| running.is_cancelled());
            if let Some(token) = token.filter(|_| stopped_before) {
                token.cancel();
            }
            client.running = Some(token.cloned().unwrap_or_default());
        });
    }

    /// The client has its answer, and the next word.
    pub fn rest(&self, state: &'static str, application_name: &str, now_us: i64) {
        self.change(state, now_us, |client| {
            client.running = None;
            if client.application_name != application_name {
                application_name.clone_into(&mut client.application_name);
            }
        });
    }

    fn change(&self, state: &'static str, now_us: i64, change: impl FnOnce(&mut ClientActivity)) {
        let mut client = lock(&self.client);
        client.state = state;
        client.state_change_us = now_us;
        change(&mut client);
    }
}

impl Drop for ActivityEntry {
    fn drop(&mut self) {
        self.activity.clients().remove(&self.process_id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
