//! Makes a data folder of a backup, or only looks whether one could be made.

use std::fs::{self, File as FsFile};
use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use granary_catalog::Catalog;

use super::manifest::{File, Manifest, ids};
use super::target::Target;
use crate::error::{Error, Kind, Result, io_error};

/// Files on their way at a time.
const AT_ONCE: usize = 4;
const CATALOG: &str = "catalog.redb";

/// A backup of which every file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub id: String,
    pub taken_us: i64,
    pub catalog_version: u64,
    pub files: usize,
    pub bytes: u64,
}

impl Target {
    /// The backups there, the oldest first.
    pub async fn backups(&self) -> Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        for id in ids(self).await? {
            manifests.push(Manifest::read(self, &id).await?);
        }
        Ok(manifests)
    }

    /// The one with this id, or else the newest. Errors: `UndefinedFile`.
    async fn backup(&self, id: Option<&str>) -> Result<Manifest> {
        let ids = ids(self).await?;
        let missing = |message: String| Error::new(Kind::UndefinedFile, message);
        match (id, ids.last()) {
            (_, None) => Err(missing(format!("there is no backup at \"{}\"", self.shown("")))
                .with_hint("BACKUP TO, or granary backup, takes one")),
            (None, Some(newest)) => Manifest::read(self, newest).await,
            (Some(id), Some(newest)) if !ids.iter().any(|there| there == id) => {
                Err(missing(format!("there is no backup {id}")).with_hint(format!("the newest is {newest}")))
            }
            (Some(id), _) => Manifest::read(self, id).await,
        }
    }
}

/// Makes `folder` a data folder as the backup has it. It must be empty, or not there. Errors: `DuplicateObject` if it is not
/// empty; `DataCorrupted` if a file is not as it was. What fails or is killed leaves no such folder.
pub async fn restore(target: &Target, id: Option<&str>, folder: &Path) -> Result<Checked> {
    let folder = std::path::absolute(folder).map_err(|error| io_error("find", folder, error))?;
    check_empty(&folder)?;
    let manifest = target.backup(id).await?;
    let parent =
        folder.parent().ok_or_else(|| Error::new(Kind::InvalidParameterValue, "the root is no data folder"))?;
    fs::create_dir_all(parent).map_err(|error| io_error("create the folder", parent, error))?;
    let scratch = tempfile::Builder::new().prefix(".granary-restore-").tempdir_in(parent);
    let scratch = scratch.map_err(|error| io_error("create a folder in", parent, error))?;
    let checked = copy(target, &manifest, |file| Some(scratch.path().join(&file.path))).await?;
    sync_folders(scratch.path())?;
    let made = scratch.keep();
    let moved = fs::rename(&made, &folder).and_then(|()| FsFile::open(parent)?.sync_all());
    moved.map_err(|error| {
        // best effort: the first error is the one to tell
        let _ = fs::remove_dir_all(&made);
        io_error("create the folder", &folder, error)
    })?;
    Ok(checked)
}

/// Reads every file of a backup and opens its catalog. Errors: `DataCorrupted` with the first file that is not as it was.
pub async fn verify(target: &Target, id: Option<&str>) -> Result<Checked> {
    let manifest = target.backup(id).await?;
    let scratch = tempfile::tempdir().map_err(|error| io_error("create a folder in", &std::env::temp_dir(), error))?;
    let catalog = scratch.path().join(CATALOG);
    let checked = copy(target, &manifest, |file| (file.path == CATALOG).then(|| catalog.clone())).await?;
    Catalog::open(&catalog)?;
    Ok(checked)
}

/// Reads every file; `into` says where one is written to, if it is.
async fn copy(target: &Target, manifest: &Manifest, into: impl Fn(&File) -> Option<PathBuf>) -> Result<Checked> {
    let copies = manifest.files.iter().map(|file| copy_one(target, file, into(file)));
    let copies = futures::stream::iter(copies).buffer_unordered(AT_ONCE);
    copies.try_collect::<()>().await?;
    Ok(Checked {
        id: manifest.id.clone(),
        taken_us: manifest.taken_us,
        catalog_version: manifest.catalog_version,
        files: manifest.files.len(),
        bytes: manifest.bytes(),
    })
}

async fn copy_one(target: &Target, file: &File, into: Option<PathBuf>) -> Result<()> {
    let damaged = |what: &str| {
        Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged: {what}", target.shown(&file.object)))
            .with_detail(format!("It is \"{}\" of the data folder.", file.path))
            .with_hint("another backup may be whole: granary verify --list shows which there are")
    };
    let passed = match target.download(&file.object, file.encoding, into).await {
        Err(error) if error.kind() == Kind::UndefinedFile => return Err(damaged("it is missing").with_source(error)),
        passed => passed?,
    };
    if passed.bytes != file.bytes || passed.sha256 != file.sha256 {
        return Err(damaged("it is not what was written"));
    }
    Ok(())
}

fn check_empty(folder: &Path) -> Result<()> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("read the folder", folder, error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::DuplicateObject, format!("\"{}\" is not empty", folder.display()))
                .with_hint("restore into a folder that does not exist")),
        },
    }
}

/// Makes the names in a folder, and in those below it, durable.
fn sync_folders(folder: &Path) -> Result<()> {
    let failed = |error| io_error("sync the folder", folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    FsFile::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
