//! Metrics of the domain. What was rolled back after it was decided counts too.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Where a character came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    /// `scan`, `unlock`, `campaign`, `reward`.
    pub source: String,
}

/// Why none was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// `max_characters_reached` and the like.
    pub reason: String,
}

/// Why one went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabels {
    /// `expired`, `deleted`.
    pub cause: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Characters that came.
    pub acquired: Family<SourceLabels, Counter>,
    /// Events that gave none.
    pub refused: Family<ReasonLabels, Counter>,
    /// Characters that went.
    pub lost: Family<CauseLabels, Counter>,
    /// Characters that rose by a level.
    pub evolved: Counter,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("character_acquired", "Characters that came, by where from", self.acquired.clone());
        registry.register("character_refused", "Events that gave no character, by why", self.refused.clone());
        registry.register("character_lost", "Characters that went, by why", self.lost.clone());
        registry.register("character_evolved", "Characters that rose by a level", self.evolved.clone());
    }
}
