//! Settings, as the table `rabbitmq` of the section `eventing`.

use coreloop_config::Report;
use secrecy::SecretString;
use serde::Deserialize;

/// Where the broker is, and the shape of its queues.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Address, as `amqp://user:password@host:5672/%2f`, or `amqps://`.
    pub url: SecretString,
    /// Before the name of everything that is declared.
    pub prefix: String,
    /// Quorum queues of each queue: so many of its commands are worked on at once. Commands that wait keep their lane when this
    /// changes, so let queues run empty first.
    pub lanes: u32,
    /// A command that was given out so often and never acknowledged is a dead letter.
    pub delivery_limit: u32,
    /// The broker gets this long for one answer, in milliseconds.
    pub timeout_ms: u64,
    /// A peer that says nothing for twice as long is gone; in seconds.
    pub heartbeat_secs: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: SecretString::from("amqp://guest:guest@127.0.0.1:5672/%2f"),
            prefix: String::new(),
            lanes: 8,
            delivery_limit: 20,
            timeout_ms: 10_000,
            heartbeat_secs: 10,
        }
    }
}

impl Options {
    /// Checks the values.
    pub fn check(&self, report: &mut Report<'_>) {
        report.within("lanes", self.lanes, 1, 256);
        report.within("delivery_limit", self.delivery_limit, 2, 10_000);
        report.within("timeout_ms", self.timeout_ms, 100, 60_000);
        report.within("heartbeat_secs", self.heartbeat_secs, 1, 600);
    }
}
