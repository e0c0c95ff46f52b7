//! The wire protocol from a client's side, over raw sockets: scenarios that any PostgreSQL server must pass.
//!
//! Each scenario takes the address of a running server, so that the same code runs against Granary and against
//! PostgreSQL itself, which is how it is known that the expectations are right. Include with
//! `#[path = "support_wire.rs"] mod support_wire;` and run every entry of [`SCENARIOS`].
#![allow(dead_code)]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server and who may log in.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub user: String,
    pub password: String,
    pub database: String,
    /// a statement that runs for many seconds unless it is cancelled
    pub slow_statement: String,
    /// a statement that runs for about a second and gives one row
    pub short_statement: String,
}

pub type Scenario = fn(Target) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        /// Name and code of every scenario.
        pub const SCENARIOS: &[(&str, Scenario)] = &[$((stringify!($name), |target| Box::pin($name(target)))),*];
    };
}

scenarios![
    encryption_is_refused_and_the_login_goes_on,
    a_newer_minor_protocol_is_negotiated,
    an_older_major_protocol_is_refused,
    a_startup_without_user_is_refused,
    a_wrong_password_and_an_unknown_user_look_the_same,
    an_unknown_users_salt_does_not_change,
    a_huge_message_before_the_login_is_refused,
    an_unknown_sasl_mechanism_is_refused,
    simple_statements_are_answered_one_by_one,
    an_error_position_counts_from_the_start_of_the_text,
    an_empty_query_has_its_own_answer,
    any_max_rows_is_safe,
    a_portal_goes_on_where_it_stopped,
    a_portal_lives_as_long_as_its_transaction,
    a_finished_portal_gives_no_more,
    a_pipeline_goes_on_after_its_sync,
    after_an_error_messages_are_discarded,
    an_error_is_sent_without_waiting_for_sync,
    names_must_exist_and_be_new,
    formats_must_fit,
    parameters_must_fit,
    closing_is_always_complete,
    deallocate_forgets_statements,
    long_pipelines_and_long_texts_are_answered,
    described_statements_tell_their_types,
    malformed_bodies_are_errors,
    malformed_frames_end_the_connection,
    an_unknown_message_type_ends_the_connection,
    copy_messages_outside_of_copy_are_ignored,
    function_calls_are_answered,
    transaction_status_is_shown,
    a_failed_transaction_refuses,
    settings_are_reported,
    a_running_statement_can_be_cancelled,
    streaming_rows_can_be_cancelled,
    a_cancel_needs_the_secret,
    a_late_cancel_hits_nothing,
    a_terminate_after_a_statement_lets_it_end,
];

/// One message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Reply {
    /// A field of an ErrorResponse or NoticeResponse.
    pub fn field(&self, code: char) -> Option<String> {
        let texts = self.body.split(|byte| *byte == 0);
        texts.filter(|text| text.first() == Some(&(code as u8))).map(|text| text_of(&text[1..])).next()
    }

    /// For people and for comparing: the tag, and what matters of the body.
    pub fn shown(&self) -> String {
        let tag = self.tag as char;
        match self.tag {
            b'E' | b'N' => format!("{tag} {}", self.field('C').unwrap_or_default()),
            b'C' => format!("{tag} {}", text_of(self.body.strip_suffix(b"\0").unwrap_or(&self.body))),
            b'Z' => format!("{tag} {}", text_of(&self.body)),
            b'D' => {
                let columns = self.columns();
                let texts = columns.iter().map(|c| c.as_ref().map_or("NULL".to_owned(), |bytes| text_of(bytes)));
                format!("{tag} {}", texts.collect::<Vec<_>>().join("|"))
            }
            _ => tag.to_string(),
        }
    }

    /// The values of a DataRow.
    pub fn columns(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.tag, b'D');
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        for _ in 0..count {
            let length = i32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
            rest = &rest[4..];
            columns.push(usize::try_from(length).ok().map(|length| {
                let (value, after) = rest.split_at(length);
                rest = after;
                value.to_vec()
            }));
        }
        assert!(rest.is_empty());
        columns
    }

    /// Type OIDs and lengths of a RowDescription.
    pub fn described(&self) -> Vec<(String, u32, i16, i16)> {
        assert_eq!(self.tag, b'T');
        let count = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == 0).expect("a name ends");
            let name = text_of(&rest[..end]);
            let fixed = &rest[end + 1..end + 19];
            let i16_at = |at: usize| i16::from_be_bytes([fixed[at], fixed[at + 1]]);
            let oid = u32::from_be_bytes(fixed[6..10].try_into().expect("four bytes"));
            columns.push((name, oid, i16_at(10), i16_at(16)));
            rest = &rest[end + 19..];
        }
        columns
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A client that says exactly what it is told to.
pub struct Client {
    stream: TcpStream,
    pub process_id: i32,
    pub secret: i32,
    pub statuses: Vec<(String, String)>,
}

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took too long"),
    }
}

