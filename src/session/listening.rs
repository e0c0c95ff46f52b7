//! LISTEN, UNLISTEN and NOTIFY: they take effect when their transaction is committed.

use sqlparser::ast;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::statement::Response;
use crate::warehouse::{Listener, Notification};

/// PostgreSQL's limit of a payload, in bytes.
const LONGEST_PAYLOAD: usize = 7999;

/// What a statement wants of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Listen(String),
    /// None: all channels
    Unlisten(Option<String>),
    Notify {
        channel: String,
        payload: String,
    },
}

/// What a statement wants of a channel, and its command tag.
pub fn wish_of(statement: &ast::Statement) -> Option<(Wish, &'static str)> {
    let fold = granary_sql::name::fold;
    Some(match statement {
        ast::Statement::LISTEN { channel } => (Wish::Listen(fold(channel)), "LISTEN"),
        ast::Statement::UNLISTEN { channel } => {
            let is_all = channel.quote_style.is_none() && channel.value == "*";
            (Wish::Unlisten((!is_all).then(|| fold(channel))), "UNLISTEN")
        }
        ast::Statement::NOTIFY { channel, payload } => {
            let (channel, payload) = (fold(channel), payload.clone().unwrap_or_default());
            (Wish::Notify { channel, payload }, "NOTIFY")
        }
        _ => return None,
    })
}

impl Session {
    pub(super) fn speak(&mut self, wish: Wish, tag: &str) -> Result<Response> {
        if let Wish::Notify { channel, payload } = &wish {
            if payload.len() > LONGEST_PAYLOAD {
                return Err(Error::new(Kind::InvalidParameterValue, "payload string too long"));
            }
            self.warehouse.channels.check_room(self.workspace, channel)?;
        }
        if self.transaction.is_open() {
            self.transaction.wish(wish);
        } else {
            self.fulfil(vec![wish]);
        }
        Ok(Response::done(tag))
    }

    /// Once the transaction in which they were said is committed.
    pub(super) fn fulfil(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Listen(channel) => {
                    let (channels, workspace, process_id) = (&self.warehouse.channels, self.workspace, self.process_id);
                    let listener = self.listener.get_or_insert_with(|| Listener::new(channels, workspace, process_id));
                    listener.listen(&channel);
                }
                Wish::Unlisten(channel) => {
                    if let Some(listener) = &mut self.listener {
                        listener.unlisten(channel.as_deref());
                    }
                }
                Wish::Notify { channel, payload } => {
                    let notification = Notification { process_id: self.process_id, channel, payload };
                    self.warehouse.channels.send(self.workspace, &notification);
                }
            }
        }
    }

    /// What has come on the channels that it listens to, and has not been taken.
    pub fn take_notification(&mut self) -> Option<Notification> {
        self.listener.as_mut()?.take()
    }

    /// Waits for the next; for ever, if it listens to nothing.
    pub async fn notified(&mut self) -> Notification {
        match &mut self.listener {
            Some(listener) => listener.next().await,
            None => std::future::pending().await,
        }
    }
}
