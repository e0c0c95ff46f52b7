//! Who is logged in over Flight SQL. A session is begun by a handshake, which gives a token, or by the first request with
//! a name and a password; it ends when it is closed, or asks for nothing for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;

use super::FlightLimits;
use super::results::Results;
use crate::access::{HostRules, Knock, Method, check_password, hexadecimal, random_bytes};
use crate::audit::Actor;
use crate::error::{Error, Kind, Result};
use crate::session::{Login, Prepared, Session};
use crate::warehouse::Warehouse;

/// All sessions.
pub struct Sessions {
    warehouse: Arc<Warehouse>,
    limits: FlightLimits,
    entrance: Entrance,
    open: Mutex<HashMap<String, Arc<FlightSession>>>,
    last_number: AtomicI32,
}

/// Who may come in.
pub struct Entrance {
    /// None: everybody, with a password
    pub rules: Option<Arc<HostRules>>,
    pub is_encrypted: bool,
}

/// One client's.
pub struct FlightSession {
    pub session: tokio::sync::Mutex<Session>,
    /// what was executed and not fetched, or is being fetched
    pub results: Results,
    pub state: Mutex<State>,
    /// ends with the session
    pub closed: CancellationToken,
    last_used: Mutex<Instant>,
}

/// What a session has under handles of its own.
#[derive(Default)]
pub struct State {
    pub prepared: HashMap<String, Bound>,
    pub transaction: Option<String>,
}

/// A prepared statement, and the rows of parameters that were bound to it.
#[derive(Clone)]
pub struct Bound {
    pub prepared: Prepared,
    pub parameters: Vec<Vec<crate::session::Parameter>>,
}

/// Beyond the numbers that connections of the Postgres port have.
const FIRST_NUMBER: i32 = 1 << 30;
const DATABASE_HEADERS: [&str; 2] = ["database", "x-granary-database"];

/// Something that nobody guesses.
pub fn new_handle() -> Result<String> {
    let bytes: [u8; 32] = random_bytes()?;
    Ok(hexadecimal(&bytes))
}

impl FlightSession {
    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Refuses a statement that says another transaction than the one that is open.
    pub fn check_transaction(&self, asked: Option<&[u8]>) -> Result<()> {
        let state = self.state();
        match (&state.transaction, asked.filter(|asked| !asked.is_empty())) {
            (None, None) => Ok(()),
            (Some(open), Some(asked)) if open.as_bytes() == asked => Ok(()),
            (_, Some(_)) => Err(Error::new(Kind::NoActiveTransaction, "there is no transaction of that id")),
            (Some(_), None) => Err(Error::new(Kind::ActiveTransaction, "a transaction is open in this session")
                .with_hint("give its id, or end it first")),
        }
    }
}

