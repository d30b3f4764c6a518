//! Metrics of the domain.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
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
    /// `head`, `get`, `put`, `delete`.
    pub operation: &'static str,
    /// Its status, or `timeout`, `transport`, `unset`.
    pub code: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// Of a registration `registered`, `known`, or the reason in small letters; of smaller copies `done`, or the reason.
    pub outcome: String,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Uploads that were signed.
    pub signed: Family<FormatLabels, Counter>,
    /// Questions that storage did not answer.
    pub failures: Family<FailureLabels, Counter>,
    /// Registrations.
    pub registered: Family<OutcomeLabels, Counter>,
    /// Photos whose smaller copies were made, or will not be.
    pub thumbnails: Family<OutcomeLabels, Counter>,
    /// Seconds from the command to the copies of one photo in storage.
    pub thumbnail_secs: Histogram,
}

const BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            signed: Family::default(),
            failures: Family::default(),
            registered: Family::default(),
            thumbnails: Family::default(),
            thumbnail_secs: Histogram::new(BUCKETS),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("image_presigned", "Uploads that were signed, by format", self.signed.clone());
        let failures = "Questions that storage did not answer, by what was asked and how it failed";
        registry.register("image_s3_errors", failures, self.failures.clone());
        registry.register("image_register", "Registrations, by what became of them", self.registered.clone());
        let copied = "Photos whose smaller copies were made or will not be, by what became of them";
        registry.register("image_thumbnails", copied, self.thumbnails.clone());
        registry.register(
            "image_thumbnail_seconds",
            "Time to make the copies of one photo",
            self.thumbnail_secs.clone(),
        );
    }

    /// Counts what became of the smaller copies of a photo.
    pub fn processed(&self, outcome: &str) {
        self.thumbnails.get_or_create(&OutcomeLabels { outcome: outcome.to_ascii_lowercase() }).inc();
    }
}
