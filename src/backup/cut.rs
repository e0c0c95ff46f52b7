//! One moment of all stores, taken while they go on.
//!
//! What jobs, streams and commits do to several stores follows an order of its own, so that a crash between two steps is
//! mended at the next start. A cut at one moment is such a crash. Each store has a state that is taken at once and holds
//! what it needs; commits of the catalog and of the offline store, which others rest on, wait until all are taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use granary_catalog::{Image, Version};

use crate::alerts::AlertsImage;
use crate::error::{Result, io_error};
use crate::ingest::IngestFile;
use crate::monitor::MonitorImage;
use crate::offline::OfflineTable;
use crate::online::OnlineImage;
use crate::warehouse::{STAGED, Warehouse};

pub(super) struct Cut {
    pub(super) taken_us: i64,
    pub(super) catalog_version: Version,
    pub(super) catalog: Image,
    pub(super) monitor: MonitorImage,
    pub(super) alerts: AlertsImage,
    pub(super) online: OnlineImage,
    pub(super) streams: Vec<IngestFile>,
    /// held, so that their files stay
    pub(super) tables: Vec<Arc<OfflineTable>>,
}

impl Cut {
    /// Commits of the catalog and of the offline store wait for some milliseconds.
    pub(super) async fn take(warehouse: &Warehouse) -> Result<Cut> {
        let (catalog, (versions, taken)) =
            warehouse.catalog.image_while(|| warehouse.offline.read_versions_while(|| Others::take(warehouse)))?;
        let Others { taken_us, catalog_version, monitor, alerts, online, streams, tables: names } = taken?;
        let mut tables = Vec::new();
        for name in names.iter().filter(|name| !name.starts_with(STAGED)) {
            // one without a commit was never anybody's
            tables.extend(warehouse.offline.table_in(name, &versions).await?);
        }
        Ok(Cut { taken_us, catalog_version, catalog, monitor, alerts, online, streams, tables })
    }

    /// Writes what is copied as a whole into a folder; gives paths below the data folder, and where they are now.
    pub(super) fn write_images(&self, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
        let place = |name: &str| (name.to_owned(), folder.join(name));
        let mut written = ["catalog.redb", "monitor.redb", "alerts.redb"].map(place).to_vec();
        self.catalog.write_to(&written[0].1)?;
        self.monitor.write_to(&written[1].1)?;
        self.alerts.write_to(&written[2].1)?;
        let online = folder.join("online");
        std::fs::create_dir(&online).map_err(|error| io_error("create the folder", &online, error))?;
        self.online.write_to(&online)?;
        let failed = |error| io_error("list the folder", &online, error);
        for entry in std::fs::read_dir(&online).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            written.push((format!("online/{}", entry.file_name().to_string_lossy()), entry.path()));
        }
        Ok(written)
    }
}

/// What is taken while catalog and offline store stand still.
struct Others {
    taken_us: i64,
    catalog_version: Version,
    monitor: MonitorImage,
    alerts: AlertsImage,
    online: OnlineImage,
    streams: Vec<IngestFile>,
    /// by name
    tables: Vec<String>,
}

impl Others {
    fn take(warehouse: &Warehouse) -> Result<Others> {
        Ok(Others {
            taken_us: warehouse.clock.now_us(),
            catalog_version: warehouse.catalog.snapshot().version(),
            monitor: warehouse.monitor.image()?,
            alerts: warehouse.alerts.image()?,
            // before the logs: of an event that is online none is missing in its log
            online: warehouse.online.image()?,
            streams: warehouse.ingest.files()?,
            tables: warehouse.offline.all_tables()?,
        })
    }
}