impl Client {
    pub async fn open(target: &Target) -> Client {
        let stream = TcpStream::connect(target.address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        Client { stream, process_id: 0, secret: 0, statuses: Vec::new() }
    }

    pub async fn login(target: &Target) -> Client {
        let mut client = Client::open(target).await;
        client.start(target, 3 << 16).await;
        let last = client.authenticate(&target.password).await;
        assert_eq!(last.shown(), "Z I");
        client
    }

    pub async fn start(&mut self, target: &Target, version: i32) {
        let pairs = [("user", &target.user), ("database", &target.database)];
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in pairs {
            body.extend(format!("{name}\0{value}\0").bytes());
        }
        body.push(0);
        self.packet(&body).await;
    }

    /// SSLRequest or GSSENCRequest, and the one byte that answers it.
    pub async fn negotiate(&mut self, code: i32) -> u8 {
        self.packet(&code.to_be_bytes()).await;
        let mut answer = [0];
        self.stream.read_exact(&mut answer).await.expect("one byte");
        answer[0]
    }

    /// SCRAM; returns the first message after it that is not about it: ReadyForQuery or an error.
    pub async fn authenticate(&mut self, password: &str) -> Reply {
        let request = self.next().await;
        if request.tag == b'E' {
            return request;
        }
        assert_eq!(request.body, b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let first = scram.message();
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        body.extend((first.len() as i32).to_be_bytes());
        body.extend(first);
        self.send(b'p', &body).await;
        let challenge = self.next().await;
        if challenge.tag == b'E' {
            return challenge;
        }
        scram.update(&challenge.body[4..]).expect("a challenge");
        let proof = scram.message().to_vec();
        self.send(b'p', &proof).await;
        let last = self.next().await;
        if last.tag == b'E' {
            return last;
        }
        scram.finish(&last.body[4..]).expect("the server knows the password too");
        loop {
            let reply = self.next().await;
            match reply.tag {
                b'R' => assert_eq!(reply.body, 0_i32.to_be_bytes()),
                b'K' => {
                    self.process_id = i32::from_be_bytes(reply.body[..4].try_into().expect("four bytes"));
                    self.secret = i32::from_be_bytes(reply.body[4..].try_into().expect("four bytes"));
                }
                b'S' => {
                    let mut texts = reply.body.split(|byte| *byte == 0).map(text_of);
                    self.statuses.push((texts.next().expect("name"), texts.next().expect("value")));
                }
                b'N' => {}
                _ => return reply,
            }
        }
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        // the server may have closed already: what it said before counts
        let _ = self.stream.write_all(bytes).await;
    }

    /// A message without type byte.
    pub async fn packet(&mut self, body: &[u8]) {
        let mut bytes = (body.len() as i32 + 4).to_be_bytes().to_vec();
        bytes.extend(body);
        self.raw(&bytes).await;
    }

    pub async fn send(&mut self, tag: u8, body: &[u8]) {
        self.raw(&message(tag, body)).await;
    }

    pub async fn query(&mut self, sql: &str) -> Vec<String> {
        self.send(b'Q', format!("{sql}\0").as_bytes()).await;
        self.until_ready().await
    }

    /// `None`: the server has closed.
    pub async fn try_next(&mut self) -> Option<Reply> {
        within("an answer", async {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
            let mut body = vec![0; length as usize - 4];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Reply { tag: head[0], body })
        })
        .await
    }

    pub async fn next(&mut self) -> Reply {
        self.try_next().await.expect("the connection is open")
    }

    /// All messages up to ReadyForQuery, without ParameterStatus.
    pub async fn until_ready(&mut self) -> Vec<String> {
        self.replies().await.iter().map(Reply::shown).collect()
    }

    pub async fn replies(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            let reply = self.next().await;
            let is_last = reply.tag == b'Z';
            if reply.tag != b'S' {
                replies.push(reply);
            }
            if is_last {
                return replies;
            }
        }
    }

    /// Reads `count` messages.
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut shown = Vec::new();
        for _ in 0..count {
            shown.push(self.next().await.shown());
        }
        shown
    }

    /// The next message is FATAL with this code, or nothing at all, and then the server closes.
    pub async fn expect_end(&mut self, code: Option<&str>) {
        match (self.try_next().await, code) {
            (None, None) => return,
            (Some(reply), Some(code)) => {
                assert_eq!(reply.shown(), format!("E {code}"));
                assert_eq!(reply.field('V').as_deref(), Some("FATAL"));
            }
            (reply, code) => panic!("got {reply:?} instead of {code:?}"),
        }
        assert_eq!(self.try_next().await, None);
    }

    pub async fn hang_up(self) {
        drop(self.stream);
    }
}

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend((body.len() as i32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn parse(name: &str, sql: &str, oids: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{sql}\0").into_bytes();
    body.extend((oids.len() as i16).to_be_bytes());
    oids.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    message(b'P', &body)
}

#[derive(Default)]
pub struct Bind<'a> {
    pub portal: &'a str,
    pub statement: &'a str,
    pub formats: &'a [i16],
    pub values: &'a [Option<&'a [u8]>],
    pub result_formats: &'a [i16],
}

