//! The extended query protocol: Parse, Bind, Describe, Execute, Close. Answers wait in the outbox for Sync or Flush.

use std::sync::Arc;

use bytes::BufMut;
use granary_postgres::datetime::Zone;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Sent};
use super::decode::{self, Raw};
use super::description::Columns;
use super::encode::{Format, Formats, formats_of};
use super::frontend::{Bind, Target};
use super::link::{Failure, Outcome};
use super::portal::{Described, Portal, PortalState, RowSource, Statement, no_such_portal};
use super::types::parameter_data_type;
use crate::error::{Error, Kind, Result};
use crate::session::{DeclaredTypes, Parameter, Response, TransactionStatus};

impl Connection {
    pub async fn parse(&mut self, name: String, sql: &str, parameter_oids: &[u32]) -> Outcome<()> {
        if name.is_empty() {
            self.named.statements.remove("");
        }
        self.named.check_statement_name(&name)?;
        let types = parameter_oids.iter().map(|oid| parameter_data_type(*oid)).collect();
        let declared = DeclaredTypes { oids: parameter_oids.to_vec(), types };
        let token = self.registration.begin();
        let prepared = self.link.attend_or_drop(&token, self.session.prepare(sql, &declared)).await??;
        let statement = Statement::new(prepared, parameter_oids)?;
        self.session.note_prepared(&name, &statement.prepared);
        self.named.add_statement(name, statement)?;
        self.link.out.small(b'1', |_| {});
        Ok(())
    }

    pub fn bind(&mut self, bind: Bind) -> Outcome<()> {
        let statement = self.named.statement(&bind.statement)?;
        if bind.portal.is_empty() {
            self.named.portals.remove("");
        }
        let parameters = parameters_of(&bind, &statement, self.session.zone())?;
        let portal = Portal { state: PortalState::Bound(parameters), statement, result_formats: bind.result_formats };
        // a wrong number of formats is the fault of Bind, not of Describe or Execute
        portal.described()?;
        self.named.add_portal(bind.portal, portal)?;
        self.link.out.small(b'2', |_| {});
        Ok(())
    }

    pub fn describe(&mut self, target: &Target) -> Outcome<()> {
        let described = match target {
            Target::Statement(name) => {
                let statement = self.named.statement(name)?;
                self.link.out.message(b't', |body| {
                    body.put_u16(statement.parameter_oids.len() as u16);
                    statement.parameter_oids.iter().for_each(|oid| body.put_u32(*oid));
                    Ok(())
                })?;
                statement.columns.clone().map(|columns| Described { columns, formats: Formats::All(Format::Text) })
            }
            Target::Portal(name) => match (self.named.portals.get(name), self.session.cursor_schema(name)) {
                (Some(portal), _) => portal.described()?,
                (None, Some((schema, is_binary))) => {
                    let formats = Formats::All(if is_binary { Format::Binary } else { Format::Text });
                    Some(Described { columns: Arc::new(Columns::of(&schema)?), formats })
                }
                (None, None) => return Err(self.missing_portal(name).into()),
            },
        };
        match described {
            Some(Described { columns, formats }) => self.put_row_description(&columns, &formats)?,
            None => self.link.out.small(b'n', |_| {}),
        }
        Ok(())
    }

