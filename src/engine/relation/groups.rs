//! A view whose rows are stored in several tables, as seen by one of them: keys and times, and the columns of its group.

use std::collections::BTreeSet;

use granary_catalog::{ColumnGroup, GroupId, ObjectId};

use super::bound_view::{BoundView, RowLayout};
use crate::tile::OutputColumn;

impl BoundView {
    /// The view as far as its stored rows have it: without columns that are stored no more.
    pub fn stored(&self) -> BoundView {
        self.of_groups(&self.group_numbers())
    }

    /// The same with the states alone that its features are made of.
    pub fn in_use(&self) -> BoundView {
        let mut view = self.clone();
        let is_used = |partial: usize| self.plan.features.iter().any(|feature| feature.partial == partial);
        for (partial, group) in view.partial_groups.iter_mut().enumerate() {
            *group = group.filter(|_| is_used(partial));
        }
        view.stored()
    }

    /// One view for each of the tables.
    pub fn by_group(&self) -> Vec<BoundView> {
        self.group_numbers().into_iter().map(|number| self.of_groups(&[number])).collect()
    }

    pub fn group_numbers(&self) -> Vec<u64> {
        self.groups.iter().map(|group| group.number).collect()
    }

    /// Of a view that has one group, that.
    pub fn group_id(&self) -> GroupId {
        GroupId::new(ObjectId(self.id), self.groups.first().map_or(0, |group| group.number))
    }

    /// The view with the stored columns of some groups alone, and the features that need no others. What it gives to
    /// who asks for features is not told any more.
    pub fn of_groups(&self, numbers: &[u64]) -> BoundView {
        let is_kept = |group: &Option<u64>| group.is_some_and(|group| numbers.contains(&group));
        let mut view = self.clone();
        view.groups = self.groups.iter().copied().filter(|group| numbers.contains(&group.number)).collect();
        view.storage = view.groups.first().map_or(0, |group: &ColumnGroup| group.fingerprint);
        let partials: Vec<usize> = match self.stored_layout() {
            RowLayout::Tiles => {
                (0..self.plan.partials.len()).filter(|partial| is_kept(&self.partial_groups[*partial])).collect()
            }
            RowLayout::Events => {
                let has_inputs = |partial: &usize| {
                    self.partial_inputs[*partial].iter().all(|input| is_kept(&self.inputs[*input].group))
                };
                (0..self.plan.partials.len()).filter(has_inputs).collect()
            }
        };
        let inputs: Vec<usize> = match self.stored_layout() {
            // those that its states are made of
            RowLayout::Tiles => {
                let used: BTreeSet<usize> =
                    partials.iter().flat_map(|partial| self.partial_inputs[*partial].iter().copied()).collect();
                used.into_iter().collect()
            }
            RowLayout::Events => (0..self.inputs.len()).filter(|input| is_kept(&self.inputs[*input].group)).collect(),
        };
        let input_place = |input: &usize| inputs.iter().position(|kept| kept == input);
        view.inputs = inputs.iter().map(|input| self.inputs[*input].clone()).collect();
        view.plan.partials = partials.iter().map(|partial| self.plan.partials[*partial].clone()).collect();
        let places = |partial: &usize| self.partial_inputs[*partial].iter().filter_map(input_place).collect();
        view.partial_inputs = partials.iter().map(places).collect();
        view.partial_names = partials.iter().map(|partial| self.partial_names[*partial].clone()).collect();
        view.partial_groups = partials.iter().map(|partial| self.partial_groups[*partial]).collect();
        view.plan.features.retain_mut(|feature| match partials.iter().position(|kept| *kept == feature.partial) {
            Some(place) => {
                feature.partial = place;
                true
            }
            None => false,
        });
        let attributes: Vec<(usize, usize)> = (self.attribute_inputs.iter().enumerate())
            .filter_map(|(attribute, input)| Some((attribute, input_place(input)?)))
            .collect();
        view.plan.attributes = attributes.iter().map(|(place, _)| self.plan.attributes[*place].clone()).collect();
        view.attribute_inputs = attributes.into_iter().map(|(_, input)| input).collect();
        view
    }

    /// The groups that have what a feature is made of, by its place among the features.
    pub fn groups_of_feature(&self, feature: usize) -> Vec<u64> {
        if !self.kind().has_aggregates() {
            return self
                .attribute_inputs
                .get(feature)
                .and_then(|input| self.inputs[*input].group)
                .into_iter()
                .collect();
        }
        let Some(feature) = self.plan.features.get(feature) else { return Vec::new() };
        match self.stored_layout() {
            RowLayout::Tiles => self.partial_groups[feature.partial].into_iter().collect(),
            RowLayout::Events => {
                let inputs = self.partial_inputs[feature.partial].iter();
                inputs.filter_map(|input| self.inputs[*input].group).collect()
            }
        }
    }

    /// The groups that have what some outputs need, which are given by their places behind the keys.
    pub fn groups_of(&self, outputs: impl IntoIterator<Item = usize>) -> Vec<u64> {
        let columns = self.plan.output_columns();
        let mut needed = BTreeSet::new();
        for output in outputs {
            if !self.kind().has_aggregates() {
                needed.extend(self.groups_of_feature(output));
                continue;
            }
            // the keys of a window are those of the rows of any feature over it
            let feature = match columns.get(output) {
                Some(OutputColumn::Feature { index }) => Some(*index),
                Some(OutputColumn::Keys { window }) => {
                    self.plan.features.iter().position(|feature| feature.window == *window)
                }
                None => None,
            };
            needed.extend(feature.into_iter().flat_map(|feature| self.groups_of_feature(feature)));
        }
        if needed.is_empty() {
            needed.extend(self.groups.first().map(|group| group.number));
        }
        needed.into_iter().collect()
    }
}
