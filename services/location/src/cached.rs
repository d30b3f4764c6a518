//! What was found lately, in Redis; and only one who looks for what is not there, however many ask at once and on however many replicas.
//!
//! Within a process whoever asks for the same waits for one search; between processes a lock in Redis (`{key}:lock`) says whose it is,
//! and the others look again until the answer is there. A process that dies while it searches holds the others up until its lock
//! is over. Nobody's search ends because somebody else went away: it goes on as long as anybody waits for it.
//!
//! Where Redis does not answer, each process searches for itself and remembers a thousand answers as long as Redis would have.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use coreloop_core::{Ids, Problem};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use redis::{Script, aio::ConnectionManager};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use crate::{Error, metrics::Metrics};

/// Between two looks at what another process searches.
const LOOK: Duration = Duration::from_millis(40);
/// Answers that a process remembers without Redis, and searches that it may know of before it forgets those that are over.
const MOST: usize = 1_024;

/// `KEYS`: the answer, the lock. `ARGV`: whose lock, its life in milliseconds. Answers 1 and the answer; 2: the search is ours; 3: it is
/// somebody else's.
static LOOK_OR_LOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = redis.call('get', KEYS[1])
if found then return {1, found} end
if redis.call('set', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {2, ''} end
return {3, ''}
",
    )
});

/// `KEYS`: the answer, the lock. `ARGV`: whose lock, the answer or nothing, its life in seconds. Keeps the answer, and ends the lock if it is
/// ours.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if ARGV[2] ~= '' then redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
if redis.call('get', KEYS[2]) == ARGV[1] then redis.call('del', KEYS[2]) end
return 1
",
    )
});

/// Found, and to be kept for so long.
#[derive(Debug)]
pub struct Fresh {
    bytes: Bytes,
    secs: u32,
}

impl Fresh {
    /// What was found.
    ///
    /// # Errors
    /// When it cannot be written down, which is a fault of ours.
    pub fn of<T: Serialize>(found: &T, secs: u32) -> Result<Self, Problem> {
        let bytes = serde_json::to_vec(found).map_err(Problem::internal)?;
        Ok(Self { bytes: bytes.into(), secs })
    }
}

/// What a search came to, for everybody who waits for it.
type Came = Result<Bytes, Arc<Problem>>;
type Search = Shared<BoxFuture<'static, Came>>;
/// A search as it is known to others: it goes when nobody waits for it any more.
type Known = WeakShared<BoxFuture<'static, Came>>;

/// What was found lately. Cheap to clone.
#[derive(Clone)]
pub struct Cached(Arc<Inner>);

struct Inner {
    redis: Option<ConnectionManager>,
    ids: Arc<dyn Ids>,
    patience: Duration,
    lock: Duration,
    under_way: Mutex<HashMap<String, Known>>,
    held: Mutex<HashMap<String, (Instant, Bytes)>>,
    metrics: Metrics,
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cached").field("redis", &self.0.redis.is_some()).finish_non_exhaustive()
    }
}

/// What Redis says.
enum Said {
    There(Bytes),
    Ours,
    Theirs,
    Nothing,
}

