//! sqlx against one server, by PGHOST and its like: what it decodes and encodes, describes, pools, copies and hears.
//! Its argument is the folder with the lists of values and errors.

#[path = "../../lists.rs"]
mod lists;

use std::fmt::Debug;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow, PgTypeInfo};
use sqlx::types::chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use sqlx::types::{BigDecimal, JsonValue, Uuid};
use sqlx::{
    Acquire, AssertSqlSafe, Column, Connection, Encode, Error, Executor, FromRow, PgConnection, Postgres, Row,
    SqlSafeStr, Statement, Type, TypeInfo, ValueRef,
};

type Said = Result<(), Error>;

fn list(name: &str) -> String {
    let folder = std::env::args().nth(1).expect("the folder of the lists");
    format!("{folder}/{name}")
}

fn state(error: &Error) -> String {
    match error {
        Error::Database(error) => format!("raises {}", error.code().unwrap_or_default()),
        Error::ColumnDecode { source, .. } | Error::Decode(source) => format!("is not decoded: {source}"),
        other => format!("fails: {other}"),
    }
}

fn told<T: Debug>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| state(&error), |value| format!("{value:?}"))
}

fn own(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

fn type_names<'t>(types: impl Iterator<Item = &'t PgTypeInfo>) -> Vec<String> {
    types.map(|one| one.name().to_owned()).collect()
}

/// A value of a table's column as Rust has it, and the row that has the same value.
async fn there_and_back<T>(pool: &PgPool, column: &str, number: i32) -> String
where
    T: for<'r> sqlx::Decode<'r, Postgres> + for<'q> Encode<'q, Postgres> + Type<Postgres> + Debug + Send + Sync + Unpin,
{
    let read = format!("SELECT {column} FROM ws.kept WHERE k = $1");
    let read = sqlx::query_scalar::<_, Option<T>>(own(read)).bind(number).fetch_one(pool).await;
    let value = match read {
        Ok(value) => value,
        Err(error) => return state(&error),
    };
    let shown = format!("{value:?}");
    let insert = format!("INSERT INTO ws.kept (k, {column}) VALUES ($1, $2)");
    let sent = sqlx::query(own(insert)).bind(1000 + number).bind(value).execute(pool).await;
    let compare = format!(
        "SELECT a.{column}::text IS NOT DISTINCT FROM b.{column}::text FROM ws.kept a, ws.kept b \
         WHERE a.k = {number} AND b.k = {}",
        1000 + number
    );
    let same = match sent {
        Ok(_) => told(sqlx::query_scalar::<_, bool>(own(compare)).fetch_one(pool).await),
        Err(error) => state(&error),
    };
    format!("{shown}\nsent back: {same}")
}

/// By the type that a program would take for it.
async fn value(pool: &PgPool, name: &str, column: &str, number: i32) -> String {
    let (plain, is_array) = match name.strip_suffix("[]") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    macro_rules! as_type {
        ($one:ty) => {
            match is_array {
                true => there_and_back::<Vec<Option<$one>>>(pool, column, number).await,
                false => there_and_back::<$one>(pool, column, number).await,
            }
        };
    }
    match plain.split('(').next().unwrap_or(plain) {
        "boolean" => as_type!(bool),
        "smallint" => as_type!(i16),
        "integer" => as_type!(i32),
        "bigint" => as_type!(i64),
        "real" => as_type!(f32),
        "double precision" => as_type!(f64),
        "numeric" => as_type!(BigDecimal),
        "bytea" => as_type!(Vec<u8>),
        "date" => as_type!(NaiveDate),
        "time" => as_type!(NaiveTime),
        "timestamp" => as_type!(NaiveDateTime),
        "timestamptz" => as_type!(DateTime<Utc>),
        "uuid" => as_type!(Uuid),
        "json" | "jsonb" => as_type!(JsonValue),
        _ => as_type!(String),
    }
}

