//! Tells a server of OpenLineage what jobs do: an event when an attempt begins and one when it ends, with the columns that
//! go in and come out.
//!
//! A job only leaves a note, in a queue that holds so many and never waits. One task makes events of them and sends one
//! after the other, again and again while the receiver is out of reach. What does not fit meanwhile, what the receiver
//! refuses, and what is left when the server stops, is counted and told in the log.

mod event;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use granary_catalog::{Job, JobError, Snapshot};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::engine::ReadStores;
use crate::error::{Error, Kind, Result};
use crate::metrics;
use crate::outbound::{HttpClient, Post};

/// So many notes wait at most.
const MOST_WAITING: usize = 1000;
/// How long the first pause is before an event is sent again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// When the server stops, what waits is still sent for so long.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Where servers of OpenLineage take events, if the URL does not say it.
const PATH: &str = "/api/v1/lineage";

/// Who is told.
#[derive(Clone)]
pub struct OpenLineageConfig {
    pub url: String,
    /// of all jobs and datasets
    pub namespace: String,
    pub api_key: Option<String>,
}

impl std::fmt::Debug for OpenLineageConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = (&self.url, &self.namespace);
        f.debug_struct("OpenLineageConfig")
            .field("url", &fields.0)
            .field("namespace", &fields.1)
            .finish_non_exhaustive()
    }
}

impl OpenLineageConfig {
    /// Errors: 22023 for a URL that is none.
    pub fn new(url: &str, namespace: Option<&str>, api_key: Option<String>) -> Result<OpenLineageConfig> {
        let wrong = |why: String| {
            Error::new(Kind::InvalidParameterValue, format!("--openlineage-url \"{url}\" {why}"))
                .with_hint("write it as http://host:port")
        };
        let mut parsed = Url::parse(url).map_err(|error| wrong(format!("is no URL: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(wrong("is no URL of HTTP".to_owned()));
        }
        if parsed.path() == "/" {
            parsed.set_path(PATH);
        }
        let namespace = namespace.unwrap_or("granary");
        if namespace.is_empty() {
            return Err(Error::new(Kind::InvalidParameterValue, "the namespace of OpenLineage is empty"));
        }
        Ok(OpenLineageConfig { url: parsed.to_string(), namespace: namespace.to_owned(), api_key })
    }
}

/// What happens to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    Begun,
    Succeeded,
    Failed(JobError),
    Cancelled,
}

/// One thing to tell of.
#[derive(Debug, Clone)]
pub struct Note {
    pub job: Job,
    /// its number
    pub attempt: u32,
    pub moment: Moment,
    pub at_us: i64,
    /// the definitions then
    pub snapshot: Arc<Snapshot>,
}

/// Where jobs leave their notes.
#[derive(Debug)]
pub struct Outbox {
    sender: mpsc::Sender<Note>,
    /// the last note did not fit
    is_full: AtomicBool,
}

/// The other end.
#[derive(Debug)]
pub struct Waiting(mpsc::Receiver<Note>);

pub fn outbox() -> (Outbox, Waiting) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    (Outbox { sender, is_full: AtomicBool::new(false) }, Waiting(receiver))
}

impl Outbox {
    /// Never waits.
    pub fn tell(&self, note: Note) {
        let lost = self.sender.try_send(note).is_err();
        if lost {
            metrics::lineage_dropped(1);
        }
        // once for all of a time in which there is no room
        if lost && !self.is_full.swap(lost, Ordering::Relaxed) {
            tracing::warn!("events for OpenLineage are dropped: {MOST_WAITING} wait for the receiver");
        } else if !lost {
            self.is_full.store(false, Ordering::Relaxed);
        }
    }
}

/// Sends until `shutdown`, then what is left, for a short time.
pub async fn run(stores: ReadStores, config: OpenLineageConfig, waiting: Waiting, shutdown: CancellationToken) {
    let client = match HttpClient::new(None) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "nothing is told to OpenLineage"),
    };
    let mut sending = Sending { stores, config, client, waiting };
    while let Some(Some(note)) = shutdown.run_until_cancelled(sending.waiting.0.recv()).await {
        // no event is lost to the stop itself
        if shutdown.run_until_cancelled(sending.send_for_ever(&note)).await.is_none() {
            return sending.finish(Some(note)).await;
        }
    }
    sending.finish(None).await;
}

struct Sending {
    stores: ReadStores,
    config: OpenLineageConfig,
    client: HttpClient,
    waiting: Waiting,
}

enum Sent {
    /// or nobody wants it
    Done,
    Again(Error),
}

impl Sending {
    async fn send_for_ever(&self, note: &Note) {
        let mut pause = FIRST_PAUSE;
        while let Sent::Again(error) = self.send(note).await {
            if pause == FIRST_PAUSE {
                tracing::warn!(url = self.config.url, %error, "OpenLineage cannot be reached; it is tried again");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn send(&self, note: &Note) -> Sent {
        let body = event::event(&self.stores, &self.config, note).to_string();
        let headers: Vec<(String, String)> =
            self.config.api_key.iter().map(|key| ("authorization".to_owned(), format!("Bearer {key}"))).collect();
        let post =
            Post { url: &self.config.url, headers: &headers, content_type: "application/json", body: body.as_bytes() };
        match self.client.answer(post).await {
            Ok(answer) if answer.is_success() => {
                metrics::lineage_sent();
                Sent::Done
            }
            // it would say the same again
            Ok(answer) if (400..500).contains(&answer.status) && !matches!(answer.status, 408 | 429) => {
                metrics::lineage_dropped(1);
                tracing::warn!(job = %note.job.id, error = %answer, "OpenLineage refuses an event, which is dropped");
                Sent::Done
            }
            Ok(answer) => Sent::Again(Error::new(Kind::IoError, answer.to_string())),
            Err(error) => Sent::Again(error),
        }
    }

    /// Sends what is left, each once, as long as there is time.
    async fn finish(mut self, first: Option<Note>) {
        self.waiting.0.close();
        let mut left: Vec<Note> = first.into_iter().collect();
        while let Ok(note) = self.waiting.0.try_recv() {
            left.push(note);
        }
        let mut n_left = left.len();
        let all = async {
            for note in &left {
                match self.send(note).await {
                    Sent::Done => n_left -= 1,
                    Sent::Again(_) => return,
                }
            }
        };
        // those that are left then are told of below
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        if n_left > 0 {
            metrics::lineage_dropped(n_left as u64);
            tracing::warn!(events = n_left, "events for OpenLineage are dropped: the server stops");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_has_the_usual_one() {
        let url = |text| OpenLineageConfig::new(text, None, None).map(|config| config.url);
        assert_eq!(url("http://marquez:5000").expect("a URL"), "http://marquez:5000/api/v1/lineage");
        assert_eq!(url("https://host/").expect("a URL"), "https://host/api/v1/lineage");
        assert_eq!(url("https://host/lineage?x=y").expect("a URL"), "https://host/lineage?x=y");
        for wrong in ["", "marquez:5000", "ftp://host", "http://"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
        assert!(OpenLineageConfig::new("http://host", Some(""), None).is_err());
        let shown = format!("{:?}", OpenLineageConfig::new("http://host", None, Some("secret".to_owned())));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