impl Bind<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = format!("{}\0{}\0", self.portal, self.statement).into_bytes();
        let codes = |body: &mut Vec<u8>, codes: &[i16]| {
            body.extend((codes.len() as i16).to_be_bytes());
            codes.iter().for_each(|code| body.extend(code.to_be_bytes()));
        };
        codes(&mut body, self.formats);
        body.extend((self.values.len() as i16).to_be_bytes());
        for value in self.values {
            body.extend(value.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        codes(&mut body, self.result_formats);
        message(b'B', &body)
    }
}

pub fn bind(portal: &str, statement: &str) -> Vec<u8> {
    Bind { portal, statement, ..Bind::default() }.bytes()
}

pub fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend(max_rows.to_be_bytes());
    message(b'E', &body)
}

pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{kind}{name}\0").as_bytes())
}

pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

async fn run(client: &mut Client, messages: &[Vec<u8>]) -> Vec<String> {
    client.raw(&messages.concat()).await;
    client.until_ready().await
}

fn series(rows: u32) -> String {
    format!("SELECT * FROM generate_series(1, {rows})")
}

// ---------------------------------------------------------------------------------------------------- the log-in

async fn encryption_is_refused_and_the_login_goes_on(target: Target) {
    let mut client = Client::open(&target).await;
    assert_eq!(client.negotiate(80_877_103).await, b'N');
    client.start(&target, 3 << 16).await;
    assert_eq!(client.authenticate(&target.password).await.shown(), "Z I");
    assert!(client.statuses.iter().any(|(name, value)| name == "server_version" && value.starts_with("15")));
    assert!(client.process_id > 0);
}

async fn a_newer_minor_protocol_is_negotiated(target: Target) {
    let mut client = Client::open(&target).await;
    client.start(&target, (3 << 16) + 2).await;
    let negotiate = client.next().await;
    assert_eq!((negotiate.tag, &negotiate.body[..]), (b'v', &b"\0\x03\0\0\0\0\0\0"[..]));
    assert_eq!(client.authenticate(&target.password).await.shown(), "Z I");
}

async fn an_older_major_protocol_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.start(&target, 4 << 16).await;
    client.expect_end(Some("0A000")).await;
}

async fn a_startup_without_user_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.packet(b"\0\x03\0\0\0").await;
    client.expect_end(Some("28000")).await;
    let mut client = Client::open(&target).await;
    client.packet(b"\0\x03\0\0user\0x\0").await;
    client.expect_end(Some("08P01")).await;
    let mut client = Client::open(&target).await;
    client.raw(b"\0\0\0\x07abc").await;
    client.expect_end(None).await;
}

async fn a_wrong_password_and_an_unknown_user_look_the_same(target: Target) {
    for user in [target.user.as_str(), "nobody_at_all"] {
        let other = Target { user: user.to_owned(), ..target.clone() };
        let mut client = Client::open(&other).await;
        client.start(&other, 3 << 16).await;
        let error = client.authenticate("not the password").await;
        assert_eq!(error.shown(), "E 28P01");
        assert_eq!(error.field('V').as_deref(), Some("FATAL"));
        let expected = format!("password authentication failed for user \"{user}\"");
        assert_eq!(error.field('M'), Some(expected));
        assert_eq!(client.try_next().await, None);
    }
}

async fn an_unknown_users_salt_does_not_change(target: Target) {
    let mut salts = Vec::new();
    for user in ["nobody_at_all", "nobody_at_all", "nobody_else"] {
        let other = Target { user: user.to_owned(), ..target.clone() };
        let mut client = Client::open(&other).await;
        client.start(&other, 3 << 16).await;
        client.next().await;
        client.send(b'p', b"SCRAM-SHA-256\0\0\0\0\x0fn,,n=,r=abcdefg").await;
        let challenge = text_of(&client.next().await.body[4..]);
        let salt = challenge.split(',').find(|part| part.starts_with("s=")).expect("a salt").to_owned();
        assert!(challenge.ends_with(",i=4096"));
        salts.push(salt);
    }
    assert_eq!(salts[0], salts[1]);
    assert_ne!(salts[0], salts[2]);
}

