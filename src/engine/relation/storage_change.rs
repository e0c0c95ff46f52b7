//! What becomes of a feature view's stored rows when the view is defined anew. Pure: it looks at both definitions, and
//! changes nothing.

use granary_catalog::{ColumnGroup, FeatureView, StoredColumn, ViewStorage};
use serde_json::json;

use super::bound_view::storage_fingerprint;
use super::columns::{Form, default_storage, needed_by_feature, needed_columns};
use super::query_change;
use crate::error::Result;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageChange {
    /// Everything that is stored stays, and no feature needs anything else.
    Same,
    /// Everything that is stored stays. What these features need besides is stored in a group of columns of its own,
    /// which the next REFRESH fills.
    NewGroup { features: Vec<String> },
    /// Everything that is stored stays, since the view's owner says so. The reason is why it would go otherwise.
    KeptByOwner { reason: String },
    /// All stored rows go; the next REFRESH makes them anew. The reason is a clause, such as `its join keys change`.
    Recreate { reason: String },
}

impl StorageChange {
    /// What it means to put `new` in the place of `old`: two definitions of one view. How `new` says that its rows are
    /// stored does not count, but for whether its owner has kept those of `old`.
    pub fn between(old: &FeatureView, new: &FeatureView) -> Result<StorageChange> {
        let kept = match Kept::of(old, new)? {
            Ok(kept) => kept,
            Err(reason) if is_kept_by_owner(old, new)? => return Ok(StorageChange::KeptByOwner { reason }),
            Err(reason) => return Ok(StorageChange::Recreate { reason }),
        };
        let mut features = Vec::new();
        for (feature, needed) in new.features.iter().zip(needed_by_feature(new)?) {
            let mut is_new = false;
            for value in &needed {
                is_new |= !kept.has(&Form::of(value)?);
            }
            if is_new {
                features.push(feature.name.clone());
            }
        }
        Ok(if features.is_empty() { StorageChange::Same } else { StorageChange::NewGroup { features } })
    }
}

/// How the rows of `new` are stored once it is in the place of `old`; `None` where its features say it.
pub fn next_storage(old: &FeatureView, new: &FeatureView) -> Result<Option<ViewStorage>> {
    match Kept::of(old, new)? {
        Ok(kept) => kept.next(new),
        Err(_) => stored_elsewhere(old, new),
    }
}

/// Of a view whose rows all go: nowhere where rows are that it has kept under another definition than theirs, since they
/// go only after the commit.
fn stored_elsewhere(old: &FeatureView, new: &FeatureView) -> Result<Option<ViewStorage>> {
    let (before, mut storage) = (storage_of(old)?, default_storage(new)?);
    if !before.kept_by_owner || !storage.groups.iter().any(|group| before.groups.contains(group)) {
        return Ok(None);
    }
    let number = before.next_group;
    storage.groups = vec![ColumnGroup { number, fingerprint: fingerprint_of(new, number)? }];
    storage.next_group = number + 1;
    storage.columns.iter_mut().for_each(|column| column.group = Some(number));
    Ok(Some(storage))
}

/// How the rows of `new` are stored if its owner says that they are those of `old`. Errors of the inner result: why they
/// cannot be, whoever says it. It is a clause.
pub fn storage_kept_by_owner(old: &FeatureView, new: &FeatureView) -> Result<std::result::Result<ViewStorage, String>> {
    if let Some(reason) = changed_layout(old, new) {
        return Ok(Err(reason.to_owned()));
    }
    if old.joins || new.joins {
        return Ok(Err("its query joins a stream, so what it made of events was stored as they came".to_owned()));
    }
    let kept = Kept::stored(old)?;
    for (feature, needed) in new.features.iter().zip(needed_by_feature(new)?) {
        for value in &needed {
            if !kept.has(&Form::of(value)?) {
                return Ok(Err(format!("its feature \"{}\" needs what is not stored", feature.name)));
            }
        }
    }
    let storage = match kept.next(new)? {
        Some(storage) => storage,
        None => default_storage(new)?,
    };
    Ok(Ok(ViewStorage { kept_by_owner: true, ..storage }))
}

/// Whether `new` says that the rows of `old` are its own.
fn is_kept_by_owner(old: &FeatureView, new: &FeatureView) -> Result<bool> {
    let Some(storage) = new.storage.as_ref().filter(|storage| storage.kept_by_owner) else { return Ok(false) };
    let before = storage_of(old)?.groups;
    Ok(!storage.groups.is_empty() && storage.groups.iter().all(|group| before.contains(group)))
}

fn storage_of(view: &FeatureView) -> Result<ViewStorage> {
    match &view.storage {
        Some(storage) => Ok(storage.clone()),
        None => default_storage(view),
    }
}

