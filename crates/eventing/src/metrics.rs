//! Metrics of events and commands (chapters 06 and 08): lag, age and depth.

use std::sync::atomic::AtomicU64;

use coreloop_service::Metrics as Process;
use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::Event;

/// Whose outbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    domain: String,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    consumer: String,
    outcome: &'static str,
}

/// A consumer and one of its topics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Read {
    consumer: String,
    topic: String,
}

/// Which consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    consumer: String,
}

/// Events that a consumer has set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// To be tried again, or behind such.
    pub(crate) alive: i64,
    /// Dead letters.
    pub(crate) dead: i64,
    /// Dead letters that nobody touched for an hour.
    pub(crate) archived: i64,
}

/// The metrics of all outboxes and consumers of a process; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    published: Family<Source, Counter>,
    relay_age: Family<Source, Histogram>,
    broker_losses: Family<Source, Counter>,
    depth: Family<Source, Gauge>,
    oldest: Family<Source, Gauge<f64, AtomicU64>>,
    handled: Family<Handled, Counter>,
    age: Family<Named, Histogram>,
    lag: Family<Read, Gauge>,
    held: Family<Named, Gauge>,
    dead: Family<Named, Gauge>,
    archived: Family<Named, Gauge>,
}

fn seconds() -> Histogram {
    Histogram::new([0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            published: Family::default(),
            relay_age: Family::new_with_constructor(seconds),
            broker_losses: Family::default(),
            depth: Family::default(),
            oldest: Family::default(),
            handled: Family::default(),
            age: Family::new_with_constructor(seconds),
            lag: Family::default(),
            held: Family::default(),
            dead: Family::default(),
            archived: Family::default(),
        }
    }
}

impl Metrics {
    /// Those of the process, registered by whoever asks first: modules in one process count in the same families.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        process.shared(|registry| {
            let metrics = Self::default();
            metrics.register(registry);
            metrics
        })
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("outbox_published", "Events that the broker has taken", self.published.clone());
        registry.register("outbox_age_seconds", "From an event's writing to its publication", self.relay_age.clone());
        registry.register("outbox_broker_losses", "Times that the broker had lost events", self.broker_losses.clone());
        registry.register("outbox_depth", "Committed events that the broker has not taken", self.depth.clone());
        registry.register("outbox_oldest_age_seconds", "Age of the oldest of them", self.oldest.clone());
        registry.register("events_handled", "Events by what became of them", self.handled.clone());
        registry.register("events_age_seconds", "From an event's writing to the end of its handling", self.age.clone());
        registry.register("events_lag", "Events that a consumer has not been given yet", self.lag.clone());
        registry.register("events_held", "Events that wait to be tried again, or behind such", self.held.clone());
        registry.register("events_dead", "Dead letters", self.dead.clone());
        registry.register("events_archived", "Dead letters that nobody touched for an hour", self.archived.clone());
    }

    pub(crate) fn relayed(&self, domain: &str, events: &[Event], now: Timestamp) {
        // The oldest of a batch is what a reader waits for.
        let Some(first) = events.first() else { return };
        let source = Source { domain: domain.to_owned() };
        self.published.get_or_create(&source).inc_by(events.len() as u64);
        self.relay_age.get_or_create(&source).observe(age(first, now));
    }

    /// Committed events that wait, and the age of the oldest in seconds.
    pub(crate) fn depth(&self, domain: &str, events: i64, age: f64) {
        let source = Source { domain: domain.to_owned() };
        self.depth.get_or_create(&source).set(events);
        self.oldest.get_or_create(&source).set(age);
    }

    /// Another tells of this outbox from now on.
    pub(crate) fn forget_source(&self, domain: &str) {
        let source = Source { domain: domain.to_owned() };
        self.depth.remove(&source);
        self.oldest.remove(&source);
    }

    /// Another tells of this consumer from now on.
    pub(crate) fn forget_consumer<'a>(&self, consumer: &str, topics: impl Iterator<Item = &'a str>) {
        let named = Named { consumer: consumer.to_owned() };
        for topic in topics {
            self.lag.remove(&Read { consumer: consumer.to_owned(), topic: topic.to_owned() });
        }
        self.held.remove(&named);
        self.dead.remove(&named);
        self.archived.remove(&named);
    }

    pub(crate) fn lost(&self, domain: &str) {
        self.broker_losses.get_or_create(&Source { domain: domain.to_owned() }).inc();
    }

    pub(crate) fn handled(&self, consumer: &str, outcome: &'static str, event: &Event, now: Timestamp) {
        self.handled.get_or_create(&Handled { consumer: consumer.to_owned(), outcome }).inc();
        self.age.get_or_create(&Named { consumer: consumer.to_owned() }).observe(age(event, now));
    }

    pub(crate) fn lag(&self, consumer: &str, topic: &str, events: u64) {
        let read = Read { consumer: consumer.to_owned(), topic: topic.to_owned() };
        self.lag.get_or_create(&read).set(events.cast_signed());
    }

    pub(crate) fn held(&self, consumer: &str, held: Held) {
        let named = Named { consumer: consumer.to_owned() };
        self.held.get_or_create(&named).set(held.alive);
        self.dead.get_or_create(&named).set(held.dead);
        self.archived.get_or_create(&named).set(held.archived);
    }
}

fn age(event: &Event, now: Timestamp) -> f64 {
    now.duration_since(event.created_at).as_secs_f64().max(0.0)
}
