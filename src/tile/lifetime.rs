//! LIFETIME windows of one key while asked times ascend: what every later one sees is merged into few states, so that
//! its rows need not stay in memory.
//!
//! Merged is in the order of [`super::pyramid`]. Behind the last whole day there stand whole hours, behind these whole
//! minutes, and then the view's own items. Everything before is one state, since the pyramid merges what is before the
//! first minute, minutes before the first hour, hours before the first day, and days, each into what came before.

use std::collections::BTreeMap;

use super::items::{AggregateItems, fold_level};
use super::partial::Partial;
use super::plan::ViewPlan;
use super::window::{ceil, floor};
use super::{Timing, ViewKind, Window};
use crate::error::Result;
use crate::row::Value;

/// See the module.
#[derive(Debug)]
pub struct LifetimeItems {
    start_us: i64,
    until_us: i64,
    head: Option<Head>,
    /// the view's own items, then by level: what lies behind the last whole span of the next
    behind: Vec<AggregateItems>,
}

/// Everything before what still stands by itself.
#[derive(Debug)]
struct Head {
    /// where it stands: at the first item, or span, of it
    time_us: i64,
    /// by secondary key; without one by `None`
    states: BTreeMap<Option<Value>, Vec<Partial>>,
}

impl LifetimeItems {
    /// Of a plan all of whose windows are LIFETIME.
    pub fn new(plan: &ViewPlan) -> LifetimeItems {
        let start_us = plan.timing.bounds(&Window::Lifetime, i64::MAX).start_us;
        let n_levels = plan.timing.levels().count();
        let behind = (0..=n_levels).map(|_| AggregateItems::none(plan)).collect();
        LifetimeItems { start_us, until_us: start_us, head: None, behind }
    }

    /// Items from here on have not been merged; items before it must not be added again.
    pub fn until_us(&self) -> i64 {
        self.until_us
    }

    /// How far items can be merged of which all before `complete_us` are known, if `asked_us` is the next asked time.
    pub fn settled_until(timing: &Timing, asked_us: i64, complete_us: i64) -> i64 {
        let until_us = timing.bounds(&Window::Lifetime, asked_us).end_us.min(complete_us);
        match timing.kind {
            ViewKind::BatchAggregates | ViewKind::StreamTiled => floor(until_us, timing.interval_us),
            _ => until_us,
        }
    }

    /// Merges the items, or stored spans of them, from where this ended up to `until_us`.
    pub fn merge(&mut self, plan: &ViewPlan, items: AggregateItems, until_us: i64) -> Result<()> {
        if until_us <= self.until_us {
            return Ok(());
        }
        debug_assert!(items.times.iter().all(|time_us| self.until_us <= *time_us && *time_us < until_us));
        self.until_us = until_us;
        self.behind[0].append(items);
        for (level, width_us) in plan.timing.levels().enumerate() {
            let mut whole = self.behind[level].take_before(floor(until_us, width_us));
            let before_first = whole.take_before(ceil(self.start_us, width_us));
            self.merge_into_head(plan, before_first)?;
            self.behind[level + 1].append(fold_level(plan, &whole, width_us)?);
        }
        let coarsest = self.behind.last_mut().map(|items| items.take_before(i64::MAX));
        coarsest.map_or(Ok(()), |items| self.merge_into_head(plan, items))
    }

    fn merge_into_head(&mut self, plan: &ViewPlan, items: AggregateItems) -> Result<()> {
        let Some(first_us) = items.times.first() else { return Ok(()) };
        let head = self.head.get_or_insert_with(|| Head { time_us: *first_us, states: BTreeMap::new() });
        for item in 0..items.times.len() {
            let key = items.secondary.as_ref().and_then(|keys| keys[item].clone());
            if key.is_none() && items.secondary.is_some() {
                continue;
            }
            let empty = || plan.partials.iter().map(super::PartialSpec::empty).collect();
            let states = head.states.entry(key).or_insert_with(empty);
            for ((state, spec), of_partial) in states.iter_mut().zip(&plan.partials).zip(&items.partials) {
                state.merge(spec, &of_partial[item])?;
            }
        }
        Ok(())
    }

    /// Everything that was merged, and behind it `rest`, in order.
    pub fn with(&self, plan: &ViewPlan, rest: AggregateItems) -> AggregateItems {
        let mut all = AggregateItems::none(plan);
        if let Some(head) = &self.head {
            for (key, states) in &head.states {
                all.times.push(head.time_us);
                all.secondary.iter_mut().for_each(|keys| keys.push(key.clone()));
                all.partials.iter_mut().zip(states).for_each(|(all, state)| all.push(state.clone()));
            }
        }
        self.behind.iter().rev().for_each(|items| all.append(items.clone()));
        all.append(rest);
        all
    }
}