async fn values(pool: &PgPool) -> Said {
    let values = lists::values(list("types.txt"));
    let mut types: Vec<&String> = values.iter().map(|(name, _)| name).collect();
    types.dedup();
    let columns: Vec<String> = types.iter().enumerate().map(|(place, name)| format!("c{place} {name}")).collect();
    pool.execute(own(format!("CREATE TABLE ws.kept (k integer, {})", columns.join(", ")))).await?;
    for (number, (name, literal)) in values.iter().enumerate() {
        let column = format!("c{}", types.iter().position(|known| *known == name).expect("a column"));
        let insert = format!("INSERT INTO ws.kept (k, {column}) VALUES ({number}, '{}')", literal.replace('\'', "''"));
        pool.execute(own(insert)).await?;
        println!("## value {number} {name} {literal}");
        let number = i32::try_from(number).expect("few");
        println!("{}", value(pool, name, &column, number).await);
    }
    println!("## nothing of each type");
    pool.execute("INSERT INTO ws.kept (k) VALUES (999)").await?;
    let row = pool.fetch_one("SELECT * FROM ws.kept WHERE k = 999").await?;
    let nothing = (1..row.len()).map(|place| row.try_get_raw(place).map(|value| value.is_null()));
    println!("{}", told(nothing.collect::<Result<Vec<_>, _>>()));
    println!("{:?}", type_names(row.columns().iter().map(Column::type_info)));
    Ok(())
}

/// What `query!` asks while a program is compiled.
async fn described(connection: &mut PgConnection) {
    for sql in [
        "SELECT id, name, code, n, ai, j FROM ws.customers WHERE id = $1",
        "SELECT o.id, c.name FROM ws.orders o LEFT JOIN ws.customers c ON c.id = o.customer WHERE o.at > $1 LIMIT $2",
        "SELECT count(*), sum(amount), max(at) FROM ws.orders",
        "INSERT INTO ws.orders (customer, amount, at) VALUES ($1, $2, $3) RETURNING id",
        "UPDATE ws.customers SET name = $1, b = $2 WHERE id = ANY($3)",
        "SELECT customer, total FROM ws.totals",
        "SELECT 1 AS one, NULL::text AS nothing, 'a' AS a",
        "DELETE FROM ws.orders WHERE id = $1",
        "SELECT nothing FROM ws.orders",
    ] {
        println!("## describe {sql}");
        match (&mut *connection).describe(sql.into_sql_str()).await {
            Ok(described) => {
                let columns = described.columns().iter().zip(0..).map(|(column, place)| {
                    let origin = format!("{:?}", column.origin());
                    (column.name().to_owned(), column.type_info().name().to_owned(), described.nullable(place), origin)
                });
                println!("{:?}", columns.collect::<Vec<_>>());
                match described.parameters() {
                    Some(sqlx::Either::Left(types)) => println!("{:?}", type_names(types.iter())),
                    other => println!("{other:?}"),
                }
            }
            Err(error) => println!("{}", state(&error)),
        }
    }
}

/// A type that is known by its name alone.
#[derive(Debug)]
struct Named(&'static str);

impl Type<Postgres> for Named {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("integer")
    }
}

impl Encode<'_, Postgres> for Named {
    fn encode_by_ref(
        &self,
        buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, Box<dyn std::error::Error + Send + Sync>> {
        <i32 as Encode<Postgres>>::encode(self.0.parse::<i32>()?, buffer)
    }
}

