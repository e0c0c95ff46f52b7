//! The profile of one column, by what its type is: numbers, categories (texts and booleans), or things with a length.

use serde::{Deserialize, Serialize};

use super::distinct::Distinct;
use super::frequencies::{Frequencies, LIMIT};
use super::numbers::Numbers;
use super::values::{Class, Values};
use crate::error::{Error, Kind, Result};

/// A longer text is one of those that begin as it does and have its hash.
const TEXT_LIMIT: usize = 120;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    pub rows: u64,
    pub nulls: u64,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Numbers(Numbers),
    Categories {
        frequencies: Frequencies<String>,
        /// once there are too many to be counted one by one
        #[serde(default, skip_serializing_if = "Option::is_none")]
        distinct: Option<Distinct>,
        /// of texts
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lengths: Option<Lengths>,
    },
    Lengths(Lengths),
    /// Of a type of which only NULLs are counted.
    Opaque,
}

/// Lengths of texts in characters, of arrays in items, of bytes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    pub count: u64,
    pub empty: u64,
    sum: u64,
    least: u64,
    greatest: u64,
}

impl Lengths {
    fn add(&mut self, length: u64) {
        self.merge(&Lengths { count: 1, empty: u64::from(length == 0), sum: length, least: length, greatest: length });
    }

    fn merge(&mut self, other: &Lengths) {
        if other.count == 0 {
            return;
        }
        self.least = if self.count == 0 { other.least } else { self.least.min(other.least) };
        self.greatest = self.greatest.max(other.greatest);
        self.count += other.count;
        self.empty += other.empty;
        self.sum = self.sum.saturating_add(other.sum);
    }

    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.least)
    }

    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.greatest)
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

impl ColumnProfile {
    pub fn new(class: Class) -> ColumnProfile {
        let body = match class {
            Class::Number | Class::Time => Body::Numbers(Numbers::default()),
            Class::Boolean => Body::Categories { frequencies: Frequencies::default(), distinct: None, lengths: None },
            Class::Text => Body::Categories {
                frequencies: Frequencies::default(),
                distinct: None,
                lengths: Some(Lengths::default()),
            },
            Class::Length => Body::Lengths(Lengths::default()),
            Class::Opaque => Body::Opaque,
        };
        ColumnProfile { rows: 0, nulls: 0, body }
    }

    /// Adds the rows of a stretch of prepared values.
    pub fn add(&mut self, values: &Values, rows: std::ops::Range<usize>) -> Result<()> {
        self.rows += rows.len() as u64;
        self.nulls += values.nulls(rows.clone()) as u64;
        match (&mut self.body, values) {
            (Body::Numbers(numbers), Values::Numbers(values)) => {
                let slice = values.slice(rows.start, rows.len());
                numbers.add(slice.iter().flatten())
            }
            (Body::Categories { frequencies, distinct, lengths }, Values::Texts(values)) => {
                let slice = values.slice(rows.start, rows.len());
                for text in slice.iter().flatten() {
                    if let Some(lengths) = lengths {
                        lengths.add(if text.is_ascii() { text.len() } else { text.chars().count() } as u64);
                    }
                    add_text(frequencies, distinct, text)?;
                }
                Ok(())
            }
            (Body::Lengths(lengths), Values::Lengths(values)) => {
                let slice = values.slice(rows.start, rows.len());
                slice.iter().flatten().for_each(|length| lengths.add(length.unsigned_abs()));
                Ok(())
            }
            (Body::Opaque, Values::Opaque(_)) => Ok(()),
            _ => Err(Error::internal("values of another type than their profile's")),
        }
    }

    /// Errors: the column had another type.
    pub fn merge(&mut self, other: &ColumnProfile) -> Result<()> {
        match (&mut self.body, &other.body) {
            (Body::Numbers(numbers), Body::Numbers(theirs)) => numbers.merge(theirs)?,
            (
                Body::Categories { frequencies, distinct, lengths },
                Body::Categories { frequencies: theirs, distinct: their_distinct, lengths: their_lengths },
            ) if lengths.is_some() == their_lengths.is_some() => {
                merge_texts((&mut *frequencies, &mut *distinct), (theirs, their_distinct.as_ref()))?;
                if let (Some(lengths), Some(theirs)) = (lengths, their_lengths) {
                    lengths.merge(theirs);
                }
            }
            (Body::Lengths(lengths), Body::Lengths(theirs)) => lengths.merge(theirs),
            (Body::Opaque, Body::Opaque) => {}
            _ => return Err(Error::new(Kind::DatatypeMismatch, "the column has had another type")),
        }
        self.rows += other.rows;
        self.nulls += other.nulls;
        Ok(())
    }

