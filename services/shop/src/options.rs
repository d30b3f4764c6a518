//! Settings of the section `shop`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Report, Section};
use coreloop_service::Mode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// Secret of receipts where nobody's money is at stake.
const LOCAL_RECEIPT_SECRET: &str = "coreloop-local-receipts";

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Batches of purchases on their way at the same time: of those that begin, that are charged, and that end.
    pub lanes: usize,
    /// Most purchases of a batch.
    pub batch: usize,
    /// Purchases that may wait for a batch; more are refused.
    pub queue: usize,
    /// Redis gets this long to say whether a key is being worked on, in milliseconds.
    pub claim_timeout_ms: u64,
    /// Whoever works on a purchase has this long, in seconds; then somebody else does.
    pub lease_secs: u32,
    /// Time between two looks for purchases that nobody works on, in seconds.
    pub sweep_secs: u32,
    /// GOLD of a conversion is given once its payment is confirmed. Else at once, and taken back should it be voided.
    pub settle_first: bool,
    /// Secret that receipt keys are made with. Required in production.
    pub receipt_secret: Option<SecretString>,
    /// Life of a receipt key, in seconds.
    pub receipt_key_secs: u32,
    /// Time between two looks at all receipts, in seconds; 0: none.
    pub verify_secs: u32,
    /// The payment service.
    pub payment: Payment,
}

/// The payment service of conversions.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Payment {
    /// Base of its API; empty: conversions are refused.
    pub endpoint: String,
    /// Bearer key of its API. Required in production.
    pub api_key: Option<SecretString>,
    /// Secret that it signs its webhooks with. Without one no webhook is believed.
    pub webhook_secret: Option<SecretString>,
    /// Where it is told to send its webhooks; empty: where it knows.
    pub callback_url: String,
    /// It gets this long for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// Time before it is asked what became of a payment that it has not decided, in seconds; twice as long each time.
    pub poll_secs: u32,
    /// Longest such time, in seconds.
    pub poll_most_secs: u32,
    /// Time between two looks whether what was confirmed was taken back, in seconds; 0: none.
    pub recheck_secs: u32,
    /// What was over so many days ago is not asked about any more.
    pub recheck_days: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lanes: 4,
            batch: 256,
            queue: 4_096,
            claim_timeout_ms: 100,
            lease_secs: 10,
            sweep_secs: 1,
            settle_first: true,
            receipt_secret: None,
            receipt_key_secs: 30 * 86_400,
            verify_secs: 86_400,
            payment: Payment::default(),
        }
    }
}

impl Default for Payment {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            api_key: None,
            webhook_secret: None,
            callback_url: String::new(),
            timeout_ms: 3_000,
            poll_secs: 2,
            poll_most_secs: 20,
            recheck_secs: 86_400,
            recheck_days: 30,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section, mode: Mode) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("lanes", options.lanes, 1, 64);
            report.within("batch", options.batch, 1, 4_096);
            report.within("queue", options.queue, 1, 1_000_000);
            report.within("claim_timeout_ms", options.claim_timeout_ms, 1, 10_000);
            report.within("lease_secs", options.lease_secs, 2, 600);
            report.within("sweep_secs", options.sweep_secs, 1, 3_600);
            report.within("receipt_key_secs", options.receipt_key_secs, 60, 3_650 * 86_400);
            report.within("verify_secs", options.verify_secs, 0, 30 * 86_400);
            options.payment.check(mode, report);
            if mode == Mode::Production {
                report.require_secret("receipt_secret", options.receipt_secret.as_ref());
            }
        })
    }

    /// What receipt keys are made with.
    #[must_use]
    pub fn receipt_secret(&self) -> &[u8] {
        self.receipt_secret.as_ref().map_or(LOCAL_RECEIPT_SECRET, |secret| secret.expose_secret()).as_bytes()
    }
}

impl Payment {
    fn check(&self, mode: Mode, report: &mut Report<'_>) {
        report.within("payment.timeout_ms", self.timeout_ms, 10, 60_000);
        report.within("payment.poll_secs", self.poll_secs, 1, 3_600);
        report.within("payment.poll_most_secs", self.poll_most_secs, 1, 86_400);
        report.within("payment.recheck_secs", self.recheck_secs, 0, 30 * 86_400);
        report.within("payment.recheck_days", self.recheck_days, 1, 3_650);
        if mode == Mode::Production && !self.endpoint.is_empty() {
            if self.endpoint.starts_with("http://") {
                report.refuse("payment.endpoint", "must be an https address");
            }
            report.require_secret("payment.api_key", self.api_key.as_ref());
            report.require_secret("payment.webhook_secret", self.webhook_secret.as_ref());
        }
    }
}
