//! approx_count_distinct: HyperLogLog of the datasketches library.
//!
//! Its default (HIP) estimate depends on the order of insertion, so only the composite estimate is used, which is a
//! function of the registers alone; the switch from a list of hashes to registers depends only on how many distinct
//! hashes there are. Hence the answer is a function of the set of values.

use datasketches::hash::value::raw_bytes;
use datasketches::hll::{HllSketch, HllType, HllUnion};

use super::distinct::canonical;
use crate::error::{Error, Kind, Result};
use crate::row::{Value, put_value};

/// No memory until the first value.
#[derive(Debug, Clone, Default)]
pub struct Sketch(Option<Box<HllUnion>>);

impl Sketch {
    /// `precision`: the base-2 logarithm of the number of registers.
    pub fn update(&mut self, value: &Value, precision: u8) -> Result<()> {
        let mut bytes = Vec::with_capacity(16);
        put_value(&mut bytes, Some(&canonical(value)));
        self.union(precision)?.update_value(raw_bytes::from_slice(&bytes));
        Ok(())
    }

    /// The same of what stands for a value, such as a hash of it.
    pub fn update_bytes(&mut self, bytes: &[u8], precision: u8) -> Result<()> {
        self.union(precision)?.update_value(raw_bytes::from_slice(bytes));
        Ok(())
    }

    pub fn merge(&mut self, other: &Sketch, precision: u8) -> Result<()> {
        if let Some(other) = &other.0 {
            self.union(precision)?.update(&other.to_sketch(HllType::Hll8));
        }
        Ok(())
    }

    /// About how many distinct values there were.
    pub fn estimate(&self) -> i64 {
        // a float to integer cast saturates, and estimates are not negative
        self.0.as_ref().map_or(0, |union| union.composite_estimate().round() as i64)
    }

    /// The DataSketches image, empty if no value was seen. A function of the set of values, too.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Some(union) = &self.0 else { return Vec::new() };
        let mut image = normalized(union).serialize();
        let hashes_start = match mode_of(&image) {
            Some(LIST) => 8,
            Some(SET) => 12,
            _ => image.len(),
        };
        let (hashes, _) = image[hashes_start..].as_chunks_mut::<4>();
        hashes.sort_unstable();
        image
    }

    pub fn from_bytes(bytes: &[u8], precision: u8) -> Result<Sketch> {
        if bytes.is_empty() {
            return Ok(Sketch::default());
        }
        check_image(bytes, precision).ok_or_else(damaged)?;
        let stored = HllSketch::deserialize(bytes).map_err(|error| damaged().with_source(error))?;
        let mut sketch = Sketch::default();
        let union = sketch.union(precision)?;
        union.update(&stored);
        // registers merged with themselves stay, but everything derived from them is computed anew
        union.update(&stored);
        Ok(sketch)
    }

    fn union(&mut self, precision: u8) -> Result<&mut HllUnion> {
        if self.0.is_none() {
            let union = HllUnion::new(precision)
                .map_err(|error| Error::internal(format!("precision {precision} of a sketch")).with_source(error))?;
            self.0 = Some(Box::new(union));
        }
        self.0.as_deref_mut().ok_or_else(|| Error::internal("a sketch that was just made is gone"))
    }
}

/// What an image holds: a list or a set of hashes, or registers.
fn mode_of(image: &[u8]) -> Option<u8> {
    image.get(7).map(|mode| mode & 3)
}

const LIST: u8 = 0;
const SET: u8 = 1;
const REGISTERS: u8 = 2;

/// Without the order-dependent estimator, so that the stored image is a function of the registers.
fn normalized(union: &HllUnion) -> HllSketch {
    let mut twice = union.clone();
    twice.update(&union.to_sketch(HllType::Hll8));
    twice.to_sketch(HllType::Hll8)
}

/// Checks what the library trusts: that an image is compact, of this precision and of 8-bit registers of which none
/// is greater than a 64-bit hash allows. (Layout: preamble ints, version, family, lg k, lg array, flags, state, mode.)
fn check_image(bytes: &[u8], precision: u8) -> Option<()> {
    const COMPACT: u8 = 8;
    const REGISTERS_START: usize = 40;
    const MAX_REGISTER: u8 = 63;
    const EIGHT_BITS: u8 = 2;
    let header = bytes.get(..8)?;
    let of_this_kind = header[3] == precision && (header[7] >> 2) & 3 == EIGHT_BITS;
    let sound = match mode_of(bytes)? {
        LIST | SET => header[5] & COMPACT != 0,
        REGISTERS => {
            let registers = bytes.get(REGISTERS_START..)?;
            registers.len() == 1 << precision && registers.iter().all(|register| *register <= MAX_REGISTER)
        }
        _ => false,
    };
    (of_this_kind && sound).then_some(())
}

fn damaged() -> Error {
    Error::new(Kind::DataCorrupted, "a stored approx_count_distinct sketch is damaged")
}

impl PartialEq for Sketch {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => normalized(a) == normalized(b),
            _ => false,
        }
    }
}
