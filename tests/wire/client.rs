//! A client over a raw socket that says exactly what it is told to, and what it hears.
#![allow(dead_code)]

use std::future::Future;
use std::net::SocketAddr;
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
}

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

pub fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A client that says exactly what it is told to.
pub struct Client {
    pub stream: TcpStream,
    pub process_id: i32,
    pub secret: i32,
    pub statuses: Vec<(String, String)>,
}

/// Of a test with a server that hangs, be the machine as busy as it may.
const PATIENCE: Duration = Duration::from_secs(120);

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

    pub async fn send_query(&mut self, sql: &str) {
        self.send(b'Q', format!("{sql}\0").as_bytes()).await;
    }

    pub async fn query(&mut self, sql: &str) -> Vec<String> {
        self.send_query(sql).await;
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

pub async fn run(client: &mut Client, messages: &[Vec<u8>]) -> Vec<String> {
    client.raw(&messages.concat()).await;
    client.until_ready().await
}

pub fn series(rows: u32) -> String {
    format!("SELECT * FROM generate_series(1, {rows})")
}

/// Runs for many seconds unless it is cancelled.
pub const SLOW_STATEMENT: &str = "SELECT count(*) FROM generate_series(1, 100000::bigint) a, generate_series(1, 10000000::bigint) b \
     WHERE (a * b) % 7 = 3";
/// Runs for about a second and gives one row.
pub const SHORT_STATEMENT: &str = "SELECT count(*) FROM generate_series(1, 20000000)";

/// Waits until the client with this process id runs a statement, as `watcher` sees it.
pub async fn until_active(watcher: &mut Client, process_id: i32) {
    let sql = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {process_id} AND state = 'active'");
    within("the statement's start", async { while watcher.query(&sql).await.len() < 4 {} }).await;
}
