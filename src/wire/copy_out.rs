//! COPY … TO STDOUT: PostgreSQL's framing around the rows, a message a row.

use bytes::BufMut;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Sent};
use super::encode::{COPY_HEADER, Format, Shape};
use super::link::Outcome;
use super::portal::RowSource;
use crate::error::{Error, Kind};
use crate::session::{CopyOut, Header};

/// The number of fields of no row: the rows are over.
const COPY_END: i16 = -1;

impl Connection {
    /// Sends the rows; gives the command tag.
    pub async fn copy_out(&mut self, copy: CopyOut, token: &CancellationToken) -> Outcome<String> {
        let mut rows = RowSource::of_copy(copy, self.session.zone())?;
        self.put_notices();
        let n_columns = u16::try_from(rows.columns.len())
            .map_err(|_| Error::new(Kind::ConfigurationLimitExceeded, "more columns than COPY can name"))?;
        let format = rows.formats.of(0);
        self.link.out.message(b'H', |body| {
            body.put_u8(u8::from(format == Format::Binary));
            body.put_u16(n_columns);
            (0..n_columns).for_each(|_| body.put_i16(format.code()));
            Ok(())
        })?;
        if let Shape::CopyLines(form) = &rows.shape
            && form.format.header == Header::Yes
        {
            let names = rows.columns.iter().map(|column| column.name.as_str());
            self.link.out.message(b'd', |body| {
                form.put_header(names, body);
                Ok(())
            })?;
        }
        let Sent::All(count) = self.send_rows(&mut rows, u64::MAX, token).await? else {
            unreachable!("nobody has that many rows")
        };
        if let Shape::CopyBinary { begun } = rows.shape {
            self.link.out.small(b'd', |body| {
                if !begun {
                    body.put_slice(COPY_HEADER);
                }
                body.put_i16(COPY_END);
            });
        }
        self.link.out.small(b'c', |_| {});
        Ok(rows.tag.complete(count))
    }
}
