//! What the gate counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Why a call was denied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// A reason constant.
    pub(crate) reason: &'static str,
}

/// Metrics of the gate. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) denied: Family<Outcome, Counter>,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) degraded: Counter,
    pub(crate) asked: Counter,
    pub(crate) standing: Gauge,
    pub(crate) known: Gauge,
    pub(crate) lag_secs: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0];
        Self {
            denied: Family::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            degraded: Counter::default(),
            asked: Counter::default(),
            standing: Gauge::default(),
            known: Gauge::default(),
            lag_secs: Histogram::new(buckets),
        }
    }
}

impl Metrics {
    /// Registers everything.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("coreloop_access_denied", "Calls denied, by reason", self.denied.clone());
        registry.register("coreloop_access_cache_hits", "Tokens found verified", self.cache_hits.clone());
        registry.register("coreloop_access_cache_misses", "Tokens verified anew", self.cache_misses.clone());
        registry.register(
            "coreloop_access_degraded",
            "Calls admitted while revocations could not be read",
            self.degraded.clone(),
        );
        registry.register("coreloop_access_redis_asked", "Tokens asked of Redis itself", self.asked.clone());
        registry.register(
            "coreloop_access_revocation_standing",
            "0 live, 1 behind (Redis is asked), 2 blind",
            self.standing.clone(),
        );
        registry.register("coreloop_access_revocations_known", "Revocations in memory", self.known.clone());
        registry.register(
            "cc_auth_token_revocation_lag_seconds",
            "From the act of revoking to its being known here",
            self.lag_secs.clone(),
        );
    }
}
