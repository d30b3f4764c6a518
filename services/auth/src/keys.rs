//! Signing keys: made on first start, sealed at rest, rotated with an overlap (chapter 01).
//!
//! A key is `next` (published, does not sign), `active` (signs), then `retired` (verifies until the longest-lived token
//! it may have signed is dead). Because every verifier has had the next key long before it signs, a rotation refuses no
//! good token. There is a set per purpose: users, administrators, machines.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use coreloop_access::{
    keys::{Jwk, JwkSet},
    token::{Algorithm, Purpose, SignError, Signer},
};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::UserId;
use coreloop_facts::Act;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    App, Error, Options,
    store::keys::{self as rows, NewKey, Row},
    vault::Vault,
};

/// The purposes that have keys.
pub const PURPOSES: [Purpose; 3] = [Purpose::User, Purpose::Admin, Purpose::Internal];

impl From<SignError> for Error {
    fn from(error: SignError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The keys of this moment.
#[derive(Debug, Default)]
struct Set {
    active: HashMap<Purpose, Arc<Signer>>,
    next: HashMap<Purpose, String>,
    jwks: JwkSet,
}

/// The keys as last read from the database.
#[derive(Debug)]
pub struct KeyStore {
    set: ArcSwap<Set>,
    vault: Arc<Vault>,
    algorithm: Algorithm,
    min_publish: SignedDuration,
    /// For how long a retired key verifies.
    overlap: SignedDuration,
}

/// What a rotation left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Signs users' tokens from now on.
    pub active_kid: String,
    /// Signs them after the next rotation.
    pub next_kid: String,
}

impl KeyStore {
    /// An empty store; [`KeyStore::start`] fills it.
    #[must_use]
    pub fn new(options: &Options, vault: Arc<Vault>, leeway_secs: i64) -> Self {
        Self {
            set: ArcSwap::from_pointee(Set::default()),
            vault,
            algorithm: options.algorithm,
            min_publish: SignedDuration::from_secs(options.rotation_min_publish_secs.into()),
            // Another replica may sign with the old key until it looks again; what it signed last is believed for its life
            // and the leeway.
            overlap: SignedDuration::from_secs(
                i64::from(options.longest_token_secs()) + leeway_secs + i64::from(options.keys_reload_secs),
            ),
        }
    }

    /// The key that signs now.
    ///
    /// # Errors
    /// A fault of ours when there is none.
    pub fn signer(&self, purpose: Purpose) -> Result<Arc<Signer>, Error> {
        self.set.load().active.get(&purpose).cloned().ok_or_else(|| Error::Internal("no key is active".into()))
    }

    /// The public keys: active, next and retired ones.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        self.set.load().jwks.clone()
    }

    /// Reads the keys; makes the active ones where the database has none. Of many replicas that start at once one makes
    /// them.
    ///
    /// # Errors
    /// When the database fails, or a stored key does not open with this master key.
    pub async fn start(&self, db: &sqlx::PgPool, now: Timestamp) -> Result<(), Error> {
        let missing = |rows: &[Row]| absent(rows, "active");
        let mut found = rows::list(db, now).await?;
        if !missing(&found).is_empty() {
            let mut tx = coreloop_db::begin(db).await?;
            rows::lock(&mut tx).await?;
            found = rows::list(&mut *tx, now).await?;
            for signer in self.generate(missing(&found)).await? {
                self.insert(&mut tx, &signer, true, now).await?;
            }
            found = rows::list(&mut *tx, now).await?;
            tx.commit().await?;
        }
        self.adopt(&found)
    }

    /// Reads the keys again.
    ///
    /// # Errors
    /// As [`KeyStore::start`].
    pub async fn reload(&self, db: &sqlx::PgPool, now: Timestamp) -> Result<(), Error> {
        self.adopt(&rows::list(db, now).await?)
    }