#[derive(Debug)]
#[allow(dead_code, reason = "its fields are shown")]
struct Order {
    id: i32,
    amount: BigDecimal,
    at: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for Order {
    fn from_row(row: &PgRow) -> Result<Order, Error> {
        Ok(Order { id: row.try_get("id")?, amount: row.try_get("amount")?, at: row.try_get("at")? })
    }
}

async fn statements(pool: &PgPool) -> Said {
    println!("## rows as structs");
    let orders =
        sqlx::query_as::<_, Order>("SELECT id, amount, at FROM ws.orders WHERE id < $1 ORDER BY id").bind(4_i32);
    println!("{}", told(orders.fetch_all(pool).await));
    println!("## rows one after the other");
    let mut rows = sqlx::query_scalar::<_, i32>("SELECT id FROM ws.orders ORDER BY id DESC").fetch(pool);
    for _ in 0..3 {
        println!("{}", told(rows.try_next().await));
    }
    drop(rows);
    println!("## no row, and one");
    let found = sqlx::query_scalar::<_, i32>("SELECT id FROM ws.orders WHERE id = $1");
    println!("{}", told(found.bind(-1_i32).fetch_optional(pool).await));
    let found = sqlx::query_scalar::<_, i32>("SELECT id FROM ws.orders WHERE id = $1");
    println!("{}", told(found.bind(-1_i32).fetch_one(pool).await));
    println!("## a list");
    let listed = sqlx::query_scalar::<_, i32>("SELECT id FROM ws.orders WHERE id = ANY($1) ORDER BY id");
    println!("{}", told(listed.bind(vec![3_i32, 5, 1000]).fetch_all(pool).await));
    println!("## rows by unnest");
    let sql = "INSERT INTO ws.orders (customer, amount) SELECT * FROM unnest($1::bigint[], $2::numeric[])";
    let amounts = vec![BigDecimal::from(1), BigDecimal::from(2)];
    let inserted = sqlx::query(sql).bind(vec![8_i64, 8]).bind(amounts).execute(pool).await;
    println!("{}", told(inserted.map(|result| result.rows_affected())));
    println!("## a type by its name");
    println!("{}", told(sqlx::query_scalar::<_, i32>("SELECT $1 + 1").bind(Named("41")).fetch_one(pool).await));
    println!("## a type of its number");
    println!("{}", told(sqlx::query_scalar::<_, Oid>("SELECT 'int8'::regtype::oid").fetch_one(pool).await));
    println!("## types that it looks up");
    for sql in
        ["SELECT '(1,2)'::point", "SELECT typname FROM pg_type LIMIT 1", "SELECT ROW(1, 'a')", "SELECT '{1}'::oid[]"]
    {
        let row = pool.fetch_one(sql).await;
        println!("{}", told(row.map(|row| type_names(row.columns().iter().map(Column::type_info)))));
    }
    println!("## a prepared statement");
    let mut connection = pool.acquire().await?;
    let statement = connection.prepare("SELECT id, name FROM ws.customers WHERE id = $1".into_sql_str()).await;
    match statement {
        Ok(statement) => {
            println!("{:?}", statement.columns().iter().map(|column| column.name().to_owned()).collect::<Vec<_>>());
            for id in [1_i64, 2] {
                let row = statement.query().bind(id).fetch_one(&mut *connection).await;
                println!("{}", told(row.and_then(|row| row.try_get::<String, _>("name"))));
            }
        }
        Err(error) => println!("{}", state(&error)),
    }
    println!("{}", connection.cached_statements_size() > 0);
    connection.clear_cached_statements().await?;
    println!("{}", connection.cached_statements_size());
    println!("## several statements in one");
    let rows = sqlx::raw_sql(
        "SELECT 1; CREATE TEMPORARY TABLE one (a int); INSERT INTO one VALUES (1), (2); SELECT a FROM one",
    );
    println!("{}", told(rows.fetch_all(&mut *connection).await.map(|rows| rows.len())));
    println!("## a ping");
    println!("{}", told(connection.ping().await));
    Ok(())
}

async fn transactions(pool: &PgPool) -> Said {
    let count = "SELECT count(*) FROM ws.orders WHERE customer = 5";
    println!("## a transaction and its savepoint");
    let mut transaction = pool.begin().await?;
    transaction.execute("INSERT INTO ws.orders (customer) VALUES (5)").await?;
    let mut savepoint = transaction.begin().await?;
    println!("{}", told(savepoint.execute("INSERT INTO ws.orders (customer) VALUES (NULL)").await.map(|_| ())));
    println!("{}", told(savepoint.execute("SELECT 1").await.map(|_| ())));
    savepoint.rollback().await?;
    println!("{}", told(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *transaction).await));
    let mut savepoint = transaction.begin().await?;
    savepoint.execute("INSERT INTO ws.orders (customer) VALUES (5)").await?;
    savepoint.commit().await?;
    println!("{}", told(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *transaction).await));
    transaction.rollback().await?;
    println!("{}", told(sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await));
    println!("## a transaction that is dropped");
    let mut transaction = pool.begin().await?;
    transaction.execute("INSERT INTO ws.orders (customer) VALUES (5)").await?;
    drop(transaction);
    println!("{}", told(sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await));
    println!("## a transaction of its own kind");
    let begun = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await;
    match begun {
        Ok(mut transaction) => {
            println!("{}", told(transaction.execute("INSERT INTO ws.orders (customer) VALUES (5)").await.map(|_| ())));
            transaction.rollback().await?;
        }
        Err(error) => println!("{}", state(&error)),
    }
    Ok(())
}