async fn a_huge_message_before_the_login_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.raw(&0x3fff_ffff_i32.to_be_bytes()).await;
    client.expect_end(None).await;
    let mut client = Client::open(&target).await;
    client.start(&target, 3 << 16).await;
    client.next().await;
    client.raw(b"p\x3f\xff\xff\xff").await;
    // how it ends differs; that nobody keeps a gigabyte for it does not
    while client.try_next().await.is_some() {}
}

async fn an_unknown_sasl_mechanism_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.start(&target, 3 << 16).await;
    client.next().await;
    client.send(b'p', b"SCRAM-SHA-1\0\0\0\0\x0fn,,n=,r=abcdefg").await;
    client.expect_end(Some("08P01")).await;
}

// ------------------------------------------------------------------------------------------------ simple queries

async fn simple_statements_are_answered_one_by_one(target: Target) {
    let mut client = Client::login(&target).await;
    let expected = ["T", "D 1", "C SELECT 1", "E 22012", "Z I"];
    assert_eq!(client.query("SELECT 1; SELECT 1/0; SELECT 3").await[..2], expected[..2]);
    let replies = client.query("SELECT 1; SELECT 2").await;
    assert_eq!(replies, ["T", "D 1", "C SELECT 1", "T", "D 2", "C SELECT 1", "Z I"]);
    let replies = client.query("SELECT 10/(5-g) FROM generate_series(1,10) AS t(g)").await;
    assert_eq!(replies.first().map(String::as_str), Some("T"));
    assert_eq!(replies[replies.len() - 2..], ["E 22012", "Z I"]);
}

async fn an_error_position_counts_from_the_start_of_the_text(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'Q', "SELECT 1; SELECT * FROM no_such_table\0".as_bytes()).await;
    let replies = client.replies().await;
    let error = replies.iter().find(|reply| reply.tag == b'E').expect("an error");
    assert_eq!(error.field('C').as_deref(), Some("42P01"));
    assert_eq!(error.field('P').as_deref(), Some("25"));
}

async fn an_empty_query_has_its_own_answer(target: Target) {
    let mut client = Client::login(&target).await;
    for sql in ["", " ", ";", " ; ;"] {
        assert_eq!(client.query(sql).await, ["I", "Z I"], "{sql:?}");
    }
    let messages = [parse("", "", &[]), bind("", ""), describe('P', ""), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "n", "I", "Z I"]);
}

// ---------------------------------------------------------------------------------------------- extended queries

async fn any_max_rows_is_safe(target: Target) {
    let mut client = Client::login(&target).await;
    for max_rows in [0, -1, i32::MIN, i32::MAX] {
        let messages = [parse("", &series(3), &[]), bind("", ""), execute("", max_rows), sync()];
        assert_eq!(run(&mut client, &messages).await, ["1", "2", "D 1", "D 2", "D 3", "C SELECT 3", "Z I"]);
    }
}

async fn a_portal_goes_on_where_it_stopped(target: Target) {
    let mut client = Client::login(&target).await;
    let start = [parse("", &series(5), &[]), bind("", "")];
    let messages = [start.concat(), execute("", 2), execute("", 2), execute("", 2), sync()];
    let expected = ["1", "2", "D 1", "D 2", "s", "D 3", "D 4", "s", "D 5", "C SELECT 1", "Z I"];
    assert_eq!(run(&mut client, &messages).await, expected);
    // as many as there are is not yet the end
    let messages = [start.concat(), execute("", 5), execute("", 5), sync()];
    let expected = ["1", "2", "D 1", "D 2", "D 3", "D 4", "D 5", "s", "C SELECT 0", "Z I"];
    assert_eq!(run(&mut client, &messages).await, expected);
}

async fn a_portal_lives_as_long_as_its_transaction(target: Target) {
    let mut client = Client::login(&target).await;
    let start = [parse("s", &series(3), &[]), bind("p", "s"), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &start).await, ["1", "2", "D 1", "s", "Z I"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["E 34000", "Z I"]);
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    assert_eq!(run(&mut client, &[bind("p", "s"), execute("p", 1), sync()]).await, ["2", "D 1", "s", "Z T"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["D 2", "s", "Z T"]);
    assert_eq!(run(&mut client, &[execute("p", 0), sync()]).await, ["D 3", "C SELECT 1", "Z T"]);
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["E 34000", "Z I"]);
    // COMMIT by the extended protocol
    let begin = [parse("", "BEGIN", &[]), bind("", ""), execute("", 0), bind("p", "s"), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &begin).await, ["1", "2", "C BEGIN", "2", "D 1", "s", "Z T"]);
    let commit = [parse("", "COMMIT", &[]), bind("", ""), execute("", 0), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &commit).await, ["1", "2", "C COMMIT", "E 34000", "Z I"]);
}

