//! Writes that wait together become one transaction (chapter 10): group commit in the service.
//!
//! There is no timer: whoever finds a free lane starts at once, with all that wait, and who comes while the lanes are busy
//! goes with the next. At once is after those who are ready to run already: of forty that were answered together and ask for
//! the next together, the first does not go alone. So an idle service adds nothing to a write, and a busy one pays for a fraction of a plan, a trip and
//! a flush. A batch runs in a task of its own: who gives up waiting does not cut off the others. What was not begun when
//! its caller went away, or when their deadline passed, is not begun any more (O6).
//!
//! How many batches run at the same time is a matter of how much they are: few large ones are cheaper, many small ones wait for
//! nobody ([`Limits::ample`]).
//!
//! Items may name what they lock. What a batch that runs has locked is left to wait, and goes together when that batch is
//! over, in the order in which it came: a lane that took it would only wait for the row, with a connection in its hand, while
//! more of the same gathers. So the busier one row is, the more of its writes are one.

use std::{
    collections::HashSet,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coreloop_core::{Problem, Reason};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{sync::oneshot, time::Instant};

use crate::deadline;

type Run<T, R> = dyn Fn(Vec<T>, usize) -> BoxFuture<'static, Vec<R>> + Send + Sync;
type Locks<T> = dyn Fn(&T) -> Vec<u128> + Send + Sync;

/// How much goes together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches that run at the same time. One would make a write wait for the flush before it, even of an idle service.
    pub lanes: usize,
    /// Most items of a batch.
    pub most: usize,
    /// Items that may wait; more are refused.
    pub queue: usize,
    /// As long as so many are under way, no further lane begins: what waits gathers, and goes when one of them ends. So there are
    /// many lanes while little is to be done, which then waits for nobody, and few large batches when there is much. What a batch
    /// costs however small it is, in rows, is a good number; batches that stand still hold up others for [`PATIENCE`] at most.
    pub ample: usize,
}

/// What a batch of a few statements costs Postgres however small it is, in rows: a good [`Limits::ample`] for writes.
pub const AMPLE: usize = 16;

/// When no batch was begun for so long, what is under way is stuck, and is not waited for: another lane begins.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// Why an item was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// As many wait as may. It was not begun.
    #[error("as many writes wait as may")]
    Full,
    /// The caller's deadline passed. It was not begun.
    #[error("the deadline passed before the write was begun")]
    Deadline,
    /// The batch ended without an answer. Whether it lasted is not known.
    #[error("the batch of the write was lost")]
    Lost,
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Full => {
                Self::common(Reason::Overloaded, "too many writes at once").retry_after(Duration::from_secs(1))
            }
            GroupError::Deadline => Self::common(Reason::DeadlineExceeded, "the deadline passed"),
            GroupError::Lost => Self::internal(error),
        }
    }
}

/// A way to do `T`s, many at a time, each with its own answer `R`. Clones share it.
pub struct Grouped<T, R>(Arc<Inner<T, R>>);

struct Inner<T, R> {
    run: Box<Run<T, R>>,
    locks: Box<Locks<T>>,
    limits: Limits,
    state: Mutex<State<T, R>>,
}

struct State<T, R> {
    waiting: Vec<Waiting<T, R>>,
    /// Lanes that are free.
    free: Vec<usize>,
    /// What batches that run have locked.
    locked: HashSet<u128>,
    /// Items of the batches that run.
    under_way: usize,
    /// When the last batch was begun.
    begun: Option<Instant>,
}

struct Waiting<T, R> {
    item: T,
    locks: Vec<u128>,
    deadline: Option<Instant>,
    reply: oneshot::Sender<Result<R, GroupError>>,
}

/// What a lane does.
#[derive(Debug, Default)]
struct Batch {
    locks: Vec<u128>,
    items: usize,
}

