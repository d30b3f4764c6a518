//! What every call of the service shares.

use std::{sync::Arc, time::Duration};

use coreloop_access::{Gate, token::Rules};
use coreloop_core::{Clock, Ids, Problem, Reason};
use coreloop_db::{Coalesced, Transaction};
use coreloop_facts::Acts;
use coreloop_service::Mode;
use jiff::{SignedDuration, Timestamp};
use redis::aio::ConnectionManager;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error, Options, audit::Audits, guard::Guard, hashing::Hasher, keys::KeyStore, metrics::Metrics, outside::Outside,
    revoke::Publisher, store::users::User, vault::Vault, watch::Watches,
};

/// Longest wait for Redis on a request's path.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// The service's parts. Made once; calls share it behind an [`Arc`].
#[derive(Debug)]
pub struct App {
    /// Database: pool of the role `auth`.
    pub db: PgPool,
    /// Accounts to look at, as GetMe does: reads that wait together are one statement. Decisions lock their row instead.
    pub accounts: Coalesced<Uuid, Arc<User>>,
    /// Redis.
    pub redis: Redis,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Where the process runs.
    pub mode: Mode,
    /// Settings.
    pub options: Arc<Options>,
    /// What every token must satisfy: issuer, audiences, leeway.
    pub rules: Rules,
    /// Keys and revocations as every service of the process believes them.
    pub gate: Arc<Gate>,
    /// Makes revocations known everywhere.
    pub publisher: Publisher,
    /// Signing keys.
    pub keys: Arc<KeyStore>,
    /// Seals what the database must not know.
    pub vault: Arc<Vault>,
    /// Argon2id on its own threads.
    pub hasher: Hasher,
    /// Lockout.
    pub guard: Guard,
    /// The audit queue of sign-ins.
    pub audits: Audits,
    /// What administrators do, for the audit of the mesh.
    pub acts: Acts,
    /// Metrics of the domain.
    pub metrics: Metrics,
    /// Social sign-in providers.
    pub social: crate::social::Registry,
    /// Who watches their session here.
    pub watches: Arc<Watches>,
    /// Mail on its way out.
    pub mail: crate::mail::Mailer,
    /// Client of third parties: bounded in time, follows no redirect.
    pub outside: Outside,
}

/// Redis, bounded in time.
#[derive(Clone)]
pub struct Redis(ConnectionManager);

impl App {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A session that expires after this is live: now less the leeway, for which a token is believed beyond its end.
    #[must_use]
    pub fn live_after(&self) -> Timestamp {
        let leeway = SignedDuration::from_secs(self.rules.leeway_secs());
        self.now().checked_sub(leeway).unwrap_or(Timestamp::MIN)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database does not answer, or the caller's deadline has passed.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        Ok(coreloop_db::begin(&self.db).await?)
    }

    /// The stored keys changed: this process believes them at once, the others are told.
    pub async fn keys_changed(&self) {
        self.gate.keys().set(&self.keys.jwks());
        self.publisher.keys_changed().await;
    }
}

impl Redis {
    /// Wraps a connection.
    #[must_use]
    pub fn new(connection: ConnectionManager) -> Self {
        Self(connection)
    }

    /// A connection for commands; give them to [`Redis::within`].
    #[must_use]
    pub fn connection(&self) -> ConnectionManager {
        self.0.clone()
    }

    /// Waits for `answer`, at most two seconds.
    ///
    /// # Errors
    /// When Redis fails or does not answer in time.
    pub async fn within<T>(&self, answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
        match tokio::time::timeout(REDIS_TIMEOUT, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Problem::common(Reason::DependencyUnavailable, "redis does not answer")
                .retry_after(Duration::from_secs(1))
                .into()),
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redis")
    }
}