impl Cached {
    /// In this Redis, which gets `patience` for one answer. A search is over, or given up, after `lock`.
    #[must_use]
    pub fn new(
        redis: Option<ConnectionManager>,
        ids: Arc<dyn Ids>,
        (patience, lock): (Duration, Duration),
        metrics: Metrics,
    ) -> Self {
        let (under_way, held) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { redis, ids, patience, lock, under_way, held, metrics }))
    }

    /// What is kept under `key`, or what `search` finds: one search at a time, whoever asks.
    ///
    /// # Errors
    /// Those of the search.
    pub async fn get<T, F, S>(&self, cache: &'static str, key: &str, search: F) -> Result<T, Error>
    where
        T: DeserializeOwned,
        F: FnOnce() -> S,
        S: Future<Output = Result<Fresh, Problem>> + Send + 'static,
    {
        let (kept, result) = match self.read(key).await {
            Some(kept) => (kept, "hit"),
            None => (self.remembered(key), "held"),
        };
        match kept.map(|bytes| serde_json::from_slice(&bytes)) {
            Some(Ok(found)) => {
                self.0.metrics.looked(cache, result);
                return Ok(found);
            }
            // An older or newer version wrote it.
            Some(Err(_)) => self.remove(key).await,
            None => {}
        }
        let (found, began) = self.join(key, search);
        self.0.metrics.looked(cache, if began { "miss" } else { "joined" });
        let came = found.await;
        self.forget_if_over(key);
        let bytes = came.map_err(Error::Shared)?;
        serde_json::from_slice(&bytes).map_err(|error| Problem::internal(error).into())
    }

    /// The search that is under way, or a new one; whether it is new.
    fn join<F, S>(&self, key: &str, search: F) -> (Search, bool)
    where
        F: FnOnce() -> S,
        S: Future<Output = Result<Fresh, Problem>> + Send + 'static,
    {
        let mut under_way = lock(&self.0.under_way);
        if let Some(known) = under_way.get(key).and_then(running) {
            return (known, false);
        }
        if under_way.len() >= MOST {
            under_way.retain(|_, known| running(known).is_some());
        }
        let found = self.clone().find(key.to_owned(), search()).boxed().shared();
        if let Some(weak) = found.downgrade() {
            under_way.insert(key.to_owned(), weak);
        }
        (found, true)
    }

    /// Searches, unless another process does or did.
    async fn find(self, key: String, search: impl Future<Output = Result<Fresh, Problem>> + Send) -> Came {
        let (whose, until) = (self.0.ids.uuid().to_string(), Instant::now() + self.0.lock + self.0.lock);
        let locked = loop {
            match self.look_or_lock(&key, &whose).await {
                Said::There(bytes) => return Ok(bytes),
                Said::Ours => break true,
                Said::Nothing => break false,
                // Others have failed one after the other.
                Said::Theirs if Instant::now() >= until => break true,
                Said::Theirs => sleep(LOOK).await,
            }
        };
        let found = search.await;
        if locked {
            let (bytes, secs) = found.as_ref().map_or((Bytes::new(), 1), |fresh| (fresh.bytes.clone(), fresh.secs));
            self.keep(&key, &whose, bytes, secs).await;
        } else if let Ok(fresh) = &found {
            self.remember(&key, fresh);
        }
        found.map(|fresh| fresh.bytes).map_err(Arc::new)
    }

    /// What Redis keeps, if anything; none where it does not say.
    async fn read(&self, key: &str) -> Option<Option<Bytes>> {
        let mut redis = self.0.redis.clone()?;
        let mut command = redis::cmd("GET");
        command.arg(key);
        let said = tokio::time::timeout(self.0.patience, command.query_async::<Option<Vec<u8>>>(&mut redis)).await;
        Some(said.ok()?.ok()?.map(Bytes::from))
    }

    async fn remove(&self, key: &str) {
        let Some(mut redis) = self.0.redis.clone() else { return };
        let mut command = redis::cmd("DEL");
        command.arg(key);
        if !matches!(tokio::time::timeout(self.0.patience, command.query_async::<i64>(&mut redis)).await, Ok(Ok(_))) {
            tracing::debug!("redis keeps what cannot be read");
        }
    }

    async fn look_or_lock(&self, key: &str, whose: &str) -> Said {
        let Some(mut redis) = self.0.redis.clone() else { return Said::Nothing };
        let mut call = LOOK_OR_LOCK.prepare_invoke();
        let life = u64::try_from(self.0.lock.as_millis()).unwrap_or(u64::MAX);
        call.key(key).key(format!("{key}:lock")).arg(whose).arg(life);
        match tokio::time::timeout(self.0.patience, call.invoke_async::<(i64, Vec<u8>)>(&mut redis)).await {
            Ok(Ok((1, bytes))) => Said::There(bytes.into()),
            Ok(Ok((2, _))) => Said::Ours,
            Ok(Ok(_)) => Said::Theirs,
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say what was found lately");
                Said::Nothing
            }
        }
    }

    async fn keep(&self, key: &str, whose: &str, bytes: Bytes, secs: u32) {
        let Some(mut redis) = self.0.redis.clone() else { return };
        let mut call = KEEP.prepare_invoke();
        call.key(key).key(format!("{key}:lock")).arg(whose).arg(&bytes[..]).arg(secs);
        let kept = tokio::time::timeout(self.0.patience, call.invoke_async::<i64>(&mut redis)).await;
        if !matches!(kept, Ok(Ok(_))) {
            tracing::debug!("redis does not keep what was found");
        }
    }

    fn remembered(&self, key: &str) -> Option<Bytes> {
        lock(&self.0.held).get(key).filter(|(until, _)| Instant::now() < *until).map(|(_, bytes)| bytes.clone())
    }

    fn remember(&self, key: &str, fresh: &Fresh) {
        let now = Instant::now();
        let mut held = lock(&self.0.held);
        if held.len() >= MOST {
            held.retain(|_, (until, _)| now < *until);
        }
        if held.len() < MOST {
            held.insert(key.to_owned(), (now + Duration::from_secs(fresh.secs.into()), fresh.bytes.clone()));
        }
    }

    fn forget_if_over(&self, key: &str) {
        let mut under_way = lock(&self.0.under_way);
        if under_way.get(key).is_some_and(|known| running(known).is_none()) {
            under_way.remove(key);
        }
    }
}

