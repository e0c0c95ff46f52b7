//! Where an expression matches: first which ends it can have, then which parts it is made of.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Kind, Match, Node, Regexp, lower};
use crate::error::{Error, Result};

/// Most steps of one search.
const MOST_STEPS: usize = 20_000_000;

pub struct Matcher<'r> {
    regexp: &'r Regexp,
    text: &'r [char],
    /// by node and start: where it can end, in order
    ends: HashMap<(usize, usize), Rc<Vec<usize>>>,
    groups: Vec<Option<(usize, usize)>>,
    n_steps: usize,
}

fn is_word(character: Option<&char>) -> bool {
    character.is_some_and(|character| character.is_alphanumeric() || *character == '_')
}

impl<'r> Matcher<'r> {
    pub fn new(regexp: &'r Regexp, text: &'r [char]) -> Matcher<'r> {
        Matcher { regexp, text, ends: HashMap::new(), groups: vec![None; regexp.n_groups], n_steps: 0 }
    }

    fn step(&mut self, n: usize) -> Result<()> {
        self.n_steps += n;
        if self.n_steps > MOST_STEPS {
            return Err(Error::new("54000", "the regular expression takes too many steps to match"));
        }
        Ok(())
    }

    /// The match that begins there.
    pub fn match_at(&mut self, start: usize) -> Result<Option<Match>> {
        let root = &self.regexp.root;
        let ends = self.ends(root, start)?;
        let is_longest = root.prefers_longest != Some(false);
        let n = ends.len();
        for index in 0..n {
            let end = ends[if is_longest { n - 1 - index } else { index }];
            self.groups.iter_mut().for_each(|group| *group = None);
            if self.dissect(root, start, end)? {
                return Ok(Some(Match { start, end, groups: self.groups.clone() }));
            }
        }
        Ok(None)
    }

    fn one(&self, node: &Node, at: usize) -> Option<bool> {
        let ignores_case = self.regexp.ignores_case;
        let character = *self.text.get(at)?;
        match &node.kind {
            Kind::Char(own) => Some(character == *own || (ignores_case && lower(character) == lower(*own))),
            Kind::Class(class) => Some(class.has(character, ignores_case)),
            Kind::Any { but_newline } => Some(!*but_newline || character != '\n'),
            _ => None,
        }
    }

    fn is_single(node: &Node) -> bool {
        matches!(node.kind, Kind::Char(_) | Kind::Class(_) | Kind::Any { .. })
    }

    /// Where a part that begins there can end. References can end anywhere until their groups are known.
    fn ends(&mut self, node: &Node, from: usize) -> Result<Rc<Vec<usize>>> {
        if let Some(known) = self.ends.get(&(node.id, from)) {
            return Ok(Rc::clone(known));
        }
        self.step(1)?;
        let here = |holds: bool| if holds { vec![from] } else { Vec::new() };
        let found = match &node.kind {
            Kind::Char(_) | Kind::Class(_) | Kind::Any { .. } => {
                return Ok(Rc::new(if self.one(node, from) == Some(true) { vec![from + 1] } else { Vec::new() }));
            }
            Kind::Empty => here(true),
            Kind::Group { inner, .. } => return self.ends(inner, from),
            Kind::BackReference(_) => (from..=self.text.len()).collect(),
            Kind::LineStart => here(from == 0 || (self.regexp.by_line && self.text[from - 1] == '\n')),
            Kind::LineEnd => here(from == self.text.len() || (self.regexp.by_line && self.text[from] == '\n')),
            Kind::TextStart => here(from == 0),
            Kind::TextEnd => here(from == self.text.len()),
            Kind::WordStart | Kind::WordEnd | Kind::WordEdge { .. } => {
                let before = from.checked_sub(1).is_some_and(|before| is_word(self.text.get(before)));
                let after = is_word(self.text.get(from));
                here(match &node.kind {
                    Kind::WordStart => !before && after,
                    Kind::WordEnd => before && !after,
                    Kind::WordEdge { negated } => (before != after) != *negated,
                    _ => false,
                })
            }
            Kind::Look { inner, ahead, negated } => {
                let holds = if *ahead {
                    !self.ends(inner, from)?.is_empty()
                } else {
                    let mut holds = false;
                    for start in 0..=from {
                        if self.ends(inner, start)?.binary_search(&from).is_ok() {
                            holds = true;
                            break;
                        }
                    }
                    holds
                };
                here(holds != *negated)
            }
            Kind::Concat(parts) => {
                let (first, rest) = (&parts[0], &parts[1]);
                let middles = self.ends(first, from)?;
                let mut all = Vec::new();
                for middle in middles.iter() {
                    let ends = self.ends(rest, *middle)?;
                    self.step(ends.len())?;
                    all.extend(ends.iter().copied());
                }
                sorted(all)
            }
            Kind::Alternatives(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.ends(part, from)?.iter().copied());
                }
                sorted(all)
            }
            Kind::Repeat { inner, least, most } => self.repeated(inner, (*least, *most), from)?,
        };
        let found = Rc::new(found);
        self.ends.insert((node.id, from), Rc::clone(&found));
        Ok(found)
    }

    fn repeated(&mut self, inner: &Node, (least, most): (u32, Option<u32>), from: usize) -> Result<Vec<usize>> {
        if Self::is_single(inner) {
            let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
            let least = usize::try_from(least).unwrap_or(usize::MAX);
            let mut n = 0;
            while n < most && self.one(inner, from + n) == Some(true) {
                n += 1;
            }
            self.step(n)?;
            return Ok(if n < least { Vec::new() } else { (from + least..=from + n).collect() });
        }
        let mut all: Vec<usize> = Vec::new();
        let mut last = vec![from];
        let mut round = 0;
        let mut seen = std::collections::HashSet::new();
        loop {
            if round >= least {
                all.extend(&last);
                // what was reached before leads nowhere new
                last.retain(|place| seen.insert(*place));
            }
            if last.is_empty() || most.is_some_and(|most| round >= most) {
                break;
            }
            let mut next = Vec::new();
            for place in &last {
                let ends = self.ends(inner, *place)?;
                self.step(ends.len())?;
                next.extend(ends.iter().copied());
            }
            last = sorted(next);
            round += 1;
        }
        Ok(sorted(all))
    }

    fn forget(&mut self, node: &Node) {
        match &node.kind {
            Kind::Group { number, inner } => {
                if let Some(number) = number {
                    self.groups[number - 1] = None;
                }
                self.forget(inner);
            }
            Kind::Concat(parts) | Kind::Alternatives(parts) => parts.iter().for_each(|part| self.forget(part)),
            Kind::Repeat { inner, .. } => self.forget(inner),
            _ => {}
        }
    }

    fn can_end(&mut self, node: &Node, from: usize, to: usize) -> Result<bool> {
        Ok(self.ends(node, from)?.binary_search(&to).is_ok())
    }

    /// Whether the part from there to there matches, with its groups set. It can end there.
    fn dissect(&mut self, node: &Node, from: usize, to: usize) -> Result<bool> {
        if !node.has_groups {
            return Ok(true);
        }
        self.step(1)?;
        match &node.kind {
            Kind::Group { number, inner } => {
                if !self.dissect(inner, from, to)? {
                    return Ok(false);
                }
                if let Some(number) = number {
                    self.groups[number - 1] = Some((from, to));
                }
                Ok(true)
            }
            Kind::BackReference(number) => {
                let Some((start, end)) = self.groups[number - 1] else { return Ok(false) };
                let ignores_case = self.regexp.ignores_case;
                let same = |left: &char, right: &char| left == right || (ignores_case && lower(*left) == lower(*right));
                Ok(end - start == to - from
                    && self.text[start..end].iter().zip(&self.text[from..to]).all(|(left, right)| same(left, right)))
            }
            Kind::Concat(parts) => {
                let (first, rest) = (&parts[0], &parts[1]);
                let middles = self.ends(first, from)?;
                let n = middles.len();
                let is_shortest = first.prefers_longest == Some(false);
                for index in 0..n {
                    let middle = middles[if is_shortest { index } else { n - 1 - index }];
                    if middle > to || !self.can_end(rest, middle, to)? {
                        continue;
                    }
                    let kept = self.groups.clone();
                    if self.dissect(first, from, middle)? && self.dissect(rest, middle, to)? {
                        return Ok(true);
                    }
                    self.groups = kept;
                }
                Ok(false)
            }
            Kind::Alternatives(parts) => {
                for part in parts {
                    if !self.can_end(part, from, to)? {
                        continue;
                    }
                    let kept = self.groups.clone();
                    if self.dissect(part, from, to)? {
                        return Ok(true);
                    }
                    self.groups = kept;
                }
                Ok(false)
            }
            Kind::Repeat { inner, least, most } if has_references(inner) => {
                if from == to && *least == 0 {
                    return Ok(true);
                }
                self.rounds(inner, (*least, *most), from, to)
            }
            // rather once than not at all
            Kind::Repeat { inner, least: 0, most } => Ok(self.rounds(inner, (1, *most), from, to)? || from == to),
            Kind::Repeat { inner, least, most } => self.last_round(node, inner, (*least, *most), from, to),
            _ => Ok(true),
        }
    }

    /// What groups have is what they have in the last round: those before it are as long, or as short, as they can be.
    fn last_round(
        &mut self,
        node: &Node,
        inner: &Node,
        (least, most): (u32, Option<u32>),
        from: usize,
        to: usize,
    ) -> Result<bool> {
        let middles = self.repeated(inner, (least - 1, most.map(|most| most - 1)), from)?;
        let n = middles.len();
        let is_shortest = node.prefers_longest == Some(false);
        for index in 0..n {
            let middle = middles[if is_shortest { index } else { n - 1 - index }];
            if middle > to || !self.can_end(inner, middle, to)? {
                continue;
            }
            let kept = self.groups.clone();
            if self.dissect(inner, middle, to)? {
                return Ok(true);
            }
            self.groups = kept;
        }
        Ok(false)
    }

    /// So many matches of a part in a row, the first ones as long, or as short, as they can be.
    fn rounds(&mut self, inner: &Node, (least, most): (u32, Option<u32>), from: usize, to: usize) -> Result<bool> {
        self.step(1)?;
        if most == Some(0) {
            return Ok(from == to);
        }
        let rest = (least.saturating_sub(1), most.map(|most| most - 1));
        let ends = self.ends(inner, from)?;
        let n = ends.len();
        let is_shortest = inner.prefers_longest == Some(false);
        for index in 0..n {
            let middle = ends[if is_shortest { index } else { n - 1 - index }];
            // an empty match only counts where nothing else is left to match
            if middle > to || (middle == from && from != to) {
                continue;
            }
            let is_last = middle == to;
            if !is_last && !self.repeated(inner, rest, middle)?.contains(&to) {
                continue;
            }
            if is_last && rest.0 > 0 && !self.repeated(inner, (rest.0, rest.1), to)?.contains(&to) {
                continue;
            }
            let kept = self.groups.clone();
            // what the round before has found is forgotten
            self.forget(inner);
            if self.dissect(inner, from, middle)? && (is_last || self.rounds(inner, rest, middle, to)?) {
                return Ok(true);
            }
            self.groups = kept;
        }
        Ok(false)
    }
}

fn has_references(node: &Node) -> bool {
    match &node.kind {
        Kind::BackReference(_) => true,
        Kind::Concat(parts) | Kind::Alternatives(parts) => parts.iter().any(has_references),
        Kind::Repeat { inner, .. } | Kind::Group { inner, .. } => has_references(inner),
        _ => false,
    }
}

fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}
