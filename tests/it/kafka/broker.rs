//! A broker of a test's own, a producer, a reader, and a way between that can be cut.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use granary::http::TlsAcceptor;

use crate::asking::free_port;

const TIMEOUT: Duration = Duration::from_secs(20);

fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let cache =
            std::env::var_os("GRANARY_TEST_CACHE").map_or_else(|| root.join("target/test-tools"), PathBuf::from);
        let output = Command::new(root.join("tests/it/kafka/install.sh")).arg(&cache).output().expect("a shell");
        assert!(output.status.success(), "install.sh: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).expect("text").trim())
    })
}

/// Keeps its topics in memory.
pub struct Broker {
    child: Child,
    pub port: u16,
}

impl Broker {
    pub fn start() -> Broker {
        let port = free_port();
        Broker::start_at(port, port, &[])
    }

    /// Listens on `port`, and tells clients to come to `advertised`.
    pub fn start_at(port: u16, advertised: u16, more: &[&str]) -> Broker {
        let mut child = Command::new(program())
            .args(["broker", "--storage-engine", "memory://tansu/"])
            .args(["--listener-url", &format!("tcp://127.0.0.1:{port}")])
            .args(["--advertised-listener-url", &format!("tcp://127.0.0.1:{advertised}")])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the broker starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("ready"));
        assert!(is_ready, "the broker did not start");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Broker { child, port }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0");
    config
}

pub async fn create_topic(client: &ClientConfig, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client.create().expect("a client");
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let made = admin.create_topics([&topic], &options).await.expect("asks");
    made.into_iter().for_each(|made| drop(made.expect("makes the topic")));
}

pub struct Producer(BaseProducer);

impl Producer {
    pub fn new(client: &ClientConfig) -> Producer {
        Producer(client.clone().set("linger.ms", "1").create().expect("a producer"))
    }

    pub fn send(&self, topic: &str, partition: i32, key: Option<&str>, payload: Option<&[u8]>) {
        let mut record = BaseRecord::<str, [u8]>::to(topic).partition(partition);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        self.0.send(record).map_err(|(error, _)| error).expect("there is room");
        self.0.poll(Duration::ZERO);
    }

    /// What was sent is with the broker.
    pub fn flush(&self) {
        self.0.flush(TIMEOUT).expect("the broker takes messages");
    }
}

/// How long it waits for one message more.
const QUIET: Duration = Duration::from_millis(200);

/// Remembers the last message of each key.
pub struct Reader {
    consumer: BaseConsumer,
    newest: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Reader {
    /// Of a topic that is there.
    pub fn new(client: &ClientConfig, topic: &str) -> Reader {
        let consumer: BaseConsumer =
            client.clone().set("group.id", "test").set("auto.offset.reset", "earliest").create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("brokers answer");
        let mut assigned = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            assigned.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
        }
        consumer.assign(&assigned).expect("reads");
        Reader { consumer, newest: BTreeMap::new() }
    }

    /// Of all that is there by now.
    pub fn newest(&mut self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        while let Some(message) = self.consumer.poll(QUIET) {
            let Ok(message) = message else { continue };
            let (key, payload) = (message.key().expect("a key"), message.payload().expect("a payload"));
            self.newest.insert(key.to_vec(), payload.to_vec());
        }
        &self.newest
    }
}

/// A new certificate of 127.0.0.1, signed by itself, and its key, as files.
pub fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (certificate, key)
}

/// Carries connections from a port to a broker until it is cut.
pub struct Way {
    cut: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Way {
    pub async fn open(from: u16, to: u16) -> Way {
        Way::open_with(from, to, None).await
    }

    /// Clients come encrypted.
    pub async fn open_tls(from: u16, to: u16, acceptor: TlsAcceptor) -> Way {
        Way::open_with(from, to, Some(acceptor)).await
    }

    async fn open_with(from: u16, to: u16, acceptor: Option<TlsAcceptor>) -> Way {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], from))).await.expect("listens");
        let cut = CancellationToken::new();
        let until = cut.clone();
        let ended = tokio::spawn(async move {
            let carried = until.clone();
            let accept = async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    let (until, acceptor) = (carried.clone(), acceptor.clone());
                    tokio::spawn(async move {
                        let carry = async {
                            let mut far = TcpStream::connect(("127.0.0.1", to)).await?;
                            match acceptor {
                                None => tokio::io::copy_bidirectional(&mut near, &mut far).await,
                                Some(acceptor) => {
                                    let mut near = acceptor.accept(near).await?;
                                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                                }
                            }
                        };
                        drop(until.run_until_cancelled(carry).await);
                    });
                }
            };
            let _ = until.run_until_cancelled(accept).await;
        });
        Way { cut, ended }
    }

    pub async fn cut(self) {
        self.cut.cancel();
        self.ended.await.expect("ends");
    }
}
