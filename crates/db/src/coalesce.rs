//! Reads by key that wait together become one statement (chapter 10).
//!
//! There is no timer and no task: a caller that finds a free lane runs the statement itself, for all that wait, and whoever
//! comes while the lanes are busy waits for the next one. So an idle service pays for a plain statement, and a busy one for a
//! fraction of a statement, a round trip and a connection. A read that is asked for after a commit sees it, because its
//! statement begins after it was asked for. A caller that goes away in the midst leaves the others to ask again.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::{DbError, deadline};

/// Most keys of a statement.
const MOST: usize = 256;

/// Statements that run at the same time: one that hangs does not hold up every reader.
const LANES: usize = 2;

/// Longest time a statement may take that has its connection, whoever waits for it.
const STATEMENT: Duration = Duration::from_secs(2);

type Found<V> = Result<Option<V>, DbError>;
type Load<K, V> = dyn Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>, DbError>> + Send + Sync;

/// A way to read values of `V` by keys of `K`. As many wait as there are callers: the server bounds those.
pub struct Coalesced<K, V> {
    load: Arc<Load<K, V>>,
    lanes: Semaphore,
    waiting: Mutex<Vec<Waiting<K, V>>>,
    patience: Duration,
}

struct Waiting<K, V> {
    key: K,
    reply: oneshot::Sender<Found<V>>,
}

