//! Questions to a server, over one connection that could read its log: what it is, what a table has, what became of a slot;
//! and a table's rows at the moment at which a new slot begins.

use bytes::Bytes;
use pgwire_replication::{QueryRow, ReplicationClient};

use super::{ANSWER_TIMEOUT, Dsn, Problem, Result, silent};

/// A place in a server's log.
pub type Lsn = u64;

/// Which history the log is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    pub identifier: String,
    pub timeline: u32,
    /// the end of the log
    pub end: Lsn,
}

/// What the server says of a table, and of a publication's part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub id: u32,
    /// as it must be typed
    pub name: String,
    /// each by its name and type; of a domain what it is made of
    pub columns: Vec<(String, String)>,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// up to where its log was confirmed
    pub confirmed: Lsn,
    /// whether the server has removed what was to be read next
    pub is_lost: bool,
}

/// A connection for questions.
pub struct Control {
    client: ReplicationClient,
}

impl Control {
    /// Where there is a runtime.
    pub async fn connect(dsn: &Dsn) -> Result<Control> {
        let mut client = ReplicationClient::connect_gated(dsn.config()).await?;
        answered(client.simple_query("SELECT 1")).await?;
        Ok(Control { client })
    }

    pub async fn system(&mut self) -> Result<System> {
        let system = answered(self.client.identify_system()).await?;
        let end = self.end().await?;
        Ok(System { identifier: system.system_id, timeline: system.timeline, end })
    }

    /// The end of the log, which may not be on disk yet.
    pub async fn end(&mut self) -> Result<Lsn> {
        let rows = self.rows("SELECT pg_current_wal_insert_lsn() - '0/0'".to_owned()).await?;
        number(&rows.into_iter().next().unwrap_or_default(), 0)
    }

    /// A table by its name as it is typed there; None if there is none.
    pub async fn table(&mut self, name: &str) -> Result<Option<Table>> {
        let found = self.rows(format!(
            "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass({})",
            literal(name)
        ));
        let Some(found) = found.await?.into_iter().next() else { return Ok(None) };
        let id: u32 = number(&found, 0)?;
        let columns = self.rows(format!(
            "SELECT a.attname, b.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
             WHERE a.attrelid = {id} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ));
        let columns = columns.await?.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect::<Result<_>>()?;
        Ok(Some(Table { id, name: text(&found, 1)?, columns }))
    }

    /// The condition on a table's rows in a publication, if there is one; None if the publication does not have the table.
    pub async fn published(&mut self, table: &Table, publication: &str) -> Result<Option<Option<String>>> {
        let rows = self.rows(format!(
            "SELECT to_jsonb(p) ->> 'rowfilter' FROM pg_publication_tables p WHERE p.pubname = {} \
             AND quote_ident(p.schemaname) || '.' || quote_ident(p.tablename) = {}",
            literal(publication),
            literal(&table.name)
        ));
        Ok(match rows.await?.first() {
            None => None,
            Some(row) => Some(cell(row, 0).map(|_| text(row, 0)).transpose()?),
        })
    }

    /// Makes a publication of one table anew.
    pub async fn publish(&mut self, table: &Table, publication: &str) -> Result<()> {
        self.unpublish(publication).await?;
        let made = self.rows(format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
            identifier(publication),
            table.name
        ));
        made.await.map(drop)
    }

    pub async fn unpublish(&mut self, publication: &str) -> Result<()> {
        self.rows(format!("DROP PUBLICATION IF EXISTS {}", identifier(publication))).await.map(drop)
    }

    pub async fn slot(&mut self, name: &str) -> Result<Option<Slot>> {
        let rows = self.rows(format!(
            "SELECT confirmed_flush_lsn - '0/0', coalesce(to_jsonb(s) ->> 'wal_status', '') = 'lost' \
             FROM pg_replication_slots s WHERE slot_name = {}",
            literal(name)
        ));
        let slot = |row: &QueryRow| Ok(Slot { confirmed: number(row, 0)?, is_lost: text(row, 1)? == "t" });
        rows.await?.first().map(slot).transpose()
    }

    /// Nothing if there is none.
    pub async fn drop_slot(&mut self, name: &str) -> Result<()> {
        let rows = self.rows(format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {}",
            literal(name)
        ));
        rows.await.map(drop)
    }

    async fn rows(&mut self, sql: String) -> Result<Vec<QueryRow>> {
        answered(self.client.simple_query(&sql)).await
    }
}

