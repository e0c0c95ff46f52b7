//! Messages into a topic: what a sink says of one, and a producer that knows what brokers have acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::statistics::Statistics;

use super::client::{Client, do_not_fit};
use super::topic::Problem;
use crate::error::{Error, Result};

/// How long a broker may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often, and how long, librdkafka is asked what the matter is.
const HEARING_TURNS: u32 = 10;
const HEARING_TURN: Duration = Duration::from_millis(50);
/// How long a message waits for room before anybody looks around.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// As a statement says it.
const CLAUSE: &str = "TO KAFKA";
const OWN: [&str; 3] = ["topic", "format", "start"];

/// No message overtakes another one or is there twice while a producer lives, and none is given up.
const DEFAULTS: [(&str, &str); 8] = [
    ("client.id", "granary"),
    ("enable.idempotence", "true"),
    ("message.timeout.ms", "0"),
    // as clients in other languages choose a partition
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("statistics.interval.ms", "1000"),
    ("reconnect.backoff.max.ms", "2000"),
    ("log_level", "3"),
];

/// What a sink says of its topic.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    pub topic: String,
    /// all events that there ever were have changed something, rather than those that are to come
    pub from_earliest: bool,
    client: ClientConfig,
}

impl SinkOptions {
    /// Errors name the option, or the names that there are: 22023, and 0A000 for what a later release has.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<SinkOptions> {
        let mut client = Client::new(CLAUSE, &OWN, &DEFAULTS);
        let (mut topic, mut format, mut from_earliest) = (None, None, false);
        for (name, value) in pairs {
            client.check_secret(name, value)?;
            match name {
                "topic" => topic = Some(value.to_owned()),
                "format" => format = Some(value.to_ascii_lowercase()),
                "start" => {
                    from_earliest = match value.to_ascii_lowercase().as_str() {
                        "earliest" => true,
                        "latest" => false,
                        _ => return Err(client.wrong(name, value, "earliest or latest")),
                    }
                }
                "key" => return Err(Error::not_supported("option \"key\" of TO KAFKA").with_hint(KEY_HINT)),
                other => client.set(other, value)?,
            }
        }
        let topic = topic.filter(|topic| !topic.is_empty()).ok_or_else(|| client.missing("topic", "'name'"))?;
        match format.as_deref() {
            None => return Err(client.missing("format", "json")),
            Some("json") => {}
            Some(later @ ("csv" | "avro" | "protobuf")) => {
                return Err(Error::not_supported(format!("TO KAFKA with format {later}")));
            }
            Some(other) => return Err(client.wrong("format", other, "json")),
        }
        Ok(SinkOptions { topic, from_earliest, client: client.finish()? })
    }

    /// Whether librdkafka takes them together. It reads files of certificates; it asks no broker.
    pub fn check_client(&self) -> Result<()> {
        let mut client = self.client.clone();
        client.remove("bootstrap.servers");
        let made: Result<BaseProducer<Context>, KafkaError> = client.create_with_context(Context(Arc::default()));
        made.map(drop).map_err(|error| do_not_fit(CLAUSE, &error))
    }
}

const KEY_HINT: &str = "a message's key is the entity's: leave it out";

/// What librdkafka says of messages and brokers.
#[derive(Default)]
struct Heard {
    delivered: AtomicU64,
    /// what a message was given up for
    failed: Mutex<Option<Problem>>,
    problem: Mutex<Option<Problem>>,
}

struct Context(Arc<Heard>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let problem = Problem::with(&error, reason.to_owned());
        let mut known = self.0.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match error.rdkafka_error_code() {
            // what is known says which one, and why
            Some(RDKafkaErrorCode::AllBrokersDown) if known.is_some() => {}
            _ => *known = Some(problem),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            let mut problem = self.0.problem.lock().unwrap_or_else(PoisonError::into_inner);
            *problem = None;
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.delivered.fetch_add(1, Ordering::AcqRel);
            }
            Err((error, _)) => {
                let mut failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(Problem::of(error));
            }
        }
    }
}

/// A producer. Its calls block; what it has not delivered ends with it.
pub struct Sender {
    producer: BaseProducer<Context>,
    heard: Arc<Heard>,
    topic: String,
    sent: AtomicU64,
}

