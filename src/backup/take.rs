//! Takes a backup.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File as FsFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;

use super::cut::Cut;
use super::manifest::{Encoding, File, MANIFESTS, Manifest, digest, ids, place_of};
use super::target::Target;
use crate::access::{hexadecimal, random_bytes};
use crate::error::{Error, Kind, Result, io_error};
use crate::ingest::IngestFile;
use crate::metrics;
use crate::priority::blocking;
use crate::time::Clock;
use crate::warehouse::Warehouse;

/// Files on their way at a time.
const AT_ONCE: usize = 4;
/// A table that is dropped while its files are copied makes the copy begin anew, with another cut.
const TRIES: usize = 5;
/// What is left of backups that were never finished goes when it is older.
const UNFINISHED_KEPT_US: i64 = 86_400_000_000;
/// Begins the name of the folder in which files are made to be copied.
const SCRATCH: &str = "backup-";
const LOGIN_SECRET: &str = "login.secret";

/// A backup that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub id: String,
    pub taken_us: i64,
    pub files: usize,
    pub bytes: u64,
    /// files that no earlier backup has, and what they take at the target
    pub new_files: usize,
    pub new_bytes: u64,
    /// backups that went, since there were more than were to be kept
    pub removed: usize,
}

/// Takes a backup, and then lets older ones go but for the newest `keep`. Errors: `ObjectInUse` while another is taken;
/// those of the stores and of the target. What fails, or is cancelled or killed, leaves no backup.
pub async fn take(
    warehouse: &Arc<Warehouse>,
    target: &Target,
    keep: Option<usize>,
    cancel: &CancellationToken,
) -> Result<Taken> {
    let Ok(_only) = warehouse.backing_up.try_lock() else {
        return Err(Error::new(Kind::ObjectInUse, "another backup is being taken").with_hint("wait until it is done"));
    };
    let data_folder = warehouse.offline.root().parent().expect("it is a folder of the data folder").to_owned();
    let secret = fs::read(data_folder.join(LOGIN_SECRET))
        .map_err(|error| io_error("read", &data_folder.join(LOGIN_SECRET), error))?;
    let installation = digest(&secret)[..32].to_owned();
    let earlier = match ids(target).await?.last() {
        Some(id) => Some(Manifest::read(target, id).await?),
        None => None,
    };
    if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.installation != installation) {
        let message = format!("there are backups of another data folder, the last one {}", earlier.id);
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
            .with_hint("give each data folder a place of its own"));
    }
    // what was served and waits to be logged is in no store yet
    warehouse.requests.flush(&warehouse.offline).await?;
    let mut copying = Copying {
        target,
        data_folder: &data_folder,
        id: new_id()?,
        known: earlier.iter().flat_map(|earlier| &earlier.files).filter_map(known).collect(),
        has_missed: AtomicBool::new(false),
        cancel,
    };
    let mut tried = 1;
    let (manifest, new) = loop {
        match copying.copy(warehouse, &installation).await {
            Err(error) if copying.has_missed.swap(false, Ordering::Relaxed) && tried < TRIES => {
                tracing::info!(%error, "a table was dropped while a backup was taken, which begins anew");
                tried += 1;
                copying.id = new_id()?;
            }
            copied => break copied?,
        }
    };
    let taken = Taken {
        id: manifest.id.clone(),
        taken_us: manifest.taken_us,
        files: manifest.files.len(),
        bytes: manifest.bytes(),
        new_files: new.len(),
        new_bytes: new.iter().map(|file| file.stored_bytes).sum(),
        removed: 0,
    };
    manifest.write(target).await?;
    let removed = match keep {
        Some(keep) => remove_old(target, keep).await?,
        None => 0,
    };
    metrics::backed_up(taken.taken_us);
    Ok(Taken { removed, ..taken })
}

struct Copying<'a> {
    target: &'a Target,
    data_folder: &'a Path,
    id: String,
    /// files that an earlier backup has
    known: HashMap<(String, u64, i64), File>,
    /// a file was not there any more
    has_missed: AtomicBool,
    cancel: &'a CancellationToken,
}

fn known(file: &File) -> Option<((String, u64, i64), File)> {
    Some(((file.path.clone(), file.bytes, file.written_ns?), file.clone()))
}

/// Something to be copied.
enum Source {
    /// one that never changes
    Kept(PathBuf),
    /// one that was made for the backup
    Made(PathBuf),
    Stream(IngestFile),
}

