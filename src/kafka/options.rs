//! `FROM KAFKA (name = value, …)`: what they mean, and whether they can be meant, without asking a broker.

use granary_sql::timestamp::parse_timestamp;
use rdkafka::ClientConfig;

use super::avro::AvroRows;
use super::client::{Client, do_not_fit};
use crate::error::{Error, Kind, Result};

/// What messages hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// an object, its fields named as the columns
    Json,
    /// a line, with all columns in their order
    Csv,
    /// a record of this schema; with the registry's number in front if it has one
    Avro { schema: String, schema_id: Option<u32> },
}

/// Where partitions begin that are there when a stream is read for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// at the first message of this time or later, microseconds
    Time(i64),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Options {
    pub topic: String,
    pub format: Format,
    /// the column that a message's key goes into
    pub key: Option<String>,
    pub start: Start,
    pub paused: bool,
    /// librdkafka's own
    client: ClientConfig,
}

/// What else may be said here.
const OWN: [&str; 8] = ["topic", "format", "schema", "schema_id", "schema_registry", "key", "start", "paused"];

/// As a statement says it.
const CLAUSE: &str = "FROM KAFKA";

impl Options {
    /// Errors name the option, or the names that there are: 22023, and 0A000 for what a later release has.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Options> {
        let mut client = Client::new(CLAUSE, &OWN, &DEFAULTS);
        let (mut topic, mut format, mut schema, mut schema_id) = (None, None, None, None);
        let (mut key, mut start, mut paused) = (None, Start::Earliest, false);
        for (name, value) in pairs {
            client.check_secret(name, value)?;
            match name {
                "topic" => topic = Some(value.to_owned()),
                "format" => format = Some(value.to_ascii_lowercase()),
                "schema" => schema = Some(value.to_owned()),
                "schema_id" => {
                    let number = value.parse::<u32>().map_err(|_| client.wrong(name, value, "a number"))?;
                    schema_id = Some(number);
                }
                "schema_registry" => return Err(Error::not_supported("a schema registry").with_hint(REGISTRY_HINT)),
                "key" => key = Some(value.to_owned()),
                "start" => start = start_of(&client, value)?,
                "paused" => paused = bool_of(&client, name, value)?,
                other => client.set(other, value)?,
            }
        }
        let topic = topic.filter(|topic| !topic.is_empty()).ok_or_else(|| client.missing("topic", "'name'"))?;
        let format = match format.as_deref() {
            None => return Err(client.missing("format", "json")),
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some("avro") => {
                let schema = schema.take();
                let schema = schema.ok_or_else(|| client.missing("schema", "'{\"type\": \"record\", …}'"))?;
                AvroRows::check(&schema)?;
                Format::Avro { schema, schema_id: schema_id.take() }
            }
            Some("protobuf") => return Err(Error::not_supported("FROM KAFKA with format protobuf")),
            Some(other) => return Err(client.wrong("format", other, "json, csv or avro")),
        };
        for (name, is_said) in [("schema", schema.is_some()), ("schema_id", schema_id.is_some())] {
            if is_said {
                let message = format!("option \"{name}\" of FROM KAFKA is for format avro alone");
                return Err(Error::new(Kind::InvalidParameterValue, message));
            }
        }
        Ok(Options { topic, format, key, start, paused, client: client.finish()? })
    }

    pub(super) fn client(&self) -> &ClientConfig {
        &self.client
    }

    /// Whether librdkafka takes them together. It reads files of certificates; it asks no broker.
    pub fn check_client(&self) -> Result<()> {
        let made = self.client.create::<rdkafka::consumer::BaseConsumer>();
        made.map(drop).map_err(|error| do_not_fit(CLAUSE, &error))
    }
}

