//! States without a form of their own over ranges whose ends ascend, where merging does not round: each range is two
//! halves on both sides of a pivot that several ranges share. The left halves grow to the left and the right ones to
//! the right, so every item is folded a few times, however many ranges it is in.

use std::ops::Range;

use super::ranges::SeenWindow;
use crate::error::Result;
use crate::tile::pyramid::Folding;

/// Calls `answer` with the state of each of `windows`, of one run, and with the rows that see it, in order.
pub(super) fn fold<F: Folding>(
    folding: &F,
    windows: &[SeenWindow],
    mut answer: impl FnMut(Range<usize>, &F::State) -> Result<()>,
) -> Result<()> {
    let mut rest = windows;
    while let Some(first) = rest.first() {
        let pivot = first.items.end;
        let (group, others) = rest.split_at(rest.partition_point(|window| window.items.start < pivot));
        fold_group(folding, pivot, group, &mut answer)?;
        rest = others;
    }
    Ok(())
}

/// All of `windows` have items on the left of `pivot` and reach at least up to it.
///
/// Left halves are made from right to left but wanted from left to right. To keep neither all of them nor make each
/// anew, one of each chunk is kept, and the others of a chunk are made from it.
fn fold_group<F: Folding>(
    folding: &F,
    pivot: usize,
    windows: &[SeenWindow],
    answer: &mut impl FnMut(Range<usize>, &F::State) -> Result<()>,
) -> Result<()> {
    let chunk_length = windows.len().isqrt().max(1);
    // by chunk, last one first: the state that its last window's left half grows from, and where that begins
    let mut kept: Vec<(F::State, usize)> = Vec::new();
    let (mut state, mut left) = (folding.empty(), pivot);
    for chunk in windows.chunks(chunk_length).rev() {
        kept.push((state.clone(), left));
        grow_left(folding, &mut state, &mut left, chunk[0].items.start)?;
    }
    let (mut right_half, mut right) = (folding.empty(), pivot);
    for chunk in windows.chunks(chunk_length) {
        let Some((mut state, mut left)) = kept.pop() else { return Ok(()) };
        let mut halves = Vec::with_capacity(chunk.len());
        for window in chunk.iter().rev() {
            grow_left(folding, &mut state, &mut left, window.items.start)?;
            halves.push(state.clone());
        }
        for (window, mut left_half) in chunk.iter().zip(halves.into_iter().rev()) {
            for item in right..window.items.end {
                folding.add(&mut right_half, item)?;
            }
            right = window.items.end;
            folding.merge(&mut left_half, &right_half)?;
            answer(window.rows.clone(), &left_half)?;
        }
    }
    Ok(())
}

fn grow_left<F: Folding>(folding: &F, state: &mut F::State, left: &mut usize, start: usize) -> Result<()> {
    for item in (start..*left).rev() {
        folding.add(state, item)?;
    }
    *left = start;
    Ok(())
}
