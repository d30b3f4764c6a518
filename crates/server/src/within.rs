//! A call's work, not polled once its deadline has passed (chapter 09, O6).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// The deadline passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// Polls `work` until it ends, but never at or after `deadline`: what it would have begun then is not begun.
pub(crate) fn before<F: Future>(deadline: Option<Instant>, work: F) -> Before<F> {
    Before { deadline, work, alarm: None }
}

pin_project! {
    /// See [`before`]. Written out because an `async fn` that takes a future holds it twice, and this is around every call.
    pub(crate) struct Before<F> {
        deadline: Option<Instant>,
        #[pin]
        work: F,
        #[pin]
        alarm: Option<Sleep>,
    }
}

impl<F: Future> Future for Before<F> {
    type Output = Result<F::Output, Late>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(deadline) = *this.deadline else { return this.work.poll(cx).map(Ok) };
        if Instant::now() >= deadline {
            return Poll::Ready(Err(Late));
        }
        if let Poll::Ready(done) = this.work.poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // Only work that waits pays for a timer.
        if this.alarm.is_none() {
            this.alarm.set(Some(sleep_until(deadline)));
        }
        if let Some(alarm) = this.alarm.as_pin_mut() {
            ready!(alarm.poll(cx));
        }
        Poll::Ready(Err(Late))
    }
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
