//! Statements about the session itself: SET, SHOW, RESET, transactions, DEALLOCATE, DISCARD.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_sql::Statement;
use granary_sql::name::{fold, parts};
use sqlparser::ast;

use super::listening::{Wish, wish_of};
use super::{Notice, Session, settings};
use crate::engine::ShownSetting;
use crate::error::{Error, Kind, Result};
use crate::statement::{Response, RowsTag};

/// The columns of a SHOW; None for every other statement.
pub fn columns(statement: &Statement) -> Option<SchemaRef> {
    let Statement::Postgres(statement) = statement else { return None };
    match statement.ast.as_ref() {
        ast::Statement::ShowVariable { variable } => {
            let name = shown_name(variable);
            let names = if name == "all" { vec!["name", "setting", "description"] } else { vec![name.as_str()] };
            Some(text_schema(&names))
        }
        _ => None,
    }
}

fn shown_name(variable: &[ast::Ident]) -> String {
    let words: Vec<String> = variable.iter().map(|ident| ident.value.to_ascii_lowercase()).collect();
    match words.join(" ").as_str() {
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "time zone" => "TimeZone".to_owned(),
        "all" => "all".to_owned(),
        "session authorization" => "session_authorization".to_owned(),
        other => settings::spelled(other).map_or_else(|| words.join("."), str::to_owned),
    }
}

fn text_schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()))
}

impl Session {
    /// Carries out a statement that is about the session; None for every other.
    pub(super) async fn execute_own(&mut self, statement: &Statement) -> Result<Option<Response>> {
        let statement = match statement {
            Statement::Postgres(statement) => {
                if let ast::Statement::Lock(_) = statement.ast.as_ref() {
                    self.check_block("LOCK TABLE")?;
                }
                statement.ast.as_ref()
            }
            Statement::Utility(granary_sql::statement::Utility::Checkpoint) => {
                return Ok(Some(Response::done("CHECKPOINT")));
            }
            Statement::Utility(granary_sql::statement::Utility::SetConstraints { .. }) => {
                return Ok(Some(Response::done("SET CONSTRAINTS")));
            }
            _ => return Ok(None),
        };
        if let Some((wish, tag)) = wish_of(statement) {
            return self.speak(wish, tag).map(Some);
        }
        Ok(Some(match statement {
            ast::Statement::StartTransaction { begin, modes, .. } => {
                self.begin_block(modes)?;
                Response::done(if *begin { "BEGIN" } else { "START TRANSACTION" })
            }
            ast::Statement::Commit { chain, .. } => {
                if *chain {
                    self.check_block("COMMIT AND CHAIN")?;
                }
                let modes = self.modes();
                let response = self.commit().await?;
                self.chain(*chain, modes)?;
                response
            }
            ast::Statement::Rollback { savepoint: None, chain } => {
                if *chain {
                    self.check_block("ROLLBACK AND CHAIN")?;
                }
                let modes = self.modes();
                let response = self.rollback();
                self.chain(*chain, modes)?;
                response
            }
            ast::Statement::Rollback { savepoint: Some(name), .. } => {
                self.check_block("ROLLBACK TO SAVEPOINT")?;
                self.transaction.rollback_to(&fold(name))?;
                Response::done("ROLLBACK")
            }
            ast::Statement::Savepoint { name } => {
                self.check_block("SAVEPOINT")?;
                self.transaction.savepoint(fold(name));
                Response::done("SAVEPOINT")
            }
            ast::Statement::ReleaseSavepoint { name } => {
                self.check_block("RELEASE SAVEPOINT")?;
                self.transaction.release(&fold(name))?;
                Response::done("RELEASE")
            }
            ast::Statement::Set(set) => {
                self.set(set)?;
                Response::done("SET")
            }
            ast::Statement::ShowVariable { variable } => self.show(variable)?,
            ast::Statement::Reset(reset) => {
                match &reset.reset {
                    ast::Reset::ALL => self.settings.reset_all(),
                    ast::Reset::ConfigurationParameter(name) => self.settings.reset(&parts(name).join("."))?,
                }
                Response::done("RESET")
            }
            ast::Statement::Deallocate { name, .. } => {
                let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
                if is_all {
                    self.deallocate_all();
                } else {
                    self.deallocate(&granary_sql::name::fold(name))?;
                }
                Response::done(if is_all { "DEALLOCATE ALL" } else { "DEALLOCATE" })
            }
            ast::Statement::Discard { object_type } => {
                if matches!(object_type, ast::DiscardObject::ALL | ast::DiscardObject::TEMP) {
                    super::temporary::drop_all(self).await;
                }
                if matches!(object_type, ast::DiscardObject::ALL | ast::DiscardObject::SEQUENCES) {
                    self.sequences = Arc::default();
                }
                if matches!(object_type, ast::DiscardObject::ALL) {
                    if self.transaction.is_open() {
                        let message = "DISCARD ALL cannot run inside a transaction block";
                        return Err(Error::new(Kind::ActiveTransaction, message));
                    }
                    self.settings.reset_all();
                    self.cursors.close_all();
                    self.fulfil(vec![Wish::Unlisten(None)]);
                    self.deallocate_all();
                }
                Response::done(format!("DISCARD {object_type}"))
            }
            _ => return Ok(None),
        }))
    }

    pub(super) fn warn(&mut self, kind: Kind, message: &str) {
        self.notices.push(Notice { severity: "WARNING", error: Error::new(kind, message) });
    }