    pub fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => {
                self.named.statements.remove(name);
                self.session.forget_prepared(name);
            }
            Target::Portal(name) => {
                self.named.portals.remove(name);
                self.session.close_cursor(name);
            }
        }
        self.link.out.small(b'3', |_| {});
    }

    /// `max_rows`: nothing above 0 means all.
    pub async fn execute(&mut self, name: &str, max_rows: i32) -> Outcome<()> {
        let most = u64::try_from(max_rows).ok().filter(|most| *most > 0).unwrap_or(u64::MAX);
        let mut portal = self.named.portals.remove(name).ok_or_else(|| self.missing_portal(name))?;
        let was = self.session.transaction_status();
        let token = self.registration.begin();
        portal.state =
            self.run_portal(name, &portal.statement, &portal.result_formats, portal.state, most, &token).await?;
        let is_over = was != TransactionStatus::Idle && self.session.transaction_status() == TransactionStatus::Idle;
        if is_over {
            self.named.portals.clear();
        } else {
            self.named.portals.insert(name.to_owned(), portal);
        }
        Ok(())
    }

    /// One Execute; gives the portal's next state.
    async fn run_portal(
        &mut self,
        name: &str,
        statement: &Statement,
        result_formats: &[i16],
        state: PortalState,
        most: u64,
        token: &CancellationToken,
    ) -> Outcome<PortalState> {
        let shown = (result_formats, self.session.zone());
        let mut rows = match state {
            PortalState::Open(rows) => rows,
            PortalState::Exhausted(tag) => {
                self.link.out.command_complete(&tag.complete(0));
                return Ok(PortalState::Exhausted(tag));
            }
            PortalState::Done => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message).into());
            }
            PortalState::Bound(_) if statement.prepared.is_empty() => {
                self.link.out.small(b'I', |_| {});
                return Ok(PortalState::Done);
            }
            PortalState::Bound(parameters) => {
                let executing = self.session.execute(&statement.prepared, parameters, token);
                let response = self.link.attend(token, executing).await;
                match response.map_err(|error| self.failure_of(token, error))? {
                    Response::Rows { schema, rows, tag } => {
                        RowSource::new((schema, rows, tag), statement.columns.as_ref(), shown)?
                    }
                    Response::Found { schema, rows } => {
                        RowSource::of_values(&schema, rows, statement.columns.as_ref(), shown)?
                    }
                    Response::CopyOut(copy) => {
                        let tag = self.copy_out(copy, token).await?;
                        self.put_done(&tag)?;
                        return Ok(PortalState::Done);
                    }
                    Response::CopyIn(copy) => {
                        let tag = self.copy_in(copy, token).await?;
                        self.put_done(&tag)?;
                        return Ok(PortalState::Done);
                    }
                    Response::Done { tag } => {
                        self.put_done(&tag)?;
                        return Ok(PortalState::Done);
                    }
                    Response::Empty => {
                        self.link.out.small(b'I', |_| {});
                        return Ok(PortalState::Done);
                    }
                }
            }
        };
        match self.send_rows(&mut rows, most, token).await? {
            Sent::Suspended => {
                self.put_notices();
                self.link.out.small(b's', |_| {});
                Ok(PortalState::Open(rows))
            }
            Sent::All(count) => {
                self.put_done(&rows.tag.complete(count))?;
                Ok(PortalState::Exhausted(rows.tag))
            }
        }
    }

    /// An error took the portals with it; in its transaction that is what a client is told.
    fn missing_portal(&self, name: &str) -> Error {
        if self.session.transaction_status() == TransactionStatus::Failed {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Error::new(Kind::InFailedTransaction, message);
        }
        no_such_portal(name)
    }

    /// A statement that was told to stop has the reason that we know, not the one that it gives.
    pub fn failure_of(&self, token: &CancellationToken, error: Error) -> Failure {
        match self.link.interruption() {
            Failure::Statement(_) => Failure::Statement(error),
            known if token.is_cancelled() => known,
            _ => Failure::Statement(error),
        }
    }
}

fn parameters_of(bind: &Bind, statement: &Statement, zone: Zone) -> Result<Vec<Parameter>> {
    let count = bind.parameters.len();
    let formats = formats_of(&bind.parameter_formats, count, || {
        let formats = bind.parameter_formats.len();
        format!("bind message has {formats} parameter formats but {count} parameters")
    })?;
    if count != statement.parameters.len() {
        let message = format!(
            "bind message supplies {count} parameters, but prepared statement \"{}\" requires {}",
            bind.statement,
            statement.parameters.len()
        );
        return Err(Error::new(Kind::ProtocolViolation, message));
    }
    let raw = bind.parameters.iter().enumerate().map(|(index, bytes)| Raw {
        number: index + 1,
        format: formats.of(index),
        bytes: bytes.clone(),
    });
    let values = raw.zip(&statement.parameters);
    values.map(|(raw, (shown, planned))| decode::decode(raw, shown.in_zone(zone), planned)).collect()
}
