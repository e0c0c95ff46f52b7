//! approx_percentile: a compact multiset of floats whose state depends on the multiset alone.
//!
//! Sketches such as KLL or t-digest depend on the order of their input, so store, source and online would differ.
//! Here values are counted exactly until one octave (the floats of one sign and exponent) has more than
//! [`MAX_BUCKETS`] distinct ones; then that octave drops as many low mantissa bits as it takes to be within the limit
//! again, and remembers of each bucket how many values it has, its least and its greatest value and their counts.
//!
//! Why merge(A, B) is the state of A ∪ B: the dropped bits of an octave are the fewest that leave at most
//! MAX_BUCKETS buckets; more values never need fewer, so both parts know all that the union keeps.
//!
//! Error: a bucket of up to two distinct values is exact; in a greater one, which has about 1/1000 of an octave's
//! width, values between its ends are taken to be spread evenly.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::row::Reader;

/// The most buckets in one octave.
pub(super) const MAX_BUCKETS: usize = 1024;
const MANTISSA_BITS: u32 = 52;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Quantile {
    /// Ascending by position; none is empty.
    octaves: Vec<Octave>,
}

/// The floats of one sign and exponent.
#[derive(Debug, Clone, PartialEq)]
struct Octave {
    /// The upper bits of the members' [`ordinal`].
    position: i16,
    /// How many low bits are left out of the keys.
    dropped_bits: u32,
    /// By the ordinal, its dropped bits cleared.
    buckets: BTreeMap<i64, Bucket>,
}

#[derive(Debug, Clone, PartialEq)]
enum Bucket {
    /// One value, which is the key, so many times: the form of every bucket of an octave without dropped bits.
    Exact(i64),
    Coarse(Box<Coarse>),
}

/// Several neighbouring values as one, by their ordinals. With one distinct value the two ends and counts are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coarse {
    pub count: i64,
    pub least: i64,
    pub least_count: i64,
    pub greatest: i64,
    pub greatest_count: i64,
}

/// An integer for each float, in the same order. One zero; finite floats only.
pub fn ordinal(value: f64) -> i64 {
    let bits = if value == 0.0 { 0 } else { value.to_bits().cast_signed() };
    flip_negative(bits)
}

pub fn float_of(ordinal: i64) -> f64 {
    f64::from_bits(flip_negative(ordinal).cast_unsigned())
}

/// All bits but the sign inverted if negative; its own inverse.
fn flip_negative(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

pub(super) fn position_of(ordinal: i64) -> i16 {
    i16::try_from(ordinal >> MANTISSA_BITS).expect("12 bits")
}

impl Coarse {
    fn of(ordinal: i64, count: i64) -> Coarse {
        Coarse { count, least: ordinal, least_count: count, greatest: ordinal, greatest_count: count }
    }

    fn merge(&mut self, other: &Coarse) {
        self.count = self.count.saturating_add(other.count);
        if other.least < self.least {
            (self.least, self.least_count) = (other.least, other.least_count);
        } else if other.least == self.least {
            self.least_count = self.least_count.saturating_add(other.least_count);
        }
        if other.greatest > self.greatest {
            (self.greatest, self.greatest_count) = (other.greatest, other.greatest_count);
        } else if other.greatest == self.greatest {
            self.greatest_count = self.greatest_count.saturating_add(other.greatest_count);
        }
    }

    /// The value at `rank`, from 0 to `count` - 1, in ascending order.
    pub fn value_at(&self, rank: i64) -> f64 {
        let (least, greatest) = (float_of(self.least), float_of(self.greatest));
        let greatest_from = self.count - self.greatest_count;
        if rank < self.least_count {
            return least;
        }
        if rank >= greatest_from {
            return greatest;
        }
        let between = (greatest_from - self.least_count + 1) as f64;
        // one octave: the difference is finite
        least + (greatest - least) * ((rank - self.least_count + 1) as f64 / between)
    }
}

impl Bucket {
    fn count(&self) -> i64 {
        match self {
            Bucket::Exact(count) => *count,
            Bucket::Coarse(coarse) => coarse.count,
        }
    }

    fn coarse(&self, key: i64) -> Coarse {
        match self {
            Bucket::Exact(count) => Coarse::of(key, *count),
            Bucket::Coarse(coarse) => **coarse,
        }
    }

    fn value_at(&self, key: i64, rank: i64) -> f64 {
        match self {
            Bucket::Exact(_) => float_of(key),
            Bucket::Coarse(coarse) => coarse.value_at(rank),
        }
    }
}

impl Octave {
    fn new(position: i16, dropped_bits: u32) -> Octave {
        Octave { position, dropped_bits, buckets: BTreeMap::new() }
    }

    /// Adds `bucket`, whose ordinals all fall into one bucket at the present coarseness, without keeping the limit.
    fn add(&mut self, key: i64, bucket: &Bucket) {
        if self.dropped_bits == 0
            && let Bucket::Exact(count) = bucket
        {
            let held = self.buckets.entry(key).or_insert(Bucket::Exact(0));
            if let Bucket::Exact(held) = held {
                *held = held.saturating_add(*count);
            }
            return;
        }
        let added = bucket.coarse(key);
        match self.buckets.entry(key >> self.dropped_bits << self.dropped_bits) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Bucket::Coarse(Box::new(added)));
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                if let Bucket::Coarse(held) = occupied.get_mut() {
                    held.merge(&added);
                }
            }
        }
    }

    /// Drops bits until there are at least `dropped_bits` of them dropped and at most MAX_BUCKETS buckets.
    fn coarsen(&mut self, dropped_bits: u32) {
        let mut wanted = self.dropped_bits.max(dropped_bits);
        while self.distinct_at(wanted) > MAX_BUCKETS {
            wanted += 1;
        }
        if wanted == self.dropped_bits {
            return;
        }
        self.dropped_bits = wanted;
        for (key, bucket) in std::mem::take(&mut self.buckets) {
            self.add(key, &bucket);
        }
    }

    fn distinct_at(&self, dropped_bits: u32) -> usize {
        if dropped_bits == self.dropped_bits {
            return self.buckets.len();
        }
        let mut last = None;
        self.buckets.keys().filter(|key| last.replace(*key >> dropped_bits) != Some(*key >> dropped_bits)).count()
    }
}

