//! Entries out of the segments, one after the other. Whatever is not as it was written is an error, never left out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::errors::{damaged, removed};
use super::format::{FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, decode_frame_header, payload_checksum};
use super::segment::{self, Opened};
use super::{Entry, PAYLOAD_MAX_BYTES, lock};
use crate::error::{Error, Kind, Result, io_error};

const BUFFER_BYTES: usize = 256 << 10;

/// What of a log is on disk.
#[derive(Debug)]
pub(super) struct Extent {
    /// ascending, one at least
    pub(super) segments: VecDeque<Stored>,
    /// The offset behind the last event.
    pub(super) end_offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) first_offset: u64,
    pub(super) bytes: u64,
}

impl Extent {
    pub(super) fn first_offset(&self) -> u64 {
        self.segments.front().expect("a log has a segment").first_offset
    }
}

/// Entries in the order of their offsets, up to where the log ended when it was asked for. Holds one entry at a time.
/// After an error it ends.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    stream: u64,
    extent: Arc<Mutex<Extent>>,
    /// The first offsets of the segments that are not open yet.
    segments: VecDeque<u64>,
    place: Option<Place>,
    /// Of the next frame.
    offset: u64,
    /// What ends before is passed over.
    from: u64,
    end: u64,
}

/// An open segment, and where in it.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    file: BufReader<File>,
    salt: u64,
    position: u64,
}

impl Reader {
    pub(super) fn new(folder: &Path, stream: u64, extent: &Arc<Mutex<Extent>>, from: u64) -> Result<Reader> {
        let known = lock(extent);
        if from < known.first_offset() {
            return Err(removed(folder, from, known.first_offset()));
        }
        if from > known.end_offset {
            let (shown, end) = (folder.display(), known.end_offset);
            let message = format!("offset {from} is behind the end of the ingest log \"{shown}\", which is {end}");
            return Err(Error::new(Kind::InvalidParameterValue, message));
        }
        let skipped = known.segments.partition_point(|segment| segment.first_offset <= from) - 1;
        let segments: VecDeque<u64> = known.segments.iter().skip(skipped).map(|segment| segment.first_offset).collect();
        Ok(Reader {
            folder: folder.to_path_buf(),
            stream,
            extent: Arc::clone(extent),
            offset: segments[0],
            segments,
            place: None,
            from,
            end: known.end_offset,
        })
    }

    /// The next entry that does not end before `from`.
    fn advance(&mut self) -> Result<Option<Entry>> {
        while self.offset < self.end {
            if self.segments.front() == Some(&self.offset) {
                self.segments.pop_front();
                self.place = Some(self.open(self.offset)?);
            }
            // of a segment with a next one, nothing counts from the next one's first offset on
            let limit = self.segments.front().map_or(self.end, |next| self.end.min(*next));
            let place = self.place.as_mut().expect("the first segment begins at the first offset");
            let (header, end_offset) = place.header(self.offset, limit)?;
            self.offset = end_offset;
            if end_offset <= self.from {
                place.skip(&header)?;
            } else {
                return place.entry(&header).map(Some);
            }
        }
        Ok(None)
    }

    fn open(&self, first_offset: u64) -> Result<Place> {
        let path = segment::path_of(&self.folder, first_offset);
        let Opened { file, identity, .. } =
            segment::open(&path, false, self.stream, first_offset).map_err(|error| {
                let first_now = lock(&self.extent).first_offset();
                if error.kind() == Kind::UndefinedFile && first_offset < first_now {
                    removed(&self.folder, first_offset, first_now)
                } else {
                    error
                }
            })?;
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Place { path, file, salt: identity.salt, position: HEADER_BYTES })
    }
}

impl Iterator for Reader {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let entry = self.advance();
        if entry.is_err() {
            self.end = self.offset.min(self.end);
            self.offset = self.end;
        }
        entry.transpose()
    }
}

impl Place {
    /// The header of the frame that begins with event `offset`, and the offset behind it, at most `limit`.
    fn header(&mut self, offset: u64, limit: u64) -> Result<(FrameHeader, u64)> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        self.fill(&mut bytes, 0, limit)?;
        let Some(header) = decode_frame_header(&bytes, self.salt, self.position) else {
            return Err(damaged(&self.path, self.position, "the header of the frame here does not hold"));
        };
        let end_offset = header.end_offset().expect("checked when it was decoded");
        if header.first_offset != offset || end_offset > limit {
            let what = format!(
                "the frame here has events {}..{end_offset}, where {offset}..{limit} are expected",
                header.first_offset
            );
            return Err(damaged(&self.path, self.position, what));
        }
        if header.payload_bytes as usize > PAYLOAD_MAX_BYTES {
            return Err(damaged(&self.path, self.position, "the frame here is longer than any may be"));
        }
        Ok((header, end_offset))
    }

    fn entry(&mut self, header: &FrameHeader) -> Result<Entry> {
        let mut payload = vec![0; header.payload_bytes as usize];
        self.fill(&mut payload, FRAME_HEADER_BYTES, header.first_offset + u64::from(header.events))?;
        if payload_checksum(&payload) != header.payload_checksum {
            return Err(damaged(&self.path, self.position, "the payload of the frame here does not hold"));
        }
        self.position += header.frame_bytes();
        let events = NonZeroU32::new(header.events).expect("checked when it was decoded");
        Ok(Entry {
            offset: header.first_offset,
            events,
            appended_us: header.appended_us,
            payload: Bytes::from(payload),
        })
    }

    fn skip(&mut self, header: &FrameHeader) -> Result<()> {
        let skipped = self.file.seek_relative(i64::from(header.payload_bytes));
        skipped.map_err(|error| io_error("read", &self.path, error))?;
        self.position += header.frame_bytes();
        Ok(())
    }

    /// `inside`: how far from the frame's beginning the bytes are. `limit`: the offset up to which there must be events.
    fn fill(&mut self, bytes: &mut [u8], inside: usize, limit: u64) -> Result<()> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let position = self.position + inside as u64;
                damaged(&self.path, position, format!("the file ends, but has events up to offset {limit}"))
            }
            _ => io_error("read", &self.path, error),
        })
    }
}
