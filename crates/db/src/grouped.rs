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
    /// As long as so many are under way, no further lane begins before a full batch waits: what waits gathers, and goes when one of them
    /// ends. So there are many lanes while little is to be done, which then waits for nobody, and few large batches when there is
    /// much. What a batch costs however small it is, in rows, is a good number. Batches that are older than [`PATIENCE`] do not count.
    pub ample: usize,
}

/// What a batch of a few statements costs Postgres however small it is, in rows: a good [`Limits::ample`] for writes.
pub const AMPLE: usize = 16;

/// A batch that runs for longer stands still, at a row that somebody else has locked perhaps, and nobody waits for its end.
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
    /// What each lane runs: since when, and how many items.
    running: Vec<Option<(Instant, usize)>>,
    /// Somebody will look again when what is under way has become old.
    looked_after: bool,
}

struct Waiting<T, R> {
    item: T,
    locks: Vec<u128>,
    deadline: Option<Instant>,
    reply: oneshot::Sender<Result<R, GroupError>>,
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
        let lanes = limits.lanes.max(1);
        let state = State {
            waiting: Vec::new(),
            free: (0..lanes).rev().collect(),
            locked: HashSet::new(),
            running: vec![None; lanes],
            looked_after: false,
        };
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
        let mut held = Vec::new();
        loop {
            tokio::task::yield_now().await;
            let Some(batch) = self.next(lane, &mut held) else { return };
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

    /// The next batch; none, and the lane is free, when nothing waits that it may take. `held` is what the last one locked.
    fn next(self: &Arc<Self>, lane: usize, held: &mut Vec<u128>) -> Option<Vec<Waiting<T, R>>> {
        let now = Instant::now();
        let mut state = self.state();
        for lock in held.drain(..) {
            state.locked.remove(&lock);
        }
        state.runs(lane, None);
        let late: Vec<_> = state.waiting.extract_if(.., |one| one.deadline.is_some_and(|end| end <= now)).collect();
        state.waiting.retain(|one| !one.reply.is_closed());
        let most = self.limits.most.max(1);
        let may_begin = state.may_begin(self.limits, now);
        let batch = if may_begin { state.take(most) } else { Vec::new() };
        held.extend(batch.iter().flat_map(|one| &one.locks));
        state.locked.extend(held.iter());
        if batch.is_empty() {
            state.free.push(lane);
            // Else what waits is locked, and whoever has it looks here at the end.
            if !may_begin {
                self.look_again(&mut state, now);
            }
        } else {
            state.runs(lane, Some((now, batch.len())));
            // There was no room for some that another may take.
            if batch.len() >= most && !state.waiting.is_empty() {
                self.wake(&mut state);
            }
        }
        drop(state);
        for one in late {
            let _gone_already = one.reply.send(Err(GroupError::Deadline));
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Puts a lane to work, if one is free and not enough is under way.
    fn wake(self: &Arc<Self>, state: &mut State<T, R>) {
        let now = Instant::now();
        if !state.may_begin(self.limits, now) {
            self.look_again(state, now);
        } else if let Some(lane) = state.free.pop() {
            tokio::spawn(Arc::clone(self).drain(lane));
        }
    }

    /// Sees to it that what waits for others is begun when the first of those has become old: nobody else may come to ask.
    fn look_again(self: &Arc<Self>, state: &mut State<T, R>, now: Instant) {
        let first = state.young(now).map(|(begun, _)| begun).min();
        let Some(first) = first.filter(|_| !state.looked_after && !state.waiting.is_empty()) else { return };
        state.looked_after = true;
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(first + PATIENCE).await;
            let mut state = inner.state();
            state.looked_after = false;
            if !state.waiting.is_empty() {
                inner.wake(&mut state);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> State<T, R> {
    /// Whether a batch may begin beside those that are under way.
    fn may_begin(&self, limits: Limits, now: Instant) -> bool {
        let under_way: usize = self.young(now).map(|(_, items)| items).sum();
        under_way < limits.ample.max(1) || self.waiting.len() >= limits.most.max(1)
    }

    /// Batches whose end is waited for.
    fn young(&self, now: Instant) -> impl Iterator<Item = (Instant, usize)> {
        self.running.iter().flatten().copied().filter(move |(begun, _)| now.duration_since(*begun) < PATIENCE)
    }

    fn runs(&mut self, lane: usize, batch: Option<(Instant, usize)>) {
        if let Some(running) = self.running.get_mut(lane) {
            *running = batch;
        }
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
#[path = "grouped_tests.rs"]
mod tests;
