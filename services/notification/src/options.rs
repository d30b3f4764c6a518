//! Settings of the section `notification`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use coreloop_service::Mode;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{oauth::Account, text::Language, vault::parse_key};

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Language of who has chosen none.
    pub language: Language,
    /// Time zone of quiet hours that name none.
    pub time_zone: String,
    /// Where the push gateway is (FCM's HTTP API, version 1), without a slash at the end; empty: there is none, and nothing is pushed.
    pub fcm_url: String,
    /// Key file of the service account that may push, as Google gives it: JSON. Required where there is a gateway.
    pub service_account: Option<SecretString>,
    /// The gateway gets this long for one answer, in milliseconds.
    pub push_timeout_ms: u64,
    /// Pushes that are sent at the same time, by all replicas.
    pub pushes_at_once: u32,
    /// The gateway keeps a push for a phone that is off for so long; of an event that is older nothing is pushed. In seconds.
    pub push_ttl_secs: u32,
    /// Pushes that may be on their way at the same time; the others wait, and are looked for each `sweep_secs`.
    pub ahead: u32,
    /// Devices of a user; the one that was not seen for longest gives way to another.
    pub max_devices: u32,
    /// What somebody was told is kept for so long, in days; longer than events are.
    pub keep_days: u32,
    /// Time between two looks for pushes that are due or lost, and for what is old, in seconds.
    pub sweep_secs: u32,
    /// 32 bytes in hex: seals the tokens of devices. Required in production.
    pub master_key: Option<SecretString>,
    /// Name of the key, kept beside what it sealed.
    pub master_key_id: String,
    /// The key before: it only opens.
    pub old_master_key: Option<SecretString>,
    /// Name of the key before.
    pub old_master_key_id: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            language: Language::default(),
            time_zone: "Asia/Seoul".to_owned(),
            fcm_url: String::new(),
            service_account: None,
            push_timeout_ms: 5_000,
            pushes_at_once: 16,
            push_ttl_secs: 86_400,
            ahead: 5_000,
            max_devices: 10,
            keep_days: 90,
            sweep_secs: 60,
            master_key: None,
            master_key_id: "k1".to_owned(),
            old_master_key: None,
            old_master_key_id: String::new(),
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
            report.within("push_timeout_ms", options.push_timeout_ms, 10, 25_000);
            report.within("pushes_at_once", options.pushes_at_once, 1, 256);
            // Google keeps a message for four weeks at most.
            report.within("push_ttl_secs", options.push_ttl_secs, 60, 28 * 86_400);
            // Below what the queue takes, or the outbox would wait for it.
            report.within("ahead", options.ahead, 1, 50_000);
            report.within("max_devices", options.max_devices, 1, 100);
            // An event that is heard again after what it was told by is gone would be told again.
            report.within("keep_days", options.keep_days, 32, 3_650);
            report.within("sweep_secs", options.sweep_secs, 1, 3_600);
            if TimeZone::get(&options.time_zone).is_err() {
                report.refuse("time_zone", "is no time zone that this machine knows");
            }
            if !options.fcm_url.is_empty() {
                options.check_gateway(report, mode);
            }
            let keys = [("master_key", &options.master_key), ("old_master_key", &options.old_master_key)];
            for (name, key) in keys {
                if key.as_ref().is_some_and(|key| parse_key(key).is_none()) {
                    report.refuse(name, "must be 32 bytes in hex");
                }
            }
            if mode == Mode::Production {
                report.require_secret("master_key", options.master_key.as_ref());
            }
            if options.master_key_id == options.old_master_key_id {
                report.refuse("old_master_key_id", "must be another name");
            }
        })
    }

    fn check_gateway(&self, report: &mut coreloop_config::Report<'_>, mode: Mode) {
        let scheme = |address: &str| address.parse::<url::Url>().ok().map(|url| url.scheme().to_owned());
        let https = |address: &str| scheme(address).as_deref() == Some("https");
        if !matches!(scheme(&self.fcm_url).as_deref(), Some("http" | "https")) {
            report.refuse("fcm_url", "must be an address of http or https");
        } else if mode == Mode::Production && !https(&self.fcm_url) {
            report.refuse("fcm_url", "must be an https address");
        }
        report.require_secret("service_account", self.service_account.as_ref());
        let Some(text) = &self.service_account else { return };
        match Account::parse(text) {
            None => report.refuse("service_account", "must be the JSON of a service account's key"),
            Some(account) if mode == Mode::Production && !https(account.token_uri()) => {
                report.refuse("service_account", "must name an https address as its token_uri");
            }
            Some(_) => {}
        }
    }

    /// Something can be pushed.
    #[must_use]
    pub fn pushes(&self) -> bool {
        !self.fcm_url.is_empty()
    }
}