impl Quantile {
    /// NaN and infinities are left out.
    pub fn update(&mut self, value: f64) {
        if value.is_finite() {
            let ordinal = ordinal(value);
            let octave = self.octave(position_of(ordinal));
            octave.add(ordinal, &Bucket::Exact(1));
            octave.coarsen(0);
        }
    }

    pub fn merge(&mut self, other: &Quantile) {
        for theirs in &other.octaves {
            let octave = self.octave(theirs.position);
            octave.coarsen(theirs.dropped_bits);
            for (key, bucket) in &theirs.buckets {
                octave.add(*key, bucket);
            }
            octave.coarsen(0);
        }
    }

    fn octave(&mut self, position: i16) -> &mut Octave {
        let index = match self.octaves.binary_search_by_key(&position, |octave| octave.position) {
            Ok(index) => index,
            Err(index) => {
                self.octaves.insert(index, Octave::new(position, 0));
                index
            }
        };
        &mut self.octaves[index]
    }

    /// The value below which the fraction `p` (0 to 1) of the rows lies, interpolated between the closest ranks as
    /// percentile_cont does. `None` of no rows.
    pub fn percentile(&self, p: f64) -> Option<f64> {
        let buckets = || self.octaves.iter().flat_map(|octave| &octave.buckets);
        let total = buckets().fold(0_i64, |total, (_, bucket)| total.saturating_add(bucket.count()));
        Some(Place::of(p, total)?.between(|rank| {
            let mut passed = 0_i64;
            let value_in = |(key, bucket): (&i64, &Bucket)| {
                let before = passed;
                passed = passed.saturating_add(bucket.count());
                (rank < passed).then(|| bucket.value_at(*key, rank - before))
            };
            buckets().find_map(value_in).expect("a rank is below the number of values")
        }))
    }

    /// The values as ordinals, ascending, and how often there is each; `None` if single values were forgotten.
    pub fn exact_counts(&self) -> Option<impl Iterator<Item = (i64, i64)>> {
        let is_exact = self.octaves.iter().all(|octave| octave.dropped_bits == 0);
        let buckets = || self.octaves.iter().flat_map(|octave| &octave.buckets);
        is_exact.then(|| buckets().map(|(key, bucket)| (*key, bucket.count())))
    }