    /// Makes next keys where a purpose has none. Answers whether it made any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prepare(&self, db: &sqlx::PgPool, now: Timestamp) -> Result<bool, Error> {
        if absent(&rows::list(db, now).await?, "next").is_empty() {
            return Ok(false);
        }
        let mut tx = coreloop_db::begin(db).await?;
        rows::lock(&mut tx).await?;
        let wanted = absent(&rows::list(&mut *tx, now).await?, "next");
        for signer in self.generate(wanted).await? {
            self.insert(&mut tx, &signer, false, now).await?;
        }
        tx.commit().await?;
        self.reload(db, now).await?;
        Ok(true)
    }

    /// Rotates every purpose: next becomes active, active retires, a fresh next is published.
    ///
    /// # Errors
    /// `ROTATION_TOO_SOON` when a next key is not published long enough for every verifier to have it.
    pub async fn rotate(&self, app: &App) -> Result<Rotated, Error> {
        self.rotate_for(app, None).await
    }

    /// As [`Self::rotate`]; where an administrator asks for it, the audit of the mesh is told.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn rotate_for(&self, app: &App, by: Option<UserId>) -> Result<Rotated, Error> {
        let fresh = self.generate(PURPOSES.to_vec()).await?;
        let now = app.now();
        let mut tx = app.begin().await?;
        rows::lock(&mut tx).await?;
        let before = rows::list(&mut *tx, now).await?;
        self.admit(&before, now)?;
        rows::promote(&mut tx, now.checked_add(self.overlap).unwrap_or(Timestamp::MAX), now).await?;
        for signer in &fresh {
            self.insert(&mut tx, signer, false, now).await?;
        }
        let found = rows::list(&mut *tx, now).await?;
        if let Some(by) = by {
            let (before, after) = (names(&before), names(&found));
            let act = Act { by, subject: "", reason: "", before: Some(&before), after: Some(&after) };
            app.acts.tell(&mut tx, &act, now).await?;
        }
        tx.commit().await?;
        self.adopt(&found)?;
        app.keys_changed().await;
        tracing::info!("signing keys rotated");
        self.standing().ok_or_else(|| Error::Internal("no key is active".into()))
    }

    /// Names of users' active and next key.
    #[must_use]
    pub fn standing(&self) -> Option<Rotated> {
        let set = self.set.load();
        let active_kid = set.active.get(&Purpose::User)?.kid().to_owned();
        Some(Rotated { active_kid, next_kid: set.next.get(&Purpose::User).cloned().unwrap_or_default() })
    }

    fn admit(&self, found: &[Row], now: Timestamp) -> Result<(), Error> {
        if !absent(found, "next").is_empty() {
            return Err(Error::RotationTooSoon { retry_after: self.min_publish.unsigned_abs() });
        }
        let newest = found.iter().filter(|row| row.state == "next").map(|row| row.created_at).max();
        let ready = newest.and_then(|at| at.checked_add(self.min_publish).ok()).unwrap_or(now);
        if ready > now {
            return Err(Error::RotationTooSoon { retry_after: ready.duration_since(now).unsigned_abs() });
        }
        Ok(())
    }

    /// When the oldest active key began to sign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_since(&self, db: &sqlx::PgPool, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let found = rows::list(db, now).await?;
        Ok(found.iter().filter(|r| r.state == "active").filter_map(|r| r.activated_at).map(|at| at.to_jiff()).min())
    }

    async fn generate(&self, purposes: Vec<Purpose>) -> Result<Vec<Signer>, Error> {
        let algorithm = self.algorithm;
        // Named by its own randomness: two replicas never make the same name.
        let making: Vec<_> = purposes
            .into_iter()
            .map(|purpose| {
                tokio::task::spawn_blocking(move || -> Result<Signer, Error> {
                    let name = hex::encode(crate::vault::random::<8>()?);
                    Ok(Signer::generate(format!("{}-{name}", purpose.as_str()), algorithm, purpose)?)
                })
            })
            .collect();
        let mut signers = Vec::with_capacity(making.len());
        for signer in making {
            signers.push(signer.await.map_err(|error| Error::Internal(error.to_string()))??);
        }
        Ok(signers)
    }

    async fn insert(
        &self,
        conn: &mut sqlx::PgConnection,
        signer: &Signer,
        active: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sealed = self.vault.seal(signer.kid(), &signer.to_pkcs8()?)?;
        let public_jwk = serde_json::to_value(signer.jwk()?).map_err(|error| Error::Internal(error.to_string()))?;
        let (kid, purpose, alg) = (signer.kid(), signer.purpose(), signer.algorithm());
        rows::insert(conn, &NewKey { kid, purpose, alg, private_key: &sealed, public_jwk }, active, now).await
    }

    /// Takes what was read as the keys of this moment. A signer that is loaded already is not opened again.
    fn adopt(&self, found: &[Row]) -> Result<(), Error> {
        let old = self.set.load();
        let mut set = Set::default();
        for row in found {
            let purpose =
                purpose(&row.purpose).ok_or_else(|| Error::Internal("a key has an unknown purpose".into()))?;
            let jwk: Jwk =
                serde_json::from_value(row.public_jwk.clone()).map_err(|error| Error::Internal(error.to_string()))?;
            set.jwks.keys.push(jwk);
            match row.state.as_str() {
                "active" => {
                    let known = old.active.get(&purpose).filter(|signer| signer.kid() == row.kid);
                    let signer = known.map_or_else(|| self.unseal(row, purpose), |signer| Ok(Arc::clone(signer)))?;
                    set.active.insert(purpose, signer);
                }
                "next" => {
                    set.next.insert(purpose, row.kid.clone());
                }
                _ => {}
            }
        }
        self.set.store(Arc::new(set));
        Ok(())
    }

    fn unseal(&self, row: &Row, purpose: Purpose) -> Result<Arc<Signer>, Error> {
        let algorithm = algorithm(&row.alg).ok_or_else(|| Error::Internal("a key has an unknown algorithm".into()))?;
        let pkcs8 = self.vault.open(&row.kid, &row.private_key)?;
        Ok(Arc::new(Signer::from_pkcs8(row.kid.as_str(), algorithm, purpose, &pkcs8)?))
    }
}

