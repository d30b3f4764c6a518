//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, UserId};
use coreloop_db::Coalesced;
use coreloop_facts::Acts;
use coreloop_wallet_api::v1;
use prost::Message as _;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error, Options,
    commit::Ledger,
    error::Refusal,
    metrics::Metrics,
    order::{Currency, Key},
    store::{self, accounts::Balance, postings::Made},
};

/// The running service.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub options: Options,
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// What is posted.
    pub ledger: Ledger,
    /// Balances to look at: reads that wait together are one statement. Decisions lock their accounts instead.
    pub balances: Coalesced<Key, Balance>,
    /// Postings that were made, which never change.
    pub postings: Coalesced<Uuid, Arc<Made>>,
    /// Held by whoever looks at all of the books: nobody looks twice at once in a process.
    pub looking: tokio::sync::Mutex<()>,
    /// Metrics.
    pub metrics: Metrics,
}

impl App {
    /// The service on a database.
    #[must_use]
    pub fn new(options: Options, db: PgPool, clock: Arc<dyn Clock>, metrics: Metrics, acts: Acts) -> Self {
        Self {
            ledger: Ledger::new(db.clone(), Arc::clone(&clock), &options, metrics.clone(), acts),
            balances: balances(&db, &clock),
            postings: postings(&db),
            looking: tokio::sync::Mutex::default(),
            options,
            db,
            clock,
            metrics,
        }
    }

    /// What a user has; nothing where there is no account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn balance(&self, user: UserId, currency: Currency) -> Result<Balance, Error> {
        Ok(self.balances.find((user.0, currency)).await?.unwrap_or_default())
    }

    /// A posting that was made.
    ///
    /// # Errors
    /// `unknown` when there is none; when the database fails.
    pub async fn posting(&self, id: Uuid, unknown: Refusal) -> Result<v1::Posting, Error> {
        read(&*self.postings.find(id).await?.ok_or(unknown)?)
    }

    /// A posting that `caller` made; to anybody else it is unknown, and an empty one. Only the books refuse that, and keep it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn posting_of(&self, caller: &str, id: Uuid) -> Result<Box<v1::Posting>, Error> {
        let made = self.postings.find(id).await?.filter(|made| made.caller == caller);
        Ok(Box::new(made.map(|made| read(&made)).transpose()?.unwrap_or_default()))
    }
}

/// The posting as it was answered.
pub(crate) fn read(made: &Made) -> Result<v1::Posting, Error> {
    v1::Posting::decode(made.answer.as_slice()).map_err(|_| Error::Corrupt("an answer that cannot be read"))
}

fn balances(db: &PgPool, clock: &Arc<dyn Clock>) -> Coalesced<Key, Balance> {
    let (pool, db, clock) = (db, db.clone(), Arc::clone(clock));
    Coalesced::new(pool, move |keys: Vec<Key>| {
        let (db, now) = (db.clone(), clock.now());
        Box::pin(async move { Ok(store::accounts::balances(&db, &keys, now).await?) })
    })
}

fn postings(db: &PgPool) -> Coalesced<Uuid, Arc<Made>> {
    let (pool, db) = (db, db.clone());
    Coalesced::new(pool, move |ids: Vec<Uuid>| {
        let db = db.clone();
        Box::pin(async move {
            let found = store::postings::made(&db, &ids).await?;
            Ok(found.into_iter().map(|(id, made)| (id, Arc::new(made))).collect())
        })
    })
}
