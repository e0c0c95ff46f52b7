//! Which spans of time of a view's stored rows are kept a second time, folded into one state a key.

use serde::{Deserialize, Serialize};

use super::interval::{Interval, IntervalSet};
use crate::id::ObjectId;

/// The folded spans of one view. As long as the revision stays the same, so do these spans and the rows they were
/// folded from: whoever changes rows takes their spans out first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedSpans {
    pub view: ObjectId,
    /// of the view's groups of columns
    #[serde(default)]
    pub group: u64,
    /// of the states' columns; spans of another form are of no use
    pub form: u64,
    pub revision: u64,
    /// by width, microseconds; whole spans, aligned to their width
    pub widths: Vec<(i64, IntervalSet)>,
}

impl FoldedSpans {
    pub fn of_width(&self, width_us: i64) -> Option<&IntervalSet> {
        self.widths.iter().find(|(width, _)| *width == width_us).map(|(_, spans)| spans)
    }

    /// Adds whole spans.
    pub(super) fn add(&mut self, width_us: i64, spans: &IntervalSet) {
        if !self.widths.iter().any(|(width, _)| *width == width_us) {
            self.widths.push((width_us, IntervalSet::default()));
        }
        for (_, known) in self.widths.iter_mut().filter(|(width, _)| *width == width_us) {
            spans.iter().for_each(|span| known.insert(span));
        }
        self.revision += 1;
    }

    /// Takes out every span that has a part of `range`; false if there was none.
    pub(super) fn remove(&mut self, range: Interval) -> bool {
        let before = self.widths.clone();
        for (width_us, spans) in &mut self.widths {
            spans.remove(range.widened_to(*width_us));
        }
        let has_changed = self.widths != before;
        self.revision += u64::from(has_changed);
        has_changed
    }
}
