//! Settings, as the table `kafka` of the section `eventing`.

use std::collections::BTreeMap;

use coreloop_config::Report;
use serde::Deserialize;

/// Where the brokers are, and the shape of topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Brokers, as `host:9092,host:9092`.
    pub servers: String,
    /// Before the name of every topic, group and producer.
    pub prefix: String,
    /// Partitions of a topic that is made. Keys keep their partition only while this stays.
    pub partitions: i32,
    /// Replicas of a topic that is made; -1 is the broker's default.
    pub replication: i32,
    /// The broker gets this long for one answer, in milliseconds.
    pub timeout_ms: u64,
    /// A reader that says nothing for this long is gone, in milliseconds.
    pub session_timeout_ms: u64,
    /// Further settings of librdkafka's clients, as `security.protocol`.
    pub client: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: "127.0.0.1:9092".to_owned(),
            prefix: String::new(),
            partitions: 12,
            replication: -1,
            timeout_ms: 10_000,
            session_timeout_ms: 10_000,
            client: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Checks the values.
    pub fn check(&self, report: &mut Report<'_>) {
        report.within("partitions", self.partitions, 1, 10_000);
        report.within("replication", self.replication, -1, 10);
        report.within("timeout_ms", self.timeout_ms, 100, 60_000);
        report.within("session_timeout_ms", self.session_timeout_ms, 6_000, 300_000);
    }
}
