//! Rows of parameters, from the batches that a client sends.

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use futures::{StreamExt, TryStreamExt};

use super::types::cast;
use crate::error::{Error, Kind, Result};
use crate::row::values_of;
use crate::session::{Parameter, Prepared};

/// The batches of a call.
pub fn batches_of(data: PeekableFlightDataStream) -> FlightRecordBatchStream {
    // a message may have nothing but the command
    let data = data.try_filter(|message| std::future::ready(!message.data_header.is_empty()));
    FlightRecordBatchStream::new_from_flight_data(data.map_err(|status| FlightError::Tonic(Box::new(status))))
}

pub fn broken(error: FlightError) -> Error {
    Error::new(Kind::ProtocolViolation, format!("the rows could not be read: {error}")).with_source(error)
}

/// The next rows of parameters in the types of the statement. None: there are no more.
pub async fn next_rows(
    batches: &mut FlightRecordBatchStream,
    prepared: &Prepared,
) -> Result<Option<Vec<Vec<Parameter>>>> {
    match batches.next().await {
        None => Ok(None),
        Some(batch) => rows_of(&batch.map_err(broken)?, prepared).map(Some),
    }
}

fn rows_of(batch: &RecordBatch, prepared: &Prepared) -> Result<Vec<Vec<Parameter>>> {
    let types = &prepared.description().parameters;
    if batch.num_columns() != types.len() {
        let (given, needed) = (batch.num_columns(), types.len());
        let message = format!("{given} parameters are bound, but the statement requires {needed}");
        return Err(Error::new(Kind::ProtocolViolation, message));
    }
    let mut rows = vec![Vec::with_capacity(types.len()); batch.num_rows()];
    for (column, data_type) in batch.columns().iter().zip(types) {
        let values = values_of(cast(column, data_type)?.as_ref())?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.push((data_type.clone(), value));
        }
    }
    Ok(rows)
}
