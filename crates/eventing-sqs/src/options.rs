//! Settings, as the table `sqs` of the section `eventing`.

use coreloop_config::Report;
use secrecy::SecretString;
use serde::Deserialize;

/// Where SQS is, and the shape of its queues.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Address, as `https://sqs.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Who signs.
    pub access_key_id: String,
    /// What they sign with.
    pub access_key_secret: SecretString,
    /// Token of a session, where the key is a passing one.
    pub session_token: SecretString,
    /// Before the name of every queue.
    pub prefix: String,
    /// Makes queues that are not there; off where others make them.
    pub create: bool,
    /// A command that was given out and neither done nor asked more time for is given out again after this long, in seconds:
    /// what a killed worker had is another's within thirty.
    pub visibility_secs: u32,
    /// A command that was given out so often and never acknowledged is a dead letter.
    pub delivery_limit: u32,
    /// SQS gets this long for one answer, and for all that are sent together, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: "https://sqs.us-east-1.amazonaws.com".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: String::new(),
            access_key_secret: SecretString::from(""),
            session_token: SecretString::from(""),
            prefix: String::new(),
            create: true,
            visibility_secs: 24,
            delivery_limit: 20,
            timeout_ms: 10_000,
        }
    }
}

impl Options {
    /// Checks the values.
    pub fn check(&self, report: &mut Report<'_>) {
        report.within("visibility_secs", self.visibility_secs, 1, 43_200);
        report.within("delivery_limit", self.delivery_limit, 2, 1_000);
        report.within("timeout_ms", self.timeout_ms, 100, 60_000);
        report.within("prefix", self.prefix.len(), 0, 40);
    }
}
