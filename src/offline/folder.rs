//! The folder of a table, as long as a version of it is held: who retires a table leaves its files to the last reader.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_doomed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "a table that was dropped could not be removed");
        }
    }
}
