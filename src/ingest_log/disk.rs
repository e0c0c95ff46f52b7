//! What is asked of the disk, one function for each thing that can fail on its own. Knows nothing of what is written.
//!
//! In tests each of them can be made to fail, and it is noted what a power cut would leave.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Of no size but in tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) testing: std::sync::Arc<testing::Testing>,
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
        self.run(Operation::Write, || file.write_all_at(bytes, position))
    }

    /// Data, and of what is about it whatever is needed to read it, such as the length.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.run(Operation::Sync, || {
            file.sync_data()?;
            #[cfg(test)]
            self.testing.file_is_on_disk(file);
            Ok(())
        })
    }

    pub(super) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.run(Operation::Cut, || file.set_len(length))
    }

    /// A new, empty file; one of that name goes.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.run(Operation::Create, || {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
            #[cfg(test)]
            self.testing.file_is_new(&file);
            Ok(file)
        })
    }

    /// The new name is on disk when this returns.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename, || fs::rename(from, to))?;
        self.sync_folder_of(to)
    }

    pub(super) fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent() else { return Ok(()) };
        self.run(Operation::SyncFolder, || {
            File::open(folder)?.sync_all()?;
            #[cfg(test)]
            self.testing.folder_is_on_disk(folder);
            Ok(())
        })
    }

    #[cfg(test)]
    fn run<T>(&self, operation: Operation, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.testing.run(operation, act)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "used in tests")]
    fn run<T>(&self, _: Operation, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        act()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::{BTreeMap, HashMap};
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Mutex;

    use super::*;
    use crate::ingest_log::lock;

    #[derive(Debug, Default)]
    pub(in super::super) struct Testing {
        /// The next time that one of these is done, it fails; a write when it is done.
        pub(in super::super) faults: Mutex<Vec<(Operation, io::ErrorKind)>>,
        /// Held while anything is done, so that who holds it sees a state between two operations.
        pub(in super::super) operation: Mutex<()>,
        on_disk: Mutex<OnDisk>,
    }

    /// What was synced: contents by inode, and the names in the folder.
    #[derive(Debug, Default, Clone)]
    pub(in super::super) struct OnDisk {
        pub(in super::super) contents: HashMap<u64, Vec<u8>>,
        pub(in super::super) names: BTreeMap<String, u64>,
    }

    impl Testing {
        pub(super) fn run<T>(&self, operation: Operation, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            let _alone = lock(&self.operation);
            let fault = {
                let mut faults = lock(&self.faults);
                let next = faults.iter().position(|(next, _)| *next == operation);
                next.map(|next| faults.remove(next).1)
            };
            match fault {
                Some(error) => {
                    if operation == Operation::Write {
                        act()?;
                    }
                    Err(error.into())
                }
                None => act(),
            }
        }

        pub(super) fn file_is_new(&self, file: &File) {
            lock(&self.on_disk).contents.remove(&file.metadata().expect("is open").ino());
        }

        pub(super) fn file_is_on_disk(&self, file: &File) {
            let metadata = file.metadata().expect("is open");
            let mut bytes = vec![0; metadata.len() as usize];
            file.read_exact_at(&mut bytes, 0).expect("reads");
            lock(&self.on_disk).contents.insert(metadata.ino(), bytes);
        }

        pub(super) fn folder_is_on_disk(&self, folder: &Path) {
            lock(&self.on_disk).names = names(folder);
        }

        /// With `operation` held, what was synced until now.
        pub(in super::super) fn on_disk(&self) -> OnDisk {
            lock(&self.on_disk).clone()
        }
    }

    /// The files of a folder by name, with their inodes.
    pub(in super::super) fn names(folder: &Path) -> BTreeMap<String, u64> {
        let entries = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry"));
        let inode = |entry: fs::DirEntry| {
            // one that is renamed or removed meanwhile has no name any more
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((entry.file_name().to_string_lossy().into_owned(), metadata.ino()))
        };
        entries.filter_map(inode).collect()
    }
}
