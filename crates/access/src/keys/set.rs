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
    /// The last look; the lock makes concurrent callers share one.
    last_look: Mutex<Option<Look>>,
}

/// A look at the source.
#[derive(Clone, Copy)]
struct Look {
    begun: Instant,
    ended: Instant,
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
        self.look(&mut last).await
    }

    /// Reads the source because a `kid` was not found, unless it was read within the last ten seconds (by anybody, for
    /// whatever reason). Returns whether the set may have changed since `since`, which is before the caller looked.
    pub(crate) async fn refresh_for_unknown(&self, since: Instant) -> bool {
        if self.0.source.is_none() {
            return false;
        }
        let mut last = self.0.last_look.lock().await;
        match *last {
            // It was read meanwhile: that look may have begun long before, as that of a process that starts.
            Some(look) if look.ended >= since => true,
            Some(look) if look.begun.elapsed() < REFRESH_GAP => false,
            _ => self.look(&mut last).await,
        }
    }

    async fn look(&self, last: &mut Option<Look>) -> bool {
        let begun = Instant::now();
        // Should the caller go away in its midst, it was a look all the same.
        *last = Some(Look { begun, ended: begun });
        let changed = self.read().await;
        *last = Some(Look { begun, ended: Instant::now() });
        changed
    }

    async fn read(&self) -> bool {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{
        keys::{Jwk, KeySourceError},
        token::Signer,
    };

    /// Publishes `jwks` and counts how often it is asked.
    #[derive(Default)]
    struct Source {
        asked: AtomicUsize,
        jwks: std::sync::Mutex<Option<JwkSet>>,
    }

    #[async_trait::async_trait]
    impl KeySource for Source {
        async fn jwks(&self) -> Result<JwkSet, KeySourceError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.jwks.lock().unwrap().clone().ok_or_else(|| KeySourceError("away".into()))
        }
    }

    fn jwk(kid: &str) -> Jwk {
        Signer::generate(kid, Algorithm::EdDsa, Purpose::User).unwrap().jwk().unwrap()
    }

    #[tokio::test]
    async fn unknown_names_cause_one_look_in_ten_seconds() {
        let source = Arc::new(Source::default());
        *source.jwks.lock().unwrap() = Some(JwkSet { keys: vec![jwk("a")] });
        let keys = Keys::from_source(source.clone());
        let looks = futures::future::join_all((0..200).map(|_| keys.refresh_for_unknown(Instant::now()))).await;
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        // Those who came while it was read look again; later ones do not.
        assert!(looks.into_iter().all(|changed| changed));
        for _ in 0..200 {
            assert!(!keys.refresh_for_unknown(Instant::now()).await);
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        assert!(keys.get("a").is_some());
        // After the gap a new name is found.
        *source.jwks.lock().unwrap() = Some(JwkSet { keys: vec![jwk("b")] });
        let ago = Instant::now().checked_sub(REFRESH_GAP).unwrap();
        *keys.0.last_look.lock().await = Some(Look { begun: ago, ended: ago });
        assert!(keys.refresh_for_unknown(Instant::now()).await);
        assert!(keys.get("b").is_some() && keys.get("a").is_none());
    }

    /// A process that has just started reads its keys, and is asked meanwhile: whoever found none is not told that there is
    /// no such key when the look, which began before they came, has ended.
    #[tokio::test]
    async fn who_comes_while_the_first_look_is_under_way_looks_again() {
        let source = Arc::new(Source::default());
        *source.jwks.lock().unwrap() = Some(JwkSet { keys: vec![jwk("a")] });
        let keys = Keys::from_source(source.clone());
        let first = keys.refresh();
        let later = async {
            // The first look has begun: it yields once.
            let since = Instant::now();
            assert!(keys.is_empty());
            keys.refresh_for_unknown(since).await
        };
        assert_eq!(tokio::join!(first, later), (true, true));
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        assert!(keys.get("a").is_some());
    }

    #[tokio::test]
    async fn a_failing_or_empty_source_takes_no_key_away() {
        let source = Arc::new(Source::default());
        *source.jwks.lock().unwrap() = Some(JwkSet { keys: vec![jwk("a")] });
        let keys = Keys::from_source(source.clone());
        assert!(keys.refresh().await);
        for broken in [None, Some(JwkSet::default())] {
            *source.jwks.lock().unwrap() = broken;
            assert!(!keys.refresh().await);
            assert!(keys.get("a").is_some());
        }
    }

    #[test]
    fn keys_that_cannot_be_read_are_left_out() {
        let good = jwk("good");
        let change = |kid: &str, change: fn(&mut Jwk)| {
            let mut jwk = Jwk { kid: kid.to_owned(), ..good.clone() };
            change(&mut jwk);
            jwk
        };
        let set = vec![
            good.clone(),
            change("short", |jwk| jwk.x = Some("AAAA".into())),
            change("no x", |jwk| jwk.x = None),
            change("padded", |jwk| jwk.x = jwk.x.take().map(|x| x + "=")),
            change("another type", |jwk| jwk.kty = "RSA".into()),
            change("another curve", |jwk| jwk.crv = Some("P-256".into())),
            change("for encryption", |jwk| jwk.usage = "enc".into()),
            change("another algorithm", |jwk| jwk.alg = Algorithm::Es256),
            change("", |_| {}),
            change("good", |jwk| jwk.x = Some("A".repeat(43))),
        ];
        let keys = Keys::fixed(&JwkSet { keys: set });
        assert_eq!(keys.load().len(), 1);
        assert_eq!(keys.get("good").unwrap().material, good.material().unwrap());
        // A symmetric key, or any other document, is not even a Jwk.
        assert!(
            serde_json::from_str::<Jwk>(r#"{"kty":"oct","kid":"h","alg":"HS256","use":"sig","k":"c2VjcmV0"}"#).is_err()
        );
    }

    #[test]
    fn a_weak_rsa_key_is_left_out() {
        let rsa = |bits: usize| Jwk {
            kty: "RSA".into(),
            kid: "weak".into(),
            alg: Algorithm::Rs256,
            usage: "sig".into(),
            purpose: Purpose::User,
            n: Some(base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, vec![0xff; bits / 8])),
            e: Some("AQAB".into()),
            crv: None,
            x: None,
            y: None,
        };
        assert!(Keys::fixed(&JwkSet { keys: vec![rsa(1_024)] }).is_empty());
    }

    #[test]
    fn serials_follow_the_material() {
        let (a, b) = (jwk("a"), jwk("b"));
        let keys = Keys::fixed(&JwkSet { keys: vec![a.clone()] });
        let serial = keys.get("a").unwrap().serial();
        keys.set(&JwkSet { keys: vec![b, a.clone()] });
        assert_eq!(keys.get("a").unwrap().serial(), serial);
        keys.set(&JwkSet { keys: vec![jwk("a")] });
        assert!(!keys.holds(serial));
        keys.set(&JwkSet { keys: vec![a] });
        assert!(!keys.holds(serial), "a serial is never given again");
    }
}
