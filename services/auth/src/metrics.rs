//! Metrics of the domain (chapter 08).

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Why a sign-in failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailLabels {
    /// Stable constant.
    pub reason: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Seconds from a sign-in's first line to its answer.
    pub login_latency: Histogram,
    /// Sign-ins that were refused.
    pub login_fail: Family<FailLabels, Counter>,
    /// Live sessions, sampled.
    pub active_sessions: Gauge,
    /// Audit records that found the queue full.
    pub audits_dropped: Counter,
    /// Watches of a session that are open here.
    pub open_watches: Gauge,
    /// Work of hashing passwords: KiB of memory times passes.
    pub argon2_kib: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            login_latency: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0]),
            login_fail: Family::default(),
            active_sessions: Gauge::default(),
            audits_dropped: Counter::default(),
            open_watches: Gauge::default(),
            argon2_kib: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("cc_auth_login_latency_seconds", "Time of a sign-in", self.login_latency.clone());
        registry.register("cc_auth_login_fail", "Sign-ins refused, by reason", self.login_fail.clone());
        registry.register("cc_auth_active_sessions", "Live sessions", self.active_sessions.clone());
        registry.register("auth_watches", "Watches of a session that are open", self.open_watches.clone());
        registry.register("auth_argon2_kib", "KiB that Argon2id has filled", self.argon2_kib.clone());
        registry.register(
            "auth_audits_dropped",
            "Audit records that found the queue full",
            self.audits_dropped.clone(),
        );
    }

    /// Notes a sign-in: its time, and the reason when it was refused.
    pub fn login(&self, took: Duration, refused: Option<&'static str>) {
        self.login_latency.observe(took.as_secs_f64());
        if let Some(reason) = refused {
            self.login_fail.get_or_create(&FailLabels { reason }).inc();
        }
    }
}
