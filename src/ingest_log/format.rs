//! The bytes of a segment, and nothing that touches a disk. Numbers are little-endian; checksums are CRC-32 (ISO-HDLC).
//!
//! A segment is a header of 4096 bytes, then frames without gaps. A frame is an entry of the log. The last segment may go
//! on with zeros: room for what comes.
//!
//! ```text
//! header   0  magic "GranaryL"                     frame    0  u32 checksum of bytes 4..48, salted
//!          8  u32 format, 1                                 4  u32 checksum of the payload
//!         12  u32 checksum of bytes 0..12, 16..48           8  u32 length of the payload
//!         16  u64 stream                                   12  u32 number of events, not 0
//!         24  u64 offset of the first event                16  u64 offset of the first event
//!         32  u64 the same of the segment before,          24  u64 durable: up to where the file was on disk
//!             or its own if there was none                        before the group of this frame was written
//!         40  u64 salt, a random number                    32  i64 time of the append, microseconds UTC since 1970
//!        512  mark, see below                              40  u8  kind, 1 = events
//!       1024  mark                                         41  7 bytes of zero
//!       4096  frames                                       48  the payload
//!
//! mark     0  u64 durable: a length of the file up to which all was on disk
//!          8  u64 the offset behind the last event before that length
//!         16  u32 checksum of the numbers, salted
//! ```
//!
//! **Salted**: the checksum begins with the segment's salt and the position in the file. So neither the bytes of another
//! segment nor a payload that looks like a frame, at whatever place, are ever taken for one.
//!
//! **Damage and torn ends.** Frames are written in groups: one write, one sync, then the next. A crash may leave any part
//! of the last group, in any order of sectors, and that is no damage: nobody was told that it is stored. But a mark, or a
//! frame of a later group, says that everything before some length was on disk; whatever does not hold below that is
//! damage. Marks are written in turns, each in a sector of its own, after a group is on disk and before its appends are
//! acknowledged, unless another group waits to be written, which tells the same. They are not synced, as the next group
//! does that with its own, and they survive a kill anyhow. Only if a power cut loses the last mark, or a kill comes before
//! the group that was to follow, a group that was acknowledged, reached the disk and was damaged there later cannot be told
//! from one that was torn. Whole frames of a group that nobody was told of are kept if nothing is missing before them.
//!
//! Whoever opens a log begins at the newest mark of the last segment. What is before it is checked when it is read.
//!
//! **The end of a segment** that has a next one is where the next one's first offset is reached. Bytes behind that are
//! those of a group whose sync failed; nobody reads them.

use crc32fast::Hasher;

pub(super) const HEADER_BYTES: u64 = 4096;
pub(super) const FRAME_HEADER_BYTES: usize = 48;
const IDENTITY_BYTES: usize = 48;
const MAGIC: &[u8; 8] = b"GranaryL";
const FORMAT: u32 = 1;
const MARK_BYTES: usize = 20;
pub(super) const MARKS_POSITION: u64 = 512;
const MARK_POSITIONS: [u64; 2] = [MARKS_POSITION, MARKS_POSITION + 512];
/// From there on, for both.
pub(super) const MARKS_BYTES: usize = 1024;
const KIND_EVENTS: u8 = 1;

/// What a segment says of itself; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) stream: u64,
    pub(super) first_offset: u64,
    /// The first offset of the segment before; its own if there was none.
    pub(super) previous: u64,
    pub(super) salt: u64,
}

/// Up to where a segment is on disk for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) durable_bytes: u64,
    /// The offset behind the last event before that.
    pub(super) end_offset: u64,
}

/// Where a mark goes: the two places take turns, so that one stays while the other is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn(usize);

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) payload_checksum: u32,
    pub(super) payload_bytes: u32,
    pub(super) events: u32,
    pub(super) first_offset: u64,
    /// Where the group of this frame begins: all before was on disk.
    pub(super) durable_bytes: u64,
    pub(super) appended_us: i64,
}

/// What is wrong with a header: where in it, and what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) position: u64,
    pub(super) what: String,
}

impl FrameHeader {
    pub(super) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// The offset behind its last event, unless there is no such number.
    pub(super) fn end_offset(&self) -> Option<u64> {
        self.first_offset.checked_add(u64::from(self.events))
    }
}

