//! Metrics of the domain.

use std::time::Duration;

use coreloop_scan_api::v1::Category;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::store::tasks::Task;

/// What the model was asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LookLabels {
    /// `seen`, `nonsense`, `unseen`, or the reason in small letters.
    pub outcome: String,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    /// As `pet`.
    pub category: String,
    /// `true` or `false`.
    pub eligible: &'static str,
}

/// A task without a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// Why, in small letters.
    pub reason: String,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Seconds of a look of the model at a photo, by what came of it.
    pub looks: Family<LookLabels, Histogram>,
    /// Results.
    pub results: Family<ResultLabels, Counter>,
    /// Tasks that came to nothing.
    pub failures: Family<FailureLabels, Counter>,
    /// Seconds from a photo to its end.
    pub latency: Histogram,
    /// The model is left alone: 1.
    pub left_alone: Gauge,
}

const BUCKETS: [f64; 12] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 35.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            looks: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            results: Family::default(),
            failures: Family::default(),
            latency: Histogram::new(BUCKETS),
            left_alone: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let looks = "Time of a look of the vision model at a photo, by what came of it";
        registry.register("scan_model_latency_seconds", looks, self.looks.clone());
        registry.register("scan_results", "Results, by category and whether they earn something", self.results.clone());
        registry.register("scan_failures", "Photos without a result, by reason", self.failures.clone());
        registry.register("scan_latency_seconds", "Time from a photo to its result or failure", self.latency.clone());
        registry.register("scan_breaker_open", "The vision model is left alone (1)", self.left_alone.clone());
    }

    /// Counts a look.
    pub fn looked(&self, outcome: &str, took: Duration, left_alone: bool) {
        let outcome = outcome.to_ascii_lowercase();
        self.looks.get_or_create(&LookLabels { outcome }).observe(took.as_secs_f64());
        self.left_alone.set(i64::from(left_alone));
    }

    /// Counts a task that has come to its end.
    pub fn ended(&self, task: &Task) {
        if task.category > 0 {
            let category = Category::try_from(i32::from(task.category)).unwrap_or_default().as_str_name();
            let category = category.trim_start_matches("CATEGORY_").to_ascii_lowercase();
            let eligible = if task.reward_eligible { "true" } else { "false" };
            self.results.get_or_create(&ResultLabels { category, eligible }).inc();
        } else {
            self.failures.get_or_create(&FailureLabels { reason: task.failure.to_ascii_lowercase() }).inc();
        }
        let Some(done) = task.done_at else { return };
        let took = done.to_jiff().duration_since(task.created_at.to_jiff());
        self.latency.observe(Duration::try_from(took).unwrap_or_default().as_secs_f64());
    }
}
