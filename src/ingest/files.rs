//! The files of all streams, for who copies them while events go on coming.

use std::fs::{self, File};
use std::io::Read;

use super::Ingest;
use crate::error::{Result, io_error};

/// A file as it is now. It stays readable if it is removed.
pub struct IngestFile {
    /// below the folder of all streams
    pub path: String,
    pub bytes: u64,
    pub content: Box<dyn Read + Send>,
}

impl Ingest {
    /// What a crash would leave: of each stream what is kept beside its log, then the log, which may be newer but never
    /// older. Where they are taken before a commit to the offline store that follows, nothing is missing between the two.
    pub fn files(&self) -> Result<Vec<IngestFile>> {
        let mut files = Vec::new();
        for log in self.all_opened() {
            let folder = self.folder_of(log.id);
            let stream = format!("stream-{}", log.id.0);
            let failed = |error| io_error("read", &folder, error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // the log's own, its lock, and what was not finished
                if name.ends_with(".log") || name.ends_with(".unfinished") || name == "lock" {
                    continue;
                }
                let file = match File::open(entry.path()) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    file => file.map_err(failed)?,
                };
                let bytes = file.metadata().map_err(failed)?.len();
                let content = Box::new(file.take(bytes));
                files.push(IngestFile { path: format!("{stream}/{name}"), bytes, content });
            }
            for (name, file) in log.log.files()? {
                files.push(IngestFile { path: format!("{stream}/{name}"), bytes: file.bytes, content: Box::new(file) });
            }
        }
        Ok(files)
    }
}
