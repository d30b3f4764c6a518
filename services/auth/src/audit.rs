//! The login audit: queued, so sign-in never waits for it (chapter 01; the command queue `auth.audit` of chapter 06).
//!
//! A record goes from a bounded channel to the Redis stream `cmd:auth.audit` and from there, by a consumer group, to
//! `auth.login_audits`, keyed by the record's id: delivered twice is stored once. While Redis is away the records go from
//! the channel to Postgres directly. The same channel carries the upkeep of `auth:user_tokens:{user_id}`, which is for
//! operators to look at; nothing decides by it.

mod consume;
mod forward;

use std::sync::Arc;

use coreloop_core::{TokenId, UserId};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Mutex, Notify, mpsc};
use uuid::Uuid;

use crate::{App, Client};

/// Records that wait for Redis; more are dropped and counted.
const CAPACITY: usize = 8_192;

/// One try to sign in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audit {
    /// Id: the idempotency key.
    pub id: Uuid,
    /// User; none when the account is unknown.
    pub user_id: Option<UserId>,
    /// `password`, `admin`, `social`, `refresh`, `exchange`.
    pub method: String,
    /// Provider of a social sign-in.
    pub provider: String,
    /// Token that was issued.
    pub jti: Option<TokenId>,
    /// Address of the client.
    pub ip: String,
    /// User agent of the client.
    pub user_agent: String,
    /// `ok` or the reason of the refusal.
    pub outcome: String,
    /// When.
    pub occurred_at: Timestamp,
    /// Trace of the request.
    pub trace_id: String,
    /// Id of the request.
    pub request_id: String,
}

impl Audit {
    /// A try by `client` that ended with `outcome`.
    #[must_use]
    pub fn of(app: &App, method: &str, client: &Client, outcome: &str) -> Self {
        Self {
            id: app.ids.uuid(),
            user_id: None,
            method: method.to_owned(),
            provider: String::new(),
            jti: None,
            ip: client.ip.clone(),
            user_agent: client.user_agent.clone(),
            outcome: outcome.to_owned(),
            occurred_at: app.now(),
            trace_id: client.trace_id.clone(),
            request_id: client.request_id.clone(),
        }
    }

    /// For the account of `user`.
    #[must_use]
    pub fn user(mut self, user: UserId) -> Self {
        self.user_id = Some(user);
        self
    }

    /// For the account, when it is known.
    #[must_use]
    pub fn maybe_user(mut self, user: Option<UserId>) -> Self {
        self.user_id = user;
        self
    }

    /// By a provider.
    #[must_use]
    pub fn provider(mut self, provider: &str) -> Self {
        provider.clone_into(&mut self.provider);
        self
    }

    /// A token was issued.
    #[must_use]
    pub fn token(mut self, jti: TokenId) -> Self {
        self.jti = Some(jti);
        self
    }
}

/// What travels in the channel.
#[derive(Debug)]
pub(crate) enum Item {
    Record(Box<Audit>),
    Issued { user: UserId, jti: TokenId, expires_at: Timestamp },
    Forgotten { user: UserId, ids: Vec<Uuid> },
}

/// The near end of the queue. Clones share it; nothing here waits.
#[derive(Debug, Clone)]
pub struct Audits {
    items: mpsc::Sender<Item>,
    queued: Arc<Mutex<mpsc::Receiver<Item>>>,
    /// Wakes the consumer of this process when something was put in the stream.
    pub(crate) delivered: Arc<Notify>,
    dropped: Counter,
}

impl Audits {
    /// An empty queue.
    #[must_use]
    pub fn new(dropped: Counter) -> Self {
        let (items, queued) = mpsc::channel(CAPACITY);
        Self { items, queued: Arc::new(Mutex::new(queued)), delivered: Arc::new(Notify::new()), dropped }
    }

    /// Queues a record.
    pub fn record(&self, audit: Audit) {
        self.put(Item::Record(Box::new(audit)));
    }

    /// Queues the record of a sign-in that succeeded, and its token for the user's list.
    pub fn signed_in(&self, audit: Audit, expires_at: Timestamp) {
        if let (Some(user), Some(jti)) = (audit.user_id, audit.jti) {
            self.issued(user, jti, expires_at);
        }
        self.record(audit);
    }

    /// Puts a token on the user's list.
    pub fn issued(&self, user: UserId, jti: TokenId, expires_at: Timestamp) {
        self.put(Item::Issued { user, jti, expires_at });
    }

    /// Takes tokens off the user's list.
    pub fn forget(&self, user: UserId, ids: Vec<Uuid>) {
        self.put(Item::Forgotten { user, ids });
    }

    fn put(&self, item: Item) {
        if self.items.try_send(item).is_err() {
            self.dropped.inc();
            tracing::warn!("the audit queue is full, a record is dropped");
        }
    }
}

/// The workers of the queue.
#[must_use]
pub fn workers(app: &Arc<App>) -> Vec<coreloop_service::Worker> {
    let (near, far) = (Arc::clone(app), Arc::clone(app));
    vec![
        coreloop_service::Worker::new("auth.audit.forward", move |stop| forward::run(Arc::clone(&near), stop)),
        coreloop_service::Worker::new("auth.audit", move |stop| consume::run(Arc::clone(&far), stop)),
    ]
}
