//! Metrics of the domain. What was rolled back after it was decided counts too.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// As `character_acquired`.
    pub kind: String,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `taken`; `waits`; or why not, in small letters: `read`, `device_gone`, `switched_off`, `unregistered`, `push_quota`.
    pub outcome: String,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Notifications that were made.
    pub created: Family<KindLabels, Counter>,
    /// Pushes that came to an end, or wait for the end of quiet hours.
    pub pushes: Family<OutcomeLabels, Counter>,
    /// Seconds of an answer of the gateway.
    pub latency: Family<OutcomeLabels, Histogram>,
    /// The gateway is left alone: 1.
    pub left_alone: Gauge,
    /// Tokens that do not open.
    pub closed: Gauge,
}

const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            created: Family::default(),
            pushes: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            left_alone: Gauge::default(),
            closed: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("notification_created", "Notifications that were made, by kind", self.created.clone());
        registry.register("notification_push", "Pushes, by what became of them", self.pushes.clone());
        let latency = "Time of an answer of the push gateway, by what it says";
        registry.register("notification_push_latency_seconds", latency, self.latency.clone());
        registry.register("notification_gateway_left_alone", "The gateway is left alone (1)", self.left_alone.clone());
        registry.register("notification_tokens_closed", "Tokens of devices that do not open", self.closed.clone());
    }

    /// Counts a notification.
    pub fn told(&self, kind: &str) {
        self.created.get_or_create(&KindLabels { kind: kind.to_ascii_lowercase() }).inc();
    }

    /// Counts what became of a push.
    pub fn pushed(&self, outcome: &str) {
        self.pushes.get_or_create(&OutcomeLabels { outcome: outcome.to_ascii_lowercase() }).inc();
    }

    /// Notes an answer of the gateway.
    pub fn answered(&self, outcome: &str, took: Duration, left_alone: bool) {
        let outcome = outcome.to_ascii_lowercase();
        self.latency.get_or_create(&OutcomeLabels { outcome }).observe(took.as_secs_f64());
        self.left_alone.set(i64::from(left_alone));
    }
}
