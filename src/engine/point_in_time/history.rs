//! `FOR SYSTEM_TIME FROM a TO b`: the answers of every key on [a, b), each with the time for which it holds.
//!
//! Neighbours that are equal are one row; stretches that say nothing are left out.

use datafusion::arrow::array::RecordBatch;

use super::answer::{Answerer, Asked, KeyRows, Wanted};
use super::join::Answers;
use super::row_groups::RowGroups;
use crate::error::Result;
use crate::row::{Value, value_at};

/// A history on its way.
pub struct History {
    pub answers: Answers,
    pub groups: RowGroups,
    pub start_us: i64,
    pub end_us: i64,
    pub batch_size: usize,
}

impl History {
    /// The rows of as many keys as fill a batch.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut out = self.answers.new_columns();
        let mut rows = 0;
        while rows < self.batch_size {
            let Some((_, columns)) = self.groups.next().await? else { break };
            let found = self.answers.key_rows(self.groups.schema(), &columns)?;
            let keys = columns[..self.answers.n_keys()]
                .iter()
                .map(|column| value_at(column.as_ref(), 0))
                .collect::<Result<Vec<_>>>()?;
            rows += self.add_key(&found, &keys, &mut out)?;
        }
        if rows == 0 { Ok(None) } else { self.answers.batch(&[], &out, rows).map(Some) }
    }

    fn add_key(&self, found: &KeyRows, keys: &[Option<Value>], out: &mut [Vec<Option<Value>>]) -> Result<usize> {
        let answerer = self.answers.answerer();
        let times = answerer.change_times(found, self.start_us, self.end_us);
        let mut columns = self.answers.new_columns();
        let asked: Vec<Option<i64>> = times.iter().copied().map(Some).collect();
        answerer.answer(Some(found), &Asked { keys, times: &asked }, &mut columns)?;
        let mut added = 0;
        for stretch in stretches(answerer, found, &times, &columns, self.end_us) {
            for ((wanted, column), out) in answerer.wanted().iter().zip(&columns).zip(out.iter_mut()) {
                out.push(match wanted {
                    Wanted::ValidTo => Some(Value::Int(stretch.end_us)),
                    _ => column[stretch.first].clone(),
                });
            }
            added += 1;
        }
        Ok(added)
    }
}

struct Stretch {
    /// the answer, by its place among the times
    first: usize,
    end_us: i64,
}

/// Which answers make up rows, and until when each holds.
fn stretches(
    answerer: &Answerer,
    found: &KeyRows,
    times: &[i64],
    columns: &[Vec<Option<Value>>],
    end_us: i64,
) -> Vec<Stretch> {
    let features = answerer.feature_columns();
    let compared: Vec<&Vec<Option<Value>>> =
        columns.iter().zip(features).filter(|(_, is_feature)| *is_feature).map(|(column, _)| column).collect();
    let mut stretches: Vec<Stretch> = Vec::new();
    for (at, &time_us) in times.iter().enumerate() {
        let until_us = times.get(at + 1).copied().unwrap_or(end_us);
        let answer: Vec<Option<Value>> = columns.iter().map(|column| column[at].clone()).collect();
        if answerer.is_empty_answer(found, time_us, &answer) {
            continue;
        }
        match stretches.last_mut() {
            Some(last) if last.end_us == time_us && compared.iter().all(|column| column[last.first] == column[at]) => {
                last.end_us = until_us;
            }
            _ => stretches.push(Stretch { first: at, end_us: until_us }),
        }
    }
    stretches
}
