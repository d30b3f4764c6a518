//! Metrics of the domain.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::said::Took;

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `answered`, or why not, in small letters.
    pub outcome: String,
}

/// Which side of a talk with the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SideLabels {
    /// `prompt` or `answer`.
    pub side: &'static str,
}

/// Somebody who did not say what an answer was to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MissedLabels {
    /// `scan`, `character`, `image`, `redis`.
    pub of: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Seconds from when an answer is begun to its first piece.
    pub first_piece: Histogram,
    /// Seconds of giving one, by what became of it.
    pub answering: Family<OutcomeLabels, Histogram>,
    /// Answers that ended.
    pub answers: Family<OutcomeLabels, Counter>,
    /// What the model read and said.
    pub tokens: Family<SideLabels, Counter>,
    /// What was done without.
    pub missed: Family<MissedLabels, Counter>,
    /// The model is left alone: 1.
    pub left_alone: Gauge,
    /// Streams that are open.
    pub streams: Gauge,
}

const BUCKETS: [f64; 12] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            first_piece: Histogram::new(BUCKETS),
            answering: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            answers: Family::default(),
            tokens: Family::default(),
            missed: Family::default(),
            left_alone: Gauge::default(),
            streams: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let first = "Time from when an answer is begun to its first piece";
        registry.register("chat_first_piece_seconds", first, self.first_piece.clone());
        registry.register("chat_answer_seconds", "Time of giving an answer, by outcome", self.answering.clone());
        registry.register("chat_answers", "Answers that ended, by outcome", self.answers.clone());
        registry.register("chat_tokens", "Tokens that the model read and said", self.tokens.clone());
        let missed = "What answers did without, by who did not say it";
        registry.register("chat_context_missed", missed, self.missed.clone());
        registry.register("chat_breaker_open", "The model is left alone (1)", self.left_alone.clone());
        registry.register("chat_streams_open", "Streams of answers that are open", self.streams.clone());
    }

    /// Notes how long the model was asked, and how that ended.
    pub fn asked(&self, outcome: &str, took: Duration, left_alone: bool) {
        let outcome = outcome.to_ascii_lowercase();
        self.answering.get_or_create(&OutcomeLabels { outcome }).observe(took.as_secs_f64());
        self.left_alone.set(i64::from(left_alone));
    }

    /// Counts an answer that ended.
    pub fn ended(&self, outcome: &str) {
        self.answers.get_or_create(&OutcomeLabels { outcome: outcome.to_ascii_lowercase() }).inc();
    }

    /// Counts what the model read and said.
    pub fn took(&self, took: Took) {
        for (side, tokens) in [("prompt", took.prompt), ("answer", took.answer)] {
            self.tokens.get_or_create(&SideLabels { side }).inc_by(u64::try_from(tokens).unwrap_or_default());
        }
    }

    /// Counts what an answer did without.
    pub fn missed(&self, of: &'static str) {
        self.missed.get_or_create(&MissedLabels { of }).inc();
    }
}
