//! What is kept of a stream that captures a table, beside its log: which slot it reads of which server, and, until they are
//! in the log, the rows that the table had at the beginning.
//!
//! * **Spooled** is: all rows of the beginning are in a file, on disk, and then what says so, with the place from which on the
//!   slot has what changed. Before that nothing is in the log: who is interrupted begins anew with a new slot.
//! * **Confirmed** places are kept before the server is told them. So a slot that is further was moved by somebody else.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reading::{ReadLog, read_file, write_file};
use super::{Ingest, blocking};
use crate::error::{Error, Kind, Result, io_error};

const CAPTURE: &str = "capture.json";
const SPOOL: &str = "snapshot.rows";
const FILE_FORMAT: u32 = 1;
/// In place of a length: NULL.
const NULL_LENGTH: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    format: u32,
    pub slot: String,
    /// as the stream names it
    pub table: String,
    /// those that are in the spool, in their order
    pub columns: Vec<String>,
    /// None until the rows of the beginning are spooled
    pub begun: Option<Begun>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub system: String,
    pub timeline: u32,
    /// the table's number
    pub table_id: u32,
    /// where the slot begins
    pub lsn: u64,
    /// when it was made, microseconds
    pub time_us: i64,
    /// up to where the server may forget
    pub confirmed: u64,
    /// how many rows are spooled
    pub rows: u64,
    pub bytes: u64,
}

impl Capture {
    pub fn new(slot: String, table: String, columns: Vec<String>) -> Capture {
        Capture { format: FILE_FORMAT, slot, table, columns, begun: None }
    }
}

/// A row as texts; None is NULL.
pub type SpooledRow = Vec<Option<Vec<u8>>>;

impl Ingest {
    /// What is kept of a stream; None if nothing is.
    pub async fn capture(&self, log: &ReadLog) -> Result<Option<Capture>> {
        let path = self.folder_of(log.stream()).join(CAPTURE);
        blocking(move || read_file::<Capture>(&path)).await
    }

    pub async fn keep_capture(&self, log: &ReadLog, capture: &Capture) -> Result<()> {
        let (path, capture) = (self.folder_of(log.stream()).join(CAPTURE), capture.clone());
        blocking(move || write_file(&path, &capture)).await
    }

    /// Begins the spool anew.
    pub fn spool(&self, log: &ReadLog) -> Result<Spool> {
        let path = self.folder_of(log.stream()).join(SPOOL);
        let file = File::create(&path).map_err(|error| io_error("create", &path, error))?;
        Ok(Spool { path, file: BufWriter::new(file), rows: 0, bytes: 0 })
    }

    /// What was spooled, from a row on.
    pub fn spooled(&self, log: &ReadLog, begun: &Begun, first: u64) -> Result<Spooled> {
        let path = self.folder_of(log.stream()).join(SPOOL);
        let file = File::open(&path).map_err(|error| io_error("open", &path, error))?;
        let bytes = file.metadata().map_err(|error| io_error("read", &path, error))?.len();
        let mut spooled = Spooled { path, file: BufReader::new(file), left: begun.rows };
        if bytes != begun.bytes {
            return Err(spooled.damaged());
        }
        for _ in 0..first {
            spooled.next()?;
        }
        Ok(spooled)
    }

    /// The rows are in the log.
    pub fn remove_spool(&self, log: &ReadLog) -> Result<()> {
        let path = self.folder_of(log.stream()).join(SPOOL);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", &path, error)),
            _ => Ok(()),
        }
    }
}

/// The slot of a stream that is gone, if its folder says one.
pub(super) fn left_slot(folder: &Path) -> Option<String> {
    read_file::<Capture>(&folder.join(CAPTURE)).ok().flatten().map(|capture| capture.slot)
}

/// Rows on their way into the file.
pub struct Spool {
    path: PathBuf,
    file: BufWriter<File>,
    pub rows: u64,
    pub bytes: u64,
}

