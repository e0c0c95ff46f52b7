//! The end of a log: groups of entries go on disk here, whole or not at all. Knows nothing of who waits for them.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::Entry;
use super::disk::Disk;
use super::format::{FrameHeader, HEADER_BYTES, Identity, Mark, encode_frame};
use super::segment::Segment;
use crate::error::{Error, Result, io_error};

/// An entry, and the checksum of its payload.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) entry: Entry,
    pub(super) payload_checksum: u32,
}

/// A group up to so long goes where zeros are already: a sync that need not note a new length takes two thirds of the time.
const GROUP_BYTES_IN_ROOM: usize = 64 << 10;
/// Zeros that are written ahead of small groups: as many bytes as the segment has, within these.
const ROOM_BYTES: RangeInclusive<u64> = 16 << 10..=1 << 20;

#[derive(Debug)]
pub(super) struct Tail {
    disk: Disk,
    folder: PathBuf,
    segment_bytes: u64,
    segment: Segment,
    /// Whether the next group must begin a new segment: nothing is written behind bytes of which nobody knows whether
    /// they are on disk.
    spoiled: bool,
    /// How often something was synced.
    pub(super) syncs: u64,
}

impl Tail {
    pub(super) fn new(disk: Disk, folder: &Path, segment_bytes: u64, segment: Segment) -> Tail {
        Tail { disk, folder: folder.to_path_buf(), segment_bytes, segment, spoiled: false, syncs: 0 }
    }

    /// The first offset of the last segment, and up to where it is on disk.
    pub(super) fn end(&self) -> (u64, Mark) {
        (self.segment.identity.first_offset, self.segment.durable)
    }

    /// Puts the frames on disk, with one write and one sync, and gives how many bytes they are. If that fails none of them
    /// counts, and their offsets are free; the next call tries anew.
    pub(super) fn write(&mut self, frames: &[Frame], buffer: &mut Vec<u8>) -> Result<usize> {
        if self.spoiled || self.segment.durable.durable_bytes >= self.segment_bytes.max(HEADER_BYTES + 1) {
            self.begin_segment()?;
        }
        let durable = self.segment.durable;
        let end_offset = self.encode(frames, buffer);
        let group_bytes = buffer.len();
        let durable_bytes = durable.durable_bytes + group_bytes as u64;
        let needs_room = group_bytes <= GROUP_BYTES_IN_ROOM && durable_bytes > self.segment.file_bytes;
        let room_bytes = durable_bytes.clamp(*ROOM_BYTES.start(), *ROOM_BYTES.end());
        buffer.resize(group_bytes + if needs_room { room_bytes as usize } else { 0 }, 0);
        let mut written = self.write_behind(buffer);
        if needs_room && !self.spoiled && written.as_ref().is_err_and(is_full) {
            // there may be place for the group alone
            written = self.write_behind(&buffer[..group_bytes]);
        }
        written.map_err(|error| self.refused("write", error))?;
        self.syncs += 1;
        if let Err(error) = self.disk.sync(&self.segment.file) {
            // The kernel may have dropped the pages and forgotten that they were not written, so that a second sync
            // would succeed without them. Nobody looks at this part of the file again; the cut, if it works, is for
            // a crash before there is a next segment.
            self.spoiled = true;
            let _ = self.segment.cut(&self.disk);
            return Err(self.refused("sync", error));
        }
        self.segment.durable = Mark { durable_bytes, end_offset };
        Ok(group_bytes)
    }

    /// The next group goes to a new segment, which is on disk when this returns.
    pub(super) fn begin_segment(&mut self) -> Result<()> {
        // until it is there: whatever of it may exist takes over from the old one
        self.spoiled = true;
        let old = &self.segment;
        let replaced = old.identity.first_offset == old.durable.end_offset;
        let identity = Identity {
            stream: old.identity.stream,
            first_offset: old.durable.end_offset,
            previous: if replaced { old.identity.previous } else { old.identity.first_offset },
            salt: random_salt()?,
        };
        self.syncs += 2;
        // best effort: nobody reads it
        let _ = self.segment.cut(&self.disk);
        self.segment = Segment::create(&self.disk, &self.folder, identity)?;
        self.spoiled = false;
        Ok(())
    }

    /// Notes what is on disk, where no group follows that would tell the same.
    pub(super) fn mark(&mut self) {
        if !self.spoiled {
            self.segment.mark(&self.disk);
        }
    }

    /// Puts the last mark on disk, which the next group would have done.
    pub(super) fn rest(&mut self) {
        if self.spoiled {
            return;
        }
        self.segment.mark(&self.disk);
        self.syncs += 1;
        if let Err(error) = self.disk.sync(&self.segment.file) {
            self.spoiled = true;
            tracing::warn!("could not sync \"{}\": {error}", self.segment.path.display());
        }
    }

    /// Gives back what the file has of room; who opens it next does, if this does not come on disk.
    pub(super) fn close(&mut self) {
        if !self.spoiled {
            let _ = self.segment.cut(&self.disk);
        }
    }

    pub(super) fn sync_folder_of(&self, path: &Path) -> Result<()> {
        self.disk.sync_folder_of(path).map_err(|error| io_error("remove", path, error))
    }

    /// Writes where the next group begins. If that fails the file is as it was, or spoiled.
    fn write_behind(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = self.segment.durable.durable_bytes;
        self.segment.file_bytes = self.segment.file_bytes.max(start + bytes.len() as u64);
        let written = self.disk.write(&self.segment.file, bytes, start);
        if written.is_err() {
            self.spoiled = self.segment.cut(&self.disk).is_err();
        }
        written
    }

    fn encode(&self, frames: &[Frame], buffer: &mut Vec<u8>) -> u64 {
        let durable = self.segment.durable;
        let mut next_offset = durable.end_offset;
        buffer.clear();
        for Frame { entry, payload_checksum } in frames {
            assert_eq!(entry.offset, next_offset, "offsets are given without gaps");
            next_offset = entry.end_offset();
            let header = FrameHeader {
                payload_checksum: *payload_checksum,
                payload_bytes: u32::try_from(entry.payload.len()).expect("the limit of a payload is less"),
                events: entry.events.get(),
                first_offset: entry.offset,
                durable_bytes: durable.durable_bytes,
                appended_us: entry.appended_us,
            };
            let position = durable.durable_bytes + buffer.len() as u64;
            encode_frame(&header, self.segment.identity.salt, position, &entry.payload, buffer);
        }
        next_offset
    }

    fn refused(&self, action: &str, error: std::io::Error) -> Error {
        io_error(action, &self.segment.path, error)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

pub(super) fn random_salt() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::internal(format!("no random numbers: {error}")))
}
