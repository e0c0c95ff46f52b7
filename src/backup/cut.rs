//! One moment of all stores, taken while they go on.
//!
//! What jobs, streams and commits do to several stores follows an order of its own, so that a crash between two steps is
//! mended at the next start. A cut at one moment is such a crash. Each store has a state that is taken at once and holds
//! what it needs; commits of the catalog and of the offline store, which others rest on, wait until all are taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use granary_catalog::{Image, Version};

use crate::error::{Error, Kind, Result, io_error};
use crate::ingest::IngestFile;
use crate::offline::OfflineTable;
use crate::online::OnlineImage;
use crate::store_file::FileImage;
use crate::warehouse::{STAGED, Warehouse};

pub(super) struct Cut {
    catalog: Image,
    pub(super) rest: Rest,
    /// held, so that their files stay
    pub(super) tables: Vec<Arc<OfflineTable>>,
}

/// What is taken while catalog and offline store stand still.
pub(super) struct Rest {
    pub(super) taken_us: i64,
    pub(super) catalog_version: Version,
    monitor: FileImage,
    alerts: FileImage,
    online: OnlineImage,
    pub(super) streams: Vec<IngestFile>,
    /// of all tables
    names: Vec<String>,
}

impl Cut {
    /// Commits of the catalog and of the offline store wait for some milliseconds. Errors: `UndefinedFile` if a table was
    /// dropped since, so that another cut must be taken.
    pub(super) async fn take(warehouse: &Warehouse) -> Result<Cut> {
        let (catalog, (versions, taken)) =
            warehouse.catalog.image_while(|| warehouse.offline.read_versions_while(|| Rest::take(warehouse)))?;
        let rest = taken?;
        let mut tables = Vec::new();
        for name in rest.names.iter().filter(|name| !name.starts_with(STAGED)) {
            match warehouse.offline.table_in(name, &versions).await? {
                Some(table) => tables.push(table),
                // one without a commit was never anybody's
                None if warehouse.offline.root().join(name).exists() => {}
                None => return Err(Error::new(Kind::UndefinedFile, format!("table \"{name}\" was dropped"))),
            }
        }
        Ok(Cut { catalog, rest, tables })
    }

    /// Writes what is copied as a whole into a folder; gives paths below the data folder, and where they are now.
    pub(super) fn write_images(&self, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
        let place = |name: &str| (name.to_owned(), folder.join(name));
        let mut written = ["catalog.redb", "monitor.redb", "alerts.redb"].map(place).to_vec();
        self.catalog.write_to(&written[0].1)?;
        self.rest.monitor.write_to(&written[1].1)?;
        self.rest.alerts.write_to(&written[2].1)?;
        let online = folder.join("online");
        std::fs::create_dir(&online).map_err(|error| io_error("create the folder", &online, error))?;
        self.rest.online.write_to(&online)?;
        let failed = |error| io_error("list the folder", &online, error);
        for entry in std::fs::read_dir(&online).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            written.push((format!("online/{}", entry.file_name().to_string_lossy()), entry.path()));
        }
        Ok(written)
    }
}

impl Rest {
    fn take(warehouse: &Warehouse) -> Result<Rest> {
        Ok(Rest {
            taken_us: warehouse.clock.now_us(),
            catalog_version: warehouse.catalog.snapshot().version(),
            monitor: warehouse.monitor.image()?,
            alerts: warehouse.alerts.image()?,
            // before the logs: of an event that is online none is missing in its log
            online: warehouse.online.image()?,
            streams: warehouse.ingest.files()?,
            names: warehouse.offline.all_tables()?,
        })
    }
}
