//! tokio-postgres, in this very program: binary values, the types that it looks up, portals, COPY, errors.

use std::fmt::Write;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::types::{FromSql, Kind, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage};

use super::{PASSWORD, Place, USER, filled, lists, same_answers, script};

/// A value as it came over the wire, whatever its type.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Raw, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

fn state(error: &Error) -> String {
    format!("raises {}", error.code().map_or("nothing", |code| code.code()))
}

fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| state(&error), |value| format!("{value:?}"))
}

fn kind(of: &Type) -> String {
    match of.kind() {
        Kind::Array(inner) => format!("{} array of {}", of.name(), inner.name()),
        _ => of.name().to_owned(),
    }
}

/// What one server answers to all topics.
async fn answers(place: &Place) -> String {
    let mut config = Config::new();
    config.host("127.0.0.1").port(place.port).user(USER).password(PASSWORD).dbname(&place.database);
    let (mut client, mut connection) = config.connect(NoTls).await.expect("the login");
    let (heard, mut hears) = futures::channel::mpsc::unbounded();
    let messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
    let listening = messages.try_for_each(move |message| {
        if let AsyncMessage::Notification(notification) = message {
            // nobody listens at the end
            let _ = heard.unbounded_send(format!("{} {}", notification.channel(), notification.payload()));
        }
        futures::future::ready(Ok(()))
    });
    let listening = tokio::spawn(listening);
    let mut said = String::new();
    values(&client, &mut said).await;
    statements(&mut client, &mut said).await.expect("no topic ends the others");
    for statement in lists::lines(script("errors.txt")).iter().filter(|statement| !statement.starts_with("COPY ws")) {
        let told = client.batch_execute(statement).await.map_or_else(|error| state(&error), |()| "none".to_owned());
        let _ = writeln!(said, "## error {statement}\n{told}");
    }
    let noticed = async {
        client.batch_execute("LISTEN news; NOTIFY news, 'hello'").await?;
        Ok(tokio::time::timeout(Duration::from_secs(10), hears.next()).await.ok().flatten())
    };
    let _ = writeln!(said, "## notifications\n{}", told(noticed.await));
    cancelled(&client, &mut said).await;
    drop(client);
    let _ = listening.await;
    said
}

async fn values(client: &Client, said: &mut String) {
    let values = lists::values(script("types.txt"));
    let mut types: Vec<&String> = values.iter().map(|(name, _)| name).collect();
    types.dedup();
    let columns: Vec<String> = types.iter().enumerate().map(|(place, name)| format!("c{place} {name}")).collect();
    client.batch_execute(&format!("CREATE TABLE ws.kept (k integer, {})", columns.join(", "))).await.expect("a table");
    let rows: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(number, (name, literal))| {
            let quoted = format!("'{}'", literal.replace('\'', "''"));
            let row = types.iter().map(|other| if *other == name { quoted.as_str() } else { "NULL" });
            format!("({number}, {})", row.collect::<Vec<_>>().join(", "))
        })
        .collect();
    client.batch_execute(&format!("INSERT INTO ws.kept VALUES {}", rows.join(", "))).await.expect("rows");
    for (number, (name, literal)) in values.iter().enumerate() {
        let column = format!("c{}", types.iter().position(|known| *known == name).expect("a column"));
        let number = i32::try_from(number).expect("few");
        let _ = writeln!(said, "## value {number} {name} {literal}");
        let row = client.query_one(&format!("SELECT {column} FROM ws.kept WHERE k = $1"), &[&number]).await;
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                let _ = writeln!(said, "{}", state(&error));
                continue;
            }
        };
        let value: Raw = row.get(0);
        let _ = writeln!(said, "{} {:?}", kind(row.columns()[0].type_()), value);
        let _ = writeln!(said, "## sent back {number} {name} {literal}");
        let sql = format!("SELECT {column} FROM ws.kept WHERE k = {number} AND {column}::text = ($1::{name})::text");
        let _ = writeln!(said, "{}", told(client.query(&sql, &[&value]).await.map(|rows| rows.len())));
    }
}

