//! The deadline of the call that runs (chapter 09, O6), carried by the task.
//!
//! The server's layer sets it around each handler and does not poll the handler once it has passed; whatever asks for
//! time inside the call asks [`remaining`]. Work that a handler spawns does not inherit it.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `work` under `deadline`. No `async fn`, as all here: one that takes a future holds it twice, and these are nested.
pub fn scope<F: Future>(deadline: Instant, work: F) -> impl Future<Output = F::Output> {
    DEADLINE.scope(deadline, work)
}

/// Runs `work`, which does not wait, under `deadline`.
pub fn within_sync<T>(deadline: Instant, work: impl FnOnce() -> T) -> T {
    DEADLINE.sync_scope(deadline, work)
}

/// When the call that runs must have answered; none outside a call.
#[must_use]
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

/// Time left to the call that runs; none outside a call, zero once the deadline has passed.
#[must_use]
pub fn remaining() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// `most`, or less when the call has less time left.
#[must_use]
pub fn at_most(most: Duration) -> Duration {
    remaining().map_or(most, |left| left.min(most))
}

/// The deadline of the call that runs has passed.
#[must_use]
pub fn passed() -> bool {
    remaining().is_some_and(|left| left.is_zero())
}

/// The outcome of `work` if it ends within `most` and before the deadline of the call that runs.
pub fn within<F: Future>(most: Duration, work: F) -> impl Future<Output = Option<F::Output>> {
    tokio::time::timeout(at_most(most), work).map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_left_is_the_calls() {
        assert_eq!(remaining(), None);
        scope(Instant::now() + Duration::from_secs(2), async {
            assert_eq!(at_most(Duration::from_secs(9)), Duration::from_secs(2));
            assert_eq!(within(Duration::from_secs(9), std::future::pending::<()>()).await, None);
            assert!(passed());
        })
        .await;
    }
}
