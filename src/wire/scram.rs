//! SCRAM-SHA-256 verifiers (RFC 5802, 7677) in PostgreSQL's format, and one log-in with them.
//!
//! The exchange itself is pgwire's. What is kept of a password is its verifier: enough to check, useless to log in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::error::PgWireError;

use super::frontend::Body;
use crate::error::{Error, Kind, Result};

pub const MECHANISM: &str = "SCRAM-SHA-256";
/// PostgreSQL's default; RFC 7677 asks for at least this many.
const ITERATIONS: u32 = 4096;
/// More would let a stored verifier burn minutes of a client's time.
const MOST_ITERATIONS: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
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

/// A stable secret of the installation: the salts shown for users that do not exist come from it.
#[derive(Clone)]
pub struct MockSecret(pub [u8; 32]);

impl MockSecret {
    pub fn random() -> Result<Self> {
        random_bytes().map(MockSecret)
    }

    /// The same for the same name every time, and nothing that any password fits: who asks cannot tell it from a
    /// real one. One round of PBKDF2 is one keyed HMAC of the name.
    fn verifier(&self, user: &str) -> ScramVerifier {
        let keyed = |part: &str| {
            let label = format!("{part}:{user}");
            gen_salted_password(&STANDARD.encode(self.0), label.as_bytes(), 1)
        };
        let key = |part| keyed(part).try_into().expect("SHA-256 gives 32 bytes");
        let mut salt = keyed("salt");
        salt.truncate(SALT_BYTES);
        ScramVerifier { iterations: ITERATIONS, salt, stored_key: key("stored"), server_key: key("server") }
    }
}

/// One log-in by SCRAM, after the client has chosen it.
pub struct Exchange {
    user: String,
    verifier: ScramVerifier,
    /// no real user: even a proof that fits must fail
    doomed: bool,
}

/// The log-in between the server's challenge and the client's proof.
pub struct Challenged {
    user: String,
    state: ScramServerAuthWaitingForClientFinal,
    doomed: bool,
}

impl Exchange {
    /// `stored`: the role's verifier text, if there is such a role and it has a password.
    pub fn new(user: &str, stored: Option<&str>, secret: &MockSecret) -> Self {
        match stored.and_then(parse_verifier) {
            Some(verifier) => Exchange { user: user.to_owned(), verifier, doomed: false },
            None => Exchange { user: user.to_owned(), verifier: secret.verifier(user), doomed: true },
        }
    }

    /// From SASLInitialResponse to the data of AuthenticationSASLContinue.
    pub fn challenge(self, packet: Bytes) -> Result<(String, Challenged)> {
        let mut body = Body(packet);
        if body.text()? != MECHANISM {
            return Err(Error::new(
                Kind::ProtocolViolation,
                "client selected an invalid SASL authentication mechanism",
            ));
        }
        let Some(client_first) = body.value()? else {
            return Err(malformed());
        };
        let secret = ScramSecret::Verifier {
            salt: self.verifier.salt,
            iterations: self.verifier.iterations as usize,
            stored_key: self.verifier.stored_key.to_vec(),
            server_key: self.verifier.server_key.to_vec(),
        };
        let (server_first, state) = ScramServerAuth::new()
            .on_client_first_message_with_secret(&client_first, secret)
            .map_err(|_| malformed())?;
        Ok((server_first, Challenged { user: self.user, state, doomed: self.doomed }))
    }
}

impl Challenged {
    /// From SASLResponse to the data of AuthenticationSASLFinal.
    pub fn verify(self, packet: &[u8]) -> Result<String> {
        match self.state.on_client_final_message(packet) {
            Ok(server_final) if !self.doomed => Ok(server_final),
            Ok(_) | Err(PgWireError::InvalidPassword(_)) => Err(password_failed(&self.user)),
            Err(_) => Err(malformed()),
        }
    }
}

fn malformed() -> Error {
    Error::new(Kind::ProtocolViolation, "malformed SCRAM message")
}

pub fn password_failed(user: &str) -> Error {
    Error::new(Kind::InvalidPassword, format!("password authentication failed for user \"{user}\""))
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

    #[test]
    fn an_unknown_user_always_has_the_same_salt() {
        let secret = MockSecret([7; 32]);
        assert_eq!(secret.verifier("a"), secret.verifier("a"));
        assert_ne!(secret.verifier("a").salt, secret.verifier("b").salt);
        assert_ne!(secret.verifier("a").salt, MockSecret([8; 32]).verifier("a").salt);
        assert_eq!(secret.verifier("a").salt.len(), SALT_BYTES);
    }
}
