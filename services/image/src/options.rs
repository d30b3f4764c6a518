//! Settings of the section `image`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use coreloop_service::Mode;
use secrecy::SecretString;
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where storage is (any S3 API), without a slash at the end; empty: there is none, and no upload is signed.
    pub s3_endpoint: String,
    /// Region that signatures name.
    pub s3_region: String,
    /// Bucket of the photos.
    pub s3_bucket: String,
    /// The bucket is part of the path, not of the host.
    pub s3_path_style: bool,
    /// Whose signatures.
    pub s3_access_key_id: String,
    /// Secret of the signatures.
    pub s3_access_key_secret: Option<SecretString>,
    /// Storage gets this long for one answer, in milliseconds.
    pub s3_timeout_ms: u64,
    /// Storage gets this long for the bytes of one object, in milliseconds.
    pub s3_bytes_timeout_ms: u64,
    /// Where people load objects from, without a slash at the end; empty: from storage itself.
    pub cdn_base_url: String,
    /// Life of a signed upload, in seconds.
    pub upload_secs: u32,
    /// Life of a signed address to load from, in seconds.
    pub get_secs: u32,
    /// Redis gets this long for one answer, in milliseconds; what it does not say is done without.
    pub redis_timeout_ms: u64,
    /// Photos whose smaller copies are on their way at the same time; what is more waits in the table.
    pub thumbnails_ahead: u32,
    /// What was sent and is not registered is removed after this long, in seconds.
    pub unregistered_secs: u32,
    /// Time between two looks for what was lost, waits or is due, in seconds.
    pub sweep_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            s3_endpoint: String::new(),
            s3_region: "us-east-1".to_owned(),
            s3_bucket: "coreloop-images".to_owned(),
            s3_path_style: true,
            s3_access_key_id: String::new(),
            s3_access_key_secret: None,
            s3_timeout_ms: 2_000,
            s3_bytes_timeout_ms: 20_000,
            cdn_base_url: String::new(),
            upload_secs: 900,
            get_secs: 3_600,
            redis_timeout_ms: 100,
            thumbnails_ahead: 64,
            unregistered_secs: 86_400,
            sweep_secs: 60,
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
            report.within("s3_timeout_ms", options.s3_timeout_ms, 10, 25_000);
            report.within("s3_bytes_timeout_ms", options.s3_bytes_timeout_ms, 10, 120_000);
            report.within("upload_secs", options.upload_secs, 60, 86_400);
            report.within("get_secs", options.get_secs, 60, 7 * 86_400);
            report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 10_000);
            // Below what the queue takes, or the outbox would wait for it.
            report.within("thumbnails_ahead", options.thumbnails_ahead, 1, 5_000);
            // Not before the place is over, or what is sent last would stay.
            report.within("unregistered_secs", options.unregistered_secs, options.upload_secs.min(86_400), 30 * 86_400);
            report.within("sweep_secs", options.sweep_secs, 1, 3_600);
            if options.s3_endpoint.is_empty() {
                return;
            }
            if let Err(error) = crate::storage::bucket(options) {
                report.refuse("s3_endpoint", error);
            }
            for (name, value) in [("s3_bucket", &options.s3_bucket), ("s3_access_key_id", &options.s3_access_key_id)] {
                if value.is_empty() {
                    report.refuse(name, "is required where s3_endpoint is set");
                }
            }
            report.require_secret("s3_access_key_secret", options.s3_access_key_secret.as_ref());
            if mode == Mode::Production {
                for (name, url) in [("s3_endpoint", &options.s3_endpoint), ("cdn_base_url", &options.cdn_base_url)] {
                    if !url.is_empty() && !url.starts_with("https://") {
                        report.refuse(name, "must be an https address");
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, mode: Mode) -> Vec<String> {
        let read = Options::read(&Section::from_toml("image", text).unwrap(), mode);
        read.err().unwrap_or_default().0.into_iter().map(|finding| finding.key).collect()
    }

    #[test]
    fn storage_is_whole_or_there_is_none() {
        assert!(found("", Mode::Production).is_empty());
        let whole = "s3_endpoint = \"http://s3:9000\"\ns3_access_key_id = \"a\"\ns3_access_key_secret = \"b\"\n";
        assert!(found(whole, Mode::Local).is_empty());
        assert_eq!(found(whole, Mode::Production), ["image.s3_endpoint"]);
        let bare = "s3_endpoint = \"ftp://s3\"\ns3_bucket = \"\"\n";
        let missing = ["image.s3_endpoint", "image.s3_bucket", "image.s3_access_key_id", "image.s3_access_key_secret"];
        assert_eq!(found(bare, Mode::Local), missing);
        assert_eq!(found("get_secs = 604801\n", Mode::Local), ["image.get_secs"]);
        assert_eq!(found("unregistered_secs = 899\n", Mode::Local), ["image.unregistered_secs"]);
    }
}
