//! Waiting on a condition. The only place of the tests where time passes by.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::Instant;

const TICK: Duration = Duration::from_millis(10);

/// For a condition that no figure bounds: two cores run every test at once, and what hangs is a failure all the same.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds` answers true and tells how long that took.
///
/// # Panics
/// When it does not within `deadline`; `what` names the condition.
pub async fn wait_until<F, Fut>(what: impl Display, deadline: Duration, mut holds: F) -> Duration
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    wait_for(what, deadline, async || holds().await.then_some(())).await;
    start.elapsed()
}

/// Waits for `work`.
///
/// # Panics
/// When it does not end within `deadline`; `what` names it.
pub async fn within<T>(what: impl Display, deadline: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| panic!("{what} did not come within {deadline:?}"))
}

/// Waits until `look` answers something. A look that has not ended by the deadline has seen nothing in time.
///
/// # Panics
/// When it does not within `deadline`; `what` names the condition.
pub async fn wait_for<T>(what: impl Display, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(TICK).await;
        }
    };
    let found = tokio::time::timeout_at(end, looking).await;
    found.unwrap_or_else(|_| panic!("{what} did not come true within {deadline:?}"))
}
