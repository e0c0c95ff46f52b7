//! One client's two directions together: sending with back-pressure, and working while listening whether the client
//! is still there and whether the server still runs.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::cancel::canceled_by_user;
use super::input::Inbox;
use super::output::Outbox;
use super::tls::{Channel, Writing};
use crate::error::Error;

pub struct Link {
    pub inbox: Inbox,
    pub out: Outbox,
    pub socket: Writing,
    /// the server's patience is over, or somebody ended this connection: nothing is finished any more
    pub hard_stop: CancellationToken,
}

/// Why a message was not answered to its end.
#[derive(Debug)]
pub enum Failure {
    /// the client is told, the connection goes on
    Statement(Error),
    /// nobody is there to be told
    Gone,
    /// the server stops
    Shutdown,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Statement(error)
    }
}

pub type Outcome<T> = Result<T, Failure>;

/// How long a last message may take to leave, and what the client still says is listened to after it.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Link {
    pub fn new(channel: Channel, hard_stop: CancellationToken) -> Self {
        let inbox = Inbox::new(channel.reading, &channel.before);
        Link { inbox, out: Outbox::default(), socket: channel.writing, hard_stop }
    }

    /// Sends what is waiting. `token`: that of the statement which produced it, if it shall not wait for ever.
    pub async fn flush(&mut self, token: Option<&CancellationToken>) -> Outcome<()> {
        while !self.out.is_empty() {
            let canceled = async {
                match token {
                    Some(token) => token.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                written = self.out.write_some(&mut self.socket) => written.map_err(|_| Failure::Gone)?,
                () = self.hard_stop.cancelled() => return Err(Failure::Shutdown),
                () = canceled => return Err(self.interruption()),
                () = self.inbox.gone() => return Err(Failure::Gone),
            }
        }
        Ok(())
    }

    /// Does `work` to its end, but cancels `token` when the client leaves or the server stops.
    pub async fn attend<T>(&mut self, token: &CancellationToken, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.hard_stop.cancelled(), if !token.is_cancelled() => token.cancel(),
                () = self.inbox.gone(), if !token.is_cancelled() => token.cancel(),
            }
        }
    }

    /// Like [`Link::attend`], but drops the work as soon as `token` is cancelled.
    pub async fn attend_or_drop<T>(&mut self, token: &CancellationToken, work: impl Future<Output = T>) -> Outcome<T> {
        let droppable = async {
            tokio::select! {
                biased;
                () = token.cancelled() => None,
                done = work => Some(done),
            }
        };
        self.attend(token, droppable).await.ok_or_else(|| self.interruption())
    }

    /// What a cancelled statement ends with.
    pub fn interruption(&self) -> Failure {
        if self.inbox.is_gone() {
            Failure::Gone
        } else if self.hard_stop.is_cancelled() {
            Failure::Shutdown
        } else {
            Failure::Statement(canceled_by_user())
        }
    }

    /// Sends what is waiting and closes. What the client still says is read, since closing with unread bytes makes
    /// the network drop the last words.
    pub async fn close(mut self) {
        let last_words = async {
            while !self.out.is_empty() {
                if self.out.write_some(&mut self.socket).await.is_err() {
                    return;
                }
            }
            if self.socket.shutdown().await.is_ok() {
                self.inbox.drain().await;
            }
        };
        // whoever does not listen for so long is closed on
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    }
}
