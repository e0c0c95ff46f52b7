//! What is asked of the disk, one function for each thing that can fail on its own: tests make it fail, one by one.
//! Knows nothing of what is written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Of no size but in tests, where it carries the failures to come: the next time that an operation is done, it fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<std::sync::Mutex<Vec<(Operation, io::ErrorKind)>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Write,
    Sync,
    Cut,
    Create,
    Rename,
    SyncFolder,
}

impl Disk {
    /// If it fails, any of the bytes may be in the file.
    pub(super) fn write(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        file.write_all_at(bytes, position)?;
        self.meet(Operation::Write)
    }

    /// Data, and of what is about it whatever is needed to read it, such as the length.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.meet(Operation::Sync)?;
        file.sync_data()
    }

    pub(super) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.meet(Operation::Cut)?;
        file.set_len(length)
    }

    /// A new, empty file; one of that name goes.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.meet(Operation::Create)?;
        File::options().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// The new name is on disk when this returns.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet(Operation::Rename)?;
        fs::rename(from, to)?;
        self.sync_folder_of(to)
    }

    pub(super) fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        self.meet(Operation::SyncFolder)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    #[cfg(test)]
    fn meet(&self, operation: Operation) -> io::Result<()> {
        let mut faults = self.faults.lock().expect("no test panics here");
        match faults.iter().position(|(next, _)| *next == operation) {
            Some(next) => Err(faults.remove(next).1.into()),
            None => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "fails in tests only")]
    fn meet(&self, _: Operation) -> io::Result<()> {
        Ok(())
    }
}