async fn statements(client: &mut Client, said: &mut String) -> Result<(), Error> {
    let _ = writeln!(said, "## types of parameters and columns");
    for sql in [
        "INSERT INTO ws.orders (customer, amount, at) VALUES ($1, $2, $3)",
        "SELECT id, amount AS a FROM ws.orders WHERE customer = $1 AND at > $2 LIMIT $3",
        "UPDATE ws.customers SET name = $1, b = $2 WHERE id = ANY($3)",
    ] {
        match client.prepare(sql).await {
            Ok(statement) => {
                let parameters: Vec<String> = statement.params().iter().map(kind).collect();
                let columns: Vec<_> = statement.columns().iter().map(|one| (one.name(), kind(one.type_()))).collect();
                let _ = writeln!(said, "{parameters:?} {columns:?}");
            }
            Err(error) => {
                let _ = writeln!(said, "{}", state(&error));
            }
        }
    }
    let _ = writeln!(said, "## a transaction and its savepoint");
    let mut transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    transaction.execute("INSERT INTO ws.orders (customer) VALUES (5)", &[]).await?;
    let savepoint = transaction.savepoint("one").await?;
    let failed = savepoint.execute("INSERT INTO ws.orders (customer) VALUES (NULL)", &[]).await;
    let _ = writeln!(said, "{}", told(failed));
    savepoint.rollback().await?;
    let row = transaction.query_one("SELECT count(*) FROM ws.orders WHERE customer = 5", &[]).await?;
    let _ = writeln!(said, "{}", row.get::<_, i64>(0));
    let _ = writeln!(said, "## a portal");
    let portal = transaction.bind("SELECT id FROM ws.orders WHERE id <= $1 ORDER BY id", &[&20_i32]).await?;
    for _ in 0..3 {
        let rows = transaction.query_portal(&portal, 8).await?;
        let _ = writeln!(said, "{:?}", rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>());
    }
    transaction.rollback().await?;
    let _ = writeln!(said, "## COPY");
    let mut sink = pin!(client.copy_in("COPY ws.orders (customer, amount) FROM STDIN").await?);
    sink.send(Bytes::from_static(b"7\t1\n7\t2.5\n")).await?;
    let _ = writeln!(said, "{}", sink.finish().await?);
    let out = client.copy_out("COPY (SELECT amount FROM ws.orders WHERE customer = 7 ORDER BY 1) TO STDOUT").await?;
    let _ = writeln!(said, "{:?}", out.try_collect::<Vec<_>>().await?.concat());
    let _ = writeln!(said, "## simple queries");
    for message in client.simple_query("SELECT id, name FROM ws.customers ORDER BY id; SELECT 1 WHERE false").await? {
        let line = match message {
            SimpleQueryMessage::Row(row) => format!("{:?} {:?}", row.get(0), row.try_get(1).ok()),
            SimpleQueryMessage::CommandComplete(count) => count.to_string(),
            SimpleQueryMessage::RowDescription(columns) => format!("{} columns", columns.len()),
            _ => "else".to_owned(),
        };
        let _ = writeln!(said, "{line}");
    }
    let _ = writeln!(said, "## an error's fields");
    if let Err(error) = client.execute("INSERT INTO ws.customers (id, name) VALUES (1, 'x')", &[]).await
        && let Some(error) = error.as_db_error()
    {
        let subject = (error.schema(), error.table(), error.column(), error.constraint());
        let _ = writeln!(said, "{} {} {:?} {subject:?}", error.severity(), error.message(), error.detail());
    }
    Ok(())
}

/// At the end: a request that comes late cancels whatever runs then.
async fn cancelled(client: &tokio_postgres::Client, said: &mut String) {
    let _ = writeln!(said, "## a statement that is cancelled");
    let token = client.cancel_token();
    let sleeping = client.batch_execute("SELECT pg_sleep(100)");
    let cancelling = async {
        loop {
            token.cancel_query(NoTls).await.expect("cancels");
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        ended = sleeping => ended,
        () = cancelling => unreachable!("it goes on for ever"),
    };
    let _ = writeln!(said, "{}", told(ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_answers_as_of_postgresql() {
    let (_pair, places) = filled("tokio_postgres");
    let both = [answers(&places[0]).await, answers(&places[1]).await];
    same_answers("tokio_postgres", &both);
}