/// Who reads decides where: nothing is left to a group of consumers, and no message is skipped unsaid.
const DEFAULTS: [(&str, &str); 11] = [
    ("group.id", "granary"),
    ("client.id", "granary"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("statistics.interval.ms", "1000"),
    ("check.crcs", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    // what is read ahead of the log
    ("queued.max.messages.kbytes", "16384"),
    ("log_level", "3"),
];

const REGISTRY_HINT: &str = "give the schema itself, schema = '{…}', and its number, schema_id = 7";

fn start_of(client: &Client, value: &str) -> Result<Start> {
    match value.to_ascii_lowercase().as_str() {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => parse_timestamp(value)
            .map(Start::Time)
            .map_err(|_| client.wrong("start", value, "earliest, latest or a timestamp")),
    }
}

fn bool_of(client: &Client, name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(client.wrong(name, value, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::is_secret;
    use super::*;

    const LEAST: [(&str, &str); 3] = [("brokers", "a:9092, b"), ("topic", "t"), ("format", "JSON")];

    fn with(more: &[(&'static str, &'static str)]) -> Result<Options> {
        Options::of(LEAST.into_iter().chain(more.iter().copied()))
    }

    #[test]
    fn settings_are_ours_or_the_clients() {
        let options = with(&[
            ("start", "2024-01-01"),
            ("sasl_mechanism", "scram-sha-256"),
            ("fetch.max.bytes", "5000000"),
            ("ssl_ca", "-----BEGIN CERTIFICATE-----"),
            ("key", "k"),
        ])
        .expect("are fine");
        assert_eq!((options.format, options.key.as_deref(), options.paused), (Format::Json, Some("k"), false));
        assert_eq!(options.start, Start::Time(1_704_067_200_000_000));
        for (name, value) in [
            ("bootstrap.servers", "a:9092,b"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("fetch.max.bytes", "5000000"),
            ("ssl.ca.pem", "-----BEGIN CERTIFICATE-----"),
            ("auto.offset.reset", "error"),
            ("enable.auto.commit", "false"),
        ] {
            assert_eq!(options.client.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&[(&str, &str)], &str, &str); 14] = [
            (&[("color", "red")], "22023", "\"color\""),
            (&[("no.such.setting", "1")], "22023", "\"no.such.setting\""),
            (&[("fetch.max.bytes", "many")], "22023", "\"fetch.max.bytes\""),
            (&[("enable.auto.commit", "true")], "22023", "\"enable.auto.commit\""),
            (&[("plugin.library.paths", "x")], "22023", "\"plugin.library.paths\""),
            (&[("start", "someday")], "22023", "earliest, latest or a timestamp"),
            (&[("sasl_mechanism", "MD5")], "22023", "SCRAM-SHA-512"),
            (&[("sasl_mechanism", "GSSAPI")], "0A000", "GSSAPI"),
            (&[("sasl.mechanisms", "OAUTHBEARER")], "0A000", "OAUTHBEARER"),
            (&[("security_protocol", "telnet")], "22023", "security_protocol"),
            (&[("schema", "{}")], "22023", "format avro alone"),
            (&[("schema_registry", "http://r")], "0A000", "schema registry"),
            (&[("sasl_password", "secret:kafka")], "0A000", "secret"),
            (&[("paused", "perhaps")], "22023", "true or false"),
        ];
        for (more, sqlstate, said) in cases {
            let error = with(more).expect_err("is wrong");
            assert_eq!(error.sqlstate(), sqlstate, "{more:?}");
            assert!(error.message().contains(said), "{more:?}: {}", error.message());
        }
        for missing in 0..LEAST.len() {
            let rest = LEAST.into_iter().enumerate().filter(|(place, _)| *place != missing);
            let error = Options::of(rest.map(|(_, option)| option)).expect_err("is missing");
            assert!(error.message().contains(LEAST[missing].0), "{}", error.message());
        }
        for brokers in ["", "a:", ":9092", "a:x", "a,,b", "a:70000"] {
            let error = Options::of([("brokers", brokers), LEAST[1], LEAST[2]]).expect_err("is wrong");
            assert!(error.message().contains("brokers"), "{}", error.message());
        }
        let registry = [LEAST[0], LEAST[1], ("format", "avro"), ("schema", r#"{"type": "record"}"#)];
        assert!(Options::of(registry).expect_err("is no schema").message().contains("Avro schema"));
        let error = Options::of([LEAST[0], LEAST[1], ("format", "protobuf")]).expect_err("later");
        assert_eq!(error.sqlstate(), "0A000");
    }

    #[test]
    fn secrets_are_in_no_error() {
        for name in ["sasl_password", "ssl_key", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem"] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("key") && !is_secret("sasl_username"));
        let options = with(&[("security_protocol", "ssl"), ("ssl_key", "-----BEGIN hush")]).expect("asked later");
        let error = options.check_client().expect_err("is no key");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}
