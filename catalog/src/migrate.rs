//! The format of stored records and the steps from each older format to the next. It sees one record at a time, as
//! JSON, and no storage.
//!
//! To change the format: raise [`FORMAT`], append a [`Step`] from the old number, keep types that only old records
//! need next to the step, and add a file of the old format to `tests/stored/`. A field that old records may lack needs
//! none of this: `#[serde(default)]` is enough.

use serde_json::Value;

use crate::store::Table;

/// The format this program writes. It is in the file's `meta` table and the first byte of every record.
pub(crate) const FORMAT: u8 = 1;

/// Turns a record of format `from` into one of `from + 1`.
pub(crate) struct Step {
    pub(crate) from: u8,
    pub(crate) rewrite: fn(Table, Value) -> Value,
}

/// One step per format before [`FORMAT`], oldest first.
pub(crate) const STEPS: &[Step] = &[];

/// Takes a record of format `from` through all steps from there on.
pub(crate) fn upgrade(steps: &[Step], from: u8, table: Table, record: Value) -> Value {
    let due = steps.iter().filter(|step| step.from >= from);
    due.fold(record, |record, step| (step.rewrite)(table, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_step_per_older_format() {
        let from: Vec<u8> = STEPS.iter().map(|step| step.from).collect();
        assert_eq!(from, (1..FORMAT).collect::<Vec<u8>>());
    }

    #[test]
    fn a_record_takes_the_steps_it_lacks_in_order() {
        fn note(record: Value, text: &str) -> Value {
            Value::from(format!("{} {text}", record.as_str().unwrap()))
        }
        let steps = [
            Step { from: 1, rewrite: |_, record| note(record, "one") },
            Step { from: 2, rewrite: |_, record| note(record, "two") },
            Step { from: 3, rewrite: |_, record| note(record, "three") },
        ];
        assert_eq!(upgrade(&steps, 1, Table::Objects, "old".into()), "old one two three");
        assert_eq!(upgrade(&steps, 3, Table::Objects, "newer".into()), "newer three");
    }
}
