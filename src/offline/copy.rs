//! The files of one version of a table, for who copies it; and the local object store that a copy may go to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;

use super::durable::DurableLocal;
use super::errors::damaged;
use super::{DROPPED, OfflineStore, OfflineTable};
use crate::error::{Result, io_error};

/// The local file system, by absolute paths; what was put is on disk.
pub fn local_store() -> Arc<dyn ObjectStore> {
    Arc::new(DurableLocal::new())
}

impl OfflineStore {
    /// The folder of all tables.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// When it was opened, by the machine's clock.
    pub fn opened_at_us(&self) -> i64 {
        self.opened_at_us
    }

    /// The names of all tables that there are, in no order.
    pub fn all_tables(&self) -> Result<Vec<String>> {
        let mut names = self.tables_beginning("")?;
        names.retain(|name| !name.starts_with(DROPPED) && self.root.join(name).join(LOG).is_dir());
        Ok(names)
    }
}

/// Of a table, its log.
const LOG: &str = "_delta_log";

impl OfflineTable {
    /// The files of this version: its rows, and of the log what leads up to it and no further. The log's files may go while
    /// this runs or later, a day after they were written.
    pub fn all_files(&self) -> Result<Vec<PathBuf>> {
        let log = self.path.join(LOG);
        let fail = |error| io_error("list the folder", &log, error);
        let (mut commits, mut checkpoints) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&log).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            let Some((number, rest)) = name.split_once('.') else { continue };
            let version = if number.len() == 20 { number.parse::<i64>().ok() } else { None };
            let Some(version) = version.filter(|version| *version <= self.version) else { continue };
            if rest == "json" {
                commits.push((version, name));
            } else if rest.starts_with("checkpoint.") && rest.ends_with("parquet") {
                checkpoints.push((version, name));
            }
        }
        let checkpoint = checkpoints.iter().map(|(version, _)| *version).max();
        // the checkpoint's own commit too: without it nothing can be committed if it is the last
        let first = checkpoint.unwrap_or(0);
        commits.retain(|(version, _)| *version >= first);
        checkpoints.retain(|(version, _)| Some(*version) == checkpoint);
        if commits.len() as i64 != self.version - first + 1 {
            return Err(damaged(&self.path, format!("its log has not all commits up to {}", self.version)));
        }
        let of_log = commits.into_iter().chain(checkpoints).map(|(_, name)| log.join(name));
        Ok(self.files.iter().map(|file| file.path.clone()).chain(of_log).collect())
    }
}