impl Copying<'_> {
    /// Takes a cut, and copies what it has and no earlier backup; gives the manifest, and those files.
    async fn copy(&self, warehouse: &Warehouse, installation: &str) -> Result<(Manifest, Vec<File>)> {
        let cut = self.noted(Cut::take(warehouse).await)?;
        let spill = self.data_folder.join("spill");
        sweep(&spill)?;
        let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&spill);
        let scratch = scratch.map_err(|error| io_error("create a folder in", &spill, error))?;
        let mut manifest =
            Manifest::new(self.id.clone(), installation.to_owned(), cut.rest.taken_us, cut.rest.catalog_version.0);
        let folder = scratch.path().to_owned();
        let (cut, images) = blocking(move || {
            let images = cut.write_images(&folder)?;
            Ok((cut, images))
        })
        .await?;
        let mut sources: Vec<(String, Source)> =
            images.into_iter().map(|(path, made)| (path, Source::Made(made))).collect();
        sources.push((LOGIN_SECRET.to_owned(), Source::Made(self.data_folder.join(LOGIN_SECRET))));
        for file in cut.rest.streams {
            sources.push((format!("ingest/{}", file.path), Source::Stream(file)));
        }
        for table in &cut.tables {
            for path in self.noted(table.all_files())? {
                let below = path.strip_prefix(self.data_folder);
                let below = below.map_err(|_| Error::internal("a table's file is not in the data folder"))?;
                let Some(below) = below.to_str() else {
                    return Err(Error::internal("a table's file has a name that is no text"));
                };
                sources.push((below.to_owned(), Source::Kept(path)));
            }
        }
        let copies = futures::stream::iter(sources).map(|(path, source)| self.copy_one(path, source));
        let files: Vec<(File, bool)> = copies.buffer_unordered(AT_ONCE).try_collect().await?;
        let new = files.iter().filter(|(_, is_new)| *is_new).map(|(file, _)| file.clone()).collect();
        manifest.files = files.into_iter().map(|(file, _)| file).collect();
        Ok((manifest, new))
    }

    fn noted<T>(&self, found: Result<T>) -> Result<T> {
        found.inspect_err(|error| {
            if error.kind() == Kind::UndefinedFile {
                self.has_missed.store(true, Ordering::Relaxed);
            }
        })
    }

    /// Whether it had to be copied.
    async fn copy_one(&self, path: String, source: Source) -> Result<(File, bool)> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(Kind::QueryCanceled, "BACKUP was cancelled"));
        }
        let object = format!("{}/{path}", self.id);
        let is_parquet = Path::new(&path).extension().is_some_and(|extension| extension == "parquet");
        let encoding = if is_parquet { Encoding::Plain } else { Encoding::Zstd };
        let (passed, written_ns) = match source {
            Source::Kept(from) => {
                let (file, bytes, written_ns) = self.noted(open(&from))?;
                if let Some(file) = self.known.get(&(path.clone(), bytes, written_ns)) {
                    return Ok((file.clone(), false));
                }
                (self.target.upload(&object, file, bytes, encoding).await?, Some(written_ns))
            }
            Source::Made(from) => {
                let (file, bytes, _) = open(&from)?;
                (self.target.upload(&object, file, bytes, encoding).await?, None)
            }
            Source::Stream(file) => (self.target.upload(&object, file.content, file.bytes, encoding).await?, None),
        };
        let (bytes, sha256, stored_bytes) = (passed.bytes, passed.sha256, passed.stored_bytes);
        Ok((File { path, bytes, sha256, object, encoding, stored_bytes, written_ns }, true))
    }
}

/// A file, its length, and when it was written.
fn open(path: &Path) -> Result<(FsFile, u64, i64)> {
    let open = || {
        let file = FsFile::open(path)?;
        let metadata = file.metadata()?;
        let written = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok((file, metadata.len(), i64::try_from(written).unwrap_or(i64::MAX)))
    };
    open().map_err(|error| io_error("read", path, error))
}

/// Removes what backups have left that were killed.
fn sweep(spill: &Path) -> Result<()> {
    let failed = |error| io_error("sweep the folder", spill, error);
    fs::create_dir_all(spill).map_err(failed)?;
    for entry in fs::read_dir(spill).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Sorts by the machine's time; two of one second differ.
fn new_id() -> Result<String> {
    let (at_us, random) = (Clock::system().now_us(), random_bytes::<2>()?);
    Ok(format!("{}-{}", stamp(at_us), hexadecimal(&random)))
}

fn stamp(at_us: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(at_us).expect("a clock says times that there are");
    at.format("%Y%m%dT%H%M%S%3fZ").to_string()
}

/// Removes all backups but the newest `keep`, with the objects that none of these names. Returns how many backups went.
async fn remove_old(target: &Target, keep: usize) -> Result<usize> {
    let ids = ids(target).await?;
    let (old, kept) = ids.split_at(ids.len().saturating_sub(keep));
    let mut needed = HashSet::new();
    for id in kept {
        needed.extend(Manifest::read(target, id).await?.files.into_iter().map(|file| file.object));
    }
    for id in old {
        target.delete(&place_of(id)).await?;
    }
    // what has no manifest is of a backup that failed or was killed: the age decides, in case somebody shares the place
    let newest_unfinished = stamp(Clock::system().now_us() - UNFINISHED_KEPT_US);
    for folder in target.folders().await? {
        if folder == MANIFESTS || !ids.contains(&folder) && folder > newest_unfinished {
            continue;
        }
        for name in target.list(&folder).await? {
            let object = format!("{folder}/{name}");
            if !needed.contains(&object) {
                target.delete(&object).await?;
            }
        }
    }
    Ok(old.len())
}
