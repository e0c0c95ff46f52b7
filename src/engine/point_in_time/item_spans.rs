//! What an online lookup reads of a key with many items: spans of them where no window begins or ends, items elsewhere.

use std::ops::Range;

use super::answer::Answerer;
use crate::engine::event_rows::FIRST_EVENT_ARRIVAL;
use crate::engine::relation::{BoundView, RowLayout};
use crate::error::Result;
use crate::online::{Item, OnlineReader, Span, SpanPlan};
use crate::row::Key;
use crate::tile::{AggregateItems, Order, Partial, ViewKind, fold_tiles, stretches};

/// The items of one key that windows see at one time, as states.
pub struct ItemReader<'a> {
    view: &'a BoundView,
    answerer: &'a Answerer,
    reader: &'a OnlineReader,
    key: &'a Key,
    items: AggregateItems,
    /// Whether some of them are not tiles yet.
    has_events: bool,
    /// ascending; a span that one of them lies in is not whole
    times_without_spans: Vec<i64>,
}

impl<'a> ItemReader<'a> {
    pub fn new(view: &'a BoundView, answerer: &'a Answerer, reader: &'a OnlineReader, key: &'a Key) -> ItemReader<'a> {
        let items = AggregateItems::none(answerer.plan());
        ItemReader { view, answerer, reader, key, items, has_events: false, times_without_spans: Vec::new() }
    }

    /// Spans and items, as few of them as will do. `plan`: of the spans that are kept of this key.
    pub fn read_spans(&mut self, plan: &SpanPlan, now_us: i64) -> Result<()> {
        self.times_without_spans = self.reader.times_without_spans(self.view.id, self.key);
        let wanted = self.answerer.plan();
        for stretch in stretches(&wanted.timing, &wanted.windows(), now_us, now_us) {
            let times = stretch.bounds.start_us..stretch.bounds.end_us;
            // the view's own items are tiles, if it has some
            let widest_us = stretch.level_us.unwrap_or(wanted.timing.interval_us);
            let n_levels = plan.widths_us.partition_point(|width_us| *width_us <= widest_us);
            self.read_level(&plan.widths_us[..n_levels], times)?;
        }
        Ok(())
    }

    /// Spans of the widest of these levels, and the items that are in none; shorter ones, where a span is not whole.
    fn read_level(&mut self, widths_us: &[i64], times: Range<i64>) -> Result<()> {
        let Some((&width_us, shorter_us)) = widths_us.split_last() else { return self.read_items(times) };
        let mut reached_us = times.start;
        let mut last = None;
        let reader = self.reader;
        reader.visit_spans(self.view.id, self.key, (width_us, times.clone()), |span: Span| {
            let end_us = span.start_us.saturating_add(width_us);
            let (_, is_whole) = match last {
                Some(last @ (start_us, _)) if start_us == span.start_us => last,
                _ => {
                    self.read_items(reached_us..span.start_us)?;
                    reached_us = end_us;
                    let is_whole = self.is_whole(span.start_us..end_us);
                    if !is_whole {
                        self.read_level(shorter_us, span.start_us..end_us)?;
                    }
                    (span.start_us, is_whole)
                }
            };
            last = Some((span.start_us, is_whole));
            if !is_whole {
                return Ok(());
            }
            let states = match span.secondary.is_some() == self.view.secondary.is_some() {
                true => self.answerer.partials_of_payload(&span.payload)?,
                false => self.answerer.no_partials(),
            };
            self.push(span.start_us, span.secondary, states);
            Ok(())
        })?;
        self.read_items(reached_us..times.end)
    }

    /// Whether a span of these times has all items with one.
    fn is_whole(&self, times: Range<i64>) -> bool {
        let next = self.times_without_spans.partition_point(|time_us| *time_us < times.start);
        self.times_without_spans.get(next).is_none_or(|time_us| *time_us >= times.end)
    }

    /// Every item with such a time.
    pub fn read_items(&mut self, times: Range<i64>) -> Result<()> {
        if times.start >= times.end {
            return Ok(());
        }
        let reader = self.reader;
        reader.visit_items(self.view.id, self.key, times, |item| self.add(item))
    }

    pub fn add(&mut self, item: Item) -> Result<()> {
        let is_event = item.sequence >= FIRST_EVENT_ARRIVAL;
        let states = match self.view.stored_layout() {
            RowLayout::Tiles if !is_event => self.answerer.partials_of_payload(&item.payload)?,
            RowLayout::Tiles | RowLayout::Events => {
                self.has_events = true;
                let order = Order { ts_us: item.time_us, arrival: item.sequence };
                self.answerer.partials_of_event(&item.payload, order)?
            }
        };
        self.push(item.time_us, item.secondary, states);
        Ok(())
    }

    fn push(&mut self, time_us: i64, secondary: Option<crate::row::Value>, states: Vec<Partial>) {
        self.items.times.push(time_us);
        if let Some(keys) = &mut self.items.secondary {
            keys.push(secondary);
        }
        for (partials, state) in self.items.partials.iter_mut().zip(states) {
            partials.push(state);
        }
    }

    /// As the view is evaluated on them; None if there is nothing.
    pub fn finish(self) -> Result<Option<AggregateItems>> {
        if self.items.times.is_empty() {
            return Ok(None);
        }
        let is_tiled = matches!(self.view.kind(), ViewKind::BatchAggregates | ViewKind::StreamTiled);
        if is_tiled && self.has_events {
            return fold_tiles(self.answerer.plan(), &self.items).map(Some);
        }
        Ok(Some(self.items))
    }
}
