//! Rows in one stretch of memory, one behind the other, which is begun anew when it is full: a row then lies beside its
//! key, in as few lines of the processor's cache as it has bytes, and all of them on large pages. A heap has rows and
//! keys all over its pages, and to find those takes longer than to read them.
//!
//! The oldest rows give way to new ones; those that were asked for since they were written are written again instead.
//!
//! ```text
//! length u32 | length(key) u16 | state u8 | 0 | hash u32 | length(row) u32 | version u64 | view u64 | key | row | 0…
//! ```
//!
//! `length` is that of all of it, a multiple of [`UNIT`]; numbers are little-endian. A row that there is none of has the
//! length [`NO_ROW`].

use hashbrown::HashTable;
use memmap2::{Advice, MmapMut};

/// Rows begin at multiples of it.
const UNIT: usize = 8;
const HEADER: usize = 32;
/// Bytes of memory that a processor fetches together.
const LINE_PAIR: usize = 128;
const NO_ROW: u32 = u32::MAX;
/// So many old rows are written again for one that comes: whoever writes does not wait for all that was read.
const SPARED_AT_ONCE: usize = 4;
/// Longer rows than this part of the memory are not kept.
const LONGEST_PART: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    memory: MmapMut,
    /// where rows can be found
    places: HashTable<Place>,
    /// From the oldest to behind the newest, in bytes that were ever written; they are at these numbers modulo the size
    /// of the memory.
    oldest: u64,
    end: u64,
}

/// Where a row is, in units.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// some bits of its hash
    hash: u32,
    at: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RowId<'a> {
    pub view: u64,
    pub key: &'a [u8],
    pub hash: u64,
}

/// What is kept of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    pub version: u64,
    pub row: Option<&'a [u8]>,
}

/// What became of an entry since it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Written = 0,
    Read = 1,
    /// another one has taken its place, or it is there for the end of the memory
    Void = 2,
}

/// The beginning of an entry.
#[derive(Debug, Clone, Copy)]
struct Header {
    n_key: usize,
    state: u8,
    hash: u32,
    n_row: u32,
    version: u64,
    view: u64,
}

impl Ring {
    pub(super) fn new(bytes: usize) -> std::io::Result<Ring> {
        let bytes = bytes.clamp(UNIT, UNIT * u32::MAX as usize) / UNIT * UNIT;
        let memory = MmapMut::map_anon(bytes)?;
        // small pages hold rows as well
        let _ = memory.advise(Advice::HugePage);
        Ok(Ring { memory, places: HashTable::new(), oldest: 0, end: 0 })
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        (self.oldest, self.end) = (0, 0);
    }

