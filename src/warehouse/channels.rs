//! LISTEN and NOTIFY: which sessions listen to which channels, and what they are told. Nothing of it is kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use granary_catalog::ObjectId;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::{Error, Kind, Result};

/// What a session that does not read may have waiting for it.
const MOST_WAITING: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// of the session that sent it
    pub process_id: i32,
    pub channel: String,
    pub payload: String,
}

/// The channels of all workspaces.
#[derive(Debug, Default)]
pub struct Channels(Mutex<Listeners>);

/// By workspace and channel the sessions that listen.
type Listeners = HashMap<(ObjectId, String), HashMap<i32, Sender<Notification>>>;

impl Channels {
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errors: `TooManyNotifications` if somebody who listens does not read.
    pub fn check_room(&self, workspace: ObjectId, channel: &str) -> Result<()> {
        let listeners = self.listeners();
        let is_full = listeners
            .get(&(workspace, channel.to_owned()))
            .is_some_and(|known| known.values().any(|sender| !sender.is_closed() && sender.capacity() == 0));
        if is_full {
            return Err(Error::new(Kind::TooManyNotifications, "too many notifications in the NOTIFY queue"));
        }
        Ok(())
    }

    pub fn send(&self, workspace: ObjectId, notification: &Notification) {
        let listeners = self.listeners();
        for sender in listeners.get(&(workspace, notification.channel.clone())).into_iter().flat_map(HashMap::values) {
            if sender.try_send(notification.clone()).is_err() {
                tracing::warn!(channel = notification.channel, "a notification was lost: its listener does not read");
            }
        }
    }
}

/// What one session listens to. It stops when it is dropped.
#[derive(Debug)]
pub struct Listener {
    channels: Arc<Channels>,
    workspace: ObjectId,
    process_id: i32,
    names: BTreeSet<String>,
    sender: Sender<Notification>,
    receiver: Receiver<Notification>,
}

impl Listener {
    pub fn new(channels: &Arc<Channels>, workspace: ObjectId, process_id: i32) -> Listener {
        let (sender, receiver) = channel(MOST_WAITING);
        Listener { channels: Arc::clone(channels), workspace, process_id, names: BTreeSet::new(), sender, receiver }
    }

    pub fn listen(&mut self, name: &str) {
        let mut listeners = self.channels.listeners();
        listeners.entry((self.workspace, name.to_owned())).or_default().insert(self.process_id, self.sender.clone());
        self.names.insert(name.to_owned());
    }

    /// `None`: all that it listens to.
    pub fn unlisten(&mut self, name: Option<&str>) {
        let names: Vec<String> =
            self.names.iter().filter(|known| name.is_none_or(|name| *known == name)).cloned().collect();
        let mut listeners = self.channels.listeners();
        for name in names {
            self.names.remove(&name);
            let key = (self.workspace, name);
            if let Some(known) = listeners.get_mut(&key) {
                known.remove(&self.process_id);
                if known.is_empty() {
                    listeners.remove(&key);
                }
            }
        }
    }

    /// What has come; None if nothing has.
    pub fn take(&mut self) -> Option<Notification> {
        self.receiver.try_recv().ok()
    }

    /// Waits for the next; for ever, if nobody sends one.
    pub async fn next(&mut self) -> Notification {
        match self.receiver.recv().await {
            Some(notification) => notification,
            // it holds a sender itself
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.unlisten(None);
    }
}
