//! A segment as bytes, for who copies the log.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Take};
use std::path::Path;

use super::format::{HEADER_BYTES, MARKS_BYTES, MARKS_POSITION};
use crate::error::{Result, io_error};

/// The bytes of a segment that count.
#[derive(Debug)]
pub struct LogFile {
    pub bytes: u64,
    /// With its marks left out, if they may be newer than the length: the frames say the same.
    header: io::Cursor<Vec<u8>>,
    frames: Take<File>,
}

impl LogFile {
    pub(super) fn open(path: &Path, bytes: u64, is_last: bool) -> Result<LogFile> {
        let open = || {
            let mut file = File::open(path)?;
            let mut header = vec![0; HEADER_BYTES as usize];
            file.read_exact(&mut header)?;
            if is_last {
                header[MARKS_POSITION as usize..][..MARKS_BYTES].fill(0);
            }
            file.seek(SeekFrom::Start(HEADER_BYTES))?;
            Ok(LogFile { bytes, header: io::Cursor::new(header), frames: file.take(bytes - HEADER_BYTES) })
        };
        open().map_err(|error| io_error("read", path, error))
    }
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.header.read(buffer)? {
            0 => self.frames.read(buffer),
            read => Ok(read),
        }
    }
}