/// What is stored of a view, and stays.
struct Kept {
    storage: ViewStorage,
    /// by column; of those that cannot be used none
    forms: Vec<Option<Form>>,
}

impl Kept {
    /// Errors of the inner result: why nothing stays.
    fn of(old: &FeatureView, new: &FeatureView) -> Result<std::result::Result<Kept, String>> {
        if let Some(reason) = changed_options(old, new) {
            return Ok(Err(reason.to_owned()));
        }
        if let Some(reason) = query_change::changed_rows(&old.query, &new.query)? {
            return Ok(Err(reason));
        }
        // the same words may mean another relation elsewhere; functions come and go with features
        let (before, after) = (&old.depends_on, &new.depends_on);
        let keeps = before.iter().all(|id| after.contains(id)) || after.iter().all(|id| before.contains(id));
        if old.query != new.query && !keeps {
            return Ok(Err("its query reads other relations".to_owned()));
        }
        let kept = Kept::stored(old)?;
        if old.joins || new.joins {
            let needed = needed_columns(new)?.iter().map(Form::of).collect::<Result<Vec<_>>>()?;
            let all_used = kept.forms.iter().flatten().all(|form| needed.contains(form));
            if old.query != new.query || !all_used || !needed.iter().all(|form| kept.has(form)) {
                let reason = "its query joins, so what it made of events was stored as they came";
                return Ok(Err(reason.to_owned()));
            }
        }
        Ok(Ok(kept))
    }

    /// All of a view.
    fn stored(view: &FeatureView) -> Result<Kept> {
        let storage = storage_of(view)?;
        let form = |column: &StoredColumn| match column.group {
            Some(_) if !column.dropped => Form::of(&column.value).map(Some),
            _ => Ok(None),
        };
        let forms = storage.columns.iter().map(form).collect::<Result<Vec<_>>>()?;
        Ok(Kept { storage, forms })
    }

    fn has(&self, form: &Form) -> bool {
        self.forms.iter().flatten().any(|known| known == form)
    }

    fn next(mut self, new: &FeatureView) -> Result<Option<ViewStorage>> {
        let needed = needed_columns(new)?;
        let needed_forms = needed.iter().map(Form::of).collect::<Result<Vec<_>>>()?;
        for (column, form) in self.storage.columns.iter_mut().zip(&self.forms) {
            column.dropped |= form.as_ref().is_some_and(|form| !needed_forms.contains(form));
        }
        let missing: Vec<_> =
            needed.into_iter().zip(needed_forms).filter(|(_, form)| !self.has(form)).map(|(value, _)| value).collect();
        let ViewStorage { groups, next_group, columns, .. } = &mut self.storage;
        groups.retain(|group| columns.iter().any(|column| column.group == Some(group.number) && !column.dropped));
        for column in columns.iter_mut() {
            column.group = column.group.filter(|number| groups.iter().any(|group| group.number == *number));
        }
        if !missing.is_empty() {
            let number = *next_group;
            groups.push(ColumnGroup { number, fingerprint: fingerprint_of(new, number)? });
            *next_group += 1;
            let added = missing.into_iter();
            columns.extend(added.map(|value| StoredColumn { value, group: Some(number), dropped: false }));
        }
        let plain = default_storage(new)?;
        let is_plain = plain.groups == self.storage.groups && plain.columns == self.storage.columns;
        Ok((!is_plain).then_some(self.storage))
    }
}

/// Of the table of a view's group with this number.
pub fn fingerprint_of(view: &FeatureView, number: u64) -> Result<u64> {
    let first = default_storage(view)?.groups.first().map_or(0, |group| group.fingerprint);
    Ok(storage_fingerprint(&json!({ "view": first, "group": number })))
}

/// Why the rows that are stored are not those of the new definition, as far as options and keys say it.
fn changed_options(old: &FeatureView, new: &FeatureView) -> Option<&'static str> {
    let unfiltered = (old.unfiltered != new.unfiltered).then_some("its option unfiltered changes");
    changed_layout(old, new).or(unfiltered)
}

/// Why rows of the new definition are not stored like those that are.
fn changed_layout(old: &FeatureView, new: &FeatureView) -> Option<&'static str> {
    let reasons = [
        (old.kind != new.kind, "it becomes a view of another kind"),
        (old.join_keys != new.join_keys, "its join keys change"),
        (old.timestamp != new.timestamp, "its TIMESTAMP changes"),
        (old.secondary_key != new.secondary_key, "its AGGREGATE BY changes"),
        (old.aggregation_interval_us != new.aggregation_interval_us, "its aggregation_interval changes"),
        (old.buckets != new.buckets, "its option buckets changes"),
        (old.known_at != new.known_at, "its option known_at changes"),
    ];
    reasons.into_iter().find(|(changes, _)| *changes).map(|(_, reason)| reason)
}