/// The rows of a table at the moment from which on a new slot has what changes. It is gone when this is dropped.
pub struct Snapshot {
    client: ReplicationClient,
    /// where the slot begins
    pub lsn: Lsn,
    /// when it was taken, microseconds
    pub time_us: i64,
    /// how many rows are fetched at once
    rows_at_once: usize,
}

/// A fetch is to have about so many bytes.
const FETCH_BYTES: usize = 4 << 20;
const MOST_ROWS_AT_ONCE: usize = 10_000;
const FIRST_ROWS_AT_ONCE: usize = 100;

impl Snapshot {
    /// Makes a slot, and opens the rows of a table, as texts of some columns. The server waits for the transactions that
    /// are under way, however long they take.
    pub async fn begin(
        dsn: &Dsn,
        slot: &str,
        (table, filter): (&Table, Option<&str>),
        columns: &[String],
    ) -> Result<Snapshot> {
        let client = ReplicationClient::connect_gated(dsn.config()).await?;
        let mut snapshot = Snapshot { client, lsn: 0, time_us: 0, rows_at_once: FIRST_ROWS_AT_ONCE };
        let client = &mut snapshot.client;
        answered(client.simple_query("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ")).await?;
        let made = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput USE_SNAPSHOT", identifier(slot));
        let made = client.simple_query(&made).await?.into_iter().next().unwrap_or_default();
        snapshot.lsn = lsn_of(&text(&made, 1)?)?;
        let now = client.simple_query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await?;
        snapshot.time_us = number(&now.into_iter().next().unwrap_or_default(), 0)?;
        let columns = columns.iter().map(|column| identifier(column)).collect::<Vec<_>>().join(", ");
        let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let open = format!("DECLARE granary NO SCROLL CURSOR FOR SELECT {columns} FROM {}{filter}", table.name);
        client.simple_query(&open).await?;
        Ok(snapshot)
    }

    /// The next rows; none when there are no more.
    pub async fn next(&mut self) -> Result<Vec<QueryRow>> {
        let fetch = format!("FETCH {} FROM granary", self.rows_at_once);
        let rows = self.client.simple_query(&fetch).await?;
        let bytes: usize = rows.iter().flatten().flatten().map(Bytes::len).sum();
        let row_bytes = (bytes / rows.len().max(1)).max(1);
        self.rows_at_once = (FETCH_BYTES / row_bytes).clamp(1, MOST_ROWS_AT_ONCE);
        Ok(rows)
    }
}

/// Nobody waits for what a server is still doing.
impl Drop for Snapshot {
    fn drop(&mut self) {
        self.client.abort();
    }
}

/// What comes in time.
pub(super) async fn answered<T>(asked: impl Future<Output = pgwire_replication::Result<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(silent()),
    }
}

pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn cell(row: &QueryRow, place: usize) -> Option<&Bytes> {
    row.get(place).and_then(Option::as_ref)
}

fn text(row: &QueryRow, place: usize) -> Result<String> {
    let bytes = cell(row, place).ok_or_else(unexpected)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| unexpected())
}

fn number<T: std::str::FromStr>(row: &QueryRow, place: usize) -> Result<T> {
    text(row, place)?.parse().map_err(|_| unexpected())
}

/// A place as the server writes it, `16/B374D848`.
fn lsn_of(text: &str) -> Result<Lsn> {
    pgwire_replication::Lsn::parse(text).map(pgwire_replication::Lsn::as_u64).map_err(|_| unexpected())
}

fn unexpected() -> Problem {
    Problem::Failed("the server's answer is not as expected".to_owned())
}