    pub(super) fn get(&mut self, id: &RowId<'_>) -> Option<Kept<'_>> {
        let at = self.find(id)?;
        let header = self.header(at);
        if header.state == State::Written as u8 {
            self.set_state(at, State::Read);
        }
        let row = at + HEADER + header.n_key;
        let row = (header.n_row != NO_ROW).then(|| &self.memory[row..row + header.n_row as usize]);
        Some(Kept { version: header.version, row })
    }

    /// Fetches rows with these hashes into the processor's cache, all at once, since none of them waits for another.
    pub(super) fn warm(&self, hashes: impl Iterator<Item = u64>, places: &mut Vec<usize>) {
        places.clear();
        let place = |hash: u64| {
            let hash = short(hash);
            // of rows that share a hash it may be the wrong one, which is no more than slower
            self.places.find(spread(hash), |place| place.hash == hash).map(|place| place.at as usize * UNIT)
        };
        places.extend(hashes.filter_map(place));
        let mut touched = 0;
        for at in places.iter() {
            // the lines of a row come in pairs
            touched ^= self.memory[*at] ^ self.memory.get(at + LINE_PAIR).copied().unwrap_or_default();
        }
        std::hint::black_box(touched);
    }

    /// Keeps a row in the place of what was kept of it. One that is too long for the memory is not kept.
    pub(super) fn put(&mut self, id: &RowId<'_>, version: u64, row: Option<&[u8]>) {
        let old = self.find(id);
        let n_bytes = row.map_or(0, <[u8]>::len);
        if let Some(at) = old {
            let header = self.header(at);
            if row.is_some() && header.n_row as usize == n_bytes && header.n_row != NO_ROW {
                let place = at + HEADER + header.n_key;
                self.memory[at + 16..at + 24].copy_from_slice(&version.to_le_bytes());
                self.memory[place..place + n_bytes].copy_from_slice(row.unwrap_or_default());
                return;
            }
            self.forget(short(id.hash), at);
            self.set_state(at, State::Void);
        }
        let length = (HEADER + id.key.len() + n_bytes).next_multiple_of(UNIT);
        let (Ok(n_key), Ok(n_row)) = (u16::try_from(id.key.len()), u32::try_from(n_bytes)) else { return };
        if length > self.memory.len() / LONGEST_PART || n_row == NO_ROW {
            return;
        }
        let at = self.next_place(length);
        let entry = &mut self.memory[at..at + length];
        put_beginning(entry, length, State::Written);
        entry[4..6].copy_from_slice(&n_key.to_le_bytes());
        entry[8..12].copy_from_slice(&short(id.hash).to_le_bytes());
        entry[12..16].copy_from_slice(&row.map_or(NO_ROW, |_| n_row).to_le_bytes());
        entry[16..24].copy_from_slice(&version.to_le_bytes());
        entry[24..32].copy_from_slice(&id.view.to_le_bytes());
        entry[HEADER..HEADER + id.key.len()].copy_from_slice(id.key);
        if let Some(row) = row {
            entry[HEADER + id.key.len()..][..n_bytes].copy_from_slice(row);
        }
        self.note(short(id.hash), at);
    }

    fn find(&self, id: &RowId<'_>) -> Option<usize> {
        let hash = short(id.hash);
        let is_it = |place: &Place| {
            if place.hash != hash {
                return false;
            }
            let at = place.at as usize * UNIT;
            let header = self.header(at);
            header.view == id.view && &self.memory[at + HEADER..at + HEADER + header.n_key] == id.key
        };
        self.places.find(spread(hash), is_it).map(|place| place.at as usize * UNIT)
    }

    /// A place for this many bytes behind the newest row; old ones are taken away until there is.
    fn next_place(&mut self, length: usize) -> usize {
        let mut spared = 0;
        loop {
            if let Some(at) = self.append(length) {
                return at;
            }
            spared += usize::from(self.take_oldest(spared < SPARED_AT_ONCE));
        }
    }

    /// `None` if there is no room. Nothing lies over the end of the memory: what is left before it is left empty.
    fn append(&mut self, length: usize) -> Option<usize> {
        let size = self.memory.len();
        let left = size - self.place(self.end);
        let empty = if left < length { left } else { 0 };
        if self.end + (empty + length) as u64 - self.oldest > size as u64 {
            return None;
        }
        if empty > 0 {
            let at = self.place(self.end);
            put_beginning(&mut self.memory[at..], empty, State::Void);
            self.end += empty as u64;
        }
        let at = self.place(self.end);
        self.end += length as u64;
        Some(at)
    }

    /// Gives the oldest entry's room back. One that was read since it was written is written again behind the newest, if
    /// it `may` and there is room; whether it was.
    fn take_oldest(&mut self, may_spare: bool) -> bool {
        let at = self.place(self.oldest);
        let (length, state) = self.beginning(at);
        self.oldest += length as u64;
        if state == State::Void as u8 {
            return false;
        }
        let hash = self.header(at).hash;
        self.forget(hash, at);
        if !may_spare || state != State::Read as u8 {
            return false;
        }
        // its bytes are the last of those that are free, and the new place is not before the first
        let Some(new) = self.append(length) else { return false };
        self.memory.copy_within(at..at + length, new);
        self.set_state(new, State::Written);
        self.note(hash, new);
        true
    }

    fn place(&self, number: u64) -> usize {
        (number % self.memory.len() as u64) as usize
    }

    /// The length and the state of an entry.
    fn beginning(&self, at: usize) -> (usize, u8) {
        let bytes = &self.memory[at..at + UNIT];
        (u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize, bytes[6])
    }

    fn header(&self, at: usize) -> Header {
        let bytes: &[u8; HEADER] = self.memory[at..].first_chunk().expect("entries are whole");
        let four = |place: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[place + byte]));
        let eight = |place: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| bytes[place + byte]));
        Header {
            n_key: u16::from_le_bytes([bytes[4], bytes[5]]).into(),
            state: bytes[6],
            hash: four(8),
            n_row: four(12),
            version: eight(16),
            view: eight(24),
        }
    }

    fn set_state(&mut self, at: usize, state: State) {
        self.memory[at + 6] = state as u8;
    }

    fn note(&mut self, hash: u32, at: usize) {
        let at = u32::try_from(at / UNIT).expect("the memory has no more units");
        self.places.insert_unique(spread(hash), Place { hash, at }, |place| spread(place.hash));
    }

    fn forget(&mut self, hash: u32, at: usize) {
        let is_it = |place: &Place| place.at as usize * UNIT == at;
        if let Ok(found) = self.places.find_entry(spread(hash), is_it) {
            found.remove();
        }
    }
}

