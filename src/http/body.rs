//! The body of a request: whole, not too long, and sent in time.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures::StreamExt;

use super::refusal::{Answered, Refusal};
use crate::error::{Error, Kind};

/// The longest request.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Of one that is too long, so much is read before it is refused.
const MAX_DRAINED_BYTES: usize = 64 << 20;
/// How long a client may take to send one.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub async fn read_body(body: Body) -> Answered<Vec<u8>> {
    tokio::time::timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| {
        let message = format!("the request was not sent within {} seconds", BODY_TIMEOUT.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, Error::new(Kind::QueryCanceled, message))
    })?
}

/// The whole body, if it is not too long. A little more than that is read all the same: a client that is still sending
/// when its connection is closed does not see the answer.
async fn read(body: Body) -> Answered<Vec<u8>> {
    let mut whole = Vec::new();
    let mut length = 0;
    let mut stream = body.into_data_stream();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| Refusal::bad_request(format!("the request broke off: {error}")))?;
        length += bytes.len();
        if length <= MAX_BODY_BYTES {
            whole.extend_from_slice(&bytes);
        } else if length > MAX_DRAINED_BYTES {
            break;
        }
    }
    if length > MAX_BODY_BYTES {
        let message = format!("the request is longer than {MAX_BODY_BYTES} bytes");
        let error = Error::new(Kind::ConfigurationLimitExceeded, message).with_hint("send it in parts");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    Ok(whole)
}
