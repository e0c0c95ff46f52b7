//! The features of one part of a service for one row, as they go into an answer: JSON, and what is told beside it.

use super::json::put_value;
use crate::engine::{ServedFeature, ServedRows};

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
    pub fn of_row(rows: &ServedRows, features: &[ServedFeature], row: usize) -> Fragment {
        let mut fragment = Fragment::default();
        for (column, feature) in rows.columns.iter().zip(features) {
            put_value(&mut fragment.json, column[row].as_ref(), &feature.data_type);
            match feature.read {
                Some(read) => fragment.end_value(rows.present[read][row], rows.effective_us[read][row]),
                // what is computed is always there, and of now
                None => fragment.end_value(true, None),
            }
        }
        fragment
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

    use arrow::datatypes::DataType;

    use super::*;
    use crate::row::Value;

    #[test]
    fn values_of_a_row_are_told_apart() {
        let text = |text: &str| Some(Value::Text(text.into()));
        let columns = vec![vec![Some(Value::Int(1)), None], vec![text("a"), text("bc")]];
        let feature = |data_type, read| ServedFeature {
            view: "v".to_owned(),
            feature: "f".to_owned(),
            data_type,
            description: None,
            tags: BTreeMap::new(),
            is_count: false,
            read,
        };
        let features = [feature(DataType::Int64, Some(0)), feature(DataType::Utf8, None)];
        let rows = ServedRows { columns, present: vec![vec![true, false]], effective_us: vec![vec![Some(7), None]] };
        let fragment = Fragment::of_row(&rows, &features, 1);
        assert_eq!((fragment.value(0), fragment.value(1)), (&b"null"[..], &b"\"bc\""[..]));
        assert_eq!((fragment.is_present(0), fragment.is_present(1)), (false, true));
        let first = Fragment::of_row(&rows, &features, 0);
        assert_eq!((first.effective_us(0), first.effective_us(1)), (Some(7), None));
        assert_eq!(first.n_bytes(), 6);
    }
}
