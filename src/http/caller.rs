//! Who asks over HTTP, and whether they may: an API key stands for a role, and a role needs SELECT on what it reads.
//!
//! Nothing here is open by default: without a key that is known, every request is refused.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use granary_catalog::Snapshot;

pub use crate::access::check_read;
use crate::access::role_of_api_key;
use crate::error::{Error, Kind, Result};

/// The schemes in front of a key: that of feature server clients, and that of everybody else.
const SCHEMES: [&str; 2] = ["Tecton-key", "Bearer"];

/// The role that the request's key stands for. Errors: 28000.
pub fn role_of(snapshot: &Snapshot, headers: &HeaderMap) -> Result<String> {
    let refused = |message: &str| Error::new(Kind::InvalidAuthorization, message);
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Err(refused("no API key").with_hint("send it as the header Authorization: Tecton-key <key>"));
    };
    let key =
        header.to_str().ok().and_then(key_of).ok_or_else(|| {
            refused("the header Authorization has no API key").with_hint("write it as Tecton-key <key>")
        })?;
    role_of_api_key(snapshot, key).ok_or_else(|| refused("the API key is not known, or was revoked"))
}

/// What stands behind the scheme.
fn key_of(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    let key = key.trim();
    let is_known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (is_known && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_behind_their_scheme() {
        assert_eq!(key_of("Tecton-key abc"), Some("abc"));
        assert_eq!(key_of("tecton-KEY  abc "), Some("abc"));
        assert_eq!(key_of("Bearer abc"), Some("abc"));
        for wrong in ["abc", "Basic abc", "Tecton-key", "Tecton-key ", ""] {
            assert_eq!(key_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn without_a_known_key_nobody_is_let_in() {
        let snapshot = Snapshot::empty();
        let mut headers = HeaderMap::new();
        assert_eq!(role_of(&snapshot, &headers).unwrap_err().sqlstate(), "28000");
        headers.insert(AUTHORIZATION, "Tecton-key granary_0".parse().unwrap());
        assert_eq!(role_of(&snapshot, &headers).unwrap_err().sqlstate(), "28000");
    }
}
