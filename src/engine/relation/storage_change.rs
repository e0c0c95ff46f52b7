//! What becomes of a feature view's stored rows when the view is defined anew. Pure: it looks at both definitions, and
//! changes nothing.

use granary_catalog::FeatureView;

use super::BoundView;
use crate::error::Result;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageChange {
    /// Everything that is stored stays, and no feature needs anything else.
    Same,
    /// Everything that is stored stays. What these features need besides is stored in a group of columns of its own,
    /// which the next REFRESH fills.
    NewGroup { features: Vec<String> },
    /// All stored rows go; the next REFRESH makes them anew. The reason is a clause, such as `its join keys change`.
    Recreate { reason: String },
}

impl StorageChange {
    /// What it means to put `new` in the place of `old`: two definitions of one view.
    pub fn between(old: &FeatureView, new: &FeatureView) -> Result<StorageChange> {
        if let Some(reason) = changed_rows(old, new) {
            return Ok(StorageChange::Recreate { reason: reason.to_owned() });
        }
        let storage = |view: &FeatureView| BoundView::of_feature_view(view).map(|view| view.storage);
        if storage(old)? == storage(new)? {
            return Ok(StorageChange::Same);
        }
        let reason =
            if old.query == new.query { "its features need other values of its rows" } else { "its query changes" };
        Ok(StorageChange::Recreate { reason: reason.to_owned() })
    }
}

/// Why the rows that are stored are not those of the new definition, as far as options and keys say it.
fn changed_rows(old: &FeatureView, new: &FeatureView) -> Option<&'static str> {
    let reasons = [
        (old.kind != new.kind, "it becomes a view of another kind"),
        (old.join_keys != new.join_keys, "its join keys change"),
        (old.timestamp != new.timestamp, "its TIMESTAMP changes"),
        (old.secondary_key != new.secondary_key, "its AGGREGATE BY changes"),
        (old.aggregation_interval_us != new.aggregation_interval_us, "its aggregation_interval changes"),
        (old.unfiltered != new.unfiltered, "its option unfiltered changes"),
        (old.buckets != new.buckets, "its option buckets changes"),
        (old.known_at != new.known_at, "its option known_at changes"),
    ];
    reasons.into_iter().find(|(changes, _)| *changes).map(|(_, reason)| reason)
}