impl<T, R> fmt::Debug for Grouped<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl<T, R> Clone for Grouped<T, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static, R: Send + 'static> Grouped<T, R> {
    /// Does items through `run`, which is given a batch and the number of its lane and answers each in their order.
    pub fn new<F>(limits: Limits, run: F) -> Self
    where
        F: Fn(Vec<T>, usize) -> BoxFuture<'static, Vec<R>> + Send + Sync + 'static,
    {
        Self::apart(limits, |_| Vec::new(), run)
    }

    /// As [`Self::new`], with what each item locks: of two that lock the same, none is begun while the other's batch runs.
    pub fn apart<L, F>(limits: Limits, locks: L, run: F) -> Self
    where
        L: Fn(&T) -> Vec<u128> + Send + Sync + 'static,
        F: Fn(Vec<T>, usize) -> BoxFuture<'static, Vec<R>> + Send + Sync + 'static,
    {
        let free = (0..limits.lanes.max(1)).rev().collect();
        let state = State { waiting: Vec::new(), free, locked: HashSet::new(), under_way: 0, begun: None };
        Self(Arc::new(Inner { run: Box::new(run), locks: Box::new(locks), limits, state: Mutex::new(state) }))
    }

    /// Does `item`, with what waits beside it.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn submit(&self, item: T) -> Result<R, GroupError> {
        if deadline::passed() {
            return Err(GroupError::Deadline);
        }
        let (reply, answer) = oneshot::channel();
        let locks = (self.0.locks)(&item);
        {
            let mut state = self.0.state();
            if state.waiting.len() >= self.0.limits.queue {
                return Err(GroupError::Full);
            }
            // What is locked is looked at by the lane that has it.
            let mine_to_wait = locks.iter().any(|lock| state.locked.contains(lock));
            state.waiting.push(Waiting { item, locks, deadline: deadline::current(), reply });
            if !mine_to_wait {
                self.0.wake(&mut state);
            }
        }
        answer.await.unwrap_or(Err(GroupError::Lost))
    }

    /// Items that wait for a lane.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.state().waiting.len()
    }
}