impl Spool {
    pub fn add<T: AsRef<[u8]>>(&mut self, row: &[Option<T>]) -> Result<()> {
        let mut bytes = Vec::new();
        let count = |length: usize| u32::try_from(length).map_err(|_| Error::internal("a row is too long"));
        bytes.extend_from_slice(&count(row.len())?.to_le_bytes());
        for value in row {
            match value {
                None => bytes.extend_from_slice(&NULL_LENGTH.to_le_bytes()),
                Some(value) => {
                    bytes.extend_from_slice(&count(value.as_ref().len())?.to_le_bytes());
                    bytes.extend_from_slice(value.as_ref());
                }
            }
        }
        self.file.write_all(&bytes).map_err(|error| io_error("write", &self.path, error))?;
        self.rows += 1;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// When it returns, the rows are on disk.
    pub fn finish(mut self) -> Result<()> {
        let fail = |error| io_error("write", &self.path, error);
        self.file.flush().map_err(fail)?;
        self.file.get_ref().sync_all().map_err(fail)
    }
}

/// Rows out of the file.
pub struct Spooled {
    path: PathBuf,
    file: BufReader<File>,
    left: u64,
}

impl Spooled {
    /// None behind the last one.
    pub fn next(&mut self) -> Result<Option<SpooledRow>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let count = self.number()?;
        let value = |_| match self.number()? {
            NULL_LENGTH => Ok(None),
            length => {
                let mut bytes = Vec::new();
                let read = self.file.by_ref().take(length.into()).read_to_end(&mut bytes);
                let read = read.map_err(|error| io_error("read", &self.path, error))?;
                if read as u64 == u64::from(length) { Ok(Some(bytes)) } else { Err(self.damaged()) }
            }
        };
        (0..count).map(value).collect::<Result<_>>().map(Some)
    }

    fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes).map_err(|error| io_error("read", &self.path, error))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn damaged(&self) -> Error {
        Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged: its length is another", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first release that captured tables; never to be changed.
    const GOLDEN: &str = r#"{"format":1,"slot":"granary_7_ab","table":"t","columns":["k"],"begun":{"system":"7","timeline":1,"table_id":2,"lsn":3,"time_us":-4,"confirmed":5,"rows":6,"bytes":7}}"#;

    #[test]
    fn the_file_is_that_of_format_1() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(CAPTURE);
        let mut capture = Capture::new("granary_7_ab".to_owned(), "t".to_owned(), vec!["k".to_owned()]);
        capture.begun = Some(Begun {
            system: "7".to_owned(),
            timeline: 1,
            table_id: 2,
            lsn: 3,
            time_us: -4,
            confirmed: 5,
            rows: 6,
            bytes: 7,
        });
        write_file(&path, &capture).expect("writes");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), GOLDEN);
        assert_eq!(read_file::<Capture>(&path).expect("reads"), Some(capture));
        assert_eq!(left_slot(folder.path()).as_deref(), Some("granary_7_ab"));
    }

    #[test]
    fn spooled_rows_come_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(SPOOL);
        let file = File::create(&path).expect("creates");
        let mut spool = Spool { path: path.clone(), file: BufWriter::new(file), rows: 0, bytes: 0 };
        let rows: [SpooledRow; 2] = [vec![Some(b"a".to_vec()), None], vec![Some(Vec::new()), Some(vec![0; 70_000])]];
        rows.iter().for_each(|row| spool.add(row).expect("adds"));
        assert_eq!((spool.rows, spool.bytes), (2, 4 + 5 + 4 + 4 + 4 + 70_004));
        spool.finish().expect("writes");
        let file = File::open(&path).expect("opens");
        let mut spooled = Spooled { path, file: BufReader::new(file), left: 2 };
        for row in rows {
            assert_eq!(spooled.next().expect("reads"), Some(row));
        }
        assert_eq!(spooled.next().expect("reads"), None);
    }
}
