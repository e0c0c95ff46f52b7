//! Where backups are: a folder, or a bucket of an object store. Files go there and come back in pieces, hashed on the way.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::manifest::Encoding;
use crate::access::hexadecimal;
use crate::engine::{bucket_error, s3_store};
use crate::error::{Error, Kind, Result, io_error};
use crate::offline::local_store;

/// A piece of an upload; an object store takes up to 10,000 of them, none below 5 MiB but the last.
const PIECE_BYTES: usize = 8 << 20;
const MOST_PIECES: u64 = 9_000;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

#[derive(Debug, Clone)]
pub struct Target {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// as it was typed
    text: String,
}

/// A file that went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// in the target
    pub(super) stored_bytes: u64,
}

impl Target {
    /// `text`: `s3://bucket/folder`, or the absolute path of a folder, be it as `file:///…`.
    pub fn open(text: &str) -> Result<Target> {
        let path = text.strip_prefix("file://").unwrap_or(text);
        let (store, prefix) = match text.split_once("://") {
            None | Some(("file", _)) => {
                let path = FilePath::new(path);
                if !path.is_absolute() {
                    let message = format!("\"{text}\" is not an absolute path");
                    return Err(Error::new(Kind::InvalidParameterValue, message)
                        .with_hint("write the path of a folder from the root on, or s3://bucket/folder"));
                }
                let prefix = Path::from_absolute_path(path).map_err(|error| wrong(text).with_source(error))?;
                (local_store(), prefix)
            }
            Some(("s3" | "s3a", rest)) => {
                let folder = rest.split_once('/').map_or("", |(_, folder)| folder);
                let prefix = Path::parse(folder.trim_matches('/')).map_err(|error| wrong(text).with_source(error))?;
                (Arc::new(s3_store(text, &[])?) as Arc<dyn ObjectStore>, prefix)
            }
            Some((scheme, _)) => {
                return Err(Error::not_supported(format!("a backup on {scheme}://"))
                    .with_hint("use s3://bucket/folder or the path of a folder"));
            }
        };
        Ok(Target { store, prefix, text: text.trim_end_matches('/').to_owned() })
    }

    pub(super) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.text)
    }

    fn place(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn failed(&self, action: &str, name: &str) -> impl Fn(object_store::Error) -> Error {
        let (shown, action) = (self.shown(name), action.to_owned());
        let what = format!("could not {action} \"{shown}\"");
        let is_bucket = self.text.contains("://") && !self.text.starts_with("file:");
        move |error| {
            if is_bucket && !matches!(error, object_store::Error::NotFound { .. }) {
                return bucket_error(&action, &shown, &error.to_string()).with_source(error);
            }
            let kind = match &error {
                object_store::Error::NotFound { .. } => Kind::UndefinedFile,
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                    Kind::InsufficientPrivilege
                }
                _ => Kind::IoError,
            };
            Error::new(kind, format!("{what}: {error}")).with_source(error)
        }
    }

    /// Whole or not at all.
    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let put = self.store.put(&self.place(name), bytes.into()).await;
        put.map(drop).map_err(self.failed("write", name))
    }

    pub(super) async fn read(&self, name: &str) -> Result<Bytes> {
        let fail = self.failed("read", name);
        self.store.get(&self.place(name)).await.map_err(&fail)?.bytes().await.map_err(&fail)
    }

    /// The names of the objects in a folder, and in folders below it, as they go on behind it.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let place = self.place(folder);
        let fail = self.failed("list", folder);
        let found: Vec<_> = match self.store.list(Some(&place)).try_collect().await {
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            found => found.map_err(fail)?,
        };
        let below = |path: &Path| {
            let parts: Vec<String> = path.prefix_match(&place)?.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(found.iter().filter_map(|object| below(&object.location)).collect())
    }

    /// The folders of the target itself.
    pub(super) async fn folders(&self) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await;
        let listed = match listed {
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            listed => listed.map_err(self.failed("list", ""))?,
        };
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.place(name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => deleted.map_err(self.failed("delete", name)),
        }
    }

    /// Writes `content`, some `bytes` of it, under a name that nobody has used.
    pub(super) async fn upload(
        &self,
        name: &str,
        content: impl Read + Send + 'static,
        bytes: u64,
        encoding: Encoding,
    ) -> Result<Passed> {
        let piece_bytes = PIECE_BYTES.max(usize::try_from(bytes / MOST_PIECES).unwrap_or(usize::MAX));
        let (sender, pieces) = channel(1);
        let shown = self.shown(name);
        let reading = tokio::task::spawn_blocking(move || {
            let failed = |error| io_error("copy a file to", FilePath::new(&shown), error);
            read_in_pieces(content, encoding, piece_bytes, &sender).map_err(failed)
        });
        let stored_bytes = self.put_pieces(name, pieces).await;
        let (bytes, sha256) = reading.await.map_err(|error| Error::internal("a copy died").with_source(error))??;
        Ok(Passed { bytes, sha256, stored_bytes: stored_bytes? })
    }

    async fn put_pieces(&self, name: &str, mut pieces: Receiver<Bytes>) -> Result<u64> {
        let (place, fail) = (self.place(name), self.failed("write", name));
        let first = pieces.recv().await.unwrap_or_default();
        let mut stored = first.len() as u64;
        let Some(second) = pieces.recv().await else {
            self.store.put(&place, PutPayload::from(first)).await.map_err(&fail)?;
            return Ok(stored);
        };
        let mut upload = self.store.put_multipart(&place).await.map_err(&fail)?;
        let mut next = Some(second);
        let put = async {
            upload.put_part(first.into()).await?;
            while let Some(piece) = next.take() {
                stored += piece.len() as u64;
                upload.put_part(piece.into()).await?;
                next = pieces.recv().await;
            }
            upload.complete().await.map(drop)
        };
        if let Err(error) = put.await {
            // best effort: what stays has no manifest that names it
            let _ = upload.abort().await;
            return Err(fail(error));
        }
        Ok(stored)
    }

    /// Reads an object, as what it was before it was encoded; into a new file that is on disk at return, if one is given.
    pub(super) async fn download(&self, name: &str, encoding: Encoding, into: Option<PathBuf>) -> Result<Passed> {
        let fail = self.failed("read", name);
        let mut stream = self.store.get(&self.place(name)).await.map_err(&fail)?.into_stream();
        let (sender, receiver) = channel::<Bytes>(4);
        let shown = PathBuf::from(self.shown(name));
        let writing = tokio::task::spawn_blocking(move || write_pieces(receiver, encoding, into.as_deref(), &shown));
        let mut stored_bytes = 0;
        let mut sent = Ok(());
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    sent = Err(fail(error));
                    break;
                }
            };
            stored_bytes += piece.len() as u64;
            if sender.send(piece).await.is_err() {
                break; // the writer has failed, and says why
            }
        }
        drop(sender);
        let written = writing.await.map_err(|error| Error::internal("a copy died").with_source(error))?;
        sent?;
        let (bytes, sha256) = written?;
        Ok(Passed { bytes, sha256, stored_bytes })
    }
}