    /// Numeric zeros and empty texts, arrays and bytes; `None` of what knows neither.
    pub fn zeros(&self) -> Option<u64> {
        match &self.body {
            Body::Numbers(numbers) => Some(numbers.zeros()),
            Body::Categories { lengths, .. } => lengths.as_ref().map(|lengths| lengths.empty),
            Body::Lengths(lengths) => Some(lengths.empty),
            Body::Opaque => None,
        }
    }

    /// How many distinct values, NULL not counted, and whether that is exact.
    pub fn distinct(&self) -> Option<(u64, bool)> {
        match &self.body {
            Body::Numbers(numbers) => Some(numbers.distinct()),
            Body::Categories { distinct: Some(distinct), .. } => Some((distinct.count(), distinct.is_exact())),
            Body::Categories { frequencies, .. } => Some((frequencies.len() as u64, true)),
            Body::Lengths(_) | Body::Opaque => None,
        }
    }

    /// The most frequent values, and by how much their counts may be too low.
    pub fn top(&self, k: usize) -> (Vec<(String, u64)>, u64) {
        match &self.body {
            Body::Numbers(numbers) => {
                let (top, lost) = numbers.top(k);
                (top.into_iter().map(|(value, count)| (crate::row::float_text(value), count)).collect(), lost)
            }
            Body::Categories { frequencies, .. } => {
                let top = frequencies.top(k).into_iter().map(|(value, count)| (value.clone(), count));
                (top.collect(), frequencies.lost())
            }
            Body::Lengths(_) | Body::Opaque => (Vec::new(), 0),
        }
    }

    pub fn numbers(&self) -> Option<&Numbers> {
        match &self.body {
            Body::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }

    pub fn lengths(&self) -> Option<&Lengths> {
        match &self.body {
            Body::Lengths(lengths) => Some(lengths),
            Body::Categories { lengths, .. } => lengths.as_ref(),
            _ => None,
        }
    }
}

fn add_text(frequencies: &mut Frequencies<String>, distinct: &mut Option<Distinct>, text: &str) -> Result<()> {
    let long = (text.len() > TEXT_LIMIT).then(|| shortened(text));
    let kept = long.as_deref().unwrap_or(text);
    frequencies.add_borrowed(kept);
    match distinct {
        Some(distinct) => distinct.add(hash_of(kept)),
        None => estimate_if_many(frequencies, distinct),
    }
}

/// Once values may be forgotten, they are told apart by the hashes of what is kept of them.
fn estimate_if_many(frequencies: &Frequencies<String>, distinct: &mut Option<Distinct>) -> Result<()> {
    if frequencies.is_exact() || distinct.is_some() {
        return Ok(());
    }
    *distinct = Some(hashes_of(frequencies)?);
    Ok(())
}

fn hashes_of(frequencies: &Frequencies<String>) -> Result<Distinct> {
    let mut hashes = Distinct::default();
    frequencies.ascending().into_iter().try_for_each(|(text, _)| hashes.add(hash_of(text)))?;
    hashes.estimate_from_here()?;
    Ok(hashes)
}

fn merge_texts(
    (frequencies, distinct): (&mut Frequencies<String>, &mut Option<Distinct>),
    (theirs, their_distinct): (&Frequencies<String>, Option<&Distinct>),
) -> Result<()> {
    let forgets = distinct.is_some() || their_distinct.is_some();
    if forgets || frequencies.len_with(theirs) > LIMIT {
        let mut both = match distinct.take() {
            Some(known) => known,
            None => hashes_of(frequencies)?,
        };
        match their_distinct {
            Some(theirs) => both.merge(theirs)?,
            None => both.merge(&hashes_of(theirs)?)?,
        }
        *distinct = Some(both);
    }
    frequencies.merge(theirs);
    Ok(())
}

fn hash_of(text: &str) -> u64 {
    twox_hash::XxHash64::oneshot(0, text.as_bytes())
}

/// What a long text is kept as: its beginning, and its hash.
fn shortened(text: &str) -> String {
    let end = (0..=TEXT_LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… #{:016x}", &text[..end], hash_of(text))
}
