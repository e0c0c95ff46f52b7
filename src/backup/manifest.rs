//! What a backup is made of, as the JSON that says so.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::target::Target;
use crate::access::hexadecimal;
use crate::error::{Error, Kind, Result};

/// The folder of manifests below a target; a manifest is called `<id>.json`.
pub(super) const MANIFESTS: &str = "backups";
const SUFFIX: &str = ".json";
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// sorts by time
    pub id: String,
    /// of the data folder, over all its life
    pub installation: String,
    /// the program that took it
    pub granary: String,
    /// microseconds UTC since 1970, by the server's clock
    pub taken_us: i64,
    /// of the catalog
    pub catalog_version: u64,
    /// by path
    pub files: Vec<File>,
    /// of all the rest, with this field empty
    pub checksum: String,
}

/// A file of the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// below the data folder, with `/`
    pub path: String,
    pub bytes: u64,
    /// in hexadecimal digits
    pub sha256: String,
    /// where it is, below the target
    pub object: String,
    pub encoding: Encoding,
    pub stored_bytes: u64,
    /// of files that never change: when it was written, in nanoseconds since 1970
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_ns: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// as it is: Parquet is compressed already
    Plain,
    Zstd,
}

impl Manifest {
    pub(super) fn new(id: String, installation: String, taken_us: i64, catalog_version: u64) -> Manifest {
        Manifest {
            format: FORMAT,
            id,
            installation,
            granary: env!("CARGO_PKG_VERSION").to_owned(),
            taken_us,
            catalog_version,
            files: Vec::new(),
            checksum: String::new(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn own_checksum(&self) -> String {
        let unsigned = Manifest { checksum: String::new(), ..self.clone() };
        digest(&serde_json::to_vec(&unsigned).expect("texts and numbers are JSON"))
    }

    /// The backup is there when this returns.
    pub(super) async fn write(mut self, target: &Target) -> Result<()> {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.checksum = self.own_checksum();
        let bytes = serde_json::to_vec_pretty(&self).expect("texts and numbers are JSON");
        target.put(&place_of(&self.id), bytes).await
    }

    /// Reads the manifest of a backup. Errors: `UndefinedFile` if there is none; `DataCorrupted`.
    pub(super) async fn read(target: &Target, id: &str) -> Result<Manifest> {
        let place = place_of(id);
        let bytes = target.read(&place).await?;
        let damaged = |what: &str| {
            Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged: {what}", target.shown(&place)))
                .with_hint("another backup may be whole: granary verify --list shows which there are")
        };
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| damaged("it is no JSON").with_source(error))?;
        match json.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format > u64::from(FORMAT) => {
                let message = format!("backup {id} has format {format}, and this program knows formats up to {FORMAT}");
                return Err(Error::new(Kind::FeatureNotSupported, message).with_hint("use a newer granary"));
            }
            _ => {}
        }
        let manifest: Manifest =
            serde_json::from_value(json).map_err(|error| damaged("it is no manifest").with_source(error))?;
        if manifest.checksum != manifest.own_checksum() || manifest.id != id {
            return Err(damaged("its checksum does not hold"));
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_below(&file.path) || !is_below(&file.object)) {
            return Err(damaged(&format!("\"{}\" is outside of it", file.path)));
        }
        Ok(manifest)
    }
}

/// The ids of all backups at a target, the oldest first.
pub(super) async fn ids(target: &Target) -> Result<Vec<String>> {
    let names = target.list(MANIFESTS).await?;
    let mut ids: Vec<String> = names.iter().filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect();
    ids.sort_unstable();
    Ok(ids)
}

pub(super) fn place_of(id: &str) -> String {
    format!("{MANIFESTS}/{id}{SUFFIX}")
}

/// Whether a path stays in the folder that it is joined to.
fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// SHA-256, in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below() {
        for path in ["a", "a/b.parquet"] {
            assert!(is_below(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../a", "a/../../b", "./a"] {
            assert!(!is_below(path), "{path}");
        }
    }

    #[tokio::test]
    async fn a_manifest_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = Target::open(&folder.path().display().to_string()).expect("opens");
        let mut manifest = Manifest::new("20260101T000000Z-0000".to_owned(), "i".to_owned(), 5, 7);
        manifest.files.push(File {
            path: "catalog.redb".to_owned(),
            bytes: 1,
            sha256: digest(b"x"),
            object: "o".to_owned(),
            encoding: Encoding::Zstd,
            stored_bytes: 9,
            written_ns: None,
        });
        let id = manifest.id.clone();
        manifest.clone().write(&target).await.expect("writes");
        manifest.checksum = manifest.own_checksum();
        assert_eq!(Manifest::read(&target, &id).await.expect("reads"), manifest);
        assert_eq!(ids(&target).await.expect("lists"), [id.as_str()]);
        let path = folder.path().join(place_of(&id));
        let text = std::fs::read_to_string(&path).expect("reads");
        std::fs::write(&path, text.replace("\"bytes\": 1", "\"bytes\": 2")).expect("writes");
        assert_eq!(Manifest::read(&target, &id).await.expect_err("is damaged").kind(), Kind::DataCorrupted);
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).expect("writes");
        assert_eq!(Manifest::read(&target, &id).await.expect_err("is newer").kind(), Kind::FeatureNotSupported);
    }
}
