//! Mails, by a mail server that the configuration names. Each is sent by a thread that may wait.

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{Address, SmtpTransport, Transport};

use super::TIMEOUT;
use crate::error::{Error, Kind, Result};

/// Sends mails. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    transport: SmtpTransport,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("from", &self.from).finish_non_exhaustive()
    }
}

/// A mail to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    pub to: &'a [String],
    pub subject: &'a str,
    pub text: &'a str,
    /// the same one sent again has the same
    pub id: &'a str,
}

impl Mailer {
    /// By a URL such as `smtps://user:password@host:465`; `smtp://host:587?tls=required` is STARTTLS. Errors:
    /// `InvalidParameterValue` for what is no such URL, or no address; none of them shows the password.
    pub fn new(url: &str, from: &str) -> Result<Mailer> {
        let wrong = |what: String| Error::new(Kind::InvalidParameterValue, what);
        let from = from.parse().map_err(|_| wrong(format!("the sender \"{from}\" of mails is not an address")))?;
        let builder = SmtpTransport::from_url(url).map_err(|_| {
            wrong("the URL of the mail server does not read".to_owned())
                .with_hint("type it as smtps://user:password@host:465, or smtp://host:587?tls=required")
        })?;
        Ok(Mailer { transport: builder.timeout(Some(TIMEOUT)).build(), from })
    }

    /// Hands a mail over to the mail server. Errors: `IoError` if that does not take it.
    pub async fn send(&self, letter: Letter<'_>) -> Result<()> {
        let domain = self.from.email.domain();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(one_line(letter.subject))
            .message_id(Some(format!("<{}@{domain}>", letter.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in letter.to {
            builder = builder.to(mailbox(to)?);
        }
        let failed = |error: &dyn std::error::Error| Error::new(Kind::IoError, with_causes(error));
        let message = builder.body(letter.text.to_owned()).map_err(|error| failed(&error))?;
        let transport = self.transport.clone();
        let sent = tokio::task::spawn_blocking(move || transport.send(&message)).await;
        let sent = sent.map_err(|error| Error::internal("what sends mails died").with_source(error))?;
        sent.map(|_| ()).map_err(|error| failed(&error))
    }
}

fn mailbox(address: &str) -> Result<Mailbox> {
    address.parse().map_err(|_| {
        let message = format!("\"{address}\" is not a mail address");
        Error::new(Kind::InvalidParameterValue, message).with_hint("type it as 'ops@example.com'")
    })
}

/// Refuses what is no address, such as `ops@example.com`.
pub fn check_address(address: &str) -> Result<()> {
    let plain = address.parse::<Address>();
    if plain.is_ok() { Ok(()) } else { mailbox(address).map(|_| ()) }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}