/// Names of the keys that sign and that will, as the audit says them.
fn names(found: &[Row]) -> Value {
    let of = |state: &str| -> Vec<&str> {
        found.iter().filter(|row| row.state == state).map(|row| row.kid.as_str()).collect()
    };
    json!({ "active": of("active"), "next": of("next") })
}

/// Purposes without a key in `state`.
fn absent(found: &[Row], state: &str) -> Vec<Purpose> {
    let has = |purpose: &Purpose| found.iter().any(|row| row.state == state && row.purpose == purpose.as_str());
    PURPOSES.into_iter().filter(|purpose| !has(purpose)).collect()
}

fn purpose(name: &str) -> Option<Purpose> {
    PURPOSES.into_iter().find(|purpose| purpose.as_str() == name)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into_iter().find(|algorithm| algorithm.as_str() == name)
}

/// Refuses `reason` when keys are not as asked.
#[must_use]
pub fn too_soon(error: &Error) -> bool {
    matches!(error, Error::RotationTooSoon { .. } | Error::Refused(AuthReason::RotationTooSoon))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> KeyStore {
        let options = Options { algorithm: Algorithm::Es256, ..Options::default() };
        KeyStore::new(&options, Arc::new(Vault::new(&[1; 32]).unwrap()), 30)
    }

    fn row(state: &str, purpose: &str, created_at: &str) -> Row {
        Row {
            kid: format!("{purpose}-{state}"),
            purpose: purpose.into(),
            alg: "ES256".into(),
            state: state.into(),
            private_key: Vec::new(),
            public_jwk: serde_json::Value::Null,
            created_at: created_at.parse().unwrap(),
            activated_at: None,
        }
    }

    #[test]
    fn a_next_key_must_be_published_for_a_minute() {
        let rows: Vec<Row> = PURPOSES.iter().map(|p| row("next", p.as_str(), "2026-01-01T00:00:00Z")).collect();
        let store = store();
        let early = store.admit(&rows, "2026-01-01T00:00:59Z".parse().unwrap()).unwrap_err();
        assert!(too_soon(&early));
        store.admit(&rows, "2026-01-01T00:01:00Z".parse().unwrap()).unwrap();
        assert!(too_soon(&store.admit(&rows[..2], "2026-01-02T00:00:00Z".parse().unwrap()).unwrap_err()));
    }

    #[test]
    fn a_retired_key_outlives_what_a_replica_that_was_not_told_signs_with_it() {
        let options = Options { refresh_ttl_secs: 1_000, keys_reload_secs: 3_600, ..Options::default() };
        let store = KeyStore::new(&options, Arc::new(Vault::new(&[1; 32]).unwrap()), 30);
        assert_eq!(store.overlap, SignedDuration::from_secs(1_000 + 30 + 3_600));
    }

    #[tokio::test]
    async fn a_stored_key_signs_after_it_was_sealed_and_not_with_another_master_key() {
        let store = store();
        let signer = store.generate(vec![Purpose::User]).await.unwrap().remove(0);
        let mut row = row("active", "user", "2026-01-01T00:00:00Z");
        row.kid = signer.kid().to_owned();
        row.private_key = store.vault.seal(signer.kid(), &signer.to_pkcs8().unwrap()).unwrap();
        row.public_jwk = serde_json::to_value(signer.jwk().unwrap()).unwrap();
        store.adopt(std::slice::from_ref(&row)).unwrap();
        assert_eq!(store.signer(Purpose::User).unwrap().kid(), signer.kid());
        assert_eq!(store.jwks().keys.len(), 1);
        assert!(store.signer(Purpose::Admin).is_err(), "a user key signs nothing else");
        let other = KeyStore::new(&Options::default(), Arc::new(Vault::new(&[2; 32]).unwrap()), 30);
        assert!(other.adopt(std::slice::from_ref(&row)).is_err());
    }
}
