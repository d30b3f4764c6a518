//! A call's work, not polled once its deadline has passed (chapter 09, O6).

use std::{future::poll_fn, pin::pin, task::Poll};

use tokio::time::{Instant, sleep_until};

/// The deadline passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// Polls `work` until it ends, but never at or after `deadline`: what it would have begun then is not begun.
pub(crate) async fn before<F: Future>(deadline: Option<Instant>, work: F) -> Result<F::Output, Late> {
    let Some(deadline) = deadline else { return Ok(work.await) };
    let mut work = pin!(work);
    let mut alarm = pin!(sleep_until(deadline));
    poll_fn(|cx| {
        if Instant::now() >= deadline {
            return Poll::Ready(Err(Late));
        }
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // Only work that waits pays for a timer.
        alarm.as_mut().poll(cx).map(|()| Err(Late))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_after_the_deadline() {
        let mut began = false;
        let deadline = Instant::now() + Duration::from_secs(1);
        let work = async {
            tokio::time::sleep_until(deadline).await;
            began = true;
        };
        assert_eq!(before(Some(deadline), work).await, Err(Late));
        assert!(!began);
        assert_eq!(before(Some(deadline), async { 1 }).await, Err(Late));
        assert_eq!(before(None, async { 1 }).await, Ok(1));
    }
}