impl<T: Send + 'static, R: Send + 'static> Inner<T, R> {
    /// Runs batches in a lane until nothing waits.
    async fn drain(self: Arc<Self>, lane: usize) {
        let mut last = Batch::default();
        loop {
            tokio::task::yield_now().await;
            let Some(batch) = self.next(lane, &mut last) else { return };
            // When the last of its callers has been told that it came too late, nothing of the batch is begun any more (O6).
            let latest = batch.iter().map(|one| one.deadline).reduce(|one, two| Some(one?.max(two?))).flatten();
            let (items, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.item, one.reply)).unzip();
            let work = async { (self.run)(items, lane).await };
            let work = async {
                match latest {
                    Some(latest) => deadline::scope(latest, work).await,
                    None => work.await,
                }
            };
            // A batch that panics leaves its callers without an answer, and the lane to the next.
            let answers = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_default();
            for (reply, answer) in replies.into_iter().zip(answers) {
                // A caller that gave up meanwhile has no use for it.
                let _unread = reply.send(Ok(answer));
            }
        }
    }

    /// The next batch; none, and the lane is free, when nothing waits that it may take. `last` is what it did last.
    fn next(self: &Arc<Self>, lane: usize, last: &mut Batch) -> Option<Vec<Waiting<T, R>>> {
        let now = Instant::now();
        let mut state = self.state();
        for lock in last.locks.drain(..) {
            state.locked.remove(&lock);
        }
        state.under_way -= std::mem::take(&mut last.items);
        let late: Vec<_> = state.waiting.extract_if(.., |one| one.deadline.is_some_and(|end| end <= now)).collect();
        state.waiting.retain(|one| !one.reply.is_closed());
        // Those that are under way look here when they end.
        let batch =
            if state.may_begin(self.limits.ample, now) { state.take(self.limits.most.max(1)) } else { Vec::new() };
        last.locks.extend(batch.iter().flat_map(|one| &one.locks));
        last.items = batch.len();
        state.locked.extend(last.locks.iter());
        if last.items > 0 {
            state.under_way += last.items;
            state.begun = Some(now);
        }
        match batch.is_empty() {
            true => state.free.push(lane),
            // There was no room for some that another may take.
            false if batch.len() >= self.limits.most && !state.waiting.is_empty() => self.wake(&mut state),
            false => {}
        }
        drop(state);
        for one in late {
            let _gone_already = one.reply.send(Err(GroupError::Deadline));
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Puts a lane to work, if one is free and not enough is under way.
    fn wake(self: &Arc<Self>, state: &mut State<T, R>) {
        if state.may_begin(self.limits.ample, Instant::now())
            && let Some(lane) = state.free.pop()
        {
            tokio::spawn(Arc::clone(self).drain(lane));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> State<T, R> {
    /// Whether a batch may begin beside those that are under way.
    fn may_begin(&self, ample: usize, now: Instant) -> bool {
        self.under_way < ample.max(1) || self.begun.is_none_or(|begun| now.duration_since(begun) >= PATIENCE)
    }

    /// Up to `most` of those that wait and whose locks nobody has. Who is passed over is not overtaken: what it would lock is
    /// as good as locked for those behind it.
    fn take(&mut self, most: usize) -> Vec<Waiting<T, R>> {
        let (locked, mut passed, mut taken) = (&self.locked, HashSet::new(), 0);
        let free = |one: &mut Waiting<T, R>| {
            let wait = taken >= most || one.locks.iter().any(|lock| locked.contains(lock) || passed.contains(lock));
            if wait && taken < most {
                passed.extend(one.locks.iter().copied());
            }
            taken += usize::from(!wait);
            !wait
        };
        self.waiting.extract_if(.., free).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use tokio::{sync::Semaphore, task::JoinHandle};

    use super::*;

    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Doubles numbers, panics on 666; each batch waits for a permit of `gate`.
    fn doubling(gate: &Arc<Semaphore>, limits: Limits) -> (Grouped<u32, u32>, Batches) {
        let (seen, gate) = (Batches::default(), Arc::clone(gate));
        let batches = Arc::clone(&seen);
        let writes = Grouped::new(limits, move |items: Vec<u32>, _| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                assert!(!items.contains(&666), "as the test says");
                seen.lock().unwrap().push(items.clone());
                items.into_iter().map(|item| item * 2).collect()
            })
        });
        (writes, batches)
    }

    fn ask(writes: &Grouped<u32, u32>, item: u32) -> JoinHandle<Result<u32, GroupError>> {
        let writes = writes.clone();
        tokio::spawn(async move { writes.submit(item).await })
    }

    async fn settle(writes: &Grouped<u32, u32>, waiting: usize) {
        reach(writes, waiting, 0).await;
    }

    async fn reach(writes: &Grouped<u32, u32>, waiting: usize, free: usize) {
        while writes.waiting() != waiting || writes.0.state().free.len() != free {
            tokio::task::yield_now().await;
        }
    }

    const TWO: Limits = Limits { lanes: 2, most: 256, queue: 1_000, ample: usize::MAX };

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_together_and_everybody_gets_their_own_answer() {
        let gate = Arc::new(Semaphore::new(0));
        let (writes, batches) = doubling(&gate, TWO);
        let asked: Vec<_> = (0..600).map(|item| ask(&writes, item)).collect();
        // Both lanes have taken as much as they may.
        settle(&writes, 88).await;
        gate.add_permits(600);
        for (item, asked) in (0..600_u32).zip(asked) {
            assert_eq!(asked.await.unwrap(), Ok(item * 2));
        }
        let mut sizes: Vec<_> = batches.lock().unwrap().iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [88, 256, 256]);
    }

    #[tokio::test(start_paused = true)]
    async fn while_enough_is_under_way_more_of_it_gathers_but_not_behind_what_stands_still() {
        let gate = Arc::new(Semaphore::new(0));
        let (writes, batches) = doubling(&gate, Limits { lanes: 3, ample: 2, ..TWO });
        let mut asked = Vec::new();
        // One is little: the second has a lane of its own, as does nothing that comes after it.
        for (item, waiting, free) in [(1, 0, 2), (2, 0, 1), (3, 1, 1), (4, 2, 1)] {
            asked.push(ask(&writes, item));
            reach(&writes, waiting, free).await;
        }
        gate.add_permits(1);
        reach(&writes, 0, 1).await;
        assert_eq!(*batches.lock().unwrap(), [vec![1]]);
        // They stand still, and the fifth comes when nobody is waited for any more.
        tokio::time::advance(PATIENCE).await;
        asked.push(ask(&writes, 5));
        reach(&writes, 0, 0).await;
        gate.add_permits(9);
        for (item, asked) in (1..=5_u32).zip(asked) {
            assert_eq!(asked.await.unwrap(), Ok(item * 2));
        }
        let mut seen = batches.lock().unwrap().clone();
        seen.sort();
        assert_eq!(seen, [vec![1], vec![2], vec![3, 4], vec![5]]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let gate = Arc::new(Semaphore::new(0));
        let (writes, _) = doubling(&gate, Limits { lanes: 1, most: 8, queue: 2, ample: usize::MAX });
        let asked = [ask(&writes, 1)];
        settle(&writes, 0).await;
        let more = [ask(&writes, 2), ask(&writes, 3)];
        settle(&writes, 2).await;
        assert_eq!(writes.submit(4).await, Err(GroupError::Full));
        gate.add_permits(9);
        for asked in asked.into_iter().chain(more) {
            assert!(asked.await.unwrap().is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_stops_nobody_and_what_was_not_begun_is_not() {
        let gate = Arc::new(Semaphore::new(0));
        let (writes, batches) = doubling(&gate, Limits { lanes: 1, ..TWO });
        let first = ask(&writes, 1);
        settle(&writes, 0).await;
        let (gone, late) = (ask(&writes, 2), {
            let writes = writes.clone();
            let end = Instant::now() + Duration::from_millis(1);
            tokio::spawn(deadline::scope(end, async move { writes.submit(3).await }))
        });
        let last = ask(&writes, 4);
        settle(&writes, 3).await;
        first.abort();
        gone.abort();
        assert!(gone.await.is_err());
        tokio::time::advance(Duration::from_millis(2)).await;
        gate.add_permits(9);
        assert_eq!(last.await.unwrap(), Ok(8));
        assert_eq!(late.await.unwrap(), Err(GroupError::Deadline));
        assert_eq!(*batches.lock().unwrap(), [[1], [4]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_panics_costs_its_own_alone() {
        let gate = Arc::new(Semaphore::new(9));
        let (writes, _) = doubling(&gate, Limits { lanes: 1, ..TWO });
        assert_eq!(writes.submit(666).await, Err(GroupError::Lost));
        assert_eq!(writes.submit(3).await, Ok(6));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_locked_waits_together_and_is_not_overtaken() {
        let gate = Arc::new(Semaphore::new(0));
        let (seen, permits) = (Batches::default(), Arc::clone(&gate));
        let batches = Arc::clone(&seen);
        // A number locks its tens and its ones.
        let locks = |item: &u32| vec![u128::from(item / 10), u128::from(item % 10)];
        let writes = Grouped::apart(TWO, locks, move |items: Vec<u32>, _| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&permits));
            Box::pin(async move {
                seen.lock().unwrap().push(items.clone());
                gate.acquire().await.unwrap().forget();
                items
            })
        });
        let begun = async |many: usize| {
            while batches.lock().unwrap().len() < many {
                tokio::task::yield_now().await;
            }
        };
        let mut asked = vec![ask(&writes, 11)];
        begun(1).await;
        // All but the last lock what the first has, or what one before them waits for.
        for (waiting, item) in [12, 11, 23, 34].into_iter().enumerate() {
            asked.push(ask(&writes, item));
            while writes.waiting() != waiting + 1 {
                tokio::task::yield_now().await;
            }
        }
        asked.push(ask(&writes, 56));
        begun(2).await;
        gate.add_permits(9);
        for (item, asked) in [11, 12, 11, 23, 34, 56].into_iter().zip(asked) {
            assert_eq!(asked.await.unwrap(), Ok(item));
        }
        assert_eq!(*batches.lock().unwrap(), [vec![11], vec![56], vec![12, 11, 23, 34]]);
        while writes.0.state().free.len() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(writes.0.state().locked.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_had_no_room_goes_with_another_lane() {
        let gate = Arc::new(Semaphore::new(0));
        let (writes, batches) = doubling(&gate, Limits { most: 2, ..TWO });
        let asked: Vec<_> = (0..5).map(|item| ask(&writes, item)).collect();
        settle(&writes, 1).await;
        gate.add_permits(9);
        for (item, asked) in (0..5_u32).zip(asked) {
            assert_eq!(asked.await.unwrap(), Ok(item * 2));
        }
        assert_eq!(batches.lock().unwrap().len(), 3);
    }
}