fn wrong(text: &str) -> Error {
    Error::new(Kind::InvalidParameterValue, format!("\"{text}\" is not a path or URL"))
}

/// Hashes what passes.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Hashed<T> {
        Hashed { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self) -> (u64, String) {
        (self.bytes, hexadecimal(&self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.pass(&buffer[..read]);
        Ok(read)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pass(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn read_in_pieces(
    content: impl Read,
    encoding: Encoding,
    piece_bytes: usize,
    to: &Sender<Bytes>,
) -> io::Result<(u64, String)> {
    let mut content = Hashed::new(content);
    match encoding {
        Encoding::Plain => send_pieces(&mut content, piece_bytes, to)?,
        Encoding::Zstd => send_pieces(zstd::stream::read::Encoder::new(&mut content, ZSTD_LEVEL)?, piece_bytes, to)?,
    }
    Ok(content.finish())
}

fn send_pieces(mut content: impl Read, piece_bytes: usize, to: &Sender<Bytes>) -> io::Result<()> {
    loop {
        let mut piece = Vec::new();
        content.by_ref().take(piece_bytes as u64).read_to_end(&mut piece)?;
        let is_last = piece.len() < piece_bytes;
        // who does not take it any more has failed, and says why
        if (!piece.is_empty() && to.blocking_send(piece.into()).is_err()) || is_last {
            return Ok(());
        }
    }
}

/// Pieces as they come, as one text of bytes.
struct Pieces {
    from: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

fn write_pieces(
    from: Receiver<Bytes>,
    encoding: Encoding,
    into: Option<&FilePath>,
    shown: &FilePath,
) -> Result<(u64, String)> {
    let unreadable = |error: io::Error| {
        Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged: {error}", shown.display())).with_source(error)
    };
    let pieces = Pieces { from, piece: Bytes::new() };
    let mut content: Box<dyn Read> = match encoding {
        Encoding::Plain => Box::new(pieces),
        Encoding::Zstd => Box::new(zstd::stream::read::Decoder::new(pieces).map_err(unreadable)?),
    };
    let Some(path) = into else {
        let mut nowhere = Hashed::new(io::sink());
        io::copy(&mut content, &mut nowhere).map_err(unreadable)?;
        return Ok(nowhere.finish());
    };
    let fail = |error| io_error("write", path, error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    let file = File::options().write(true).create_new(true).open(path).map_err(fail)?;
    let mut file = Hashed::new(BufWriter::with_capacity(1 << 20, file));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = content.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(fail)?;
    }
    file.flush().and_then(|()| file.inner.get_ref().sync_all()).map_err(fail)?;
    Ok(file.finish())
}
