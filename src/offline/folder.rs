//! The folder of a table, as long as a version of it is held: who retires a table leaves its files to the last reader.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use uuid::Uuid;

use super::{DROPPED, durable};

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    is_doomed: AtomicBool,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Arc<Folder> {
        Arc::new(Folder { path: path.to_owned(), is_doomed: AtomicBool::new(false) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It goes with the last version.
    pub(super) fn doom(&self) {
        self.is_doomed.store(true, Ordering::Relaxed);
    }
}

/// Makes a table disappear in one step; gives what is left to be removed, or None if there is no such table. A crash leaves
/// what the next opening removes.
pub(super) fn take_away(path: &Path) -> io::Result<Option<PathBuf>> {
    let dropped = path.with_file_name(format!("{DROPPED}{}", Uuid::new_v4().simple()));
    match fs::rename(path, &dropped).and_then(|()| durable::sync_folder_of(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        renamed => renamed.map(|()| Some(dropped)),
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_doomed.load(Ordering::Relaxed) {
            return;
        }
        let removed = take_away(&self.path).and_then(|dropped| match dropped {
            Some(dropped) => fs::remove_dir_all(dropped),
            None => Ok(()),
        });
        if let Err(error) = removed {
            tracing::warn!(folder = %self.path.display(), %error, "a table that was dropped could not be removed");
        }
    }
}
