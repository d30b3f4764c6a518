//! Keys of receipts: one signs, one is ready to, those before still verify.
//!
//! A key is made of the secret of the settings and a salt in the database, so neither alone forges a receipt. A worker lets
//! the next key sign when the active one is old ([`crate::worker`]). A process reads keys when it first needs one, and again
//! every few seconds: until then it may sign with the one before, which verifies all the same.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use coreloop_core::Clock;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::{Error, receipt, receipt::Key, store};

/// How long keys are believed to be as they were read.
const FRESH: Duration = Duration::from_secs(60);

/// The keys. Clones share them.
#[derive(Debug, Clone)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: PgPool,
    clock: Arc<dyn Clock>,
    secret: Vec<u8>,
    kept: RwLock<Option<Kept>>,
}

#[derive(Debug, Clone)]
struct Kept {
    keys: Arc<HashMap<i32, Key>>,
    active: Key,
    read_at: Instant,
}

impl Keyring {
    /// The keys in the database, with the secret.
    #[must_use]
    pub fn new(db: PgPool, clock: Arc<dyn Clock>, secret: &[u8]) -> Self {
        Self(Arc::new(Inner { db, clock, secret: secret.to_vec(), kept: RwLock::default() }))
    }

    /// The key that signs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active(&self) -> Result<Key, Error> {
        match self.kept().filter(|kept| kept.read_at.elapsed() < FRESH) {
            Some(kept) => Ok(kept.active),
            None => Ok(self.read().await?.active),
        }
    }

    /// The key of a version; none where there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of(&self, version: i32) -> Result<Option<Key>, Error> {
        if let Some(key) = self.kept().and_then(|kept| kept.keys.get(&version).cloned()) {
            return Ok(Some(key));
        }
        Ok(self.read().await?.keys.get(&version).cloned())
    }

    /// Lets the next key sign where the active one is older than `life_secs`; answers whether it did.
    ///
    /// # Errors
    /// When the database fails, or the machine has no randomness.
    pub async fn rotate(&self, life_secs: u32) -> Result<bool, Error> {
        let (now, salt) = (self.0.clock.now(), salt()?);
        let before = now.saturating_sub(jiff::SignedDuration::from_secs(life_secs.into())).unwrap_or(now);
        let mut tx = coreloop_db::begin(&self.0.db).await?;
        let rotated = store::keys::rotate(&mut tx, before, &salt, now).await?;
        tx.commit().await?;
        // Another replica may have.
        self.read().await?;
        Ok(rotated)
    }

    fn kept(&self) -> Option<Kept> {
        self.0.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them, and makes the first two where there are none.
    async fn read(&self) -> Result<Kept, Error> {
        let mut rows = store::keys::all(&self.0.db).await?;
        if !rows.iter().any(|row| row.state == "active") {
            store::keys::first(&self.0.db, [&salt()?, &salt()?], self.0.clock.now()).await?;
            rows = store::keys::all(&self.0.db).await?;
        }
        let key = |row: &store::keys::Row| Key::new(&self.0.secret, row.version, &row.salt);
        let active = rows.iter().find(|row| row.state == "active").map(key);
        let active = active.ok_or(Error::Corrupt("no receipt key is active"))?;
        let keys = Arc::new(rows.iter().map(|row| (row.version, key(row))).collect());
        let kept = Kept { keys, active, read_at: Instant::now() };
        *self.0.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
        Ok(kept)
    }
}

fn salt() -> Result<Vec<u8>, Error> {
    receipt::salt().map_err(|_| Error::Corrupt("no randomness"))
}
