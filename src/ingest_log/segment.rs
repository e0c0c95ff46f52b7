//! Files of a log: their names, their headers, and where the last one ends. Knows nothing of queues and threads.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::errors::damaged;
use super::format::{
    FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, Identity, MARKS_POSITION, Mark, Turn, decode_frame_header,
    decode_header, encode_header, encode_mark, is_marked, payload_checksum,
};
use crate::error::{Result, io_error};

/// What a segment is called until its header is on disk; there is one at most.
const UNFINISHED: &str = "next.unfinished";
/// How much is looked through at a time in search of a frame.
const SEARCH_BYTES: u64 = 1 << 20;

/// The one segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) identity: Identity,
    /// Up to where it is on disk; nothing behind that counts.
    pub(super) durable: Mark,
    /// What the newest mark says.
    marked: Mark,
    /// How long the file is: from `durable` on there are zeros, room for what comes.
    pub(super) file_bytes: u64,
    turn: Turn,
}

pub(super) fn path_of(folder: &Path, first_offset: u64) -> PathBuf {
    folder.join(format!("{first_offset:020}.log"))
}

/// The first offsets of the segments in a folder, ascending. What a crash left unfinished is removed.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>> {
    let fail = |error| io_error("read", folder, error);
    let mut first_offsets = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 20);
        let first_offset = stem.filter(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()));
        match first_offset.and_then(|stem| stem.parse().ok()) {
            Some(first_offset) => first_offsets.push(first_offset),
            None => return Err(damaged(&path, 0, "its name is not the offset of its first event")),
        }
    }
    first_offsets.sort_unstable();
    let unfinished = folder.join(UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &unfinished, error)),
        _ => Ok(first_offsets),
    }
}

/// A segment's file, and what its header says.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) identity: Identity,
    mark: Mark,
    turn: Turn,
    /// or was: a mark that does not hold any more counts
    is_marked: bool,
}

/// Opens a segment and reads its header. `first_offset`: what its name says.
pub(super) fn open(path: &Path, write: bool, stream: u64, first_offset: u64) -> Result<Opened> {
    let file = File::options().read(true).write(write).open(path).map_err(|error| io_error("open", path, error))?;
    let mut header = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(&file, HEADER_BYTES), &mut header);
    read.map_err(|error| io_error("read", path, error))?;
    let (identity, mark, turn) = decode_header(&header).map_err(|wrong| damaged(path, wrong.position, wrong.what))?;
    if identity.stream != stream {
        return Err(damaged(path, 16, format!("it is of stream {}, not of {stream}", identity.stream)));
    }
    if identity.first_offset != first_offset {
        return Err(damaged(path, 24, format!("its first offset is {}, not that of its name", identity.first_offset)));
    }
    Ok(Opened { file, identity, mark, turn, is_marked: is_marked(&header) })
}

impl Segment {
    /// A new one without events, of which header and name are on disk. It takes the place of one with the same first
    /// offset, which then has no events that count.
    pub(super) fn create(disk: &Disk, folder: &Path, identity: Identity) -> Result<Segment> {
        let path = path_of(folder, identity.first_offset);
        let unfinished = folder.join(UNFINISHED);
        let create = || -> io::Result<File> {
            let file = disk.create(&unfinished)?;
            disk.write(&file, &encode_header(&identity), 0)?;
            disk.sync(&file)?;
            disk.rename(&unfinished, &path)?;
            Ok(file)
        };
        let file = create().map_err(|error| {
            // best effort: it is overwritten by the next, and swept when the log is opened
            let _ = fs::remove_file(&unfinished);
            io_error("create", &path, error)
        })?;
        let durable = Mark { durable_bytes: HEADER_BYTES, end_offset: identity.first_offset };
        Ok(Segment { path, file, identity, durable, marked: durable, file_bytes: HEADER_BYTES, turn: Turn::FIRST })
    }

