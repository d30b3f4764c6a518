//! The set of keys a process believes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::signature::ParsedPublicKey;
use tokio::sync::Mutex;

use super::{JwkSet, KeySource};
use crate::token::{Algorithm, Purpose};

/// Least time between two looks at the source because of unknown `kid`s.
const REFRESH_GAP: Duration = Duration::from_secs(10);

/// Keys beyond this many are not read: a hostile or broken source cannot fill memory.
const MOST_KEYS: usize = 64;

/// A public key, parsed.
pub struct Key {
    kid: Box<str>,
    algorithm: Algorithm,
    purpose: Purpose,
    serial: u32,
    material: Vec<u8>,
    public: ParsedPublicKey,
}

impl Key {
    /// Name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The only algorithm it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it may sign.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Number of this material in this process; never given twice.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The signature over `message` is by this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// The keys of this moment.
type Set = Vec<Arc<Key>>;

/// The keys a process believes. Cloning shares them.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    set: ArcSwap<Set>,
    source: Option<Arc<dyn KeySource>>,
    serials: AtomicU32,
    /// When a look was last begun; the lock makes concurrent callers share one.
    last_look: Mutex<Option<Instant>>,
}

impl Keys {
    /// Keys read from `source`; none until [`Keys::refresh`].
    #[must_use]
    pub fn from_source(source: Arc<dyn KeySource>) -> Self {
        Self::build(Some(source))
    }

    /// Keys that only [`Keys::set`] changes.
    #[must_use]
    pub fn fixed(jwks: &JwkSet) -> Self {
        let keys = Self::build(None);
        keys.set(jwks);
        keys
    }

    fn build(source: Option<Arc<dyn KeySource>>) -> Self {
        Self(Arc::new(Inner {
            set: ArcSwap::from_pointee(Vec::new()),
            source,
            serials: AtomicU32::new(1),
            last_look: Mutex::new(None),
        }))
    }

    /// Replaces the set. A key that cannot be read, or whose `kid` came before, is left out and logged. Material that was
    /// in the set keeps its serial, so remembered tokens stay good over a refresh.
    pub fn set(&self, jwks: &JwkSet) {
        let old = self.0.set.load();
        let mut new: Set = Vec::with_capacity(jwks.keys.len().min(MOST_KEYS));
        for jwk in jwks.keys.iter().take(MOST_KEYS) {
            let Some(material) = jwk.material() else {
                tracing::warn!(kid = %jwk.kid, "a published key cannot be read");
                continue;
            };
            if new.iter().any(|key| *key.kid == *jwk.kid) {
                tracing::warn!(kid = %jwk.kid, "a key name is published twice; the first one counts");
                continue;
            }
            let same = |key: &&Arc<Key>| {
                *key.kid == *jwk.kid
                    && key.algorithm == jwk.alg
                    && key.purpose == jwk.purpose
                    && key.material == material
            };
            if let Some(known) = old.iter().find(same) {
                new.push(Arc::clone(known));
            } else if let Some(public) = jwk.parse(&material) {
                new.push(Arc::new(Key {
                    kid: jwk.kid.as_str().into(),
                    algorithm: jwk.alg,
                    purpose: jwk.purpose,
                    serial: self.0.serials.fetch_add(1, Ordering::Relaxed),
                    material,
                    public,
                }));
            } else {
                tracing::warn!(kid = %jwk.kid, "a published key cannot be parsed");
            }
        }
        self.0.set.store(Arc::new(new));
    }

    /// The key of a name.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<Arc<Key>> {
        self.load().iter().find(|key| *key.kid == *kid).cloned()
    }

    /// The material with this serial is still in the set.
    #[must_use]
    pub fn holds(&self, serial: u32) -> bool {
        self.load().iter().any(|key| key.serial == serial)
    }

    /// No key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load().is_empty()
    }

    fn load(&self) -> Guard<Arc<Set>> {
        self.0.set.load()
    }

    /// Reads the source now. A failed read keeps the keys there are.
    pub async fn refresh(&self) -> bool {
        let mut last = self.0.last_look.lock().await;
        *last = Some(Instant::now());
        self.look().await
    }

    /// Reads the source because a `kid` was not found, unless it was read within the last ten seconds (by anybody, for
    /// whatever reason). Returns whether the set may have changed since the caller looked.
    pub async fn refresh_for_unknown(&self) -> bool {
        if self.0.source.is_none() {
            return false;
        }
        let asked = Instant::now();
        let mut last = self.0.last_look.lock().await;
        match *last {
            // Somebody read it while this caller waited for the lock.
            Some(at) if at >= asked => true,
            Some(at) if at.elapsed() < REFRESH_GAP => false,
            _ => {
                *last = Some(Instant::now());
                self.look().await
            }
        }
    }

    async fn look(&self) -> bool {
        let Some(source) = &self.0.source else { return false };
        match source.jwks().await {
            Ok(jwks) if jwks.keys.is_empty() => {
                tracing::warn!("the published key set is empty; the known keys are kept");
                false
            }
            Ok(jwks) => {
                self.set(&jwks);
                true
            }
            Err(error) => {
                tracing::warn!(error = %error, "the published keys could not be read");
                false
            }
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.load().iter().map(|key| key.kid.clone())).finish()
    }
}
