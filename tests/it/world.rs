//! A warehouse in a temporary folder, at a time that stands still, with a session to talk to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use granary::error::Result;
use granary::flight::FlightLimits;
use granary::http::HttpLimits;
use granary::outbound::OutboundConfig;
use granary::row::{Value, normalize_type, values_of};
use granary::scheduler::Limits;
use granary::server::{FIRST_NAME, Server, ServerConfig};
use granary::session::{DeclaredTypes, Login, Response, Session};
use granary::time::Clock;
use granary::warehouse::{Warehouse, WarehouseConfig};
use granary::wire::WireLimits;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub type Row = Vec<Option<Value>>;

pub struct World {
    pub warehouse: Arc<Warehouse>,
    session: Session,
    // Last, so that the stores are closed before their folder goes.
    _folder: TempDir,
}

pub fn config(folder: &std::path::Path, clock: Clock) -> ServerConfig {
    ServerConfig {
        warehouse: WarehouseConfig {
            data_folder: folder.to_path_buf(),
            memory_limit_bytes: 256 << 20,
            parallelism: 2,
            online_shards: 2,
            online_cache_bytes: 8 << 20,
            clock,
            schedules: false,
        },
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        http: None,
        flight: None,
        flight_limits: FlightLimits::default(),
        tls: None,
        http_limits: HttpLimits::default(),
        outbound: OutboundConfig::default(),
        password: Some("unused".to_owned()),
        openlineage: None,
        expiry_interval: Duration::from_secs(3600),
        jobs: Limits { total: 2, per_view: 1 },
        maintenance_interval: Duration::from_secs(3600),
        limits: WireLimits { max_connections: 4, ..WireLimits::default() },
    }
}

impl World {
    /// `now_us` is what the clock always says.
    pub async fn at(now_us: i64) -> World {
        World::open(tempfile::tempdir().expect("a temporary folder"), now_us).await
    }

    /// Stops, without any farewell, and starts again.
    pub async fn again(self) -> World {
        let now_us = self.now_us();
        self.again_at(now_us).await
    }

    /// The same at another time.
    pub async fn again_at(self, now_us: i64) -> World {
        let World { warehouse, session, _folder: folder } = self;
        session.close().await;
        let left = Arc::try_unwrap(warehouse).map(drop);
        left.expect("nobody else has the warehouse");
        World::open(folder, now_us).await
    }

    async fn open(folder: TempDir, now_us: i64) -> World {
        let server = Server::start(&config(folder.path(), Clock::standing_at(now_us))).await.expect("starts");
        let warehouse = Arc::clone(server.warehouse());
        let login = Login {
            user: FIRST_NAME.to_owned(),
            database: FIRST_NAME.to_owned(),
            options: Vec::new(),
            process_id: 1,
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            ended: CancellationToken::new(),
        };
        let session = Session::start(Arc::clone(&warehouse), login).await.expect("logs in");
        World { warehouse, session, _folder: folder }
    }

    /// What the clock says.
    pub fn now_us(&self) -> i64 {
        self.warehouse.clock.now_us()
    }

    /// Runs one statement; gives its rows, if any.
    pub async fn try_run(&mut self, sql: &str) -> Result<Vec<Row>> {
        let prepared = self.session.prepare(sql, DeclaredTypes::none()).await?;
        match self.session.execute(&prepared, Vec::new(), &CancellationToken::new()).await? {
            Response::Rows { rows, .. } => {
                let batches: Vec<RecordBatch> = rows.try_collect().await?;
                Ok(batches.iter().flat_map(rows_of).collect())
            }
            Response::Found { rows, .. } => {
                let columns = rows.columns().expect("values");
                Ok((0..rows.count()).map(|row| columns.iter().map(|values| values[row].clone()).collect()).collect())
            }
            Response::Done { .. } | Response::CopyIn(_) | Response::CopyOut(_) | Response::Empty => Ok(Vec::new()),
        }
    }

    #[track_caller]
    pub fn run<'a>(&'a mut self, sql: &'a str) -> impl Future<Output = Vec<Row>> + 'a {
        async move {
            match self.try_run(sql).await {
                Ok(rows) => rows,
                Err(error) => panic!("{sql}\n{error:?}"),
            }
        }
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<Vec<Option<Value>>> = batch
        .columns()
        .iter()
        .map(|column| {
            let data_type = normalize_type(column.data_type()).expect("a type that can be stored");
            let column = arrow::compute::cast(column, &data_type).expect("casts");
            values_of(column.as_ref()).expect("values")
        })
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// Whether two answers agree, floats up to rounding.
pub fn agree(a: &Option<Value>, b: &Option<Value>) -> bool {
    match (a, b) {
        (Some(Value::Float(a)), Some(Value::Float(b))) => {
            (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        (Some(Value::List(a)), Some(Value::List(b))) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| agree(a, b))
        }
        _ => a == b,
    }
}
