//! API keys: how they are drawn, what is kept of them, and whom a key stands for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use granary_catalog::{ApiKey, NameSpace, Role, Snapshot};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::verifier::random_bytes;
use crate::error::Result;

/// Says what it is, so that a key that leaked is found by those who search for such.
const MARK: &str = "granary_";
const KEY_BYTES: usize = 32;
/// Of the random part, how much is shown in lists: 48 of its 256 bits.
const SHOWN_LETTERS: usize = 8;

/// A key that was just drawn. Only the prefix and the digest are kept.
pub struct NewApiKey {
    pub key: String,
    pub prefix: String,
    pub digest: String,
}

impl NewApiKey {
    pub fn draw() -> Result<NewApiKey> {
        let key = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(random_bytes::<KEY_BYTES>()?));
        let prefix = key[..MARK.len() + SHOWN_LETTERS].to_owned();
        Ok(NewApiKey { prefix, digest: digest_of(&key), key })
    }
}

/// The name of the role that a key stands for; `None` for a key that is unknown or was dropped.
///
/// A key has 256 random bits, so one round of SHA-256 is enough to keep it from being found out. How long the answer
/// takes does not tell how much of a digest fits.
pub fn role_of_api_key(snapshot: &Snapshot, key: &str) -> Option<String> {
    let prefix = key.get(..MARK.len() + SHOWN_LETTERS)?;
    let digest = digest_of(key);
    let keys = snapshot.objects_in(NameSpace::ApiKeys).filter_map(|object| object.downcast::<ApiKey>());
    let known = keys.filter(|known| known.prefix == prefix);
    let fitting = known.fold(None, |found, known| {
        let fits = bool::from(known.digest.expose().as_bytes().ct_eq(digest.as_bytes()));
        if fits { Some(known) } else { found }
    });
    let role: &Role = snapshot.get_as(fitting?.role)?;
    Some(role.header.name.clone())
}

/// SHA-256, in hexadecimal digits.
fn digest_of(key: &str) -> String {
    hexadecimal(&Sha256::digest(key.as_bytes()))
}

/// Two digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use granary_catalog::{Change, Header, Home, SealedText};

    use super::*;

    #[test]
    fn a_key_stands_for_its_role_until_it_is_dropped() {
        let new = NewApiKey::draw().expect("random");
        let other = NewApiKey::draw().expect("random");
        assert_eq!(new.key.len(), MARK.len() + 43);
        assert!(!new.digest.contains(&new.key[MARK.len()..]));
        let empty = Snapshot::empty();
        let role = empty.next_id();
        let header = |id, name: &str| Header::new(id, Home::Server, name, "granary");
        let key = ApiKey {
            header: header(role.after(1), "scoring"),
            role,
            digest: SealedText::new(&new.digest),
            prefix: new.prefix.clone(),
            created_at_us: 0,
        };
        let changes = [Change::put(Role::new(header(role, "app"))), Change::put(key)];
        let snapshot = empty.apply(&changes).expect("new objects");
        assert_eq!(role_of_api_key(&snapshot, &new.key).as_deref(), Some("app"));
        let almost = format!("{}{}", &new.prefix, &other.key[new.prefix.len()..]);
        for wrong in [other.key.as_str(), &almost, &new.prefix, &new.key[..new.key.len() - 1], "", "granary_äääää"]
        {
            assert_eq!(role_of_api_key(&snapshot, wrong), None, "{wrong}");
        }
        let dropped = snapshot.apply(&[Change::Drop { id: role.after(1), cascade: false }]).expect("dropped");
        assert_eq!(role_of_api_key(&dropped, &new.key), None);
    }

    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
