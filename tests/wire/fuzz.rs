//! What strangers send: statements, messages, parameters and COPY input, broken in many ways, from a seed. Whatever comes,
//! the server neither dies nor answers with an error of its own making (XX000), and goes on answering others.
//!
//! Some hundred inputs are a test; `GRANARY_FUZZ_MINUTES=60` goes on for an hour, `GRANARY_FUZZ_SEED` begins elsewhere.
//! What was found is in the folder that the failure names, as bytes that can be sent again; what was sent last is there, too,
//! in case that the server is dead.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::client::{Bind, Client, Reply, Target, bind, describe, execute, message, parse, sync};
use crate::corpus::{self, Corpus};
use crate::random::Random;
use crate::server::{PASSWORD, Server, USER};

/// Without a time, so many inputs of each way.
const ROUNDS: u64 = 120;
/// Statements are stopped after 5 s; one that is not answered for so long cannot be stopped.
const PATIENCE: Duration = Duration::from_secs(90);
/// A server that waits for the rest of a message says nothing.
const SILENCE: Duration = Duration::from_millis(300);

/// A way to be strange.
#[derive(Debug, Clone, Copy)]
enum Way {
    Statements,
    Messages,
    Parameters,
    Copies,
    Openings,
}

const WAYS: [Way; 5] = [Way::Statements, Way::Messages, Way::Parameters, Way::Copies, Way::Openings];

/// Where strangers are: a role and a workspace of its own, made anew when what they did has locked them out.
struct Ground {
    server: Target,
    target: Target,
    n: u64,
}

impl Ground {
    async fn new(server: Target, n: u64) -> Ground {
        let name = format!("stranger_{n}");
        let mut admin = Client::login(&server).await;
        for sql in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"),
            format!("CREATE DATABASE {name}"),
            format!("ALTER DATABASE {name} OWNER TO {name}"),
        ] {
            let replies = admin.query(&sql).await;
            assert!(!replies.iter().any(|reply| reply.starts_with('E')), "{sql}: {replies:?}");
        }
        let target = Target { user: name.clone(), database: name, ..server.clone() };
        let mut own = Client::login(&target).await;
        for sql in corpus::SETUP {
            let replies = own.query(sql).await;
            assert!(!replies.iter().any(|reply| reply.starts_with('E')), "{sql}: {replies:?}");
        }
        Ground { server, target, n }
    }

    async fn login(&mut self) -> Client {
        loop {
            let mut client = Client::open(&self.target).await;
            client.start(&self.target, 3 << 16).await;
            let last = client.authenticate(&self.target.password).await;
            if last.tag == b'Z' {
                client.query("SET statement_timeout = '5s'").await;
                return client;
            }
            *self = Ground::new(self.server.clone(), self.n + 1).await;
        }
    }
}

/// What an input was answered with.
#[derive(Default)]
struct Heard {
    replies: Vec<Reply>,
    is_open: bool,
    hangs: bool,
}

impl Heard {
    fn finding(&self) -> Option<String> {
        if self.hangs {
            return Some("no answer".to_owned());
        }
        let own = self.replies.iter().filter(|reply| reply.field('C').as_deref() == Some("XX000"));
        let mut messages = own.map(|reply| reply.field('M').unwrap_or_default());
        // PostgreSQL says this, too, and with the same SQLSTATE
        messages.find(|message| !message.starts_with("unsupported jsonb version number"))
    }
}

/// Reads up to ReadyForQuery.
async fn until_ready(client: &mut Client) -> Heard {
    let mut heard = Heard::default();
    let reading = async {
        while let Some(reply) = client.try_next().await {
            match reply.tag {
                b'Z' => {
                    heard.is_open = true;
                    return;
                }
                // COPY from a client that has nothing to send
                b'G' | b'W' => client.send(b'f', b"no\0").await,
                b'E' => heard.replies.push(reply),
                _ => {}
            }
        }
    };
    heard.hangs = tokio::time::timeout(PATIENCE, reading).await.is_err();
    heard
}

/// Reads all that comes, and says goodbye when the server waits.
async fn until_end(mut client: Client) -> Heard {
    let mut heard = Heard::default();
    let reading = async {
        let mut is_told = false;
        loop {
            if !is_told && tokio::time::timeout(SILENCE, client.stream.peek(&mut [0])).await.is_err() {
                is_told = true;
                // it may have gone
                let _ = client.stream.shutdown().await;
            }
            let next = client.try_next().await;
            match next {
                Some(reply) if reply.tag == b'E' => heard.replies.push(reply),
                Some(_) => {}
                None => return,
            }
        }
    };
    heard.hangs = tokio::time::timeout(PATIENCE, reading).await.is_err();
    heard
}

struct Fuzz {
    /// what was sent last, for who finds the server dead
    last: PathBuf,
    corpus: Corpus,
    random: Random,
    ground: Ground,
    /// kept for statements
    client: Option<Client>,
    /// of the connection, the newest last
    said: Vec<String>,
}

