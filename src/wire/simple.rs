//! The simple query protocol: a text of statements, each answered before the next is looked at.

use granary_sql::Parsed;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Sent};
use super::link::{Failure, Outcome};
use super::portal::RowSource;
use crate::error::Error;
use crate::session::{DeclaredTypes, Response, RowsTag};

impl Connection {
    /// Everything but ReadyForQuery. The first error ends it; what was answered before stays answered.
    pub async fn simple_query(&mut self, sql: &str) -> Outcome<()> {
        self.named.statements.remove("");
        self.named.portals.remove("");
        let pieces = self.session.split(sql)?;
        if pieces.is_empty() {
            self.session.end_implicit_transaction(true).await?;
            self.link.out.small(b'I', |_| {});
        }
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.into_iter().enumerate() {
            let start = piece.offset;
            let shifted = |failure| match failure {
                Failure::Statement(error) => Failure::Statement(shift(error, sql[..start].chars().count())),
                failure => failure,
            };
            self.run(piece, index == last).await.map_err(shifted)?;
            if self.link.out.is_high() {
                self.link.flush(None).await?;
            }
        }
        self.forget_portals_when_idle();
        Ok(())
    }

    /// The last statement is only reported as complete when the transaction around all of them is committed.
    async fn run(&mut self, piece: Parsed, is_last: bool) -> Outcome<()> {
        let token = self.registration.begin();
        // places in a statement count from where it begins
        let preparing = match piece.offset {
            0 => self.session.prepare_parsed(piece),
            _ => self.session.prepare(&piece.text, DeclaredTypes::none()),
        };
        let prepared = self.link.attend_or_drop(&token, preparing).await??;
        if prepared.is_empty() {
            self.link.out.small(b'I', |_| {});
            return self.commit_if(is_last).await;
        }
        let executing = self.session.execute(&prepared, Vec::new(), &token);
        let response = self.link.attend(&token, executing).await;
        match response.map_err(|error| self.failure_of(&token, error))? {
            Response::Empty => {
                self.link.out.small(b'I', |_| {});
                self.commit_if(is_last).await
            }
            Response::CopyOut(copy) => {
                let tag = self.copy_out(copy, &token).await?;
                self.commit_if(is_last).await?;
                self.put_done(&tag)?;
                Ok(())
            }
            Response::CopyIn(copy) => {
                let tag = self.copy_in(copy, &token).await?;
                self.commit_if(is_last).await?;
                self.put_done(&tag)?;
                Ok(())
            }
            Response::Done { tag } => {
                self.commit_if(is_last).await?;
                self.put_done(&tag)?;
                Ok(())
            }
            Response::Rows { schema, rows, tag } => {
                // only here is a cursor's own format that of its rows
                let is_binary = tag == RowsTag::Fetch { binary: true };
                let formats: &[i16] = if is_binary { &[1] } else { &[] };
                self.put_rows(
                    RowSource::new((schema, rows, tag), None, (formats, self.session.zone()))?,
                    is_last,
                    &token,
                )
                .await
            }
            Response::Found { schema, rows } => {
                self.put_rows(RowSource::of_values(&schema, rows, None, (&[], self.session.zone()))?, is_last, &token)
                    .await
            }
        }
    }

    async fn put_rows(&mut self, mut rows: RowSource, is_last: bool, token: &CancellationToken) -> Outcome<()> {
        self.put_row_description(&rows.columns, &rows.formats)?;
        let Sent::All(count) = self.send_rows(&mut rows, u64::MAX, token).await? else {
            unreachable!("nobody has that many rows")
        };
        let tag = rows.tag.complete(count);
        // whatever the rows hold on to is let go before the client hears that they are complete
        drop(rows);
        self.commit_if(is_last).await?;
        self.put_done(&tag)?;
        Ok(())
    }

    async fn commit_if(&mut self, is_last: bool) -> Outcome<()> {
        if is_last {
            self.session.end_implicit_transaction(true).await?;
        }
        Ok(())
    }
}

/// An error's position counts from the start of the whole text.
fn shift(error: Error, characters: usize) -> Error {
    match (error.position(), u32::try_from(characters)) {
        (Some(position), Ok(characters)) => error.at(position.saturating_add(characters)),
        _ => error,
    }
}
