//! SCRAM-SHA-256 verifiers (RFC 5802, 7677) in PostgreSQL's format: what is kept of a password. Enough to check one,
//! useless to log in with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::{ScramSecret, gen_salted_password};
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

const MECHANISM: &str = "SCRAM-SHA-256";
/// PostgreSQL's default; RFC 7677 asks for at least this many.
pub const ITERATIONS: u32 = 4096;
/// More would let a stored verifier burn minutes of a client's time.
const MOST_ITERATIONS: u32 = 10_000_000;
pub const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What is stored of a password, as in PostgreSQL's `pg_authid.rolpassword`.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; KEY_BYTES],
    pub server_key: [u8; KEY_BYTES],
}

impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl std::fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

/// The verifier of a new password, with a random salt: `SCRAM-SHA-256$iterations:salt$stored key:server key`.
pub fn make_verifier(password: &str) -> Result<String> {
    Ok(verifier_of(password, &random_bytes::<SALT_BYTES>()?, ITERATIONS).to_string())
}

/// From the operating system's own source.
pub fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::internal(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

fn verifier_of(password: &str, salt: &[u8], iterations: u32) -> ScramVerifier {
    let salted_password = gen_salted_password(password, salt, iterations as usize);
    let secret = ScramSecret::verifier_from_salted_password(salt.to_vec(), salted_password, iterations as usize);
    let ScramSecret::Verifier { stored_key, server_key, .. } = secret else {
        unreachable!("verifier_from_salted_password makes verifiers")
    };
    ScramVerifier {
        iterations,
        salt: salt.to_vec(),
        stored_key: stored_key.try_into().expect("SHA-256 gives 32 bytes"),
        server_key: server_key.try_into().expect("SHA-256 gives 32 bytes"),
    }
}

/// Whether a password is the one behind a verifier. Without one it takes as long, and none is.
pub fn check_password(stored: Option<&str>, password: &str) -> bool {
    let stored = stored.and_then(parse_verifier);
    let (salt, iterations) = match &stored {
        Some(stored) => (stored.salt.as_slice(), stored.iterations),
        None => (&[0; SALT_BYTES][..], ITERATIONS),
    };
    let given = verifier_of(password, salt, iterations);
    stored.is_some_and(|stored| stored.stored_key[..].ct_eq(&given.stored_key[..]).into())
}

/// Reads what [`make_verifier`] or PostgreSQL wrote; `None` if it is anything else.
pub fn parse_verifier(text: &str) -> Option<ScramVerifier> {
    let mut parts = text.split('$');
    let (mechanism, costs, keys) = (parts.next()?, parts.next()?, parts.next()?);
    if mechanism != MECHANISM || parts.next().is_some() {
        return None;
    }
    let (iterations, salt) = costs.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
    let verifier = ScramVerifier {
        iterations: iterations.parse().ok().filter(|count| (1..=MOST_ITERATIONS).contains(count))?,
        salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
        stored_key: key(stored_key)?,
        server_key: key(server_key)?,
    };
    Some(verifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ALTER ROLE … PASSWORD 'pencil'` in PostgreSQL 15 wrote this.
    const PENCIL: &str = "SCRAM-SHA-256$4096:V7kGbIjNlSQ8mM9F/ZNwHA==$YIWYoaRL+BHNDQzHu6EtDhbXtAjyjTtERNjDOI7AXgo=:\
                          e5FJLo8VIVqjecGGquNlXquBPhuBQsGyawvJd+ubpWQ=";

    #[test]
    fn a_verifier_is_the_one_that_postgresql_writes() {
        let parsed = parse_verifier(PENCIL).expect("well-formed");
        assert_eq!(parsed.to_string(), PENCIL);
        assert_eq!(verifier_of("pencil", &parsed.salt, 4096), parsed);
        assert!(check_password(Some(PENCIL), "pencil"));
        assert!(!check_password(Some(PENCIL), "pencils"));
        assert!(!check_password(None, "pencil"));
    }

    #[test]
    fn new_verifiers_differ_and_parse() {
        let (one, other) = (make_verifier("x").expect("random"), make_verifier("x").expect("random"));
        assert_ne!(one, other);
        let parsed = parse_verifier(&one).expect("well-formed");
        assert_eq!(verifier_of("x", &parsed.salt, parsed.iterations), parsed);
    }

    #[test]
    fn other_texts_are_no_verifiers() {
        for text in ["", "pencil", "md5abc", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$4096:AA==$AA==:AA=="] {
            assert_eq!(parse_verifier(text), None, "{text}");
        }
        assert_eq!(parse_verifier(&format!("{PENCIL}$")), None);
    }
}