impl Sender {
    /// Errors: there is no such topic, or nobody says so.
    pub fn open(options: &SinkOptions) -> Result<Sender, Problem> {
        let heard = Arc::new(Heard::default());
        let producer = options.client.create_with_context(Context(Arc::clone(&heard)));
        let producer: BaseProducer<Context> =
            producer.map_err(|error: KafkaError| Problem::Failed(error.to_string()))?;
        let sender = Sender { producer, heard, topic: options.topic.clone(), sent: AtomicU64::new(0) };
        let metadata = sender.producer.client().fetch_metadata(Some(&sender.topic), ANSWER_TIMEOUT);
        let metadata = metadata.map_err(|error| sender.why(&error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == sender.topic);
        match topic {
            Some(topic) if topic.error().is_none() && !topic.partitions().is_empty() => Ok(sender),
            _ => Err(Problem::Away(format!("there is no topic \"{}\"", sender.topic))),
        }
    }

    /// Takes a message; false if there is no room now.
    pub fn send(&self, key: &[u8], payload: &[u8]) -> Result<bool, Problem> {
        self.check()?;
        match self.producer.send(BaseRecord::to(&self.topic).key(key).payload(payload)) {
            Ok(()) => {
                self.sent.fetch_add(1, Ordering::AcqRel);
                self.producer.poll(Duration::ZERO);
                Ok(true)
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                self.producer.poll(ROOM_WAIT);
                Ok(false)
            }
            Err((error, _)) => Err(Problem::of(&error)),
        }
    }

    /// Whether brokers have, within `wait`, acknowledged all that was sent.
    pub fn is_delivered(&self, wait: Duration) -> Result<bool, Problem> {
        // when time is up it is asked again
        let _ = self.producer.flush(wait);
        self.check()?;
        Ok(self.heard.delivered.load(Ordering::Acquire) == self.sent.load(Ordering::Acquire))
    }

    /// Hears what brokers say meanwhile.
    pub fn listen(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Why nothing is acknowledged, if something is the matter.
    pub fn problem(&self) -> Option<Problem> {
        self.heard.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What librdkafka heard on the way says more than that there was no answer.
    fn why(&self, error: &KafkaError) -> Problem {
        // what is waiting to be said is heard when it is asked for
        for _ in 0..HEARING_TURNS {
            if self.problem().is_some() {
                break;
            }
            self.producer.poll(HEARING_TURN);
        }
        self.problem().unwrap_or_else(|| Problem::of(error))
    }

    fn check(&self) -> Result<(), Problem> {
        match self.heard.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: [(&str, &str); 3] = [("brokers", "a:9092"), ("topic", "t"), ("format", "json")];

    #[test]
    fn what_is_wrong_is_named() {
        let of = |more: &[(&'static str, &'static str)]| SinkOptions::of(LEAST.into_iter().chain(more.iter().copied()));
        assert!(of(&[("start", "earliest")]).expect("is fine").from_earliest);
        assert!(!of(&[("compression.type", "lz4")]).expect("is fine").from_earliest);
        let cases: [(&[(&str, &str)], &str, &str); 8] = [
            (&[("colour", "red")], "22023", "\"colour\" of TO KAFKA"),
            (&[("start", "2024-01-01")], "22023", "earliest or latest"),
            (&[("acks", "0")], "22023", "\"acks\""),
            (&[("paused", "true")], "22023", "\"paused\""),
            (&[("linger.ms", "long")], "22023", "\"linger.ms\""),
            (&[("key", "user_id")], "0A000", "\"key\""),
            (&[("format", "avro")], "0A000", "avro"),
            (&[("format", "xml")], "22023", "not json"),
        ];
        for (more, sqlstate, said) in cases {
            let error = of(more).expect_err("is wrong");
            assert_eq!(error.sqlstate(), sqlstate, "{more:?}");
            assert!(error.message().contains(said), "{more:?}: {}", error.message());
        }
        for missing in 0..LEAST.len() {
            let rest = LEAST.into_iter().enumerate().filter(|(place, _)| *place != missing);
            let error = SinkOptions::of(rest.map(|(_, option)| option)).expect_err("is missing");
            assert!(error.message().contains(LEAST[missing].0), "{}", error.message());
        }
        let sender = of(&[("security_protocol", "ssl"), ("ssl_ca", "/nowhere/ca.pem")]).expect("asked later");
        assert!(sender.check_client().expect_err("is no file").message().contains("TO KAFKA do not fit"));
    }
}
