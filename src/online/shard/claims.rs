//! Who came first: for each key the number that claimed it before any other.

use redb::{ReadableTable, TableDefinition};

use super::{BATCH_ROWS, Shard, Touched};
use crate::error::Result;
use crate::online::codec;
use crate::online::errors::storage_error;
use crate::row::Key;

/// Owner and key, as in the listing of keys.
pub(super) const CLAIMS: TableDefinition<&[u8], u64> = TableDefinition::new("claims");

impl Shard {
    /// Gives each key to its number, unless another had it before; whose they are, in the order of `claims`.
    pub(in crate::online) fn claim(&self, owner: u64, claims: &[(Key, u64)]) -> Result<Vec<u64>> {
        let claim = |transaction: &redb::WriteTransaction, claims: &[(Key, u64)]| -> Result<Vec<u64>, redb::Error> {
            let mut table = transaction.open_table(CLAIMS)?;
            let mut holders = Vec::with_capacity(claims.len());
            for (key, number) in claims {
                let place = codec::listing_key(owner, key);
                let held = table.get(place.as_slice())?.map(|held| held.value());
                if held.is_none() {
                    table.insert(place.as_slice(), number)?;
                }
                holders.push(held.unwrap_or(*number));
            }
            Ok(holders)
        };
        let mut holders = Vec::with_capacity(claims.len());
        for batch in claims.chunks(BATCH_ROWS) {
            let mut writer = self.lock();
            holders.extend(self.commit(&mut writer, |transaction| {
                let holders = claim(transaction, batch).map_err(|error| storage_error(&self.path, error))?;
                Ok((holders, Touched::default()))
            })?);
        }
        Ok(holders)
    }

    /// Forgets all claims of an owner.
    pub(in crate::online) fn remove_claims(&self, owner: u64) -> Result<()> {
        let prefix = codec::listing_prefix(owner);
        let remove = |transaction: &redb::WriteTransaction| -> Result<bool, redb::Error> {
            let mut table = transaction.open_table(CLAIMS)?;
            let mut keys = Vec::new();
            for entry in table.range(prefix.as_slice()..)? {
                let (key, _) = entry?;
                if !key.value().starts_with(&prefix) || keys.len() == BATCH_ROWS {
                    break;
                }
                keys.push(key.value().to_vec());
            }
            for key in &keys {
                table.remove(key.as_slice())?;
            }
            Ok(keys.len() == BATCH_ROWS)
        };
        loop {
            let mut writer = self.lock();
            let is_more = self.commit(&mut writer, |transaction| {
                let is_more = remove(transaction).map_err(|error| storage_error(&self.path, error))?;
                Ok((is_more, Touched::default()))
            })?;
            if !is_more {
                return Ok(());
            }
        }
    }
}
