//! The open sockets of a process: how many there may be, and the worker that runs them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coreloop_core::{Problem, Reason};
use coreloop_service::Worker;
use futures::future::BoxFuture;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fail::Failure;

/// Sockets that were agreed to and do not run yet.
const STARTING: usize = 1024;
/// When a client that found no room is to come back.
const COME_BACK: Duration = Duration::from_secs(1);
/// A little more than a goodbye takes.
const CLOSING: Duration = Duration::from_secs(4);

type Session = BoxFuture<'static, ()>;

/// The sockets. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sockets {
    queue: mpsc::Sender<Session>,
    sessions: Arc<Mutex<mpsc::Receiver<Session>>>,
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Sockets {
    /// At most `most` at once.
    pub(crate) fn new(most: usize) -> Self {
        let (queue, sessions) = mpsc::channel(STARTING);
        Self { queue, sessions: Arc::new(Mutex::new(sessions)), open: Arc::default(), most }
    }

    /// A place for one socket, counted in `gauge` as long as it is held.
    ///
    /// # Errors
    /// OVERLOADED when there is none.
    pub(crate) fn seat(&self, gauge: Gauge) -> Result<Seat, Failure> {
        gauge.inc();
        let seat = Seat { open: Arc::clone(&self.open), gauge };
        match self.open.fetch_add(1, Ordering::Relaxed) < self.most {
            true => Ok(seat),
            // Dropped, it gives back what it took.
            false => Err(full()),
        }
    }

    /// Runs `session` until it ends.
    ///
    /// # Errors
    /// OVERLOADED when more are starting than can be.
    pub(crate) fn start(&self, session: Session) -> Result<(), Failure> {
        self.queue.try_send(session).map_err(|_| full())
    }

    /// The loop that runs them.
    pub(crate) fn worker(&self) -> Worker {
        let sessions = Arc::clone(&self.sessions);
        Worker::new("edge.sockets", move |stop| {
            let sessions = Arc::clone(&sessions);
            async move { run(&mut *sessions.lock().await, &stop).await }
        })
    }
}

/// Runs sessions until `stop`; they close by themselves when the process drains, which is before.
async fn run(sessions: &mut mpsc::Receiver<Session>, stop: &CancellationToken) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(session) = sessions.recv() => {
                running.spawn(session);
            }
            Some(ended) = running.join_next(), if !running.is_empty() => told(ended),
        }
    }
    let ending = async {
        while let Some(ended) = running.join_next().await {
            told(ended);
        }
    };
    if timeout(CLOSING, ending).await.is_err() {
        tracing::warn!(sockets = running.len(), "sockets that did not close in time are cut");
    }
}

fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a socket panicked");
    }
}

fn full() -> Failure {
    Problem::common(Reason::Overloaded, "too many sockets are open; try again soon").retry_after(COME_BACK).into()
}

/// One of the sockets that may be open; given back when dropped.
pub(crate) struct Seat {
    open: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_many_as_may_be_are_open_and_one_that_ends_makes_room() {
        let (sockets, gauge) = (Sockets::new(2), Gauge::default());
        let first = sockets.seat(gauge.clone()).map_err(|failure| failure.reason().to_owned()).unwrap();
        let _second = sockets.seat(gauge.clone()).map_err(|failure| failure.reason().to_owned()).unwrap();
        let refused = sockets.seat(gauge.clone()).err().unwrap();
        assert_eq!((refused.reason(), gauge.get()), ("OVERLOADED", 2));
        drop(first);
        assert!(sockets.seat(gauge.clone()).is_ok());
        assert_eq!(gauge.get(), 1);
    }

    #[tokio::test]
    async fn a_socket_that_panics_ends_alone_and_all_are_waited_for_at_the_stop() {
        let (sockets, stop) = (Sockets::new(8), CancellationToken::new());
        let (begins, began) = tokio::sync::oneshot::channel();
        let (ends, ended) = tokio::sync::oneshot::channel();
        let told = stop.clone();
        let started = [
            sockets.start(Box::pin(async { panic!("planted") })),
            sockets.start(Box::pin(async move {
                begins.send(()).unwrap();
                told.cancelled().await;
                tokio::task::yield_now().await;
                ends.send(()).unwrap();
            })),
        ];
        assert!(started.iter().all(Result::is_ok));
        let stopping = async {
            began.await.unwrap();
            stop.cancel();
        };
        let worker = sockets.worker();
        tokio::join!(worker.run(stop.clone()), stopping);
        assert_eq!(ended.await, Ok(()), "it was left to end by itself");
    }
}
