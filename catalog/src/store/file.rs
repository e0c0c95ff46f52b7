//! The catalog's file before redb opens it, and its folder after redb made it. It knows no record.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;

use crate::error::Error;

/// redb writes this first in a file, and last when it makes one.
const REDB_MAGIC: &[u8] = b"redb";

/// Far more than a new redb file is long.
const MAX_UNFINISHED_BYTES: u64 = 64 * 1024 * 1024;

/// Makes sure redb can open or create the file; tells whether it has to create it.
///
/// redb refuses a file whose creation was cut off by a crash, and such a file never held anything: it is emptied here.
pub(super) fn prepare(path: &Path) -> Result<bool, Error> {
    let failed = |action| move |source| Error::File { path: path.to_owned(), action, source };
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(failed("open")(error)),
    };
    let mut start = Vec::new();
    file.by_ref().take(REDB_MAGIC.len() as u64).read_to_end(&mut start).map_err(failed("read"))?;
    if start == REDB_MAGIC {
        return Ok(false);
    }
    // Nobody else may be about to write the first bytes.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::InUse { path: path.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    let length = file.metadata().map_err(failed("read"))?.len();
    if length > MAX_UNFINISHED_BYTES {
        return Err(Error::NotACatalog { path: path.to_owned() });
    }
    // From the start again: whoever held the lock until now may have finished the file.
    let mut bytes = Vec::new();
    file.rewind().map_err(failed("read"))?;
    file.read_to_end(&mut bytes).map_err(failed("read"))?;
    if bytes.starts_with(REDB_MAGIC) {
        return Ok(false);
    }
    if !is_unfinished(&bytes) {
        return Err(Error::NotACatalog { path: path.to_owned() });
    }
    file.set_len(0).map_err(failed("write"))?;
    // Closing would do, unless a child process that is being started still shares the file for a moment.
    file.unlock().map_err(failed("unlock"))?;
    Ok(true)
}

/// Whether the bytes can be a redb file that never got its magic number: only its header page is written before that.
fn is_unfinished(bytes: &[u8]) -> bool {
    const HEADER_PAGE_BYTES: usize = 4096;
    let magic = &bytes[..REDB_MAGIC.len().min(bytes.len())];
    let body = bytes.get(HEADER_PAGE_BYTES..).unwrap_or_default();
    magic.iter().chain(body).all(|&byte| byte == 0)
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Not every system lets a folder be opened; those that don't need no sync.
    let Ok(folder) = File::open(folder) else {
        return Ok(());
    };
    folder.sync_all().map_err(|source| Error::File { path: path.to_owned(), action: "sync the folder of", source })
}