    /// The last segment of a log as a crash may have left it. What of a torn group cannot be kept is cut off, and all
    /// that stays is on disk.
    pub(super) fn recover(disk: &Disk, folder: &Path, stream: u64, first_offset: u64) -> Result<Segment> {
        let path = path_of(folder, first_offset);
        let Opened { file, identity, mark: marked, turn, is_marked } = open(&path, true, stream, first_offset)?;
        let fail = |error| io_error("read", &path, error);
        let length = file.metadata().map_err(fail)?.len();
        if marked.durable_bytes < HEADER_BYTES || marked.end_offset < first_offset {
            return Err(damaged(&path, MARKS_POSITION, format!("no such mark can be: {marked:?}")));
        }
        if length < marked.durable_bytes {
            let what = format!("the file ends here, and was on disk up to byte {}", marked.durable_bytes);
            return Err(damaged(&path, length, what));
        }
        let mut segment = Segment { path, file, identity, durable: marked, marked, file_bytes: length, turn };
        while let Some(end) = segment.end_of_next(length)? {
            segment.durable = end;
        }
        let kept = segment.durable;
        if is_marked && kept.durable_bytes == HEADER_BYTES {
            let what = "the first frame does not hold, and a mark says that it was on disk";
            return Err(damaged(&segment.path, HEADER_BYTES, what));
        }
        if kept.durable_bytes < length {
            let torn_bytes = segment.torn_bytes(kept.durable_bytes, length)?;
            if torn_bytes > 0 {
                tracing::warn!(
                    "the last {torn_bytes} bytes of \"{}\" were of an unfinished write and are cut off",
                    segment.path.display()
                );
            }
            let cut = segment.cut(disk);
            cut.map_err(|error| io_error("cut", &segment.path, error))?;
        }
        if length != marked.durable_bytes {
            disk.sync(&segment.file).map_err(|error| io_error("sync", &segment.path, error))?;
            segment.mark(disk);
        }
        Ok(segment)
    }

    /// Notes what is durable, for whoever opens the file next. It is only a help against damage, so that one which
    /// cannot be written is left out.
    pub(super) fn mark(&mut self, disk: &Disk) {
        if self.marked == self.durable {
            return;
        }
        let bytes = encode_mark(self.durable, self.identity.salt, self.turn);
        match disk.write(&self.file, &bytes, self.turn.position()) {
            Ok(()) => (self.turn, self.marked) = (self.turn.next(), self.durable),
            Err(error) => tracing::warn!("could not mark \"{}\": {error}", self.path.display()),
        }
    }

    /// Cuts off all that is not durable.
    pub(super) fn cut(&mut self, disk: &Disk) -> io::Result<()> {
        if self.file_bytes != self.durable.durable_bytes {
            disk.cut(&self.file, self.durable.durable_bytes)?;
            self.file_bytes = self.durable.durable_bytes;
        }
        Ok(())
    }

    /// Where the frame behind `durable` ends; `None` if there is none that holds.
    fn end_of_next(&self, length: u64) -> Result<Option<Mark>> {
        let fail = |error| io_error("read", &self.path, error);
        let position = self.durable.durable_bytes;
        let Some(header) = read_frame_header(&self.file, self.identity.salt, position, length).map_err(fail)? else {
            return Ok(None);
        };
        if length - position < header.frame_bytes() {
            return Ok(None);
        }
        let mut payload = vec![0; header.payload_bytes as usize];
        self.file.read_exact_at(&mut payload, position + FRAME_HEADER_BYTES as u64).map_err(fail)?;
        if payload_checksum(&payload) != header.payload_checksum {
            return Ok(None);
        }
        if header.first_offset != self.durable.end_offset {
            let what = format!("offset {} follows offset {}", header.first_offset, self.durable.end_offset);
            return Err(damaged(&self.path, position, what));
        }
        let end_offset = header.end_offset().expect("checked when it was decoded");
        Ok(Some(Mark { durable_bytes: position + header.frame_bytes(), end_offset }))
    }

    /// How many bytes from `position` on, where no frame holds, are of an unfinished write; what follows are zeros. An
    /// error if any frame says that what is at `position` was on disk.
    fn torn_bytes(&self, position: u64, length: u64) -> Result<u64> {
        let mut window = Vec::new();
        let (mut start, mut torn) = (position, 0);
        while start < length {
            window.resize((length - start).min(SEARCH_BYTES) as usize, 0);
            let read = self.file.read_exact_at(&mut window, start);
            read.map_err(|error| io_error("read", &self.path, error))?;
            if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
                torn = start + last as u64 + 1 - position;
                let durable = window.windows(FRAME_HEADER_BYTES).zip(start..).any(|(bytes, at)| {
                    let header = decode_frame_header(bytes, self.identity.salt, at);
                    header.is_some_and(|header| header.durable_bytes > position)
                });
                if durable {
                    return Err(damaged(&self.path, position, "the frame here does not hold, and later ones do"));
                }
            }
            let searched = if start + (window.len() as u64) < length { FRAME_HEADER_BYTES - 1 } else { 0 };
            start += (window.len() - searched) as u64;
        }
        Ok(torn)
    }
}

/// The header of the frame at `position` of a file so long; `None` if none was written there.
pub(super) fn read_frame_header(file: &File, salt: u64, position: u64, length: u64) -> io::Result<Option<FrameHeader>> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    if length.saturating_sub(position) < FRAME_HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut bytes, position)?;
    Ok(decode_frame_header(&bytes, salt, position))
}
