//! The messages of a topic, from given offsets on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use super::options::{Options, Start};

/// How long a broker may take to answer a question; a server that stops waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How often, and how long, librdkafka is asked what the matter is.
const HEARING_TURNS: u32 = 10;
const HEARING_TURN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    /// microseconds
    pub time_us: Option<i64>,
    pub key: Option<Vec<u8>>,
    /// None is a tombstone
    pub payload: Option<Vec<u8>>,
}

/// Why nothing is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The brokers do not answer, or not yet as they should; they may by themselves.
    Away(String),
    /// Somebody has to do something.
    Failed(String),
}

impl Problem {
    pub(super) fn of(error: &KafkaError) -> Problem {
        let text = match error {
            KafkaError::MessageConsumption(code) | KafkaError::MessageProduction(code) => code.to_string(),
            other => other.to_string(),
        };
        Problem::with(error, text)
    }

    /// In the words of who met it.
    pub(super) fn with(error: &KafkaError, text: String) -> Problem {
        match error.rdkafka_error_code() {
            Some(code) if AWAY.contains(&code) => Problem::Away(text),
            _ => Problem::Failed(text),
        }
    }
}

/// What passes by itself. After any other error a reader begins anew with what it has kept, so that nothing is skipped.
const AWAY: [RDKafkaErrorCode; 19] = [
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::BrokerNotAvailable,
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::FencedLeaderEpoch,
    RDKafkaErrorCode::KafkaStorageError,
    RDKafkaErrorCode::LeaderNotAvailable,
    RDKafkaErrorCode::NetworkException,
    RDKafkaErrorCode::NotCoordinator,
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::ReplicaNotAvailable,
    RDKafkaErrorCode::RequestTimedOut,
    RDKafkaErrorCode::Resolve,
    RDKafkaErrorCode::UnknownLeaderEpoch,
    RDKafkaErrorCode::UnknownPartition,
    RDKafkaErrorCode::UnknownTopic,
    RDKafkaErrorCode::UnknownTopicOrPartition,
];

/// What librdkafka says beside messages.
#[derive(Default)]
struct Heard {
    high_watermarks: Mutex<BTreeMap<i32, i64>>,
    problem: Mutex<Option<Problem>>,
}

struct Context {
    heard: Arc<Heard>,
    topic: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let problem = Problem::with(&error, reason.to_owned());
        *self.heard.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(topic) = statistics.topics.get(&self.topic) {
            let mut known = self.heard.high_watermarks.lock().unwrap_or_else(PoisonError::into_inner);
            let own =
                topic.partitions.values().filter(|partition| partition.partition >= 0 && partition.hi_offset >= 0);
            known.extend(own.map(|partition| (partition.partition, partition.hi_offset)));
        }
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            let mut problem = self.heard.problem.lock().unwrap_or_else(PoisonError::into_inner);
            problem.take_if(|problem| matches!(problem, Problem::Away(_)));
        }
    }
}

impl ConsumerContext for Context {}

/// See the module. Its calls block; what it holds of brokers ends with it.
pub struct Topic {
    consumer: BaseConsumer<Context>,
    heard: Arc<Heard>,
    name: String,
    /// why there is no more to read
    ended: RefCell<Option<Problem>>,
}

impl Topic {
    /// Asks nobody yet.
    pub fn open(options: &Options) -> Result<Topic, Problem> {
        let heard = Arc::new(Heard::default());
        let context = Context { heard: Arc::clone(&heard), topic: options.topic.clone() };
        let consumer = options.client().create_with_context(context);
        let consumer = consumer.map_err(|error: KafkaError| Problem::Failed(error.to_string()))?;
        Ok(Topic { consumer, heard, name: options.topic.clone(), ended: RefCell::default() })
    }