/// The whole header of a new segment, without marks.
pub(super) fn encode_header(identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&identity.stream.to_le_bytes());
    bytes[24..32].copy_from_slice(&identity.first_offset.to_le_bytes());
    bytes[32..40].copy_from_slice(&identity.previous.to_le_bytes());
    bytes[40..48].copy_from_slice(&identity.salt.to_le_bytes());
    let checksum = identity_checksum(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The identity, the newest mark (before the first frame if there is none), and where the next mark goes.
pub(super) fn decode_header(bytes: &[u8]) -> Result<(Identity, Mark, Turn), Wrong> {
    let wrong = |position: usize, what: String| Wrong { position: position as u64, what };
    if bytes.len() < HEADER_BYTES as usize {
        return Err(wrong(bytes.len(), "the file ends inside of its header".to_owned()));
    }
    if &bytes[..8] != MAGIC {
        return Err(wrong(0, "this is no segment of an ingest log".to_owned()));
    }
    let format = u32_at(bytes, 8);
    if format != FORMAT {
        return Err(wrong(8, format!("its format is {format}, and this version of Granary knows only {FORMAT}")));
    }
    if u32_at(bytes, 12) != identity_checksum(bytes) {
        return Err(wrong(12, "the checksum of the header does not hold".to_owned()));
    }
    let identity = Identity {
        stream: u64_at(bytes, 16),
        first_offset: u64_at(bytes, 24),
        previous: u64_at(bytes, 32),
        salt: u64_at(bytes, 40),
    };
    let mut newest = Mark { durable_bytes: HEADER_BYTES, end_offset: identity.first_offset };
    let mut next = Turn(0);
    for (turn, position) in MARK_POSITIONS.into_iter().enumerate() {
        let mark = decode_mark(identity.salt, position, &bytes[position as usize..][..MARK_BYTES]);
        if let Some(mark) = mark.filter(|mark| mark.durable_bytes >= newest.durable_bytes) {
            newest = mark;
            next = Turn(turn).next();
        }
    }
    Ok((identity, newest, next))
}

impl Turn {
    pub(super) const FIRST: Turn = Turn(0);

    /// Of the mark, in the file.
    pub(super) fn position(self) -> u64 {
        MARK_POSITIONS[self.0]
    }

    pub(super) fn next(self) -> Turn {
        Turn((self.0 + 1) % MARK_POSITIONS.len())
    }
}

pub(super) fn encode_mark(mark: Mark, salt: u64, turn: Turn) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&mark.durable_bytes.to_le_bytes());
    bytes[8..16].copy_from_slice(&mark.end_offset.to_le_bytes());
    let checksum = salted(salt, turn.position(), &bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// A mark that does not hold was torn when it was written, or never was: the other one is older, and true as well.
fn decode_mark(salt: u64, position: u64, bytes: &[u8]) -> Option<Mark> {
    let holds = u32_at(bytes, 16) == salted(salt, position, &bytes[..16]);
    holds.then(|| Mark { durable_bytes: u64_at(bytes, 0), end_offset: u64_at(bytes, 8) })
}

/// Whether a mark was ever begun in a header so long, be it that none holds now. Then a group was on disk.
pub(super) fn is_marked(header: &[u8]) -> bool {
    MARK_POSITIONS.iter().any(|&position| header[position as usize..][..MARK_BYTES].iter().any(|byte| *byte != 0))
}

/// Adds a frame at `position` of the file.
pub(super) fn encode_frame(header: &FrameHeader, salt: u64, position: u64, payload: &[u8], into: &mut Vec<u8>) {
    assert_eq!(header.payload_bytes as usize, payload.len(), "a frame is as long as it says");
    let mut bytes = [0; FRAME_HEADER_BYTES];
    bytes[4..8].copy_from_slice(&header.payload_checksum.to_le_bytes());
    bytes[8..12].copy_from_slice(&header.payload_bytes.to_le_bytes());
    bytes[12..16].copy_from_slice(&header.events.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.first_offset.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.durable_bytes.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.appended_us.to_le_bytes());
    bytes[40] = KIND_EVENTS;
    let checksum = salted(salt, position, &bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    into.extend_from_slice(&bytes);
    into.extend_from_slice(payload);
}

/// `bytes`: as many as a frame's header has. `None` if no header was written at this position of this file.
pub(super) fn decode_frame_header(bytes: &[u8], salt: u64, position: u64) -> Option<FrameHeader> {
    // first what is cheap: a search for frames asks at every byte
    if bytes[40] != KIND_EVENTS || bytes[41..48] != [0; 7] {
        return None;
    }
    if u32_at(bytes, 0) != salted(salt, position, &bytes[4..FRAME_HEADER_BYTES]) {
        return None;
    }
    let header = FrameHeader {
        payload_checksum: u32_at(bytes, 4),
        payload_bytes: u32_at(bytes, 8),
        events: u32_at(bytes, 12),
        first_offset: u64_at(bytes, 16),
        durable_bytes: u64_at(bytes, 24),
        appended_us: u64_at(bytes, 32).cast_signed(),
    };
    (header.events > 0 && header.durable_bytes <= position && header.end_offset().is_some()).then_some(header)
}

pub(super) fn payload_checksum(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

fn identity_checksum(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..IDENTITY_BYTES]);
    hasher.finalize()
}

fn salted(salt: u64, position: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&position.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { stream: 7, first_offset: 100, previous: 60, salt: 0x0123_4567_89AB_CDEF };

    fn frame() -> FrameHeader {
        FrameHeader {
            payload_checksum: payload_checksum(b"payload"),
            payload_bytes: 7,
            events: 3,
            first_offset: 100,
            durable_bytes: HEADER_BYTES,
            appended_us: -5,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut header = encode_header(&IDENTITY);
        let mut mark = Mark { durable_bytes: HEADER_BYTES, end_offset: 100 };
        let mut turn = Turn::FIRST;
        assert_eq!(decode_header(&header), Ok((IDENTITY, mark, turn)));
        for durable_bytes in [5000, 6000, 7000, 8000] {
            mark = Mark { durable_bytes, end_offset: durable_bytes / 10 };
            header[turn.position() as usize..][..MARK_BYTES].copy_from_slice(&encode_mark(mark, IDENTITY.salt, turn));
            turn = turn.next();
            assert_eq!(decode_header(&header), Ok((IDENTITY, mark, turn)));
        }
        let mut bytes = Vec::new();
        encode_frame(&frame(), IDENTITY.salt, HEADER_BYTES, b"payload", &mut bytes);
        assert_eq!(bytes.len() as u64, frame().frame_bytes());
        assert_eq!(decode_frame_header(&bytes, IDENTITY.salt, HEADER_BYTES), Some(frame()));
        assert_eq!(&bytes[FRAME_HEADER_BYTES..], b"payload");
    }

    #[test]
    fn a_frame_holds_only_in_its_place_and_file() {
        let mut bytes = Vec::new();
        encode_frame(&frame(), IDENTITY.salt, HEADER_BYTES, b"payload", &mut bytes);
        assert_eq!(decode_frame_header(&bytes, IDENTITY.salt, HEADER_BYTES + 1), None);
        assert_eq!(decode_frame_header(&bytes, IDENTITY.salt + 1, HEADER_BYTES), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let header = encode_header(&IDENTITY);
        let mut bytes = Vec::new();
        encode_frame(&frame(), IDENTITY.salt, HEADER_BYTES, b"payload", &mut bytes);
        for bit in 0..IDENTITY_BYTES * 8 {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_header(&flipped).is_err(), "bit {bit} of the header");
        }
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_frame_header(&flipped, IDENTITY.salt, HEADER_BYTES), None, "bit {bit} of the frame");
        }
        let mark = encode_mark(Mark { durable_bytes: 5000, end_offset: 100 }, IDENTITY.salt, Turn::FIRST);
        for bit in 0..MARK_BYTES * 8 {
            let mut flipped = mark;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_mark(IDENTITY.salt, 512, &flipped), None, "bit {bit} of the mark");
        }
        assert_eq!(decode_mark(IDENTITY.salt, 512, &[0; MARK_BYTES]), None, "no mark is no mark");
    }
}