    async fn commit(&mut self) -> Result<Response> {
        if !self.transaction.is_explicit() {
            self.warn(Kind::NoActiveTransaction, "there is no transaction in progress");
        }
        self.settings.end_transaction(!self.transaction.is_failed());
        self.cursors.end_transaction(!self.transaction.is_failed());
        if self.transaction.is_failed() {
            self.transaction.rollback();
            return Ok(Response::done("ROLLBACK"));
        }
        self.commit_transaction().await?;
        Ok(Response::done("COMMIT"))
    }

    fn rollback(&mut self) -> Response {
        if !self.transaction.is_explicit() {
            self.warn(Kind::NoActiveTransaction, "there is no transaction in progress");
        }
        self.settings.end_transaction(false);
        self.cursors.end_transaction(false);
        self.transaction.rollback();
        Response::done("ROLLBACK")
    }

    fn set(&mut self, set: &ast::Set) -> Result<()> {
        match set {
            ast::Set::SingleAssignment { scope, variable, values, .. } => {
                let name = parts(variable).join(".");
                let value = values.iter().map(text_of).collect::<Vec<_>>().join(", ");
                let is_default = matches!(values.as_slice(), [ast::Expr::Identifier(ident)]
                    if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"));
                if ["transaction_isolation", "transaction_read_only"].contains(&name.as_str()) && !is_default {
                    self.settings.set_local(&name, &value)?;
                    return self.apply_isolation();
                }
                if matches!(scope, Some(ast::ContextModifier::Local)) && !self.transaction.is_open() {
                    self.warn(Kind::NoActiveTransaction, "SET LOCAL can only be used in transaction blocks");
                    return Ok(());
                }
                match scope {
                    _ if is_default => self.settings.reset(&name),
                    Some(ast::ContextModifier::Local) => self.settings.set_local(&name, &value),
                    _ => self.settings.set(&name, &value),
                }
            }
            ast::Set::SetTimeZone { local, value } => {
                let is_default = matches!(value, ast::Expr::Identifier(word)
                    if word.quote_style.is_none() && ["local", "default"].contains(&word.value.to_lowercase().as_str()));
                match zone_of(value) {
                    _ if is_default => self.settings.reset("TimeZone"),
                    Some(zone) if *local => self.settings.set_local("TimeZone", &zone),
                    Some(zone) => self.settings.set("TimeZone", &zone),
                    None => Err(Error::not_supported(format!("the time zone {value}"))),
                }
            }
            ast::Set::SetNames { charset_name, .. } => self.settings.set("client_encoding", &charset_name.value),
            ast::Set::SetNamesDefault {} => self.settings.reset("client_encoding"),
            ast::Set::SetTransaction { snapshot: Some(_), .. } => Err(Error::not_supported("SET TRANSACTION SNAPSHOT")),
            ast::Set::SetTransaction { modes, session: true, .. } => self.set_modes(modes, "default_transaction_"),
            ast::Set::SetTransaction { modes, .. } => {
                if !self.transaction.is_explicit() {
                    self.warn(Kind::NoActiveTransaction, "SET TRANSACTION can only be used in transaction blocks");
                    return Ok(());
                }
                self.set_modes(modes, "transaction_")
            }
            ast::Set::SetSessionParam(_) => Ok(()),
            ast::Set::SetSessionAuthorization(_) | ast::Set::SetRole { .. } => Err(Error::not_supported("SET ROLE")),
            other => Err(Error::not_supported(format!("{other}"))),
        }
    }

    /// Errors: `UndefinedObject` for a SHOW of a setting that there is not.
    pub(super) fn check_shown(&self, statement: &Statement) -> Result<()> {
        if let Statement::Postgres(statement) = statement
            && let ast::Statement::ShowVariable { variable } = statement.ast.as_ref()
            && !matches!(shown_name(variable).as_str(), "all")
        {
            self.settings.shown(&shown_name(variable))?;
        }
        Ok(())
    }

    fn show(&self, variable: &[ast::Ident]) -> Result<Response> {
        let name = shown_name(variable);
        if name == "all" {
            let rows = self.settings.all();
            let column = |pick: fn(&ShownSetting) -> &String| -> ArrayRef {
                Arc::new(StringArray::from_iter_values(rows.iter().map(pick)))
            };
            let arrays = vec![column(|row| &row.name), column(|row| &row.shown), column(|row| &row.description)];
            return rows_of(text_schema(&["name", "setting", "description"]), arrays);
        }
        // outside of a transaction block what the next one would have
        let default = ["transaction_isolation", "transaction_read_only"].contains(&name.as_str());
        let value = match default && !self.transaction.is_explicit() {
            true => self.settings.shown(&format!("default_{name}"))?,
            false => self.settings.shown(&name)?,
        };
        rows_of(text_schema(&[&name]), vec![Arc::new(StringArray::from(vec![value]))])
    }
}

fn rows_of(schema: SchemaRef, arrays: Vec<ArrayRef>) -> Result<Response> {
    let batch =
        RecordBatch::try_new(schema, arrays).map_err(|error| Error::internal("settings as rows").with_source(error))?;
    Ok(Response::batch(batch, RowsTag::Show))
}

/// A setting's value as text: words and literals alike.
/// A zone as the setting takes it; an interval is of hours.
fn zone_of(expr: &ast::Expr) -> Option<String> {
    let ast::Expr::Interval(interval) = expr else { return Some(text_of(expr)) };
    let text = text_of(&interval.value);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.trim_start_matches('+')),
    };
    let mut hours = 0.0;
    for (part, unit) in digits.split(':').zip([1.0, 60.0, 3600.0]) {
        hours += part.parse::<f64>().ok()? / unit;
    }
    Some((sign * hours).to_string())
}

fn text_of(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        ast::Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}
