//! How many calls run at once, and which are turned away (chapter 09, O7).
//!
//! A queue that is let grow makes every answer late and none useful. So few may wait, for a short time, and the rest are
//! told at once to come again.
//!
//! A service has places of three kinds ([`crate::plan::Places`]), so that no crowd takes those of others: strangers' sign-ins
//! not those of people who are signed in, and nobody those of decisions, for which the whole mesh waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coreloop_core::{Problem, Reason};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{options::ServerOptions, plan::Places};

/// The places of one service, by kind.
pub(crate) struct House {
    foreign: Admission,
    public: Admission,
    shared: Admission,
}

impl House {
    pub(crate) fn new(options: &ServerOptions, running: &Gauge, shed: &Counter) -> Self {
        let places = || Admission::new(options, running.clone(), shed.clone());
        Self { foreign: places(), public: places(), shared: places() }
    }

    /// A place now or soon; none when the call needs none.
    pub(crate) async fn enter(&self, places: Places, deadline: Option<Instant>) -> Result<Option<Place>, Problem> {
        let admission = match places {
            Places::None => return Ok(None),
            Places::Foreign => &self.foreign,
            Places::Public => &self.public,
            Places::Shared => &self.shared,
        };
        admission.enter(deadline).await.map(Some)
    }
}

/// Places of one kind.
struct Admission {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    max_wait: Duration,
    running: Gauge,
    shed: Counter,
}

/// A place; given back when dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    running: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.dec();
    }
}

/// Counts a waiting call for as long as it waits, also when its caller goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    fn new(options: &ServerOptions, running: Gauge, shed: Counter) -> Self {
        Self {
            places: Arc::new(Semaphore::new(options.max_in_flight)),
            waiting: AtomicUsize::new(0),
            max_waiting: options.max_waiting,
            max_wait: Duration::from_millis(options.max_wait_ms),
            running,
            shed,
        }
    }

    /// A place now or soon.
    async fn enter(&self, deadline: Option<Instant>) -> Result<Place, Problem> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(self.place(permit));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(self.full());
        }
        let _waiting = Waiting(&self.waiting);
        let soon = Instant::now() + self.max_wait;
        let until = deadline.map_or(soon, |deadline| deadline.min(soon));
        match tokio::time::timeout_at(until, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.place(permit)),
            _ => Err(self.full()),
        }
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        self.running.inc();
        Place { _permit: permit, running: self.running.clone() }
    }

    fn full(&self) -> Problem {
        self.shed.inc();
        Problem::common(Reason::Overloaded, "more work than can be done; try again soon")
            .retry_after(Duration::from_secs(1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn admission(max_in_flight: usize, max_waiting: usize) -> Admission {
        let options = ServerOptions { max_in_flight, max_waiting, ..ServerOptions::default() };
        Admission::new(&options, Gauge::default(), Counter::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_house_refuses_and_a_freed_place_is_taken() {
        let admission = admission(1, 1);
        let first = admission.enter(None).await.unwrap();
        let refused = admission.enter(None).await.err().unwrap();
        assert_eq!(refused.reason(), "OVERLOADED");
        assert_eq!(admission.shed.get(), 1);
        let (second, ()) = tokio::join!(admission.enter(None), async { drop(first) });
        assert!(second.is_ok());
        assert_eq!(admission.running.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_kind_takes_nothing_from_another() {
        let options = ServerOptions { max_in_flight: 1, max_waiting: 0, ..ServerOptions::default() };
        let house = House::new(&options, &Gauge::default(), &Counter::default());
        let mut held = Vec::new();
        for places in [Places::Public, Places::Shared, Places::Foreign] {
            held.push(house.enter(places, None).await.unwrap().unwrap());
            assert!(house.enter(places, None).await.is_err(), "{places:?}");
        }
        assert!(house.enter(Places::None, None).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_past_its_deadline_or_in_a_full_queue() {
        let admission = admission(1, 0);
        let _first = admission.enter(None).await.unwrap();
        let before = Instant::now();
        assert!(admission.enter(None).await.is_err());
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }
}
