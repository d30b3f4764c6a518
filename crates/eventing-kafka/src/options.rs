//! Settings, as the table `kafka` of the section `eventing`.

use std::collections::BTreeMap;

use coreloop_config::Report;
use secrecy::SecretString;
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
    /// A Schema Registry, as Confluent's API has it: payloads in Protobuf are framed for it, and readers ask it what they are.
    pub schema_registry: RegistryOptions,
}

/// Where a Schema Registry is.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct RegistryOptions {
    /// Address, as `https://host:8081`; none where it is empty.
    pub url: String,
    /// Who asks, by basic authentication; nobody in particular where it is empty.
    pub username: String,
    /// Their password.
    pub password: SecretString,
    /// Schemas that the registry does not have are registered; off where others do that, and nothing is published until they have.
    pub auto_register: bool,
    /// The registry gets this long for one answer, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: String::new(),
            password: SecretString::from(""),
            auto_register: true,
            timeout_ms: 5_000,
        }
    }
}

impl RegistryOptions {
    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }
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
            schema_registry: RegistryOptions::default(),
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
        let registry = &self.schema_registry;
        report.within("schema_registry.timeout_ms", registry.timeout_ms, 100, 60_000);
        if !registry.is_set() {
            return;
        }
        let address = reqwest::Url::parse(&registry.url).ok();
        if !address.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.password().is_none()) {
            report.refuse("schema_registry.url", "must be http:// or https://, without a password in it");
        }
    }
}