async fn a_finished_portal_gives_no_more(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [parse("", &series(1), &[]), bind("", ""), execute("", 0), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "D 1", "C SELECT 1", "C SELECT 0", "Z I"]);
    let set = "SET application_name = 'x'";
    let messages = [parse("", set, &[]), bind("", ""), execute("", 0), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "C SET", "E 55000", "Z I"]);
}

async fn a_pipeline_goes_on_after_its_sync(target: Target) {
    let mut client = Client::login(&target).await;
    let good = [parse("", "SELECT 7", &[]), bind("", ""), execute("", 0), sync()].concat();
    let bad = [parse("", "SELEKT", &[]), bind("", ""), execute("", 0), sync()].concat();
    client.raw(&[good.clone(), bad, good].concat()).await;
    assert_eq!(client.until_ready().await, ["1", "2", "D 7", "C SELECT 1", "Z I"]);
    assert_eq!(client.until_ready().await, ["E 42601", "Z I"]);
    assert_eq!(client.until_ready().await, ["1", "2", "D 7", "C SELECT 1", "Z I"]);
}

async fn after_an_error_messages_are_discarded(target: Target) {
    let mut client = Client::login(&target).await;
    let good = [parse("", "SELECT 7", &[]), bind("", ""), execute("", 0)].concat();
    let query = message(b'Q', b"SELECT 8\0");
    let messages = [parse("", "SELEKT", &[]), good, query, flush(), message(b'X', b"")[..0].to_vec(), sync()];
    assert_eq!(run(&mut client, &messages).await, ["E 42601", "Z I"]);
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

async fn an_error_is_sent_without_waiting_for_sync(target: Target) {
    let mut client = Client::login(&target).await;
    client.raw(&parse("", "SELEKT", &[])).await;
    assert_eq!(client.take(1).await, ["E 42601"]);
    assert_eq!(run(&mut client, &[sync()]).await, ["Z I"]);
    client.raw(&[parse("", "SELECT 7", &[]), flush()].concat()).await;
    assert_eq!(client.take(1).await, ["1"]);
    assert_eq!(run(&mut client, &[sync()]).await, ["Z I"]);
}

async fn names_must_exist_and_be_new(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(run(&mut client, &[bind("", "nothing"), sync()]).await, ["E 26000", "Z I"]);
    assert_eq!(run(&mut client, &[describe('S', "nothing"), sync()]).await, ["E 26000", "Z I"]);
    assert_eq!(run(&mut client, &[describe('P', "nothing"), sync()]).await, ["E 34000", "Z I"]);
    assert_eq!(run(&mut client, &[execute("nothing", 0), sync()]).await, ["E 34000", "Z I"]);
    let prepare = parse("twice", "SELECT 1", &[]);
    assert_eq!(run(&mut client, &[prepare.clone(), prepare, sync()]).await, ["1", "E 42P05", "Z I"]);
    let twice = [bind("p", "twice"), bind("p", "twice"), sync()];
    assert_eq!(run(&mut client, &twice).await, ["2", "E 42P03", "Z I"]);
    let unnamed = [parse("", "SELECT 1", &[]), parse("", "SELECT 2", &[]), bind("", ""), bind("", ""), sync()];
    assert_eq!(run(&mut client, &unnamed).await, ["1", "1", "2", "2", "Z I"]);
    // a simple query takes the unnamed statement away
    client.query("SELECT 1").await;
    assert_eq!(run(&mut client, &[bind("", ""), sync()]).await, ["E 26000", "Z I"]);
}

async fn formats_must_fit(target: Target) {
    let mut client = Client::login(&target).await;
    let sql = "SELECT $1::int4, $2::int4, $3::int4";
    let one = Some(&b"1"[..]);
    assert_eq!(run(&mut client, &[parse("s", sql, &[]), sync()]).await, ["1", "Z I"]);
    let mut bound = async |formats: &[i16], result_formats: &[i16]| {
        let values = [one, one, one];
        let bind = Bind { statement: "s", formats, values: &values, result_formats, ..Bind::default() };
        run(&mut client, &[bind.bytes(), execute("", 0), sync()]).await
    };
    let good = ["2", "D 1|1|1", "C SELECT 1", "Z I"];
    assert_eq!(bound(&[], &[]).await, good);
    assert_eq!(bound(&[0], &[0]).await, good);
    assert_eq!(bound(&[0, 0, 0], &[0, 0, 0]).await, good);
    assert_eq!(bound(&[0, 0], &[]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[0, 0, 0, 0], &[]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[], &[0, 0]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[], &[0, 0, 0, 0]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[7], &[]).await, ["E 22023", "Z I"]);
    assert_eq!(bound(&[], &[0, 1, 0]).await[1], "D 1|\0\0\0\x01|1");
}

async fn parameters_must_fit(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [parse("s", "SELECT $1::int4", &[]), parse("t", "SELECT $1::text", &[]), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "1", "Z I"]);
    let mut bound = async |statement: &str, formats: &[i16], values: &[Option<&[u8]>]| {
        let bind = Bind { statement, formats, values, ..Bind::default() };
        run(&mut client, &[bind.bytes(), execute("", 0), sync()]).await.remove(0)
    };
    assert_eq!(bound("s", &[], &[]).await, "E 08P01");
    assert_eq!(bound("s", &[], &[None, None]).await, "E 08P01");
    assert_eq!(bound("s", &[], &[Some(b"x")]).await, "E 22P02");
    assert_eq!(bound("s", &[], &[Some(b"2147483648")]).await, "E 22003");
    assert_eq!(bound("s", &[1], &[Some(b"\0\0")]).await, "E 08P01");
    assert_eq!(bound("s", &[1], &[Some(b"\0\0\0\0\0")]).await, "E 22P03");
    assert_eq!(bound("s", &[], &[None]).await, "2");
    assert_eq!(bound("t", &[], &[Some("grün".as_bytes())]).await, "2");
}

