//! Metrics of the domain.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Which format.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FormatLabels {
    /// As `image/jpeg`.
    pub mime_type: &'static str,
}

/// What storage was asked, and how it failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// `head`, `delete`.
    pub operation: &'static str,
    /// Its status, or `timeout`, `transport`, `unset`.
    pub code: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `registered`, `known`, or the reason in small letters.
    pub outcome: String,
}

/// The metrics; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Uploads that were signed.
    pub signed: Family<FormatLabels, Counter>,
    /// Questions that storage did not answer.
    pub failures: Family<FailureLabels, Counter>,
    /// Registrations.
    pub registered: Family<OutcomeLabels, Counter>,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("image_presigned", "Uploads that were signed, by format", self.signed.clone());
        let failures = "Questions that storage did not answer, by what was asked and how it failed";
        registry.register("image_s3_errors", failures, self.failures.clone());
        registry.register("image_register", "Registrations, by what became of them", self.registered.clone());
    }
}
