//! What every request in JSON is held to: its fields are known, and no name stands there twice.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::refusal::{Answered, Refusal};
use crate::error::{Error, Kind};

/// Values by name. A name that stands there twice is refused: either value would be a guess.
#[derive(Debug)]
pub struct Named<T = Json>(BTreeMap<String, T>);

/// The fields of a request. Errors: 22P02.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Answered<T> {
    serde_json::from_slice(body).map_err(|error| {
        let message = match error.classify() {
            serde_json::error::Category::Data => format!("the request has a wrong field: {error}"),
            _ => format!("the request is not JSON: {error}"),
        };
        Refusal::from(Error::new(Kind::InvalidTextRepresentation, message))
    })
}

/// A field that has to be there.
pub fn present<'a>(value: Option<&'a str>, field: &str) -> Answered<&'a str> {
    let value = value.filter(|value| !value.is_empty());
    value.ok_or_else(|| Refusal::bad_request(format!("\"{field}\" is missing")))
}

/// `null` is as good as nothing.
pub fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(BTreeMap::new())
    }
}

impl<T> Deref for Named<T> {
    type Target = BTreeMap<String, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = (String, T);
    type IntoIter = std::collections::btree_map::IntoIter<String, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named<T>, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of values by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Named<T>, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<String, T>()? {
            if values.contains_key(&name) {
                return Err(de::Error::custom(format!("\"{name}\" stands there twice")));
            }
            values.insert(name, value);
        }
        Ok(Named(values))
    }
}
