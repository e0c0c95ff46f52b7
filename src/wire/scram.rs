//! One log-in by SCRAM-SHA-256 (RFC 5802, 7677). The exchange itself is pgwire's; what is kept of a password is a verifier
//! of [`crate::access`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::error::PgWireError;

use super::frontend::Body;
use crate::access::{ITERATIONS, SALT_BYTES, ScramVerifier, parse_verifier, random_bytes};
use crate::error::{Error, Kind, Result};

pub const MECHANISM: &str = "SCRAM-SHA-256";

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

    #[test]
    fn an_unknown_user_always_has_the_same_salt() {
        let secret = MockSecret([7; 32]);
        assert_eq!(secret.verifier("a"), secret.verifier("a"));
        assert_ne!(secret.verifier("a").salt, secret.verifier("b").salt);
        assert_ne!(secret.verifier("a").salt, MockSecret([8; 32]).verifier("a").salt);
        assert_eq!(secret.verifier("a").salt.len(), SALT_BYTES);
    }
}