impl Fuzz {
    /// Sends one input; gives it, and what is wrong with the answer.
    async fn once(&mut self, way: Way) -> (Vec<u8>, Option<String>) {
        match way {
            Way::Statements => self.statement().await,
            Way::Messages => {
                let mut bytes = self.messages();
                self.break_bytes(&mut bytes);
                self.alone(bytes, true).await
            }
            Way::Parameters => {
                let bytes = self.parameters();
                self.alone(bytes, true).await
            }
            Way::Copies => {
                let bytes = self.copy();
                self.alone(bytes, true).await
            }
            Way::Openings => {
                let mut bytes = self.opening();
                self.break_bytes(&mut bytes);
                self.alone(bytes, false).await
            }
        }
    }

    async fn statement(&mut self) -> (Vec<u8>, Option<String>) {
        let sql = self.corpus.broken(&mut self.random).replace('\0', "");
        let mut client = match self.client.take() {
            Some(client) if self.said.len() < 200 => client,
            _ => {
                self.said.clear();
                self.ground.login().await
            }
        };
        let is_extended = self.random.chance(40);
        self.said.push(sql.clone());
        std::fs::write(&self.last, &sql).expect("writes");
        match is_extended {
            true => {
                client
                    .raw(&[parse("", &sql, &[]), bind("", ""), describe('P', ""), execute("", 7), sync()].concat())
                    .await
            }
            false => client.send_query(&sql).await,
        }
        let heard = until_ready(&mut client).await;
        let finding = heard.finding();
        if heard.is_open && finding.is_none() {
            self.client = Some(client);
        }
        // what came before it may matter
        let said = if finding.is_some() { self.said.join(";\n") } else { String::new() };
        (said.into_bytes(), finding)
    }

    /// Sends bytes on a connection of their own.
    async fn alone(&mut self, bytes: Vec<u8>, is_in: bool) -> (Vec<u8>, Option<String>) {
        let mut client = match is_in {
            true => self.ground.login().await,
            false => Client::open(&self.ground.target).await,
        };
        std::fs::write(&self.last, &bytes).expect("writes");
        client.raw(&[bytes.as_slice(), &message(b'X', b"")].concat()).await;
        let finding = until_end(client).await.finding();
        (bytes, finding)
    }

    /// Some messages that make sense by themselves.
    fn messages(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..=self.random.below(6) {
            let name = *self.random.pick(&["", "a", "b"]);
            let message = match self.random.below(12) {
                0 => message(b'Q', format!("{}\0", self.corpus.statement(&mut self.random)).as_bytes()),
                1 | 2 => parse(name, &self.corpus.statement(&mut self.random), &[23, 25]),
                3 => self.bound(name),
                4 => describe(*self.random.pick(&['S', 'P', 'x']), name),
                5 => execute(name, *self.random.pick(&[0, 1, -1, i32::MAX, i32::MIN])),
                6 => message(*self.random.pick(b"CHSdcfFp"), name.as_bytes()),
                7 => message(b'd', b"1\tx\n"),
                8 => message(b'Q', b"COPY strange (id, t) FROM STDIN\0"),
                9 => message(b'C', format!("S{name}\0").as_bytes()),
                10 => message(b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
                _ => sync(),
            };
            bytes.extend(message);
        }
        bytes.extend(sync());
        bytes
    }

    fn bound(&mut self, name: &str) -> Vec<u8> {
        let values: Vec<Option<Vec<u8>>> =
            (0..self.random.below(4)).map(|_| (!self.random.chance(20)).then(|| self.bytes(20))).collect();
        let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
        let formats: Vec<i16> = (0..self.random.below(3)).map(|_| self.random.below(3) as i16).collect();
        Bind { portal: name, statement: name, formats: &formats, values: &values, result_formats: &[1] }.bytes()
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.random.below(most + 1)).map(|_| self.random.byte()).collect()
    }

    /// A parameter of some type in bytes that may be none of it.
    fn parameters(&mut self) -> Vec<u8> {
        let of = *self.random.pick(corpus::TYPES);
        let sql = format!("SELECT $1::{of}, $1::{of}::text, ARRAY[$1::{of}]");
        let mut value = match self.random.chance(50) {
            true => self.corpus.value(&mut self.random).into_bytes(),
            false => corpus::binary_value(of, &mut self.random),
        };
        if self.random.chance(70) {
            self.break_bytes(&mut value);
        }
        let format = self.random.below(2) as i16;
        let bind = Bind { formats: &[format], values: &[Some(&value)], result_formats: &[format], ..Bind::default() };
        let into = ["INSERT INTO strange (id, a) VALUES (1, $1)", "SELECT count(*) FROM strange WHERE a = $1"];
        let sql = if self.random.chance(10) { (*self.random.pick(&into)).to_owned() } else { sql };
        [parse("", &sql, &[]), bind.bytes(), execute("", 0), sync()].concat()
    }

