//! The modes of a transaction: what it sees of others, and whether it only reads; and its savepoints' rules.

use granary_sql::Statement;
use sqlparser::ast;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::statement::{Isolation, writing_word};

impl Session {
    /// BEGIN, with the modes that it says or those that are the session's default.
    pub(super) fn begin_block(&mut self, modes: &[ast::TransactionMode]) -> Result<()> {
        let now_us = self.warehouse.clock.now_us();
        if !self.transaction.begin(now_us) {
            self.warn(Kind::ActiveTransaction, "there is already a transaction in progress");
        } else if !self.transaction.has_begun() {
            self.settings.begin_transaction();
            for name in ["isolation", "read_only"] {
                let default = self.settings.get(&format!("default_transaction_{name}"))?;
                self.settings.set_local(&format!("transaction_{name}"), &default)?;
            }
        }
        self.set_modes(modes, "transaction_")?;
        self.apply_isolation()
    }

    pub(super) fn set_modes(&mut self, modes: &[ast::TransactionMode], prefix: &str) -> Result<()> {
        for mode in modes {
            let (name, value) = match mode {
                ast::TransactionMode::AccessMode(ast::TransactionAccessMode::ReadOnly) => {
                    ("read_only", "on".to_owned())
                }
                ast::TransactionMode::AccessMode(ast::TransactionAccessMode::ReadWrite) => {
                    ("read_only", "off".to_owned())
                }
                ast::TransactionMode::IsolationLevel(level) => ("isolation", level.to_string().to_lowercase()),
            };
            let name = format!("{prefix}{name}");
            match prefix {
                "transaction_" => self.settings.set_local(&name, &value)?,
                _ => self.settings.set(&name, &value)?,
            }
        }
        if prefix == "transaction_" { self.apply_isolation() } else { Ok(()) }
    }

    /// The open transaction sees what its setting says.
    pub(super) fn apply_isolation(&mut self) -> Result<()> {
        let isolation = match self.settings.get("transaction_isolation")?.to_lowercase().as_str() {
            "repeatable read" => Isolation::Snapshot,
            "serializable" => Isolation::Serializable,
            "read committed" | "read uncommitted" => Isolation::ReadCommitted,
            other => {
                let message = format!("invalid value for parameter \"transaction_isolation\": \"{other}\"");
                return Err(Error::new(Kind::InvalidParameterValue, message));
            }
        };
        if self.transaction.is_explicit() { self.transaction.set_isolation(isolation) } else { Ok(()) }
    }

    /// The modes that a transaction has which goes on as another.
    pub(super) fn modes(&self) -> [(&'static str, Option<String>); 2] {
        ["transaction_isolation", "transaction_read_only"].map(|name| (name, self.settings.get(name).ok()))
    }

    /// AND CHAIN.
    pub(super) fn chain(&mut self, chain: bool, modes: [(&'static str, Option<String>); 2]) -> Result<()> {
        if !chain {
            return Ok(());
        }
        self.begin_block(&[])?;
        for (name, value) in modes {
            if let Some(value) = value {
                self.settings.set_local(name, &value)?;
            }
        }
        self.apply_isolation()
    }

    pub(super) fn check_block(&self, what: &str) -> Result<()> {
        if self.transaction.is_explicit() {
            return Ok(());
        }
        let message = format!("{what} can only be used in transaction blocks");
        Err(Error::new(Kind::NoActiveTransaction, message))
    }

    /// Refuses to change anything in a transaction that only reads.
    pub(super) fn check_read_only(&self, statement: &Statement) -> Result<()> {
        let name =
            if self.transaction.is_explicit() { "transaction_read_only" } else { "default_transaction_read_only" };
        if self.settings.get(name)? != "on" {
            return Ok(());
        }
        match writing_word(statement) {
            Some(word) => {
                let message = format!("cannot execute {word} in a read-only transaction");
                Err(Error::new(Kind::ReadOnlyTransaction, message))
            }
            None => Ok(()),
        }
    }
}
