//! Metrics of the domain.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// What became of an act.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `posted`, the reason of the refusal, or `failed`.
    pub outcome: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Acts by what became of them; an act asked for again counts again.
    pub acts: Family<OutcomeLabels, Counter>,
    /// Acts of a batch.
    pub batch_size: Histogram,
    /// Seconds of a batch, from its lock to its commit.
    pub batch_seconds: Histogram,
    /// What the last look at the books found that does not fit.
    pub findings: Gauge,
    /// Unix seconds at which the last look at the books ended.
    pub verified_at: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            acts: Family::default(),
            batch_size: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_024.0]),
            batch_seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            findings: Gauge::default(),
            verified_at: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("wallet_acts", "Acts, by what became of them", self.acts.clone());
        registry.register("wallet_batch_size", "Acts of a batch", self.batch_size.clone());
        registry.register("wallet_batch_seconds", "Time of a batch", self.batch_seconds.clone());
        registry.register("wallet_integrity_findings", "What does not fit in the books", self.findings.clone());
        registry.register(
            "wallet_integrity_verified_at",
            "When the books were last looked at",
            self.verified_at.clone(),
        );
    }

    /// Counts what became of an act.
    pub fn act(&self, outcome: &'static str) {
        self.acts.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
