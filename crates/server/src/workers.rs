//! Workers: run, started again when they end or panic, asked to end at a stop and cut at a kill.

use std::{panic::AssertUnwindSafe, time::Duration};

use coreloop_service::Worker;
use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::red::Red;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What ends workers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// They are asked to end what they have begun, and end.
    pub(crate) stop: CancellationToken,
    /// They are cut wherever they are, as by the death of the process.
    pub(crate) kill: CancellationToken,
}

/// Starts `workers`; they run until one of `ends`.
pub(crate) fn start(workers: Vec<Worker>, tracker: &TaskTracker, ends: &Ends, red: &Red) {
    for worker in workers {
        let (stop, kill, red) = (ends.stop.clone(), ends.kill.clone(), red.clone());
        tracker.spawn(async move { kill.run_until_cancelled(supervise(worker, stop, red)).await });
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
        let (tracker, ends) = (TaskTracker::new(), Ends::default());
        let metrics = Metrics::default();
        start(vec![worker], &tracker, &ends, &Red::register(&metrics, Pools::default()));
        assert!(reached.await.is_ok());
        ends.stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(metrics.encode().contains("coreloop_worker_restarts_total{worker=\"test\"} 2"));
    }

    #[tokio::test]
    async fn a_kill_cuts_a_worker_that_would_not_end() {
        let (tracker, ends) = (TaskTracker::new(), Ends::default());
        let worker = Worker::new("test", |_| std::future::pending());
        start(vec![worker], &tracker, &ends, &Red::register(&Metrics::default(), Pools::default()));
        tracker.close();
        ends.stop.cancel();
        assert_eq!(tracker.len(), 1);
        ends.kill.cancel();
        tracker.wait().await;
    }
}