    /// COPY of lines and tuples that may be none.
    fn copy(&mut self) -> Vec<u8> {
        let format = *self.random.pick(&["text", "csv", "binary"]);
        let options = match format {
            "csv" => *self.random.pick(&[
                "",
                ", HEADER",
                ", DELIMITER ';'",
                ", QUOTE ''''",
                ", NULL 'x'",
                ", FORCE_NULL (t)",
            ]),
            "text" => *self.random.pick(&["", ", NULL ''", ", DELIMITER '|'", ", HEADER"]),
            _ => "",
        };
        let mut data = if format == "binary" { b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec() } else { Vec::new() };
        for _ in 0..self.random.below(20) {
            if format == "binary" {
                data.extend(7_i16.to_be_bytes());
                for of in corpus::COLUMNS {
                    let value = corpus::binary_value(of, &mut self.random);
                    data.extend((value.len() as i32).to_be_bytes());
                    data.extend(value);
                }
            } else {
                let separator = if format == "csv" { "," } else { "\t" };
                let values: Vec<String> = corpus::COLUMNS.iter().map(|_| self.corpus.value(&mut self.random)).collect();
                data.extend(values.join(separator).bytes());
                data.push(b'\n');
            }
        }
        if format == "binary" {
            data.extend((-1_i16).to_be_bytes());
        }
        if self.random.chance(80) {
            self.break_bytes(&mut data);
        }
        let mut bytes = message(b'Q', format!("COPY strange FROM STDIN (FORMAT {format}{options})\0").as_bytes());
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(1 + self.random.below(200) as usize));
            bytes.extend(message(b'd', chunk));
            rest = after;
        }
        bytes.extend(message(if self.random.chance(90) { b'c' } else { b'f' }, b""));
        bytes.extend(message(b'Q', b"DELETE FROM strange\0"));
        bytes
    }

    fn opening(&mut self) -> Vec<u8> {
        let mut body = match self.random.below(5) {
            0 => 80_877_103_i32.to_be_bytes().to_vec(),
            1 => 80_877_104_i32.to_be_bytes().to_vec(),
            2 => [80_877_102_i32.to_be_bytes(), 1_i32.to_be_bytes(), 2_i32.to_be_bytes()].concat(),
            _ => {
                let mut body = (3_i32 << 16).to_be_bytes().to_vec();
                let options = self.corpus.value(&mut self.random).replace('\0', "");
                for (name, value) in [("user", USER), ("database", USER), ("options", &options)] {
                    body.extend(format!("{name}\0{value}\0").bytes());
                }
                body.push(0);
                body
            }
        };
        let mut bytes = (body.len() as i32 + 4).to_be_bytes().to_vec();
        bytes.append(&mut body);
        bytes.extend(message(b'p', b"SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=rOprNGfwEbeRWgbNEkqO"));
        bytes
    }

    fn break_bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.random.below(4) {
            if bytes.is_empty() {
                bytes.push(self.random.byte());
                continue;
            }
            let at = self.random.below(bytes.len() as u64) as usize;
            let random = &mut self.random;
            match random.below(6) {
                0 => bytes[at] = random.byte(),
                1 => bytes[at] ^= 1 << random.below(8),
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, random.byte()),
                4 => bytes.truncate(at),
                _ => {
                    let number = *random.pick(&[0, 1, -1, 4, i32::MAX, i32::MIN, 1 << 30, 0x7fff, 10_000]);
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].copy_from_slice(&number.to_be_bytes()[..end - at]);
                }
            }
        }
    }
}

/// Any server. Each way takes its turn until the time is over.
pub async fn strangers_break_nothing(server: &Server, target: Target) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let minutes = number("GRANARY_FUZZ_MINUTES");
    let seed = number("GRANARY_FUZZ_SEED").unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(0));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&folder).expect("a folder");
    let ground = Ground::new(target.clone(), 0).await;
    let mut fuzz = Fuzz {
        last: folder.join(format!("{seed}-last")),
        corpus: Corpus::read(),
        random: Random::new(seed),
        ground,
        client: None,
        said: Vec::new(),
    };
    let mut other = Client::login(&target).await;
    let (mut found, mut done) = (String::new(), 0_u64);
    while if minutes.is_some() { Instant::now() < until } else { done < ROUNDS } {
        for way in WAYS {
            let (input, finding) = fuzz.once(way).await;
            let Some(finding) = finding else { continue };
            let file = folder.join(format!("{seed}-{done}-{way:?}"));
            std::fs::write(&file, input).expect("writes");
            writeln!(found, "{way:?}: {finding}: {}", file.display()).expect("a text takes all");
            eprintln!("{way:?}: {finding}: {}", file.display());
        }
        done += 1;
        if done.is_multiple_of(20) {
            assert_eq!(other.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"], "after {done} rounds");
        }
        if done.is_multiple_of(5_000) {
            eprintln!("{done} rounds, {} MB", server.memory_kb() / 1024);
        }
    }
    eprintln!("{done} rounds of {} ways, {} MB at most", WAYS.len(), server.peak_memory_kb() / 1024);
    assert!(found.is_empty(), "{found}");
}