async fn closing_is_always_complete(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [close('S', "nothing"), close('P', "nothing"), close('S', ""), sync()];
    assert_eq!(run(&mut client, &messages).await, ["3", "3", "3", "Z I"]);
    let messages = [parse("s", "SELECT 1", &[]), close('S', "s"), bind("", "s"), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "3", "E 26000", "Z I"]);
}

async fn deallocate_forgets_statements(target: Target) {
    let mut client = Client::login(&target).await;
    let prepare = [parse("one", "SELECT 1", &[]), parse("two", "SELECT 1", &[]), sync()];
    assert_eq!(run(&mut client, &prepare).await, ["1", "1", "Z I"]);
    assert_eq!(client.query("DEALLOCATE one").await, ["C DEALLOCATE", "Z I"]);
    assert_eq!(run(&mut client, &[bind("", "one"), sync()]).await, ["E 26000", "Z I"]);
    assert_eq!(run(&mut client, &[bind("", "two"), sync()]).await, ["2", "Z I"]);
    assert_eq!(client.query("DEALLOCATE ALL").await, ["C DEALLOCATE ALL", "Z I"]);
    assert_eq!(run(&mut client, &[bind("", "two"), sync()]).await, ["E 26000", "Z I"]);
}

async fn long_pipelines_and_long_texts_are_answered(target: Target) {
    let mut client = Client::login(&target).await;
    let set = [parse("s", "SET application_name = 'x'", &[])];
    let one = [bind("", "s"), execute("", 0)].concat();
    let pipeline = [set.concat(), one.repeat(5_000), sync()].concat();
    let (mut reader, mut writer) = client.stream.split();
    let reading = async {
        // C 8 + "SET" and NUL, 2 5: what 5,000 answers take
        let mut bytes = vec![0; 5 + 5_000 * (5 + 9)];
        reader.read_exact(&mut bytes).await.expect("all answers");
        assert_eq!(&bytes[..5], b"1\0\0\0\x04");
    };
    let writing = async { writer.write_all(&pipeline).await.expect("the server reads") };
    within("a pipeline", async { tokio::join!(reading, writing) }).await;
    client.until_ready().await;
    let many = "SELECT 1;".repeat(3_000);
    assert_eq!(client.query(&many).await.len(), 3 * 3_000 + 1);
}

async fn described_statements_tell_their_types(target: Target) {
    let mut client = Client::login(&target).await;
    let sql = "SELECT $1::int8, $2::text, $3::bool";
    let messages = [parse("s", sql, &[0, 1043, 0]), describe('S', "s"), sync()];
    client.raw(&messages.concat()).await;
    let replies = client.replies().await;
    assert_eq!((replies[1].tag, &replies[1].body[..]), (b't', &b"\0\x03\0\0\0\x14\0\0\x04\x13\0\0\0\x10"[..]));
    let described: Vec<_> =
        replies[2].described().into_iter().map(|(_, oid, length, code)| (oid, length, code)).collect();
    assert_eq!(described, [(20, 8, 0), (25, -1, 0), (16, 1, 0)]);
    let values = [None, None, None];
    let bind = Bind { statement: "s", values: &values, result_formats: &[1], ..Bind::default() };
    client.raw(&[bind.bytes(), describe('P', ""), sync()].concat()).await;
    let described = client.replies().await[1].described();
    assert_eq!(
        described.into_iter().map(|(_, oid, _, code)| (oid, code)).collect::<Vec<_>>(),
        [(20, 1), (25, 1), (16, 1)]
    );
    let nothing = [parse("", "BEGIN", &[]), describe('S', ""), sync()];
    assert_eq!(run(&mut client, &nothing).await, ["1", "t", "n", "Z I"]);
}

