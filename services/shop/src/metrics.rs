//! Metrics of the domain, by the names of chapter 08.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// How far an attempt came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// `CONFIRMED`, `PENDING`, `VOIDED`, or the reason why not.
    pub state: &'static str,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// `purchase` or `limited`.
    pub flow: &'static str,
    /// `success`, `refused`, `failed`.
    pub result: &'static str,
    /// The reason; empty for a success.
    pub reason: &'static str,
}

/// What a key was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyLabels {
    /// `purchase` or `limited`.
    pub flow: &'static str,
    /// `first`, `repeat`, `running`, `reused`.
    pub state: &'static str,
}

/// How a conversion ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabels {
    /// `CONFIRMED`, `VOIDED`, `FAILED`.
    pub status: &'static str,
}

/// A limited package.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PackageLabels {
    /// Which.
    pub package_id: String,
}

/// What a rule against fraud met.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FraudLabels {
    /// Which.
    pub rule: String,
    /// `refused` or `noted`.
    pub outcome: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    states: Family<StateLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    keys: Family<KeyLabels, Counter>,
    latency: Histogram,
    settlement: Family<StatusLabels, Histogram, fn() -> Histogram>,
    pending: Gauge,
    stock: Family<PackageLabels, Gauge>,
    mismatches: Counter,
    open_mismatches: Gauge,
    contradictions: Counter,
    chargebacks: Counter,
    fraud: Family<FraudLabels, Counter>,
}

fn settlement_buckets() -> Histogram {
    Histogram::new([0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            states: Family::default(),
            attempts: Family::default(),
            keys: Family::default(),
            latency: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]),
            settlement: Family::new_with_constructor(settlement_buckets),
            pending: Gauge::default(),
            stock: Family::default(),
            mismatches: Counter::default(),
            open_mismatches: Gauge::default(),
            contradictions: Counter::default(),
            chargebacks: Counter::default(),
            fraud: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "cc_shop_purchase_attempt",
            "Purchases that were tried, by how far they came",
            self.states.clone(),
        );
        registry.register("purchase_attempt", "Purchases that were tried, by their result", self.attempts.clone());
        registry.register("purchase_idempotency", "Keys, by what was known of them", self.keys.clone());
        registry.register("cc_shop_purchase_latency_seconds", "Time of a purchase", self.latency.clone());
        registry.register(
            "settlement_latency_seconds",
            "Time from a conversion's request to its end",
            self.settlement.clone(),
        );
        // A gauge whose name chapter 08 gives.
        registry.register("cc_settlement_pending_total", "Conversions that are not settled", self.pending.clone());
        registry.register("cc_shop_stock_level", "Pieces left of a limited package", self.stock.clone());
        registry.register("shop_fraud_hits", "What rules against fraud met", self.fraud.clone());
        registry.register(
            "cc_shop_integrity_mismatch",
            "Receipts that do not say what the books say",
            self.mismatches.clone(),
        );
        registry.register(
            "cc_shop_integrity_mismatch_open",
            "Receipts that did not say what the books say when they were last looked at",
            self.open_mismatches.clone(),
        );
        registry.register(
            "shop_settlement_contradiction",
            "Payments of which the payment service later said otherwise",
            self.contradictions.clone(),
        );
        registry.register(
            "shop_chargebacks",
            "Payments that were taken back after they were confirmed",
            self.chargebacks.clone(),
        );
    }

    /// A payment was taken back after it was confirmed.
    pub fn charged_back(&self) {
        self.chargebacks.inc();
    }

    /// The payment service said otherwise than before, and nothing follows from it.
    pub fn contradiction(&self) {
        self.contradictions.inc();
    }

    /// An attempt has ended.
    pub fn attempt(&self, flow: &'static str, result: &'static str, state: &'static str, took: Duration) {
        self.states.get_or_create(&StateLabels { state }).inc();
        let reason = if result == "success" { "" } else { state };
        self.attempts.get_or_create(&AttemptLabels { flow, result, reason }).inc();
        self.latency.observe(took.as_secs_f64());
    }

    /// A key was looked up.
    pub fn key(&self, flow: &'static str, state: &'static str) {
        self.keys.get_or_create(&KeyLabels { flow, state }).inc();
    }

    /// A conversion has ended.
    pub fn settled(&self, status: &'static str, secs: f64) {
        self.settlement.get_or_create(&StatusLabels { status }).observe(secs.max(0.0));
    }

    /// So many conversions are not settled.
    pub fn pending(&self, count: i64) {
        self.pending.set(count);
    }

    /// So much is left of a package.
    pub fn stock(&self, package_id: String, left: i64) {
        self.stock.get_or_create(&PackageLabels { package_id }).set(left);
    }

    /// A rule against fraud was met.
    pub fn fraud(&self, rule: &str, refused: bool) {
        let outcome = if refused { "refused" } else { "noted" };
        self.fraud.get_or_create(&FraudLabels { rule: rule.to_owned(), outcome }).inc();
    }

    /// A receipt does not fit.
    pub fn mismatch(&self) {
        self.mismatches.inc();
    }

    /// So many receipts do not fit.
    pub fn open_mismatches(&self, count: i64) {
        self.open_mismatches.set(count);
    }
}