/// The search, if it is not over and somebody waits for it.
fn running(known: &Known) -> Option<Search> {
    known.upgrade().filter(|search| search.peek().is_none())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use coreloop_core::{Reason, id::SystemIds};
    use futures::future::join_all;

    use super::*;

    /// Without Redis.
    fn alone() -> Cached {
        let times = (Duration::from_millis(50), Duration::from_secs(1));
        Cached::new(None, Arc::new(SystemIds), times, Metrics::default())
    }

    /// So long on a clock that is paused: it goes on when nobody has anything to do.
    async fn after(millis: u64) {
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_ask_at_once_search_once() {
        let (cached, searches) = (alone(), Arc::new(AtomicU32::new(0)));
        let ask = || {
            let searches = Arc::clone(&searches);
            cached.get::<u32, _, _>("nearby", "k", move || async move {
                after(300).await;
                Fresh::of(&searches.fetch_add(1, Ordering::Relaxed), 30)
            })
        };
        let found = join_all((0..1_000).map(|_| ask())).await;
        assert!(found.iter().all(|found| matches!(found, Ok(0))));
        assert!(matches!(ask().await, Ok(0)), "it is remembered");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(matches!(ask().await, Ok(1)), "and then it is not");
        assert_eq!(lock(&cached.0.under_way).len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_ends_nobody_elses_search() {
        let (cached, searches) = (alone(), Arc::new(AtomicU32::new(0)));
        let ask = |secs: u64| {
            let searches = Arc::clone(&searches);
            let found = cached.get::<u32, _, _>("nearby", "k", move || async move {
                searches.fetch_add(1, Ordering::Relaxed);
                after(1_000).await;
                Fresh::of(&7_u32, 30)
            });
            tokio::time::timeout(Duration::from_secs(secs), found)
        };
        let (hasty, patient) = tokio::join!(tokio::time::timeout(Duration::from_millis(10), ask(5)), ask(5));
        assert!(hasty.is_err());
        assert!(matches!(patient, Ok(Ok(7))));
        assert_eq!(searches.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_everybodys_and_is_not_kept() {
        let cached = alone();
        let fail = || {
            cached.get::<u32, _, _>("nearby", "k", || async {
                after(1).await;
                Err(Problem::common(Reason::DependencyUnavailable, "away"))
            })
        };
        for failed in join_all((0..3).map(|_| fail())).await {
            assert_eq!(Problem::from(failed.unwrap_err()).reason(), "DEPENDENCY_UNAVAILABLE");
        }
        let found = cached.get::<u32, _, _>("nearby", "k", || async { Fresh::of(&1_u32, 30) }).await;
        assert!(matches!(found, Ok(1)));
    }
}
