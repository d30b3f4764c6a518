//! Workers: run, started again when they end or panic, cancelled at stop.

use std::{panic::AssertUnwindSafe, time::Duration};

use coreloop_service::Worker;
use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::red::Red;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Starts `workers`; they end after `stop`.
pub(crate) fn start(workers: Vec<Worker>, tracker: &TaskTracker, stop: &CancellationToken, red: &Red) {
    for worker in workers {
        tracker.spawn(supervise(worker, stop.clone(), red.clone()));
    }
}

/// A worker that held for longer than the longest pause is taken to be sound again.
async fn supervise(worker: Worker, stop: CancellationToken, red: Red) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let outcome = AssertUnwindSafe(worker.run(stop.clone())).catch_unwind().await;
        if stop.is_cancelled() {
            return;
        }
        red.restarted(&worker.name);
        if started.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        let panicked = outcome.is_err();
        tracing::error!(
            worker = worker.name,
            panicked,
            pause_ms = pause.as_millis(),
            "worker ended; it is started again"
        );
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use coreloop_service::Metrics;

    use super::*;
    use crate::red::Pools;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_or_ends_is_started_again_until_stop() {
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let (third, reached) = tokio::sync::oneshot::channel();
        let third = std::sync::Mutex::new(Some(third));
        let third = Arc::new(third);
        let worker = Worker::new("test", move |stop: CancellationToken| {
            let run = counter.fetch_add(1, Ordering::SeqCst);
            let third = Arc::clone(&third);
            async move {
                match run {
                    0 => panic!("on purpose"),
                    1 => {}
                    _ => {
                        if let Ok(mut third) = third.lock()
                            && let Some(third) = third.take()
                        {
                            let _test_may_be_over = third.send(());
                        }
                        stop.cancelled().await;
                    }
                }
            }
        });
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Metrics::default();
        start(vec![worker], &tracker, &stop, &Red::register(&metrics, Pools::default()));
        assert!(reached.await.is_ok());
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(metrics.encode().contains("coreloop_worker_restarts_total{worker=\"test\"} 2"));
    }
}
