//! An error as an HTTP client sees it: a status, and JSON with the message in the field that feature server clients read.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Kind};

/// What is answered in the place of what was asked for.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: Error,
}

pub type Answered<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(status: StatusCode, error: Error) -> Refusal {
        Refusal { status, error }
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, Error::new(Kind::InvalidParameterValue, message))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { status: status_of(error.kind()), error }
    }
}

/// The status of an error that SQL knows. What is not listed is the caller's mistake.
fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidAuthorization | Kind::InvalidPassword => StatusCode::UNAUTHORIZED,
        Kind::InsufficientPrivilege => StatusCode::FORBIDDEN,
        Kind::UndefinedTable | Kind::UndefinedObject | Kind::InvalidCatalogName | Kind::InvalidSchemaName => {
            StatusCode::NOT_FOUND
        }
        Kind::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
        Kind::OutOfMemory | Kind::AdminShutdown | Kind::SerializationFailure => StatusCode::SERVICE_UNAVAILABLE,
        Kind::QueryCanceled => StatusCode::GATEWAY_TIMEOUT,
        Kind::Internal | Kind::DataCorrupted | Kind::IoError | Kind::DiskFull | Kind::UndefinedFile => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The code of gRPC that goes with a status, which feature server clients know as `code`.
fn grpc_code(status: StatusCode) -> u8 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 5,
        StatusCode::METHOD_NOT_ALLOWED => 12,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => 4,
        StatusCode::INTERNAL_SERVER_ERROR => 13,
        _ => 3,
    }
}

impl Refusal {
    /// The answer, with more fields than every error has.
    pub fn response_with(self, more: impl IntoIterator<Item = (&'static str, Json)>) -> Response {
        let error = &self.error;
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(sqlstate = error.sqlstate(), ?error, "a request over HTTP failed");
        }
        let mut body = Map::new();
        body.insert("error".to_owned(), json!(error.message()));
        body.insert("message".to_owned(), json!(error.message()));
        body.insert("code".to_owned(), json!(grpc_code(self.status)));
        body.insert("sqlstate".to_owned(), json!(error.sqlstate()));
        for (name, text) in [("detail", error.detail()), ("hint", error.hint())] {
            if let Some(text) = text {
                body.insert(name.to_owned(), json!(text));
            }
        }
        body.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let mut response = json_response(Json::Object(body).to_string());
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Tecton-key"));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.response_with([])
    }
}

/// A text that is JSON already.
pub fn json_response(json: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_status_that_clients_tell_apart() {
        let status = |kind| Refusal::from(Error::new(kind, "x")).status.as_u16();
        let kinds = [
            (Kind::InvalidParameterValue, 400),
            (Kind::FeatureNotSupported, 400),
            (Kind::InvalidAuthorization, 401),
            (Kind::InsufficientPrivilege, 403),
            (Kind::UndefinedTable, 404),
            (Kind::TooManyConnections, 429),
            (Kind::Internal, 500),
            (Kind::OutOfMemory, 503),
            (Kind::QueryCanceled, 504),
        ];
        for (kind, expected) in kinds {
            assert_eq!(status(kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_key_that_is_refused_is_told_how_to_ask() {
        let response = Refusal::from(Error::new(Kind::InvalidAuthorization, "no")).into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Tecton-key");
    }
}