// --------------------------------------------------------------------------------------------------- the hostile

async fn malformed_bodies_are_errors(target: Target) {
    let mut client = Client::login(&target).await;
    let bodies: [(u8, &[u8]); 9] = [
        (b'P', b""),
        (b'P', b"name"),
        (b'P', b"\0SELECT 1\0\x7f\xff"),
        (b'B', b"\0\0\0\x01"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        (b'B', b"\0\0\x7f\xff\0\0\0\0"),
        (b'E', b"\0\0"),
        (b'D', b"Q\0"),
        (b'C', b""),
    ];
    for (tag, body) in bodies {
        let messages = [parse("", "SELECT 1", &[]), message(tag, body), sync()];
        assert_eq!(run(&mut client, &messages).await, ["1", "E 08P01", "Z I"], "{} {body:?}", tag as char);
    }
    client.send(b'Q', b"SELECT 1").await;
    assert_eq!(client.until_ready().await, ["E 08P01", "Z I"]);
    client.send(b'S', b"x").await;
    assert_eq!(client.until_ready().await, ["E 08P01", "Z I"]);
}

async fn malformed_frames_end_the_connection(target: Target) {
    for frame in [&b"Q\0\0\0\x03"[..], b"Q\xff\xff\xff\xff", b"S\x3f\xff\xff\xff", b"E\0\x01\0\0"] {
        let mut client = Client::login(&target).await;
        client.raw(frame).await;
        // PostgreSQL says nothing
        if let Some(reply) = client.try_next().await {
            assert_eq!(reply.shown(), "E 08P01");
            assert_eq!(client.try_next().await, None);
        }
    }
}

async fn an_unknown_message_type_ends_the_connection(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'!', b"").await;
    client.expect_end(Some("08P01")).await;
}

async fn copy_messages_outside_of_copy_are_ignored(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [message(b'd', b"data"), message(b'c', b""), message(b'f', b"why\0")].concat();
    client.raw(&messages).await;
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

async fn function_calls_are_answered(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'F', b"\x7f\xff\xff\xff\0\0\0\0\0\0").await;
    let replies = client.until_ready().await;
    assert!(replies[0].starts_with('E'));
    assert_eq!(replies[1..], ["Z I"]);
}

// -------------------------------------------------------------------------------------- transactions and settings

async fn transaction_status_is_shown(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    assert_eq!(client.query("SELEKT").await, ["E 42601", "Z E"]);
    assert_eq!(client.query("SELECT 1").await, ["E 25P02", "Z E"]);
    assert_eq!(client.query("ROLLBACK").await, ["C ROLLBACK", "Z I"]);
}

async fn a_failed_transaction_refuses(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(run(&mut client, &[parse("s", &series(3), &[]), sync()]).await, ["1", "Z I"]);
    client.query("BEGIN").await;
    let rows = [bind("p", "s"), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &rows).await, ["2", "D 1", "s", "Z T"]);
    // an error of the protocol fails the transaction too
    assert_eq!(run(&mut client, &[bind("q", "nothing"), sync()]).await, ["E 26000", "Z E"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["E 25P02", "Z E"]);
    assert_eq!(run(&mut client, &[parse("", "SELECT 1", &[]), sync()]).await, ["E 25P02", "Z E"]);
    assert_eq!(client.query("COMMIT").await, ["C ROLLBACK", "Z I"]);
}

async fn settings_are_reported(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'Q', b"SET application_name = 'wire test'\0").await;
    assert_eq!(client.take(1).await, ["C SET"]);
    let status = client.next().await;
    assert_eq!((status.tag, &status.body[..17]), (b'S', &b"application_name\0"[..]));
    assert_eq!(client.take(1).await, ["Z I"]);
}

// -------------------------------------------------------------------------------------------------------- cancel

async fn cancel(target: &Target, process_id: i32, secret: i32) {
    let mut other = Client::open(target).await;
    let packet = [80_877_102_i32, process_id, secret].map(i32::to_be_bytes).concat();
    other.packet(&packet).await;
    assert_eq!(other.try_next().await, None, "a cancel request is not answered");
}

