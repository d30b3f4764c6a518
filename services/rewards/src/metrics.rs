//! Metrics of the domain.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabels {
    /// `granted`, `issued`, `refused`, `failed`, `cancelled`.
    pub status: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Grants and redemptions that came to an end, by which.
    pub issued: Family<StatusLabels, Counter>,
    /// Seconds from the promise to its end.
    pub latency: Histogram,
    /// The same, of grants that were given.
    pub grants: Histogram,
    /// Gaps that were found in the audit.
    pub gaps: Counter,
    /// Gaps that there are.
    pub open_gaps: Gauge,
    /// Vouchers that were issued for what had been given back by then.
    pub late: Counter,
    /// Codes of vouchers that no key opens.
    pub closed: Gauge,
}

const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            issued: Family::default(),
            latency: Histogram::new(BUCKETS),
            grants: Histogram::new(BUCKETS),
            gaps: Counter::default(),
            open_gaps: Gauge::default(),
            late: Counter::default(),
            closed: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("cc_reward_issue", "Rewards that came to an end, by which", self.issued.clone());
        registry.register("cc_reward_issue_latency_seconds", "Time from promise to end", self.latency.clone());
        let given = "Time from the promise of a grant until it is given";
        registry.register("rewards_grant_latency_seconds", given, self.grants.clone());
        registry.register("cc_reward_audit_gap", "Gaps found in the audit of rewards", self.gaps.clone());
        let open = "Gaps in the audit of rewards that there were at the last look";
        registry.register("cc_reward_audit_gap_open", open, self.open_gaps.clone());
        let late = "Vouchers that were issued for what had been given back by then";
        registry.register("rewards_late_issues", late, self.late.clone());
        registry.register("rewards_codes_closed", "Codes of vouchers that no key opens", self.closed.clone());
    }

    /// Counts something that came to an end.
    pub fn ended(&self, status: &'static str, took: jiff::SignedDuration) {
        self.issued.get_or_create(&StatusLabels { status }).inc();
        let secs = Duration::try_from(took).unwrap_or_default().as_secs_f64();
        self.latency.observe(secs);
        if status == "granted" {
            self.grants.observe(secs);
        }
    }
}
