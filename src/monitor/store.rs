//! What is kept of runs, in one redb file: records, which are small, and the pieces that periods are merged from.
//!
//! A run is put in one commit, under the number of its job, before anything else can say that the job is done; a job
//! that runs again puts it again. So nothing is ever counted twice. Runs go when they are old, or when there are
//! very many of a view.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition};
use serde::de::DeserializeOwned;

use super::profile::Piece;
use super::record::RunRecord;
use crate::error::{Error, Result};
use crate::store_file::{CopyTables, FileImage, Records, copy_table};

/// Keys of a run: the view, the job. Of a piece, its start behind them. Numbers are in the order of their bytes.
const RUNS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("runs");
const PIECES: TableDefinition<(u64, u64, i64), &[u8]> = TableDefinition::new("pieces");

const RECORDS: Records = Records { one: "a profile", many: "profiles", format: 1 };
/// Runs are kept for so long, and so many of a view.
pub const KEPT_DAYS: i64 = 400;
const KEPT_RUNS: usize = 10_000;
const DAY_US: i64 = 86_400_000_000;
const CACHE_BYTES: usize = 4 << 20;

pub struct MonitorStore {
    path: PathBuf,
    database: Database,
}

impl std::fmt::Debug for MonitorStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MonitorStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MonitorStore {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<MonitorStore> {
        let failed = |error: redb::Error| RECORDS.error(path, error);
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| failed(error.into()))?;
        let make = || -> std::result::Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            transaction.open_table(RUNS)?;
            transaction.open_table(PIECES)?;
            transaction.commit()?;
            Ok(())
        };
        make().map_err(failed)?;
        Ok(MonitorStore { path: path.to_owned(), database })
    }

    /// Puts a run in the place of what its job had put before, and lets old runs of the view go. Durable.
    pub fn put(&self, run: &RunRecord, pieces: &[Piece]) -> Result<()> {
        let record = RECORDS.encode(run)?;
        let pieces =
            pieces.iter().map(|piece| Ok((piece.start_us, RECORDS.encode(piece)?))).collect::<Result<Vec<_>>>()?;
        let old = self.old_runs(run)?;
        let write = || -> std::result::Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut of_runs = transaction.open_table(RUNS)?;
                let mut of_pieces = transaction.open_table(PIECES)?;
                for job in old.iter().chain([&run.job]) {
                    of_runs.remove((run.view, *job))?;
                    of_pieces.retain_in((run.view, *job, i64::MIN)..=(run.view, *job, i64::MAX), |_, _| false)?;
                }
                of_runs.insert((run.view, run.job), record.as_slice())?;
                for (start_us, piece) in &pieces {
                    of_pieces.insert((run.view, run.job, *start_us), piece.as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| self.fail(error))
    }

    fn old_runs(&self, newest: &RunRecord) -> Result<Vec<u64>> {
        let runs = self.runs(Some(newest.view))?;
        let oldest_us = newest.profiled_at_us.saturating_sub(KEPT_DAYS * DAY_US);
        let beyond = (runs.len() + 1).saturating_sub(KEPT_RUNS);
        let is_old = |(place, run): &(usize, RunRecord)| *place < beyond || run.profiled_at_us < oldest_us;
        Ok(runs.into_iter().enumerate().filter(is_old).map(|(_, run)| run.job).collect())
    }

    /// The runs of a view, or of all views, by view and job.
    pub fn runs(&self, view: Option<u64>) -> Result<Vec<RunRecord>> {
        let range = (view.unwrap_or(0), 0)..=(view.unwrap_or(u64::MAX), u64::MAX);
        let read = || -> std::result::Result<Vec<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(RUNS)?;
            let mut found = Vec::new();
            for entry in table.range(range)? {
                found.push(entry?.1.value().to_vec());
            }
            Ok(found)
        };
        read().map_err(|error| self.fail(error))?.iter().map(|bytes| self.decode(bytes)).collect()
    }

    /// What is kept of one run.
    pub fn run(&self, view: u64, job: u64) -> Result<Option<RunRecord>> {
        let read = || -> std::result::Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(RUNS)?;
            Ok(table.get((view, job))?.map(|value| value.value().to_vec()))
        };
        read().map_err(|error| self.fail(error))?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// The pieces of a run, ascending.
    pub fn pieces(&self, view: u64, job: u64) -> Result<Vec<Piece>> {
        let read = || -> std::result::Result<Vec<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(PIECES)?;
            let mut found = Vec::new();
            for entry in table.range((view, job, i64::MIN)..=(view, job, i64::MAX))? {
                found.push(entry?.1.value().to_vec());
            }
            Ok(found)
        };
        read().map_err(|error| self.fail(error))?.iter().map(|bytes| self.decode(bytes)).collect()
    }

    /// Lets all runs of views go that `is_known` denies.
    pub fn retain_views(&self, is_known: impl Fn(u64) -> bool) -> Result<()> {
        let write = || -> std::result::Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                transaction.open_table(RUNS)?.retain(|(view, _), _| is_known(view))?;
                transaction.open_table(PIECES)?.retain(|(view, ..), _| is_known(view))?;
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| self.fail(error))
    }

    /// The runs and pieces as they are now.
    pub fn image(&self) -> Result<FileImage> {
        let copy: CopyTables = |from, into| copy_table(from, RUNS, into).and_then(|()| copy_table(from, PIECES, into));
        FileImage::take(&self.path, &self.database, copy, |path, error| RECORDS.error(path, error))
    }

    fn fail(&self, error: redb::Error) -> Error {
        RECORDS.error(&self.path, error)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        RECORDS.decode(&self.path, bytes)
    }
}