    /// Appends the octaves: how many, and for each position, dropped bits, number of buckets and those.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_length(out, self.octaves.len());
        for octave in &self.octaves {
            out.extend_from_slice(&octave.position.to_be_bytes());
            out.push(u8::try_from(octave.dropped_bits).expect("at most 52"));
            put_length(out, octave.buckets.len());
            for (key, bucket) in &octave.buckets {
                match bucket {
                    Bucket::Exact(count) => put(out, &[*key, *count]),
                    Bucket::Coarse(coarse) => {
                        let Coarse { count, least, least_count, greatest, greatest_count } = **coarse;
                        put(out, &[least, count, least_count, greatest, greatest_count]);
                    }
                }
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Quantile> {
        let mut quantile = Quantile::default();
        for _ in 0..reader.length()? {
            let position = i16::from_be_bytes(reader.take(2)?.try_into().map_err(|_| damaged())?);
            let mut octave = Octave::new(position, reader.u8()?.into());
            for _ in 0..reader.length()? {
                let (key, bucket) = decode_bucket(reader, octave.dropped_bits)?;
                octave.check(key, &bucket)?;
                octave.buckets.insert(key >> octave.dropped_bits << octave.dropped_bits, bucket);
            }
            let ascends = quantile.octaves.last().is_none_or(|last| last.position < position);
            if !ascends || octave.buckets.is_empty() || octave.buckets.len() > MAX_BUCKETS {
                return Err(damaged());
            }
            quantile.octaves.push(octave);
        }
        Ok(quantile)
    }
}

/// Between which ranks a percentile lies.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    low_rank: i64,
    /// how far it is from there to the next rank
    fraction: f64,
    last_rank: i64,
}

impl Place {
    /// Of the fraction `p` among `total` values; `None` of no values.
    pub fn of(p: f64, total: i64) -> Option<Place> {
        let last_rank = total - 1;
        let place = p * last_rank as f64;
        let low_rank = (place.floor() as i64).min(last_rank);
        (total > 0).then_some(Place { low_rank, fraction: place - place.floor(), last_rank })
    }

    /// The value there, by those of the ranks.
    pub fn between(self, value_at: impl Fn(i64) -> f64) -> f64 {
        let low = value_at(self.low_rank);
        if self.fraction > 0.0 {
            let high = value_at((self.low_rank + 1).min(self.last_rank));
            interpolate(low, high, self.fraction)
        } else {
            low
        }
    }
}

impl Octave {
    /// Whether a decoded bucket belongs here, after all that are already here.
    fn check(&self, key: i64, bucket: &Bucket) -> Result<()> {
        let truncated = |ordinal: i64| ordinal >> self.dropped_bits;
        let coarse = bucket.coarse(key);
        let ends_are_one = coarse.least == coarse.greatest;
        let counts_are_one = coarse.count == coarse.least_count && coarse.count == coarse.greatest_count;
        let sound = self.dropped_bits <= MANTISSA_BITS
            && position_of(coarse.least) == self.position
            && float_of(coarse.least).is_finite()
            && truncated(coarse.least) == truncated(coarse.greatest)
            && coarse.least <= coarse.greatest
            && coarse.least_count > 0
            && coarse.greatest_count > 0
            && if ends_are_one {
                counts_are_one
            } else {
                coarse.least_count.checked_add(coarse.greatest_count).is_some_and(|ends| ends <= coarse.count)
            }
            && self.buckets.last_key_value().is_none_or(|(last, _)| truncated(*last) < truncated(key));
        if sound { Ok(()) } else { Err(damaged()) }
    }
}

fn decode_bucket(reader: &mut Reader<'_>, dropped_bits: u32) -> Result<(i64, Bucket)> {
    let key = reader.i64()?;
    let count = reader.i64()?;
    if dropped_bits == 0 {
        return Ok((key, Bucket::Exact(count)));
    }
    let (least_count, greatest, greatest_count) = (reader.i64()?, reader.i64()?, reader.i64()?);
    Ok((key, Bucket::Coarse(Box::new(Coarse { count, least: key, least_count, greatest, greatest_count }))))
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_u32(out, u32::try_from(length).expect("far fewer octaves and buckets"));
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put(out: &mut Vec<u8>, values: &[i64]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn interpolate(low: f64, high: f64, fraction: f64) -> f64 {
    let difference = high - low;
    if difference.is_finite() { low + difference * fraction } else { low * (1.0 - fraction) + high * fraction }
}

fn damaged() -> Error {
    Error::new(Kind::DataCorrupted, "a stored approx_percentile state is damaged")
}