async fn a_running_statement_can_be_cancelled(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'Q', format!("{}\0", target.slow_statement).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancel(&target, client.process_id, client.secret).await;
    let replies = client.replies().await;
    let error = replies.iter().find(|reply| reply.tag == b'E').expect("an error");
    assert_eq!(error.field('C').as_deref(), Some("57014"));
    assert_eq!(error.field('M').as_deref(), Some("canceling statement due to user request"));
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

async fn streaming_rows_can_be_cancelled(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [parse("", &series(3_000_000), &[]), bind("", ""), execute("", 0), sync()];
    client.raw(&messages.concat()).await;
    // the client does not read: the server waits for it in a socket write
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    cancel(&target, client.process_id, client.secret).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut rows = 0;
    let error = loop {
        let reply = client.next().await;
        match reply.tag {
            b'D' => rows += 1,
            b'E' => break reply,
            b'C' => panic!("the statement ended before it could be cancelled"),
            _ => {}
        }
    };
    assert_eq!(error.field('C').as_deref(), Some("57014"));
    assert!(rows > 0 && rows < 3_000_000, "{rows}");
    assert_eq!(client.until_ready().await, ["Z I"]);
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

async fn a_cancel_needs_the_secret(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'Q', format!("{}\0", target.slow_statement).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    cancel(&target, client.process_id, client.secret ^ 1).await;
    let answered = tokio::time::timeout(Duration::from_millis(500), client.stream.peek(&mut [0])).await;
    if answered.is_ok() {
        // a row description may come before the statement runs
        assert_eq!(client.next().await.tag, b'T');
    }
    cancel(&target, client.process_id, client.secret).await;
    assert_eq!(client.until_ready().await.pop().as_deref(), Some("Z I"));
}

async fn a_late_cancel_hits_nothing(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("SELECT 1").await;
    cancel(&target, client.process_id, client.secret).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

async fn a_terminate_after_a_statement_lets_it_end(target: Target) {
    let mut client = Client::login(&target).await;
    client.raw(&[message(b'Q', b"SELECT 1\0"), message(b'X', b"")].concat()).await;
    assert_eq!(client.until_ready().await, ["T", "D 1", "C SELECT 1", "Z I"]);
    assert_eq!(client.try_next().await, None);
}

// -------------------------------------------------------------------- scenarios that need a server of their own

/// A server that is told to stop by `stop` while its drain timeout is long: the idle are sent away, what runs ends.
pub async fn stopping_ends_the_idle_and_lets_the_running_finish(target: Target, stop: impl FnOnce()) {
    let mut idle = Client::login(&target).await;
    let mut in_transaction = Client::login(&target).await;
    in_transaction.query("BEGIN").await;
    let mut opening = Client::open(&target).await;
    opening.start(&target, 3 << 16).await;
    opening.next().await;
    let mut running = Client::login(&target).await;
    running.send(b'Q', format!("{}\0", target.short_statement).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop();
    idle.expect_end(Some("57P01")).await;
    in_transaction.expect_end(Some("57P01")).await;
    opening.expect_end(Some("57P01")).await;
    let replies = running.until_ready().await;
    assert_eq!(replies[2..], ["C SELECT 1", "Z I"]);
    running.expect_end(Some("57P01")).await;
}

/// A server that is told to stop by `stop` and has a short drain timeout: what still runs is cancelled.
pub async fn stopping_cancels_what_runs_too_long(target: Target, stop: impl FnOnce()) {
    let mut running = Client::login(&target).await;
    running.send(b'Q', format!("{}\0", target.slow_statement).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop();
    running.expect_end(Some("57P01")).await;
}

/// A server that lets two clients in.
pub async fn one_client_too_many_is_told_so_and_cancels_still_work(target: Target) {
    let mut one = Client::login(&target).await;
    let two = Client::login(&target).await;
    let mut three = Client::open(&target).await;
    three.start(&target, 3 << 16).await;
    three.expect_end(Some("53300")).await;
    one.send(b'Q', format!("{}\0", target.slow_statement).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancel(&target, one.process_id, one.secret).await;
    assert_eq!(one.until_ready().await.last().map(String::as_str), Some("Z I"));
    two.hang_up().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    Client::login(&target).await;
}

/// A server whose start-up timeout is well below half a minute.
pub async fn a_login_has_its_time(target: Target) {
    let mut silent = Client::open(&target).await;
    let mut half = Client::open(&target).await;
    half.start(&target, 3 << 16).await;
    half.next().await;
    assert_eq!(silent.try_next().await, None);
    assert_eq!(half.try_next().await, None);
}

/// Any server; `memory_kb` tells how much memory it has now.
pub async fn three_million_rows_need_little_memory(target: Target, memory_kb: impl Fn() -> u64) {
    let mut client = Client::login(&target).await;
    let before = memory_kb();
    let messages = [parse("", &series(3_000_000), &[]), bind("", ""), execute("", i32::MAX), sync()];
    client.raw(&messages.concat()).await;
    assert_eq!(client.take(3).await, ["1", "2", "D 1"]);
    let mut rows = 1_u32;
    loop {
        let reply = client.next().await;
        match reply.tag {
            b'D' => rows += 1,
            b'C' => assert_eq!(reply.shown(), "C SELECT 3000000"),
            b'Z' => break,
            _ => panic!("{reply:?}"),
        }
    }
    assert_eq!(rows, 3_000_000);
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 100_000, "{grown} kB");
}
