//! Settings of the section `eventing`.

use std::time::Duration;

use coreloop_config::{Errors, Report, Section};
use jiff::SignedDuration;
use serde::Deserialize;

use crate::Encoding;

/// What was acted on is known for so long (chapter 06), and an event at least a day longer than a broker keeps it.
pub(crate) const REMEMBER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How events leave and enter a service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What carries events.
    pub events: EventBroker,
    /// What carries commands.
    pub commands: CommandBroker,
    /// How the relay writes the payload of an event. Consumers read either.
    pub payload: Encoding,
    /// The built-in relay publishes the outbox. Off where Debezium reads it: then it only sends the commands that are written
    /// there, and drops rows whose time is over.
    pub relay: bool,
    /// Most rows of one look at the outbox, published together.
    pub batch: u32,
    /// Time between two looks that nothing asked for while something is left open (numbers that may still come, events
    /// that are held), and between two questions to a broker how much it knows, in milliseconds.
    pub poll_ms: u64,
    /// Time between two tries of a replica that does not lead, in milliseconds.
    pub standby_ms: u64,
    /// The broker gets this long for one answer, in milliseconds.
    pub broker_timeout_ms: u64,
    /// Published rows stay this long after they were written, so that a broker which lost its data is told again; in seconds.
    pub keep_published_secs: u64,
    /// The broker keeps events this long, in seconds.
    pub retention_secs: u64,
    /// Pauses before a failed event is tried again, in seconds; after the last it is a dead letter.
    pub retry_delays_secs: Vec<u64>,
    /// A dead letter that nobody touched goes to the archive after this long, in seconds.
    pub archive_after_secs: u64,
    /// Events of one consumer that are handled at the same time, each of another key.
    pub concurrency: u32,
    /// Events of one consumer that wait in memory for their turn.
    pub queue: u32,
    /// Longest time of one handling, in milliseconds.
    pub handler_timeout_ms: u64,
    /// Where RabbitMQ is.
    pub rabbitmq: Elsewhere,
    /// Where Kafka is.
    pub kafka: Elsewhere,
    /// Where SQS is.
    pub sqs: Elsewhere,
}

/// What carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventBroker {
    /// Redis Streams.
    #[default]
    Redis,
    /// Kafka.
    Kafka,
}

/// What carries commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandBroker {
    /// Redis Streams.
    #[default]
    Redis,
    /// RabbitMQ.
    RabbitMq,
    /// Amazon SQS.
    Sqs,
}

/// Settings of a transport, which its own room reads.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(from = "std::collections::BTreeMap<String, serde_json::Value>")]
pub struct Elsewhere;

impl From<std::collections::BTreeMap<String, serde_json::Value>> for Elsewhere {
    fn from(_: std::collections::BTreeMap<String, serde_json::Value>) -> Self {
        Self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            events: EventBroker::default(),
            commands: CommandBroker::default(),
            payload: Encoding::default(),
            relay: true,
            batch: 1_000,
            poll_ms: 5_000,
            standby_ms: 2_000,
            broker_timeout_ms: 5_000,
            keep_published_secs: 3_600,
            retention_secs: 30 * 86_400,
            retry_delays_secs: vec![10, 60, 300],
            archive_after_secs: 3_600,
            concurrency: 32,
            queue: 1_024,
            handler_timeout_ms: 30_000,
            rabbitmq: Elsewhere,
            kafka: Elsewhere,
            sqs: Elsewhere,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(Self::check)
    }

    fn check(&self, report: &mut Report<'_>) {
        report.within("batch", self.batch, 1, 10_000);
        report.within("poll_ms", self.poll_ms, 10, 5_000);
        report.within("standby_ms", self.standby_ms, 10, 15_000);
        report.within("broker_timeout_ms", self.broker_timeout_ms, 100, 60_000);
        report.within("keep_published_secs", self.keep_published_secs, 60, 7 * 86_400);
        report.within("retention_secs", self.retention_secs, 60, 366 * 86_400);
        report.within("retry_delays_secs", self.retry_delays_secs.len(), 0, 20);
        report.within("archive_after_secs", self.archive_after_secs, 1, 366 * 86_400);
        report.within("concurrency", self.concurrency, 1, 1_000);
        report.within("queue", self.queue, 1, 100_000);
        report.within("handler_timeout_ms", self.handler_timeout_ms, 1, 600_000);
    }

    /// An event that was acted on is known for so long: a group that reads again all that is kept has no second effect.
    pub(crate) fn remember_events(&self) -> SignedDuration {
        let kept = SignedDuration::from_secs(self.retention_secs.cast_signed());
        REMEMBER.max(kept.saturating_add(SignedDuration::from_hours(24)))
    }

    /// Pause before the next try of what has failed `failures` times, with a fifth of jitter either way; none after the
    /// last. `chance` is uniform in 0..1.
    #[must_use]
    pub fn retry_delay(&self, failures: u32, chance: f64) -> Option<Duration> {
        let index = usize::try_from(failures.checked_sub(1)?).ok()?;
        let base = Duration::from_secs(*self.retry_delays_secs.get(index)?);
        Some(base.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_remembered_longer_than_they_are_kept() {
        let days = |retention: u64| {
            let options = Options { retention_secs: retention * 86_400, ..Options::default() };
            options.remember_events().as_hours() / 24
        };
        assert_eq!((days(1), days(7), days(30)), (7, 8, 31));
    }

    #[test]
    fn three_pauses_then_none() {
        let options = Options::default();
        let pause = |failures, chance| options.retry_delay(failures, chance).map(|pause| pause.as_millis());
        assert_eq!(pause(1, 0.5), Some(10_000));
        assert_eq!(pause(2, 0.0), Some(48_000));
        assert_eq!(pause(3, 1.0), Some(360_000));
        assert_eq!((pause(4, 0.5), pause(0, 0.5)), (None, None));
    }
}