async fn copies(pool: &PgPool) -> Said {
    println!("## COPY");
    let mut connection = pool.acquire().await?;
    let mut copy = connection.copy_in_raw("COPY ws.orders (customer, amount) FROM STDIN").await?;
    println!("{} {}", copy.is_textual(), copy.num_columns());
    copy.send(&b"7\t1\n7\t2.5\n"[..]).await?;
    println!("{}", told(copy.finish().await));
    let out =
        connection.copy_out_raw("COPY (SELECT amount FROM ws.orders WHERE customer = 7 ORDER BY 1) TO STDOUT").await?;
    let chunks: Vec<_> = out.try_collect().await?;
    println!("{:?}", String::from_utf8_lossy(&chunks.concat()));
    println!("## COPY that is given up");
    let mut copy = connection.copy_in_raw("COPY ws.orders (customer) FROM STDIN").await?;
    copy.send(&b"7\n"[..]).await?;
    println!("{}", told(copy.abort("enough").await));
    println!("## COPY of what is none");
    let mut copy = connection.copy_in_raw("COPY ws.orders (customer) FROM STDIN").await?;
    copy.send(&b"x\n"[..]).await?;
    println!("{}", told(copy.finish().await));
    println!("{}", told(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&mut *connection).await));
    Ok(())
}

async fn errors(pool: &PgPool) -> Said {
    let mut connection = pool.acquire().await?;
    for statement in lists::lines(list("errors.txt")).iter().filter(|statement| !statement.starts_with("COPY ws")) {
        let result = sqlx::raw_sql(own(statement.clone())).execute(&mut *connection).await;
        println!("## error {statement}\n{}", result.map_or_else(|error| state(&error), |_| "none".to_owned()));
    }
    println!("## an error's fields");
    let failed = connection.execute("INSERT INTO ws.customers (id, name) VALUES (1, 'x')").await;
    if let Err(Error::Database(error)) = failed {
        println!("{} {:?} {:?} {:?}", error.message(), error.kind(), error.table(), error.constraint());
    }
    println!("## a place in the text");
    if let Err(Error::Database(error)) = connection.execute("SELECT nothing FROM ws.orders").await {
        let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
        println!("{:?} {:?}", error.severity(), error.position());
    }
    Ok(())
}

async fn heard(pool: &PgPool) -> Result<String, Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("news").await?;
    pool.execute("NOTIFY news, 'hello'").await?;
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
    match heard {
        Ok(heard) => heard.map(|heard| format!("{} {}", heard.channel(), heard.payload())),
        Err(_) => Ok("nothing".to_owned()),
    }
}

async fn pooled(pool: &PgPool) -> Said {
    println!("## many at the same time");
    let asked = (0..20_i32).map(|number| {
        let pool = pool.clone();
        tokio::spawn(async move { sqlx::query_scalar::<_, i32>("SELECT $1 * 2").bind(number).fetch_one(&pool).await })
    });
    let mut sum = 0;
    for answer in asked.collect::<Vec<_>>() {
        sum += answer.await.expect("no task fails")?;
    }
    println!("{sum} {}", pool.size() <= 4);
    println!("## a statement that is left");
    let left = tokio::time::timeout(Duration::from_millis(200), pool.execute("SELECT pg_sleep(1)")).await;
    println!("{} {}", left.is_err(), told(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(pool).await));
    Ok(())
}

async fn said(pool: &PgPool) -> Said {
    values(pool).await?;
    described(&mut *pool.acquire().await?).await;
    statements(pool).await?;
    transactions(pool).await?;
    copies(pool).await?;
    errors(pool).await?;
    println!("## notifications\n{}", told(heard(pool).await));
    let notified = sqlx::query("SELECT pg_notify($1, $2)").bind("news").bind("hello").execute(pool).await;
    println!("## a notification with parameters\n{}", told(notified.map(|_| ())));
    pooled(pool).await
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = PgConnectOptions::new().application_name("sqlx");
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.expect("the login");
    if let Err(error) = said(&pool).await {
        println!("## ended\n{}", state(&error));
    }
    pool.close().await;
}
