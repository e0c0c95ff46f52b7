//! How a server is reached: what a connection string says, as far as it is done.

use pgwire_replication::ReplicationConfig;
use tokio_postgres::config::{ChannelBinding, Config, Host, SslMode};

use crate::error::{Error, Kind, Result};

/// The forms in which values come, whatever the server or the role has set.
const OPTIONS: &str = "-c datestyle=ISO -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex \
                       -c intervalstyle=postgres -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";
/// A longer message of the server, a row, ends the connection.
const LONGEST_MESSAGE: usize = 256 << 20;
/// So many changes are read ahead.
const AHEAD: usize = 1024;

/// A connection string that can be followed.
#[derive(Clone)]
pub struct Dsn {
    config: ReplicationConfig,
}

impl Dsn {
    /// Asks nobody. 22023 for what is no connection string, 0A000 for what a later release has. No error repeats it.
    pub fn parse(text: &str) -> Result<Dsn> {
        if text.starts_with("secret:") {
            return Err(Error::not_supported("a secret's name as the connection of FROM POSTGRES"));
        }
        let wrong = |what: String| Error::new(Kind::InvalidParameterValue, what).with_hint(HINT);
        let config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            wrong(format!("the connection of FROM POSTGRES cannot be read: {why}"))
        })?;
        if config.get_ssl_mode() == SslMode::Require || config.get_channel_binding() == ChannelBinding::Require {
            return Err(Error::not_supported("FROM POSTGRES over TLS").with_hint("say sslmode=disable"));
        }
        if !config.get_hostaddrs().is_empty() {
            return Err(Error::not_supported("hostaddr in the connection of FROM POSTGRES").with_hint("say host"));
        }
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => host.clone(),
            [Host::Unix(folder)] => folder.display().to_string(),
            [] => return Err(wrong("the connection of FROM POSTGRES names no host".to_owned())),
            _ => return Err(Error::not_supported("FROM POSTGRES with more than one host")),
        };
        let user =
            config.get_user().ok_or_else(|| wrong("the connection of FROM POSTGRES names no user".to_owned()))?;
        let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec());
        let password = password.map_err(|_| wrong("the password of FROM POSTGRES is not UTF-8".to_owned()))?;
        let own = config.get_options().map(|options| format!("{options} {OPTIONS}"));
        let mut config = ReplicationConfig::new(host, user, password, config.get_dbname().unwrap_or(user), "", "")
            .with_port(config.get_ports().first().copied().unwrap_or(5432))
            .with_application_name(config.get_application_name().unwrap_or("granary"))
            .with_options(own.unwrap_or_else(|| OPTIONS.to_owned()))
            .with_max_message_size(LONGEST_MESSAGE);
        config.buffer_events = AHEAD;
        config.status_interval = std::time::Duration::from_secs(1);
        Ok(Dsn { config })
    }

    pub(super) fn config(&self) -> ReplicationConfig {
        self.config.clone()
    }
}

const HINT: &str = "it is postgres://user:password@host/database, or host=… user=… password=… dbname=…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_words_say_the_same() {
        for text in [
            "postgres://ada:s%20s@db:6000/shop?sslmode=disable",
            "host=db port=6000 user=ada password='s s' dbname=shop sslmode=disable",
        ] {
            let config = Dsn::parse(text).expect("reads").config();
            let read = (config.host.as_str(), config.port, config.user.as_str(), config.password.as_str());
            assert_eq!((read, config.database.as_str()), (("db", 6000, "ada", "s s"), "shop"));
        }
        let config = Dsn::parse("host=/run/postgresql user=ada").expect("reads").config();
        assert_eq!((config.database.as_str(), config.port, config.is_unix_socket()), ("ada", 5432, true));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_without_being_repeated() {
        for (text, state) in [
            ("secret:x", "0A000"),
            ("", "22023"),
            ("host=a", "22023"),
            ("user=hush", "22023"),
            ("host=a user=u password=hush nothing=1", "22023"),
            ("postgres://u:hush@a/b?sslmode=verify-full", "22023"),
            ("postgres://u:hush@a/b?sslmode=require", "0A000"),
            ("host=a,b user=u password=hush", "0A000"),
            ("host=a hostaddr=127.0.0.1 user=u", "0A000"),
        ] {
            let error = Dsn::parse(text).err().expect("is refused");
            assert_eq!(error.sqlstate(), state, "{text}");
            assert!(!error.message().contains("hush"), "{text}");
        }
    }
}
