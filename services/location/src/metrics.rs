//! Metrics of the domain.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// A look into a cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CacheLabels {
    /// `nearby`, `search`, `geocode`, `reverse`.
    pub cache: &'static str,
    /// `hit`, `miss` (whoever asks), `joined` (whoever waits for them), `held` (Redis said nothing, this replica remembered).
    pub result: &'static str,
}

/// A call of the provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// `keyword`, `category`, `address`, `coord2address`.
    pub endpoint: &'static str,
    /// `ok`, or why not.
    pub outcome: &'static str,
}

/// Why shops that are kept here answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FallbackLabels {
    /// As [`crate::kakao::Away::word`].
    pub reason: &'static str,
}

/// A fix of a live map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FixLabels {
    /// `taken`, `refused`, `overtaken` (a newer one came before it was answered).
    pub outcome: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Looks into caches.
    pub cache: Family<CacheLabels, Counter>,
    /// Seconds of a call of the provider.
    pub calls: Family<CallLabels, Histogram>,
    /// Answers of shops that are kept here.
    pub fallbacks: Family<FallbackLabels, Counter>,
    /// Calls of the provider that are used of today's.
    pub quota: Gauge,
    /// The provider is left alone: 1.
    pub left_alone: Gauge,
    /// Visits that were noted.
    pub visits: Counter,
    /// Live maps that are open.
    pub tracks: Gauge,
    /// What became of fixes.
    pub fixes: Family<FixLabels, Counter>,
}

const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            cache: Family::default(),
            calls: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            fallbacks: Family::default(),
            quota: Gauge::default(),
            left_alone: Gauge::default(),
            visits: Counter::default(),
            tracks: Gauge::default(),
            fixes: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("location_cache", "Looks into caches, by what was found", self.cache.clone());
        let calls = "Time of a call of the provider of places, by endpoint and what came of it";
        registry.register("location_provider_latency_seconds", calls, self.calls.clone());
        let fallbacks = "Searches that shops which are kept here answered, by why";
        registry.register("location_fallback", fallbacks, self.fallbacks.clone());
        registry.register("location_quota_used", "Calls of the provider that are used of today's", self.quota.clone());
        registry.register("location_breaker_open", "The provider is left alone (1)", self.left_alone.clone());
        registry.register("location_visits", "Visits that were noted", self.visits.clone());
        registry.register("location_open_tracks", "Live maps that are open", self.tracks.clone());
        registry.register("location_fixes", "Fixes of live maps, by what became of them", self.fixes.clone());
    }

    /// Counts a look into a cache.
    pub fn looked(&self, cache: &'static str, result: &'static str) {
        self.cache.get_or_create(&CacheLabels { cache, result }).inc();
    }

    /// Counts a call of the provider.
    pub fn asked(&self, endpoint: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabels { endpoint, outcome }).observe(took.as_secs_f64());
    }

    /// Counts an answer of shops that are kept here.
    pub fn fell_back(&self, reason: &'static str) {
        self.fallbacks.get_or_create(&FallbackLabels { reason }).inc();
    }

    /// Counts a fix.
    pub fn fix(&self, outcome: &'static str) {
        self.fixes.get_or_create(&FixLabels { outcome }).inc();
    }
}
