//! Requests of HTTP. A name is looked up by us, and only addresses that may be sent to are connected to; an answer that leads
//! elsewhere is not followed, and no proxy is asked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use super::{TIMEOUT, is_forbidden, is_listed, parse_url};
use crate::error::{Error, Kind, Result};

/// So much is shown of an answer that says no.
const SHOWN_BYTES: usize = 200;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    hosts: Option<Arc<[String]>>,
}

/// A request to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a> {
    pub url: &'a str,
    /// names and values, besides those of the body
    pub headers: &'a [(String, String)],
    pub content_type: &'a str,
    pub body: &'a [u8],
}

impl HttpClient {
    /// `hosts`: where it may send to; None: to every host that is not forbidden.
    pub fn new(hosts: Option<Vec<String>>) -> Result<HttpClient> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("granary/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .dns_resolver(Arc::new(Allowed))
            .build()
            .map_err(|error| Error::new(Kind::IoError, "no client of HTTP could be made").with_source(error))?;
        Ok(HttpClient { client, hosts: hosts.map(Into::into) })
    }

    /// Sends a request and waits for the answer. Errors: `IoError` if there is none, or it is no success; none of them names
    /// the URL, which may be secret.
    pub async fn post(&self, post: Post<'_>) -> Result<()> {
        let answer = self.answer(post).await?;
        if answer.is_success() { Ok(()) } else { Err(Error::new(Kind::IoError, answer.to_string())) }
    }

    /// The same for who does one thing or another by the status. Errors: `IoError` if there is no answer.
    pub async fn answer(&self, post: Post<'_>) -> Result<Answer> {
        let url = parse_url(post.url)?;
        let host = url.host_str().unwrap_or_default();
        if self.hosts.as_ref().is_some_and(|hosts| !is_listed(hosts, host)) {
            let message = format!("this server may not send to \"{host}\"");
            return Err(
                Error::new(Kind::InsufficientPrivilege, message).with_hint("granary serve --alert-hosts names hosts")
            );
        }
        let mut request = self.client.post(url).header("content-type", post.content_type).body(post.body.to_vec());
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        let failed = |error: reqwest::Error| Error::new(Kind::IoError, shown(&error));
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Answer { status: status.as_u16(), said: String::new() });
        }
        let mut said = Vec::new();
        while said.len() < SHOWN_BYTES
            && let Ok(Some(bytes)) = answer.chunk().await
        {
            said.extend_from_slice(&bytes[..bytes.len().min(SHOWN_BYTES - said.len())]);
        }
        let said = String::from_utf8_lossy(&said);
        Ok(Answer { status: status.as_u16(), said: said.trim().to_owned() })
    }
}

/// How a request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// the beginning of what came with it, if it is no success
    said: String,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match reqwest::StatusCode::from_u16(self.status) {
            Ok(status) => write!(f, "HTTP {status}")?,
            Err(_) => write!(f, "HTTP {}", self.status)?,
        }
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

/// The error and what caused it, without the URL.
fn shown(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer after {} seconds", TIMEOUT.as_secs());
    }
    let mut source = std::error::Error::source(error);
    let mut last = if error.is_connect() { "it could not be connected to".to_owned() } else { String::new() };
    while let Some(inner) = source {
        let text = inner.to_string();
        source = inner.source();
        if source.is_none() {
            last = if last.is_empty() { text } else { format!("{last}: {text}") };
        }
    }
    if last.is_empty() { "the request failed".to_owned() } else { last }
}

/// Looks names up, and leaves out what is forbidden.
struct Allowed;

impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.iter().copied().filter(|found| !is_forbidden(found.ip())).collect();
            if allowed.is_empty() {
                let message = format!("\"{}\" leads to no address that may be sent to", name.as_str());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Refuses a name or value that is no header's. Those of the body are not for others to say.
pub fn check_header(name: &str, value: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::new(Kind::InvalidParameterValue, format!("header \"{name}\" {why}")));
    let Ok(parsed) = reqwest::header::HeaderName::try_from(name) else { return wrong("is not a header's name") };
    if matches!(parsed.as_str(), "host" | "content-length" | "content-type" | "transfer-encoding" | "connection") {
        return wrong("is said by the server itself");
    }
    match reqwest::header::HeaderValue::try_from(value) {
        Ok(_) => Ok(()),
        Err(_) => wrong("has a value that no header can have"),
    }
}
