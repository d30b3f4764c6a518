//! Metrics of events (chapters 06 and 08): lag, age and depth.

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::Event;

/// Which outbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    schema: String,
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

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    published: Family<Source, Counter>,
    relay_age: Family<Source, Histogram>,
    broker_losses: Family<Source, Counter>,
    handled: Family<Handled, Counter>,
    age: Family<Named, Histogram>,
    lag: Family<Read, Gauge>,
    held: Family<Named, Gauge>,
    dead: Family<Named, Gauge>,
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
            handled: Family::default(),
            age: Family::new_with_constructor(seconds),
            lag: Family::default(),
            held: Family::default(),
            dead: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("outbox_published", "Events that the broker has taken", self.published.clone());
        registry.register("outbox_age_seconds", "From an event's writing to its publication", self.relay_age.clone());
        registry.register("outbox_broker_losses", "Times that the broker had lost events", self.broker_losses.clone());
        registry.register("events_handled", "Events by what became of them", self.handled.clone());
        registry.register("events_age_seconds", "From an event's writing to the end of its handling", self.age.clone());
        registry.register("events_lag", "Events that a consumer has not been given yet", self.lag.clone());
        registry.register("events_held", "Events that wait to be tried again, or behind such", self.held.clone());
        registry.register("events_dead", "Dead letters that nobody has touched", self.dead.clone());
    }

    pub(crate) fn relayed(&self, schema: &str, events: &[Event], now: Timestamp) {
        let source = Source { schema: schema.to_owned() };
        self.published.get_or_create(&source).inc_by(events.len() as u64);
        // The oldest of a batch is what a reader waits for.
        if let Some(first) = events.first() {
            self.relay_age.get_or_create(&source).observe(age(first, now));
        }
    }

    pub(crate) fn lost(&self, schema: &str) {
        self.broker_losses.get_or_create(&Source { schema: schema.to_owned() }).inc();
    }

    pub(crate) fn handled(&self, consumer: &str, outcome: &'static str, event: &Event, now: Timestamp) {
        self.handled.get_or_create(&Handled { consumer: consumer.to_owned(), outcome }).inc();
        self.age.get_or_create(&Named { consumer: consumer.to_owned() }).observe(age(event, now));
    }

    pub(crate) fn lag(&self, consumer: &str, topic: &str, events: u64) {
        let read = Read { consumer: consumer.to_owned(), topic: topic.to_owned() };
        self.lag.get_or_create(&read).set(events.cast_signed());
    }

    pub(crate) fn held(&self, consumer: &str, held: i64, dead: i64) {
        let named = Named { consumer: consumer.to_owned() };
        self.held.get_or_create(&named).set(held);
        self.dead.get_or_create(&named).set(dead);
    }
}

fn age(event: &Event, now: Timestamp) -> f64 {
    now.duration_since(event.created_at).as_secs_f64().max(0.0)
}