/// The first unit of an entry.
fn put_beginning(entry: &mut [u8], length: usize, state: State) {
    let length = u32::try_from(length).expect("an entry is a part of the memory");
    entry[..4].copy_from_slice(&length.to_le_bytes());
    entry[4..UNIT].copy_from_slice(&[0, 0, state as u8, 0]);
}

fn short(hash: u64) -> u32 {
    hash as u32
}

/// As `places` wants it, from the bits that are kept of it.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Rows by number: what a ring shows of one is what was put last, or nothing.
    struct Checked {
        ring: Ring,
        model: HashMap<u64, (u64, Option<Vec<u8>>)>,
    }

    impl Checked {
        fn new(bytes: usize) -> Checked {
            Checked { ring: Ring::new(bytes).expect("memory"), model: HashMap::new() }
        }

        fn put(&mut self, number: u64, version: u64, row: Option<Vec<u8>>) {
            let key = key_of(number);
            self.ring.put(&id(number, &key), version, row.as_deref());
            self.model.insert(number, (version, row));
        }

        /// Whether the row is kept.
        fn check(&mut self, number: u64) -> bool {
            let key = key_of(number);
            let Some(kept) = self.ring.get(&id(number, &key)) else { return false };
            let (version, row) = &self.model[&number];
            assert_eq!(kept, Kept { version: *version, row: row.as_deref() }, "row {number}");
            true
        }
    }

    /// Few hashes, so that many rows share one.
    fn id(number: u64, key: &[u8]) -> RowId<'_> {
        RowId { view: number % 3, key, hash: (number % 50).wrapping_mul(0x1234_5678_9ABC_DEF1) }
    }

    fn key_of(number: u64) -> Vec<u8> {
        [number.to_be_bytes().as_slice(), &vec![7; number as usize % 40]].concat()
    }

    #[test]
    fn it_shows_what_was_put_last_or_nothing() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for bytes in [0, 100, 4_096, 10_001, 100_000] {
            let mut checked = Checked::new(bytes);
            let mut kept = 0;
            for version in 0..20_000 {
                let number = next(400);
                if next(2) == 0 && checked.model.contains_key(&number) {
                    kept += usize::from(checked.check(number));
                    continue;
                }
                let row = (next(10) > 0).then(|| vec![next(256) as u8; next(300) as usize]);
                checked.put(number, version, row);
            }
            assert_eq!(kept > 0, bytes >= 4_096, "{kept} of {bytes} bytes");
            assert!(checked.ring.end - checked.ring.oldest <= checked.ring.memory.len() as u64);
        }
    }

    #[test]
    fn a_row_that_is_read_outlives_others() {
        let mut checked = Checked::new(64 * 1024);
        checked.put(0, 0, Some(vec![1; 100]));
        checked.put(1, 0, Some(vec![2; 100]));
        for number in 2..10_000 {
            checked.put(number, 0, Some(vec![3; 100]));
            assert!(checked.check(0), "behind {number} rows");
        }
        assert!(!checked.check(1));
    }

    #[test]
    fn a_row_too_long_takes_the_old_one_away() {
        let mut checked = Checked::new(16 * 1024);
        checked.put(0, 1, Some(vec![1; 100]));
        checked.put(0, 2, Some(vec![1; 2_000]));
        assert!(!checked.check(0));
    }
}