impl Sessions {
    pub fn new(warehouse: Arc<Warehouse>, limits: FlightLimits, entrance: Entrance) -> Sessions {
        Sessions { warehouse, limits, entrance, open: Mutex::default(), last_number: AtomicI32::new(FIRST_NUMBER) }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<FlightSession>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session with the name and password of the request; gives its token.
    pub async fn login(&self, headers: &MetadataMap, peer: SocketAddr) -> Result<String> {
        let basic = header(headers, "authorization").and_then(|text| scheme(text, "basic")).ok_or_else(nobody)?;
        let token = new_handle()?;
        self.begin(token.clone(), basic, headers, peer).await?;
        Ok(token)
    }

    /// The session of a request.
    pub async fn of(&self, headers: &MetadataMap, peer: SocketAddr) -> Result<Arc<FlightSession>> {
        let text = header(headers, "authorization").ok_or_else(nobody)?;
        if let Some(token) = scheme(text, "bearer") {
            let found = self.open().get(token).cloned();
            let session = found.filter(|session| !session.closed.is_cancelled()).ok_or_else(|| {
                Error::new(Kind::InvalidAuthorization, "the token is not known, or its session has ended")
            })?;
            session.touch();
            return Ok(session);
        }
        let basic = scheme(text, "basic").ok_or_else(nobody)?;
        // without a handshake the same name, password and database are the same session
        let key = format!("basic {} {basic}", database(headers).unwrap_or_default());
        let known = self.open().get(&key).cloned();
        match known.filter(|session| !session.closed.is_cancelled()) {
            Some(session) => {
                session.touch();
                Ok(session)
            }
            None => self.begin(key, basic, headers, peer).await,
        }
    }

    async fn begin(
        &self,
        key: String,
        basic: &str,
        headers: &MetadataMap,
        peer: SocketAddr,
    ) -> Result<Arc<FlightSession>> {
        self.sweep();
        if self.open().len() >= self.limits.max_sessions {
            return Err(Error::new(Kind::TooManyConnections, "sorry, too many clients already"));
        }
        // some clients leave the padding out
        let decoded =
            STANDARD_NO_PAD.decode(basic.trim_end_matches('=')).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = decoded.as_deref().and_then(|text| text.split_once(':')).ok_or_else(nobody)?;
        let database = database(headers).unwrap_or(user).to_owned();
        let actor = Actor { role: user.to_owned(), database: database.clone(), client: peer.ip().to_string() };
        let session = self.admit((user, password), database, peer).await;
        if let Err(error) = &session {
            self.warehouse.audit.refused(&actor, None, error).await;
        }
        let session = session?;
        self.open().insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// A session of who may begin one.
    async fn admit(
        &self,
        (user, password): (&str, &str),
        database: String,
        peer: SocketAddr,
    ) -> Result<Arc<FlightSession>> {
        let Entrance { rules, is_encrypted } = &self.entrance;
        let knock = Knock { user, database: &database, peer, is_encrypted: *is_encrypted };
        let method = rules.as_ref().map_or(Ok(Method::Scram), |rules| rules.method(&knock))?;
        let stored = self.warehouse.scram_verifier(user);
        let (user, password) = (user.to_owned(), password.to_owned());
        // a password takes milliseconds of computing
        let checking = tokio::task::spawn_blocking(move || check_password(stored.as_deref(), &password));
        let fits = checking.await.map_err(|error| Error::internal("a password's check died").with_source(error))?;
        if !fits && method != Method::Trust {
            return Err(failed_for(&user, peer));
        }
        let process_id = self.last_number.fetch_add(1, Ordering::Relaxed);
        let closed = CancellationToken::new();
        let login = Login { user, database, options: Vec::new(), process_id, peer, ended: closed.clone() };
        let session = Session::start(Arc::clone(&self.warehouse), login).await?;
        session.rest();
        Ok(Arc::new(FlightSession {
            session: tokio::sync::Mutex::new(session),
            results: Results::default(),
            state: Mutex::default(),
            closed,
            last_used: Mutex::new(Instant::now()),
        }))
    }

    /// Ends the session of a request.
    pub fn close(&self, session: &Arc<FlightSession>) {
        self.open().retain(|_, open| !Arc::ptr_eq(open, session));
        session.closed.cancel();
    }

    pub fn close_all(&self) {
        for (_, session) in self.open().drain() {
            session.closed.cancel();
        }
    }

    /// Ends sessions that have been idle for too long. One that is being answered is not.
    pub fn sweep(&self) {
        let timeout = self.limits.idle_timeout;
        self.open().retain(|_, session| {
            let last_used = *session.last_used.lock().unwrap_or_else(PoisonError::into_inner);
            let is_busy = Arc::strong_count(session) > 1 || session.results.is_fetching();
            let is_over = session.closed.is_cancelled() || (!is_busy && last_used.elapsed() > timeout);
            if is_over {
                session.closed.cancel();
            }
            !is_over
        });
    }
}

fn header<'h>(headers: &'h MetadataMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn database(headers: &MetadataMap) -> Option<&str> {
    DATABASE_HEADERS.iter().find_map(|name| header(headers, name)).filter(|name| !name.is_empty())
}

/// What stands behind an authorization's scheme.
fn scheme<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (scheme, rest) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then_some(rest.trim())
}

fn nobody() -> Error {
    Error::new(Kind::InvalidAuthorization, "no name and password, and no token")
        .with_hint("send them as Authorization: Basic, or what the handshake gave as Authorization: Bearer")
}

fn failed_for(user: &str, peer: SocketAddr) -> Error {
    tracing::info!(%peer, user, "refused a log-in over Flight SQL");
    Error::new(Kind::InvalidPassword, format!("password authentication failed for user \"{user}\""))
}
