//! A local object store whose puts are on disk when they return.
//!
//! `object_store`'s own local store never calls fsync: after a power cut a commit could be named in the log's
//! folder and be empty, or name data that never arrived. Reads are its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use uuid::Uuid;

/// What a file is called until it is complete; Delta readers ignore it.
pub(super) const UNFINISHED: &str = ".unfinished";

/// The whole file system, by absolute paths.
#[derive(Debug)]
pub(super) struct DurableLocal {
    inner: LocalFileSystem,
}

impl DurableLocal {
    pub(super) fn new() -> DurableLocal {
        DurableLocal { inner: LocalFileSystem::new() }
    }
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Durable{}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let path = self.inner.path_to_filesystem(location)?;
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "conditional update".into(),
                    implementer: self.to_string(),
                });
            }
        };
        blocking(move || put(&path, &payload, create).map_err(|error| put_error(&path, error))).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        let unfinished = unfinished(&path);
        let opened = unfinished.clone();
        let file = blocking(move || {
            let open = || {
                create_folder_of(&opened)?;
                OpenOptions::new().write(true).create_new(true).open(&opened)
            };
            open().map_err(|error| put_error(&opened, error))
        })
        .await?;
        Ok(Box::new(Upload { path, unfinished, file: Arc::new(file), length: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Parts on their way to a file, which gets its name when it is complete. Dropped before, it is gone.
#[derive(Debug)]
struct Upload {
    path: PathBuf,
    unfinished: PathBuf,
    file: Arc<File>,
    length: u64,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // not there any more if it was completed; of another failure the sweep of orphans takes care
        let _ = fs::remove_file(&self.unfinished);
    }
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (file, path, mut offset) = (Arc::clone(&self.file), self.path.clone(), self.length);
        self.length += payload.content_length() as u64;
        blocking(move || {
            for bytes in &payload {
                file.write_all_at(bytes, offset).map_err(|error| put_error(&path, error))?;
                offset += bytes.len() as u64;
            }
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, path, unfinished) = (Arc::clone(&self.file), self.path.clone(), self.unfinished.clone());
        blocking(move || {
            let finish = || {
                file.sync_all()?;
                fs::rename(&unfinished, &path)?;
                sync_folder_of(&path)
            };
            finish().map_err(|error| put_error(&path, error))
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let path = self.unfinished.clone();
        blocking(move || fs::remove_file(&path).map_err(|error| put_error(&path, error))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

/// Where a file is, beside `path`, until it is complete.
fn unfinished(path: &FilePath) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}{UNFINISHED}", Uuid::new_v4().simple()))
}

/// Writes beside `path`, then gives it its name: a reader sees all of it or nothing, also after a power cut.
fn put(path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    create_folder_of(path)?;
    let unfinished = unfinished(path);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        for bytes in payload {
            file.write_all(bytes)?;
        }
        file.sync_all()?;
        if create {
            // unlike a rename this fails if the name is taken
            fs::hard_link(&unfinished, path)?;
            fs::remove_file(&unfinished)?;
        } else {
            fs::rename(&unfinished, path)?;
        }
        sync_folder_of(path)
    };
    write().inspect_err(|_| {
        // best effort: what stays is swept with the orphans
        let _ = fs::remove_file(&unfinished);
    })
}

/// Makes the folders above `path`, each of them durable in its own parent.
fn create_folder_of(path: &FilePath) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    create_folder_of(folder)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder_of(folder),
    }
}

pub(super) fn sync_folder_of(path: &FilePath) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn put_error(path: &FilePath, error: io::Error) -> Error {
    let shown = path.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: shown, source: error.into() },
        io::ErrorKind::NotFound => Error::NotFound { path: shown, source: error.into() },
        _ => Error::Generic { store: "local", source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt as _, WriteMultipart};

    use super::*;

    #[tokio::test]
    async fn puts_are_whole_and_do_not_overwrite() {
        let dir = tempfile::tempdir().expect("folder");
        let at = |name: &str| Path::from_absolute_path(dir.path().join(name)).expect("a path");
        let store = DurableLocal::new();
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&at("a/b/c"), "one".into(), create()).await.expect("puts");
        let again = store.put_opts(&at("a/b/c"), "two".into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        store.put(&at("a/b/d"), "three".into()).await.expect("puts");
        store.put(&at("a/b/d"), "four".into()).await.expect("overwrites");
        let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&at("a/e")).await.expect("begins"), 3);
        upload.write(b"hello world");
        assert!(!dir.path().join("a/e").exists(), "before it is complete");
        upload.finish().await.expect("completes");
        drop(store.put_multipart(&at("a/g")).await.expect("begins"));
        let mut aborted = store.put_multipart(&at("a/f")).await.expect("begins");
        aborted.put_part("half".into()).await.expect("puts");
        aborted.abort().await.expect("aborts");
        for (name, text) in [("a/b/c", "one"), ("a/b/d", "four"), ("a/e", "hello world")] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).expect("reads"), text);
        }
        let count = |folder: &str| fs::read_dir(dir.path().join(folder)).expect("lists").count();
        assert_eq!((count("a"), count("a/b")), (2, 2), "nothing unfinished is left");
    }
}