    /// The partitions that there are.
    pub fn partitions(&self) -> Result<Vec<i32>, Problem> {
        let metadata =
            self.consumer.fetch_metadata(Some(&self.name), ANSWER_TIMEOUT).map_err(|error| self.why(&error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.name);
        match topic.map(|topic| (topic.error(), topic.partitions())) {
            Some((None, partitions)) if !partitions.is_empty() => {
                Ok(partitions.iter().map(rdkafka::metadata::MetadataPartition::id).collect())
            }
            _ => Err(Problem::Away(format!("there is no topic \"{}\"", self.name))),
        }
    }

    /// Where partitions begin. None for those that begin with their first message.
    pub fn starts(&self, start: Start, partitions: &[i32]) -> Result<BTreeMap<i32, Option<i64>>, Problem> {
        let time_us = match start {
            Start::Earliest => return Ok(partitions.iter().map(|partition| (*partition, None)).collect()),
            Start::Latest => None,
            Start::Time(time_us) => Some(time_us),
        };
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            // the first message that is not earlier: times of messages are in milliseconds
            let time_ms = time_us.map_or(0, |time_us| -(-time_us).div_euclid(1000));
            let added = asked.add_partition_offset(&self.name, *partition, Offset::Offset(time_ms.max(0)));
            added.map_err(|error| Problem::of(&error))?;
        }
        let found = match time_us {
            Some(_) => {
                let found = self.consumer.offsets_for_times(asked, ANSWER_TIMEOUT).map_err(|error| self.why(&error))?;
                let elements = found.elements();
                elements.iter().map(|element| (element.partition(), element.offset())).collect::<BTreeMap<_, _>>()
            }
            None => BTreeMap::new(),
        };
        let end = |partition| {
            let ends = self.consumer.fetch_watermarks(&self.name, partition, ANSWER_TIMEOUT);
            ends.map(|(_, high)| high).map_err(|error| self.why(&error))
        };
        let mut starts = BTreeMap::new();
        for partition in partitions {
            let offset = match found.get(partition) {
                Some(Offset::Offset(offset)) if *offset >= 0 => *offset,
                // no message is so late, or it was not asked for
                _ => end(*partition)?,
            };
            starts.insert(*partition, Some(offset));
        }
        Ok(starts)
    }

    /// Reads on from these offsets; None is the first message that there is.
    pub fn assign(&self, offsets: &BTreeMap<i32, Option<i64>>) -> Result<(), Problem> {
        let mut assigned = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = offset.map_or(Offset::Beginning, Offset::Offset);
            assigned.add_partition_offset(&self.name, *partition, offset).map_err(|error| Problem::of(&error))?;
        }
        self.consumer.assign(&assigned).map_err(|error| Problem::of(&error))
    }

    /// An error is the end of it: also when no broker can be reached any more, since one that comes back without the topic,
    /// as one does that keeps topics in memory, makes librdkafka 2.12 crash (`rd_kafka_metadata_update_op` looks for a
    /// topic without a name) if it is still asked for more.
    ///
    /// Messages that have arrived, some if there are any within `wait`, until they take up so many bytes.
    pub fn read(&self, wait: Duration, most_messages: usize, most_bytes: usize) -> Result<Vec<Message>, Problem> {
        if let Some(problem) = self.ended.take() {
            return Err(problem);
        }
        let (mut messages, mut bytes, mut wait) = (Vec::new(), 0, wait);
        while messages.len() < most_messages && bytes < most_bytes {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    messages.push(Message {
                        partition: message.partition(),
                        offset: message.offset(),
                        time_us: message.timestamp().to_millis().and_then(|time_ms| time_ms.checked_mul(1000)),
                        key: message.key().map(<[u8]>::to_vec),
                        payload: message.payload().map(<[u8]>::to_vec),
                    });
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    let problem = Problem::of(&error);
                    let is_lost = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
                    if matches!(problem, Problem::Away(_)) && !is_lost {
                        // librdkafka goes on trying
                        self.heard(problem);
                    } else if messages.is_empty() {
                        return Err(problem);
                    } else {
                        // what came before is good
                        self.ended.replace(Some(problem));
                        break;
                    }
                }
            }
        }
        Ok(messages)
    }

    /// By partition, the offset behind the last message, as brokers have said lately.
    pub fn high_watermarks(&self) -> BTreeMap<i32, i64> {
        self.heard.high_watermarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why nothing comes, if something is the matter.
    pub fn problem(&self) -> Option<Problem> {
        self.heard.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn heard(&self, problem: Problem) {
        *self.heard.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }

    /// What librdkafka heard on the way says more than that there was no answer.
    fn why(&self, error: &KafkaError) -> Problem {
        // what is waiting to be said is heard when it is asked for
        for _ in 0..HEARING_TURNS {
            if self.problem().is_some() {
                break;
            }
            drop(self.consumer.poll(HEARING_TURN));
        }
        match (Problem::of(error), self.problem()) {
            (Problem::Away(_), Some(heard)) => heard,
            (problem, _) => problem,
        }
    }
}
