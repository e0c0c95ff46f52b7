//! States without a form of their own over ranges whose ends ascend, where merging does not round: each range is two
//! halves on both sides of a pivot that several ranges share. The left halves grow to the left and the right ones to
//! the right, so every item is folded a few times, however many ranges it is in.

use super::Run;
use super::ranges::Ranges;
use crate::error::Result;
use crate::tile::pyramid::Folding;

/// Calls `answer` with the state of each range of a run that is not empty, in order.
pub(super) fn fold<F: Folding>(
    folding: &F,
    run: &Run,
    ranges: &Ranges<'_>,
    mut answer: impl FnMut(usize, &F::State) -> Result<()>,
) -> Result<()> {
    let rows: Vec<usize> = run.asked.clone().filter(|row| ranges.start[*row] < ranges.end[*row]).collect();
    let mut rest = rows.as_slice();
    while let Some(first) = rest.first() {
        let pivot = ranges.at(*first).end;
        let (group, others) = rest.split_at(rest.partition_point(|row| ranges.at(*row).start < pivot));
        fold_group(folding, pivot, group, ranges, &mut answer)?;
        rest = others;
    }
    Ok(())
}

/// All of `rows` have items on the left of `pivot` and reach at least up to it.
///
/// Left halves are made from right to left but wanted from left to right. To keep neither all of them nor make each
/// anew, one of each chunk is kept, and the others of a chunk are made from it.
fn fold_group<F: Folding>(
    folding: &F,
    pivot: usize,
    rows: &[usize],
    ranges: &Ranges<'_>,
    answer: &mut impl FnMut(usize, &F::State) -> Result<()>,
) -> Result<()> {
    let chunk_length = rows.len().isqrt().max(1);
    // by chunk, last one first: the state that its last row's left half grows from, and where that begins
    let mut kept: Vec<(F::State, usize)> = Vec::new();
    let (mut state, mut left) = (folding.empty(), pivot);
    for chunk in rows.chunks(chunk_length).rev() {
        kept.push((state.clone(), left));
        let start = ranges.at(chunk[0]).start;
        grow_left(folding, &mut state, &mut left, start)?;
    }
    let (mut right_half, mut right) = (folding.empty(), pivot);
    for chunk in rows.chunks(chunk_length) {
        let Some((mut state, mut left)) = kept.pop() else { return Ok(()) };
        let mut halves = Vec::with_capacity(chunk.len());
        for row in chunk.iter().rev() {
            grow_left(folding, &mut state, &mut left, ranges.at(*row).start)?;
            halves.push(state.clone());
        }
        for (row, mut left_half) in chunk.iter().zip(halves.into_iter().rev()) {
            for item in right..ranges.at(*row).end {
                folding.add(&mut right_half, item)?;
            }
            right = right.max(ranges.at(*row).end);
            folding.merge(&mut left_half, &right_half)?;
            answer(*row, &left_half)?;
        }
    }
    Ok(())
}

fn grow_left<F: Folding>(folding: &F, state: &mut F::State, left: &mut usize, start: usize) -> Result<()> {
    for item in (start..*left).rev() {
        folding.add(state, item)?;
    }
    *left = (*left).min(start);
    Ok(())
}
