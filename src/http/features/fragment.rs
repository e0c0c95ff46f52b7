//! The features of one part of a service for one row, as they go into an answer: JSON, and what is told beside it.

use super::json::put_value;
use crate::engine::{ServedFeature, ServedRows};
use crate::error::Result;

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Fragment {
    /// values one after the other
    json: Vec<u8>,
    /// by feature, where its value ends
    ends: Vec<usize>,
    /// by feature, whether its view knows the key
    present: Vec<bool>,
    /// by feature, since when its value holds; microseconds
    effective_us: Vec<Option<i64>>,
}

impl Fragment {
    /// One row of an answer.
    pub fn of_row(rows: &ServedRows, features: &[ServedFeature], row: usize) -> Result<Fragment> {
        let mut fragment = Fragment::default();
        for (column, feature) in rows.columns.iter().zip(features) {
            put_value(&mut fragment.json, column, row)?;
            match feature.read {
                Some(read) => fragment.end_value(rows.present[read][row], rows.effective_us[read][row]),
                // what is computed is always there, and of now
                None => fragment.end_value(true, None),
            }
        }
        Ok(fragment)
    }

    fn end_value(&mut self, present: bool, effective_us: Option<i64>) {
        self.ends.push(self.json.len());
        self.present.push(present);
        self.effective_us.push(effective_us);
    }

    #[cfg(test)]
    pub fn of_json(json: &[u8]) -> Fragment {
        let mut fragment = Fragment { json: json.to_vec(), ..Fragment::default() };
        fragment.end_value(true, None);
        fragment
    }

    pub fn value(&self, feature: usize) -> &[u8] {
        let start = if feature == 0 { 0 } else { self.ends[feature - 1] };
        &self.json[start..self.ends[feature]]
    }

    pub fn is_present(&self, feature: usize) -> bool {
        self.present[feature]
    }

    pub fn effective_us(&self, feature: usize) -> Option<i64> {
        self.effective_us[feature]
    }

    pub fn n_bytes(&self) -> usize {
        self.json.len()
    }

    /// The memory that it takes.
    pub fn size(&self) -> usize {
        self.json.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.present.capacity()
            + self.effective_us.capacity() * size_of::<Option<i64>>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn values_of_a_row_are_told_apart() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec![Some("a"), Some("bc")])),
        ];
        let feature = |read| ServedFeature {
            view: "v".to_owned(),
            feature: "f".to_owned(),
            data_type: DataType::Utf8,
            description: None,
            tags: BTreeMap::new(),
            read,
        };
        let rows = ServedRows { columns, present: vec![vec![true, false]], effective_us: vec![vec![Some(7), None]] };
        let fragment = Fragment::of_row(&rows, &[feature(Some(0)), feature(None)], 1).unwrap();
        assert_eq!((fragment.value(0), fragment.value(1)), (&b"null"[..], &b"\"bc\""[..]));
        assert_eq!((fragment.is_present(0), fragment.is_present(1)), (false, true));
        let first = Fragment::of_row(&rows, &[feature(Some(0)), feature(None)], 0).unwrap();
        assert_eq!((first.effective_us(0), first.effective_us(1)), (Some(7), None));
        assert_eq!(first.n_bytes(), 6);
    }
}
