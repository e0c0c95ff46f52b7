//! How many distinct values: exact while they are few, else about, by HyperLogLog.
//!
//! Values are told apart by 64-bit hashes. With 4096 registers the standard error is 1.04/64, 1.6 %.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde::{de, ser};

use crate::error::Result;
use crate::tile::Sketch;

const PRECISION: u8 = 12;
/// So many are counted exactly.
const EXACT: usize = 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distinct {
    Exact(BTreeSet<u64>),
    About(#[serde(with = "image")] Sketch),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(BTreeSet::new())
    }
}

impl Distinct {
    pub fn add(&mut self, hash: u64) -> Result<()> {
        match self {
            Distinct::Exact(hashes) => {
                hashes.insert(hash);
                if hashes.len() > EXACT { self.estimate_from_here() } else { Ok(()) }
            }
            Distinct::About(sketch) => sketch.update_bytes(&hash.to_be_bytes(), PRECISION),
        }
    }

    pub fn merge(&mut self, other: &Distinct) -> Result<()> {
        match other {
            Distinct::Exact(hashes) => hashes.iter().try_for_each(|hash| self.add(*hash)),
            Distinct::About(theirs) => {
                self.estimate_from_here()?;
                let Distinct::About(sketch) = self else { return Ok(()) };
                sketch.merge(theirs, PRECISION)
            }
        }
    }

    /// From now on an estimate is enough.
    pub fn estimate_from_here(&mut self) -> Result<()> {
        let Distinct::Exact(hashes) = self else { return Ok(()) };
        let mut sketch = Sketch::default();
        for hash in hashes.iter() {
            sketch.update_bytes(&hash.to_be_bytes(), PRECISION)?;
        }
        *self = Distinct::About(sketch);
        Ok(())
    }

    pub fn count(&self) -> u64 {
        match self {
            Distinct::Exact(hashes) => hashes.len() as u64,
            Distinct::About(sketch) => sketch.estimate().unsigned_abs(),
        }
    }

    pub fn is_exact(&self) -> bool {
        matches!(self, Distinct::Exact(_))
    }
}

/// A sketch as text.
mod image {
    use super::*;

    pub fn serialize<S: ser::Serializer>(sketch: &Sketch, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(sketch.to_bytes()))
    }

    pub fn deserialize<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Sketch, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
        Sketch::from_bytes(&bytes, PRECISION).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads a number over 64 bits (splitmix64).
    fn hash(number: u64) -> u64 {
        let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn of(numbers: impl Iterator<Item = u64>) -> Distinct {
        let mut distinct = Distinct::default();
        numbers.for_each(|number| distinct.add(hash(number)).unwrap());
        distinct
    }

    #[test]
    fn few_are_exact_and_many_about() {
        assert_eq!(of((0..1000).chain(0..1000)).count(), 1000);
        let many = of(0..100_000);
        assert!(!many.is_exact());
        let error = (many.count() as f64 - 100_000.0).abs() / 100_000.0;
        assert!(error < 4.0 * 1.04 / 64.0, "{}", many.count());
    }

    #[test]
    fn parts_in_any_order_are_the_whole() {
        let parts = [of(0..700), of(500..1_400), of(0..5_000), of(4_000..9_000)];
        let whole = of(0..9_000);
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut merged = Distinct::default();
            order.iter().for_each(|&part| merged.merge(&parts[part]).unwrap());
            assert_eq!(merged.count(), whole.count());
            let back: Distinct = serde_json::from_str(&serde_json::to_string(&merged).unwrap()).unwrap();
            assert_eq!(back.count(), whole.count());
        }
    }
}
