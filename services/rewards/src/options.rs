//! Settings of the section `rewards`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use coreloop_service::Mode;
use secrecy::SecretString;
use serde::Deserialize;

use crate::vault::parse_key;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What is pending for so long is taken up by the recovery, in seconds; longer than the wallet is waited for: in production at
    /// least 15.
    pub recover_after_secs: u32,
    /// Time between two looks of the recovery, in milliseconds.
    pub recover_every_ms: u64,
    /// Time between two looks for gaps in the audit, in seconds; 0: none.
    pub audit_secs: u32,
    /// What is pending for so long is a gap, in seconds.
    pub gap_after_secs: u32,
    /// Where the vendor of vouchers is, without a slash at the end; empty: there is none, and nothing can be redeemed.
    pub vendor_url: String,
    /// Key of the vendor's API.
    pub vendor_api_key: Option<SecretString>,
    /// The vendor gets this long for one answer, in milliseconds.
    pub vendor_timeout_ms: u64,
    /// A vendor that has not answered is asked again after this long, in seconds.
    pub resend_after_secs: u32,
    /// What a vendor has not issued for so long is cancelled there and given back, in seconds.
    pub give_up_secs: u32,
    /// 32 bytes in hex: seals voucher codes and signs the tokens of ads. Required in production.
    pub master_key: Option<SecretString>,
    /// Name of the key, kept beside what it sealed.
    pub master_key_id: String,
    /// The key before: it only opens.
    pub old_master_key: Option<SecretString>,
    /// Name of the key before.
    pub old_master_key_id: String,
    /// Points that the ads of a day can be worth to a user.
    pub ad_daily_points: i64,
    /// Life of an ad's token, in seconds.
    pub ad_token_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            recover_after_secs: 15,
            recover_every_ms: 1_000,
            audit_secs: 600,
            gap_after_secs: 3_600,
            vendor_url: String::new(),
            vendor_api_key: None,
            vendor_timeout_ms: 5_000,
            resend_after_secs: 10,
            give_up_secs: 900,
            master_key: None,
            master_key_id: "k1".to_owned(),
            old_master_key: None,
            old_master_key_id: String::new(),
            ad_daily_points: 100,
            ad_token_secs: 600,
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
            report.within("recover_after_secs", options.recover_after_secs, 1, 3_600);
            report.within("recover_every_ms", options.recover_every_ms, 10, 60_000);
            report.within("audit_secs", options.audit_secs, 0, 30 * 86_400);
            report.within("gap_after_secs", options.gap_after_secs, 60, 30 * 86_400);
            report.within("vendor_timeout_ms", options.vendor_timeout_ms, 10, 25_000);
            report.within("resend_after_secs", options.resend_after_secs, 1, 3_600);
            report.within("give_up_secs", options.give_up_secs, 1, 30 * 86_400);
            report.within("ad_daily_points", options.ad_daily_points, 0, 1_000_000_000);
            report.within("ad_token_secs", options.ad_token_secs, 10, 86_400);
            let keys = [("master_key", &options.master_key), ("old_master_key", &options.old_master_key)];
            for (name, key) in keys {
                if key.as_ref().is_some_and(|key| parse_key(key).is_none()) {
                    report.refuse(name, "must be 32 bytes in hex");
                }
            }
            if mode == Mode::Production {
                report.require_secret("master_key", options.master_key.as_ref());
                report.within("recover_after_secs", options.recover_after_secs, 15, 3_600);
                if !options.vendor_url.is_empty() {
                    report.require_secret("vendor_api_key", options.vendor_api_key.as_ref());
                    if !options.vendor_url.starts_with("https://") {
                        report.refuse("vendor_url", "must be an https address");
                    }
                }
            }
            if options.master_key_id == options.old_master_key_id {
                report.refuse("old_master_key_id", "must be another name");
            }
        })
    }
}
