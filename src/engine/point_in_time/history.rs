//! `FOR SYSTEM_TIME FROM a TO b`: which of a key's answers make up rows, and until when each holds.
//!
//! Neighbours that are equal are one row; stretches that say nothing are left out.

use super::answer::{Answerer, Wanted};
use crate::error::Result;
use crate::row::{Value, values_of};
use crate::tile::{AskedBlock, BlockAnswers};

/// A row of a history.
#[derive(Debug)]
pub struct Stretch {
    /// the answer, by its place among the asked times
    pub first: u32,
    pub end_us: i64,
}

/// `asked`: for every key the times at which its answer may change, the last of which holds until `end_us`.
pub fn stretches(
    answerer: &Answerer,
    answers: &BlockAnswers,
    asked: &AskedBlock<'_>,
    end_us: i64,
) -> Result<Vec<Stretch>> {
    let empty = answerer.empty_answer();
    let places: Vec<usize> = answerer
        .wanted()
        .iter()
        .zip(answerer.places())
        .filter_map(|(wanted, place)| match wanted {
            Wanted::Feature(_) => *place,
            _ => None,
        })
        .collect();
    let features: Vec<(Vec<Option<Value>>, &Option<Value>)> = places
        .iter()
        .map(|place| Ok((values_of(answers.columns[*place].as_ref())?, &empty[*place])))
        .collect::<Result<_>>()?;
    let says_nothing = |at: usize| {
        if answers.chosen.is_some() {
            return !answers.present[at];
        }
        answerer.plan().timing.is_before_start(asked.times[at])
            || features.iter().all(|(values, empty)| values[at] == **empty)
    };
    let mut stretches: Vec<Stretch> = Vec::new();
    for run in asked.runs {
        let first_of_run = stretches.len();
        for at in run.asked.clone() {
            let until_us = if at + 1 < run.asked.end { asked.times[at + 1] } else { end_us };
            if says_nothing(at) {
                continue;
            }
            let last = stretches.get_mut(first_of_run..).and_then(<[Stretch]>::last_mut);
            match last {
                Some(last)
                    if last.end_us == asked.times[at]
                        && features.iter().all(|(values, _)| values[last.first as usize] == values[at]) =>
                {
                    last.end_us = until_us;
                }
                _ => stretches.push(Stretch { first: u32::try_from(at).expect("a block is small"), end_us: until_us }),
            }
        }
    }
    Ok(stretches)
}
