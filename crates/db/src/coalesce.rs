//! Reads by key that wait together become one statement (chapter 10).
//!
//! There is no timer: the first read goes at once, and whatever comes while a statement runs goes with the next one. An
//! idle service pays a task switch a read; a busy one pays for a fraction of a statement, a round trip and a connection.
//! A read that is asked for after a commit sees it, because its statement begins after it was asked for.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{DbError, deadline};

/// Most keys of a statement.
const MOST: usize = 256;

/// Reads that wait for a place in a statement, before more wait outside.
const QUEUE: usize = 1024;

/// Statements that run at the same time: one that hangs does not hold up every reader.
const LANES: usize = 2;

/// Longest time a statement may take, whoever waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

type Found<V> = Result<Option<V>, DbError>;

struct Waiting<K, V> {
    key: K,
    reply: oneshot::Sender<Found<V>>,
}

/// A way to read values of `V` by keys of `K`. Ends with its last clone; cloning is cheap.
pub struct Coalesced<K, V> {
    queue: mpsc::Sender<Waiting<K, V>>,
}

impl<K, V> Clone for Coalesced<K, V> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<K, V> fmt::Debug for Coalesced<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesced").finish_non_exhaustive()
    }
}

impl<K, V> Coalesced<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Reads through `load`, which answers what it finds of the keys it is given: one statement with `= any($1)`.
    ///
    /// Must be called within a runtime, whose task the reads become.
    pub fn start<L>(load: L) -> Self
    where
        L: Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>, DbError>> + Send + Sync + 'static,
    {
        let (queue, asked) = mpsc::channel(QUEUE);
        tokio::spawn(serve(asked, Arc::new(load)));
        Self { queue }
    }

    /// The value of `key`, if there is one.
    ///
    /// # Errors
    /// [`DbError::Deadline`] when the caller's deadline has passed; [`DbError::Shared`] with what befell the statement.
    pub async fn find(&self, key: K) -> Found<V> {
        if deadline::passed() {
            return Err(DbError::Deadline);
        }
        let (reply, answer) = oneshot::channel();
        let gone = || DbError::Sqlx(sqlx::Error::WorkerCrashed);
        self.queue.send(Waiting { key, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn serve<K, V, L>(mut asked: mpsc::Receiver<Waiting<K, V>>, load: Arc<L>)
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    L: Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>, DbError>> + Send + Sync + 'static,
{
    let lanes = Arc::new(Semaphore::new(LANES));
    // The semaphore is never closed.
    while let Ok(lane) = Arc::clone(&lanes).acquire_owned().await {
        let mut batch = Vec::new();
        if asked.recv_many(&mut batch, MOST).await == 0 {
            return;
        }
        // Who gave up, or whose deadline passed, is not read for (O6).
        batch.retain(|waiting| !waiting.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        let load = Arc::clone(&load);
        tokio::spawn(async move {
            let keys = batch.iter().map(|waiting| waiting.key.clone()).collect();
            let loaded = tokio::time::timeout(PATIENCE, load(keys)).await;
            drop(lane);
            answer(batch, loaded.unwrap_or(Err(DbError::Sqlx(sqlx::Error::PoolTimedOut))));
        });
    }
}

fn answer<K: Eq + Hash, V: Clone>(batch: Vec<Waiting<K, V>>, loaded: Result<HashMap<K, V>, DbError>) {
    let loaded = loaded.map_err(Arc::new);
    for Waiting { key, reply } in batch {
        // A caller that gave up meanwhile has no use for its answer.
        let _unread = reply.send(match &loaded {
            Ok(found) => Ok(found.get(&key).cloned()),
            Err(error) => Err(DbError::Shared(Arc::clone(error))),
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Doubles even keys, knows no odd ones, fails on 666; each statement waits for a permit of `gate`.
    fn doubling(gate: &Arc<Semaphore>) -> (Coalesced<u32, u32>, Batches) {
        let (seen, gate) = (Batches::default(), Arc::clone(gate));
        let batches = Arc::clone(&seen);
        let reads = Coalesced::start(move |keys: Vec<u32>| {
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
        (reads, batches)
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_together_and_everybody_gets_their_own_answer() {
        let gate = Arc::new(Semaphore::new(0));
        let (reads, batches) = doubling(&gate);
        let asked: Vec<_> = (0..40_u32)
            .map(|key| {
                let reads = reads.clone();
                tokio::spawn(async move { reads.find(key).await.unwrap() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        gate.add_permits(40);
        for (key, asked) in (0..40_u32).zip(asked) {
            assert_eq!(asked.await.unwrap(), (key % 2 == 0).then_some(key * 2), "{key}");
        }
        assert!(batches.lock().unwrap().len() <= 3, "{batches:?}");
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
        let busy: Vec<_> = [2, 4]
            .map(|key| {
                let reads = reads.clone();
                tokio::spawn(async move { reads.find(key).await.unwrap() })
            })
            .into();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), reads.find(6)).await.is_err());
        gate.add_permits(9);
        for busy in busy {
            busy.await.unwrap();
        }
        assert_eq!(reads.find(8).await.unwrap(), Some(16));
        assert!(!batches.lock().unwrap().iter().flatten().any(|key| *key == 6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_hangs_is_given_up() {
        let (reads, _) = doubling(&Arc::new(Semaphore::new(0)));
        assert!(reads.find(2).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_read_starts_after_the_deadline() {
        let (reads, batches) = doubling(&Arc::new(Semaphore::new(9)));
        let late = deadline::scope(tokio::time::Instant::now(), reads.find(2)).await;
        assert!(matches!(late, Err(DbError::Deadline)));
        assert!(batches.lock().unwrap().is_empty());
    }
}