impl<K, V> fmt::Debug for Coalesced<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesced").finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Coalesced<K, V> {
    /// Reads through `load`, which answers what it finds of the keys it is given: one statement with `= any($1)` on a connection
    /// of `pool`, for which it waits as long as anybody does (`database.acquire_timeout_ms`).
    pub fn new<L>(pool: &PgPool, load: L) -> Self
    where
        L: Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>, DbError>> + Send + Sync + 'static,
    {
        Self::within(pool.options().get_acquire_timeout() + STATEMENT, load)
    }

    fn within<L>(patience: Duration, load: L) -> Self
    where
        L: Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>, DbError>> + Send + Sync + 'static,
    {
        Self { load: Arc::new(load), lanes: Semaphore::new(LANES), waiting: Mutex::default(), patience }
    }

    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// [`DbError::Deadline`] when the caller's deadline has passed; [`DbError::Shared`] with what befell the statement.
    pub async fn find(&self, key: K) -> Found<V> {
        loop {
            if deadline::passed() {
                return Err(DbError::Deadline);
            }
            let (reply, answer) = oneshot::channel();
            self.waiting().push(Waiting { key: key.clone(), reply });
            // No answer: the caller whose statement it was went away. The next one is asked.
            if let Ok(found) = self.answered(answer).await {
                return found;
            }
        }
    }

    /// Waits for an answer, and runs statements for all that wait as long as there is a lane and none has come.
    async fn answered(&self, mut answer: oneshot::Receiver<Found<V>>) -> Result<Found<V>, oneshot::error::RecvError> {
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => return answered,
                Ok(lane) = self.lanes.acquire() => {
                    // With nothing left to read, the answer is on its way by another's statement.
                    if !self.lead(lane).await {
                        return answer.await;
                    }
                }
            }
        }
    }

    /// Runs one statement for those who wait; false when nobody does.
    async fn lead(&self, lane: SemaphorePermit<'_>) -> bool {
        // Whoever is ready to ask by now goes along.
        tokio::task::yield_now().await;
        let mut batch = {
            let mut waiting = self.waiting();
            // Who gave up, or whose deadline passed, is not read for (O6).
            waiting.retain(|waiting| !waiting.reply.is_closed());
            let most = waiting.len().min(MOST);
            waiting.drain(..most).collect::<Vec<_>>()
        };
        if batch.is_empty() {
            return false;
        }
        // Many may ask for one.
        let mut asked = HashSet::with_capacity(batch.len());
        let keys = batch.iter().map(|waiting| &waiting.key).filter(|key| asked.insert(*key)).cloned().collect();
        let loaded = tokio::time::timeout(self.patience, (self.load)(keys)).await;
        drop(lane);
        let loaded = loaded.unwrap_or(Err(DbError::Sqlx(sqlx::Error::PoolTimedOut))).map_err(Arc::new);
        for Waiting { key, reply } in batch.drain(..) {
            // A caller that gave up meanwhile has no use for its answer.
            let _unread = reply.send(match &loaded {
                Ok(found) => Ok(found.get(&key).cloned()),
                Err(error) => Err(DbError::Shared(Arc::clone(error))),
            });
        }
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<K, V>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    type Reads = Arc<Coalesced<u32, u32>>;
    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Doubles even keys, knows no odd ones, fails on 666; each statement waits for a permit of `gate`.
    fn doubling(gate: &Arc<Semaphore>) -> (Reads, Batches) {
        let (seen, gate) = (Batches::default(), Arc::clone(gate));
        let batches = Arc::clone(&seen);
        let reads = Coalesced::within(STATEMENT, move |keys: Vec<u32>| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                seen.lock().unwrap().push(keys.clone());
                match keys.contains(&666) {
                    true => Err(DbError::Sqlx(sqlx::Error::PoolTimedOut)),
                    false => Ok(keys.into_iter().filter(|key| key % 2 == 0).map(|key| (key, key * 2)).collect()),
                }
            })
        });
        (Arc::new(reads), batches)
    }

    fn ask(reads: &Reads, key: u32) -> JoinHandle<Option<u32>> {
        let reads = Arc::clone(reads);
        tokio::spawn(async move { reads.find(key).await.unwrap() })
    }

    /// Lets the asked run until both lanes are taken and `waiting` wait for one.
    async fn settle(reads: &Reads, waiting: usize) {
        while reads.lanes.available_permits() > 0 || reads.waiting().len() != waiting {
            tokio::task::yield_now().await;
        }
    }

    /// A statement in each lane.
    async fn busy(reads: &Reads) -> Vec<JoinHandle<Option<u32>>> {
        let mut asked = Vec::new();
        for (free, key) in [(1, 2), (0, 4)] {
            asked.push(ask(reads, key));
            while reads.lanes.available_permits() != free || !reads.waiting().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_together_and_everybody_gets_their_own_answer() {
        let gate = Arc::new(Semaphore::new(0));
        let (reads, batches) = doubling(&gate);
        let asked: Vec<_> = (0..600).map(|key| ask(&reads, key)).collect();
        settle(&reads, 88).await;
        gate.add_permits(600);
        for (key, asked) in (0..600_u32).zip(asked) {
            assert_eq!(asked.await.unwrap(), (key % 2 == 0).then_some(key * 2), "{key}");
        }
        let sizes: Vec<_> = batches.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [256, 256, 88]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_many_ask_for_is_read_once() {
        let (reads, batches) = doubling(&Arc::new(Semaphore::new(9)));
        let asked: Vec<_> = [2, 4, 2, 2, 5].into_iter().map(|key| ask(&reads, key)).collect();
        let mut found = Vec::new();
        for asked in asked {
            found.push(asked.await.unwrap());
        }
        assert_eq!(found, [Some(4), Some(8), Some(4), Some(4), None]);
        assert_eq!(*batches.lock().unwrap(), [vec![2, 4, 5]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_reaches_all_of_its_statement_and_none_after() {
        let (reads, _) = doubling(&Arc::new(Semaphore::new(9)));
        assert!(matches!(reads.find(666).await, Err(DbError::Shared(_))));
        assert_eq!(reads.find(2).await.unwrap(), Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_for_who_gave_up() {
        let gate = Arc::new(Semaphore::new(0));
        let (reads, batches) = doubling(&gate);
        let busy = busy(&reads).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), reads.find(6)).await.is_err());
        gate.add_permits(9);
        for busy in busy {
            busy.await.unwrap();
        }
        assert_eq!(reads.find(8).await.unwrap(), Some(16));
        assert!(!batches.lock().unwrap().iter().flatten().any(|key| *key == 6));
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_for_others_may_go_away() {
        let gate = Arc::new(Semaphore::new(0));
        let (reads, _) = doubling(&gate);
        let lanes = busy(&reads).await;
        let leader = ask(&reads, 6);
        settle(&reads, 1).await;
        let follower = ask(&reads, 8);
        settle(&reads, 2).await;
        // The leader gets the freed lane, takes both, and is gone before its statement ends.
        lanes[0].abort();
        settle(&reads, 0).await;
        leader.abort();
        assert!(leader.await.is_err());
        gate.add_permits(9);
        assert_eq!(follower.await.unwrap(), Some(16));
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_hangs_is_given_up() {
        let (reads, _) = doubling(&Arc::new(Semaphore::new(0)));
        assert!(reads.find(2).await.is_err());
    }

    #[tokio::test]
    async fn it_waits_for_a_connection_as_long_as_its_pool_does() {
        let pool = sqlx::postgres::PgPoolOptions::new().acquire_timeout(Duration::from_secs(60));
        let pool = pool.connect_lazy("postgres://127.0.0.1:1/none").unwrap();
        let reads = Coalesced::<u32, u32>::new(&pool, |_| Box::pin(async { Ok(HashMap::new()) }));
        assert_eq!(reads.patience, Duration::from_secs(60) + STATEMENT);
    }

    #[tokio::test(start_paused = true)]
    async fn no_read_starts_after_the_deadline() {
        let (reads, batches) = doubling(&Arc::new(Semaphore::new(9)));
        let late = deadline::scope(tokio::time::Instant::now(), reads.find(2)).await;
        assert!(matches!(late, Err(DbError::Deadline)));
        assert!(batches.lock().unwrap().is_empty());
    }
}
