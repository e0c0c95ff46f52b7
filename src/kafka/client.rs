//! What brokers are told of any client: where they are, who it is, and settings of librdkafka by their own names. Checked
//! without asking one.

use rdkafka::ClientConfig;

use crate::error::{Error, Kind, Result};

/// Our names for what every client needs. Any other has a dot, and is librdkafka's.
pub const NAMES: [&str; 9] = [
    "brokers",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "ssl_ca",
    "ssl_certificate",
    "ssl_key",
    "ssl_key_password",
];

/// Settings of librdkafka that are ours: what is promised hangs on them.
const OURS: [&str; 10] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "statistics.interval.ms",
    "group.instance.id",
    "acks",
    "transactional.id",
];

/// Settings that would run or load programs, or are for tests.
const FORBIDDEN: [&str; 6] = [
    "plugin.library.paths",
    "ssl.engine.location",
    "ssl.providers",
    "sasl.kerberos.kinit.cmd",
    "test.mock.num.brokers",
    "test.mock.broker.rtt",
];

/// Whether nobody may be shown the value of an option.
pub fn is_secret(name: &str) -> bool {
    name == "ssl_key" || name.contains("password") || name.contains("secret") || name.ends_with("key.pem")
}

/// The options of a client in the making.
pub struct Client {
    /// as a statement says it, for errors: FROM KAFKA or TO KAFKA
    pub clause: &'static str,
    /// the names that go with this clause, beside [`NAMES`]
    own: &'static [&'static str],
    brokers: Option<String>,
    config: ClientConfig,
}

impl Client {
    pub fn new(clause: &'static str, own: &'static [&'static str], defaults: &[(&str, &str)]) -> Client {
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        Client { clause, own, brokers: None, config }
    }

    /// Refuses a secret by its name.
    pub fn check_secret(&self, name: &str, value: &str) -> Result<()> {
        match is_secret(name) && value.starts_with("secret:") {
            true => Err(Error::not_supported(format!("a secret's name in option \"{name}\" of {}", self.clause))),
            false => Ok(()),
        }
    }

    /// An option that is not the clause's own. Errors name it, or the names that there are: 22023, and 0A000 for what a
    /// later release has.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "brokers" => {
                self.brokers = Some(self.brokers_of(value)?);
                Ok(())
            }
            "security_protocol" => self.put(name, "security.protocol", value),
            "sasl_mechanism" => self.put(name, "sasl.mechanism", self.mechanism(value)?),
            "sasl_username" => self.put(name, "sasl.username", value),
            "sasl_password" => self.put(name, "sasl.password", value),
            "ssl_ca" => self.put_pem(name, "ssl.ca", value),
            "ssl_certificate" => self.put_pem(name, "ssl.certificate", value),
            "ssl_key" => self.put_pem(name, "ssl.key", value),
            "ssl_key_password" => self.put(name, "ssl.key.password", value),
            "sasl.mechanism" | "sasl.mechanisms" => self.put(name, "sasl.mechanism", self.mechanism(value)?),
            other if OURS.contains(&other) || FORBIDDEN.contains(&other) || !other.contains('.') => {
                Err(self.unknown(other))
            }
            other => self.put(other, other, value),
        }
    }

    /// What librdkafka is told. Errors: 22023 without brokers.
    pub fn finish(mut self) -> Result<ClientConfig> {
        let brokers = self.brokers.take().ok_or_else(|| self.missing("brokers", "'host:9092'"))?;
        self.config.set("bootstrap.servers", brokers);
        Ok(self.config)
    }

    fn put(&mut self, name: &str, setting: &str, value: &str) -> Result<()> {
        let mut tried = ClientConfig::new();
        tried.set(setting, value);
        match tried.create_native_config() {
            Ok(_) => {
                self.config.set(setting, value);
                Ok(())
            }
            Err(rdkafka::error::KafkaError::ClientConfig(
                rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
                ..,
            )) => Err(self.unknown(name)),
            Err(error) => {
                let what = if is_secret(name) { "it is not taken".to_owned() } else { reason(&error) };
                let message = format!("option \"{name}\" of {}: {what}", self.clause);
                Err(Error::new(Kind::InvalidParameterValue, message))
            }
        }
    }

    /// A PEM text, or the path of a file that has it.
    fn put_pem(&mut self, name: &str, setting: &str, value: &str) -> Result<()> {
        let kind = if value.contains("-----BEGIN") { "pem" } else { "location" };
        self.put(name, &format!("{setting}.{kind}"), value)
    }

    /// Others need libraries of the machine.
    fn mechanism(&self, value: &str) -> Result<&'static str> {
        const KNOWN: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
        match KNOWN.iter().find(|known| known.eq_ignore_ascii_case(value)) {
            Some(known) => Ok(known),
            None if ["GSSAPI", "OAUTHBEARER"].iter().any(|later| later.eq_ignore_ascii_case(value)) => {
                Err(Error::not_supported(format!("SASL mechanism {}", value.to_ascii_uppercase())))
            }
            None => Err(self.wrong("sasl_mechanism", value, &KNOWN.join(", "))),
        }
    }

    /// `host:port`, apart by commas.
    fn brokers_of(&self, value: &str) -> Result<String> {
        let brokers: Vec<&str> = value.split(',').map(str::trim).collect();
        let is_address = |broker: &&str| match broker.rsplit_once(':') {
            Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
            None => !broker.is_empty(),
        };
        match brokers.iter().find(|broker| !is_address(broker)) {
            Some(_) => Err(self.wrong("brokers", value, "'host:9092', or several apart by commas")),
            None => Ok(brokers.join(",")),
        }
    }

    pub fn unknown(&self, name: &str) -> Error {
        let names: Vec<&str> = self.own.iter().copied().chain(NAMES).collect();
        let names = names.join(", ");
        Error::new(Kind::InvalidParameterValue, format!("unrecognized option \"{name}\" of {}", self.clause))
            .with_hint(format!("options here are {names}, and settings of librdkafka such as fetch.max.bytes"))
    }

    pub fn missing(&self, name: &str, example: &str) -> Error {
        Error::new(Kind::InvalidParameterValue, format!("{} needs the option \"{name}\"", self.clause))
            .with_hint(format!("{} ({name} = {example}, …)", self.clause))
    }

    pub fn wrong(&self, name: &str, value: &str, wanted: &str) -> Error {
        let value = if is_secret(name) { "***" } else { value };
        let message = format!("option \"{name}\" of {} is \"{value}\", not {wanted}", self.clause);
        Error::new(Kind::InvalidParameterValue, message)
    }
}

/// Options that librdkafka does not take together.
pub fn do_not_fit(clause: &str, error: &rdkafka::error::KafkaError) -> Error {
    let message = format!("the options of {clause} do not fit together: {}", reason(error));
    Error::new(Kind::InvalidParameterValue, message)
}

fn reason(error: &rdkafka::error::KafkaError) -> String {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, reason, ..)
        | rdkafka::error::KafkaError::ClientCreation(reason) => reason.clone(),
        other => other.to_string(),
    }
}
