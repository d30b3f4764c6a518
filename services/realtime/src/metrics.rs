//! Metrics of the domain.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Streams of messages that are open here, whatever carries them.
    pub sockets: Gauge,
    /// Messages that wait for slow clients.
    pub depth: Gauge,
    /// Messages handed to their streams.
    pub delivered: Counter,
    /// Messages that did not reach the socket they were for.
    pub failed: Counter,
    /// Milliseconds from when something was written down until it is handed to a stream.
    pub lag: Histogram,
    /// Sockets of the old app.
    pub legacy: Counter,
}

/// Milliseconds; the promise is 500 at the 95th percentile.
const BUCKETS: [f64; 12] = [5.0, 10.0, 20.0, 50.0, 100.0, 150.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0, 60_000.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sockets: Gauge::default(),
            depth: Gauge::default(),
            delivered: Counter::default(),
            failed: Counter::default(),
            lag: Histogram::new(BUCKETS),
            legacy: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("realtime_open_streams", "Streams of messages that are open", self.sockets.clone());
        registry.register("cc_ws_broadcast_queue_depth", "Messages that wait for slow clients", self.depth.clone());
        registry.register("realtime_delivered", "Messages handed to their streams", self.delivered.clone());
        let failed = "Messages that did not reach the socket they were for";
        registry.register("cc_ws_delivery_fail", failed, self.failed.clone());
        let lag = "Milliseconds from when something was written down until it is handed to a stream";
        registry.register("realtime_event_lag_ms", lag, self.lag.clone());
        registry.register("ws_legacy_games_connections", "Sockets opened by the old app", self.legacy.clone());
    }

    /// A queue that had `before` messages has `after`.
    pub fn queued(&self, before: usize, after: usize) {
        let (before, after) = (i64::try_from(before).unwrap_or(i64::MAX), i64::try_from(after).unwrap_or(i64::MAX));
        self.depth.inc_by(after.saturating_sub(before));
    }
}
