//! Metrics of the domain. What was rolled back after it was decided counts too.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Whether a scan was of something that can be recycled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScanLabels {
    /// `true`, `false`.
    pub recycled: &'static str,
}

/// Which badge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BadgeLabels {
    /// Its code.
    pub code: String,
}

/// Which part of a summary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabels {
    /// `characters`, `recycling`, `streak`.
    pub part: &'static str,
}

/// Where a summary came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SummaryLabels {
    /// `kept`, `made`.
    pub from: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Scans that counted.
    pub scans: Family<ScanLabels, Counter>,
    /// Badges that were earned.
    pub badges: Family<BadgeLabels, Counter>,
    /// Summaries.
    pub summaries: Family<SummaryLabels, Counter>,
    /// Parts of summaries that were not of now.
    pub stale: Family<PartLabels, Counter>,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("my_scans", "Scans that counted, by whether they can be recycled", self.scans.clone());
        registry.register("my_badges", "Badges that were earned", self.badges.clone());
        registry.register("my_summary", "Summaries, by whether they were kept or made", self.summaries.clone());
        registry.register("my_summary_stale", "Parts of summaries that were not of now", self.stale.clone());
    }
}
