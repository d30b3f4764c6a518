//! Storage: any S3 API. Addresses are signed here (`SigV4`, in the query); bytes go past us.

use std::{sync::OnceLock, time::Duration};

use coreloop_core::UserId;
use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode, header::HeaderMap};
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::{Options, key::ObjectKey, registering::MOST_BYTES, signed::Signed};

/// What every upload is told to shared caches.
const CACHE_CONTROL: &str = "public,max-age=3600";
/// Metadata that says whose an object is.
const OWNER: &str = "x-amz-meta-user-id";
/// Life of the addresses that we ask storage by ourselves.
const SHORT: Duration = Duration::from_secs(60);

/// Storage.
pub struct Storage {
    bucket: Option<Bucket>,
    credentials: Credentials,
    cdn: String,
    upload: Duration,
    get: Duration,
    patience: Duration,
    whole: Duration,
    // Made at first use: reading the system's certificates takes long.
    client: OnceLock<Client>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("cdn", &self.cdn).finish_non_exhaustive()
    }
}

/// A signed upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where to PUT the bytes.
    pub url: Signed,
    /// Headers that it must have.
    pub headers: Vec<(&'static str, String)>,
    /// Until when it is accepted.
    pub expires_at: Timestamp,
}

/// What storage says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose it is, as it was signed.
    pub owner: String,
    /// As `image/jpeg`.
    pub mime_type: String,
    /// Bytes.
    pub content_length: i64,
    /// Without quotes.
    pub etag: String,
}

/// Storage has not said what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// No storage is set.
    #[error("no storage is set (image.s3_endpoint)")]
    Unset,
    /// No answer.
    #[error("{0}")]
    Silent(reqwest::Error),
    /// An answer that says nothing.
    #[error("storage answered {0}")]
    Answered(StatusCode),
}

impl Away {
    /// In a word, for metrics.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Unset => "unset".to_owned(),
            Self::Silent(error) if error.is_timeout() => "timeout".to_owned(),
            Self::Silent(_) => "transport".to_owned(),
            Self::Answered(status) => status.as_u16().to_string(),
        }
    }
}

/// The bucket of the settings.
///
/// # Errors
/// When there can be none.
pub fn bucket(options: &Options) -> Result<Bucket, String> {
    let endpoint: reqwest::Url = options.s3_endpoint.parse().map_err(|error| format!("is no address: {error}"))?;
    let style = if options.s3_path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
    Bucket::new(endpoint, style, options.s3_bucket.clone(), options.s3_region.clone())
        .map_err(|error| format!("cannot be used: {error}"))
}

impl Storage {
    /// The storage of the settings.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let bucket = bucket(options).ok();
        let secret = options.s3_access_key_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let own = bucket.as_ref().map(|bucket| bucket.base_url().as_str().trim_end_matches('/').to_owned());
        let cdn = Some(options.cdn_base_url.trim_end_matches('/').to_owned()).filter(|cdn| !cdn.is_empty());
        Self {
            credentials: Credentials::new(options.s3_access_key_id.clone(), secret.unwrap_or_default()),
            cdn: cdn.or(own).unwrap_or_default(),
            bucket,
            upload: Duration::from_secs(options.upload_secs.into()),
            get: Duration::from_secs(options.get_secs.into()),
            patience: Duration::from_millis(options.s3_timeout_ms),
            whole: Duration::from_millis(options.s3_bytes_timeout_ms),
            client: OnceLock::new(),
        }
    }

    /// Signs an upload of exactly so many bytes of that format by that user.
    ///
    /// # Errors
    /// When no storage is set.
    pub fn upload(&self, key: &ObjectKey, content_length: i64, now: Timestamp) -> Result<Upload, Away> {
        let bucket = self.bucket.as_ref().ok_or(Away::Unset)?;
        let (length, owner) = (content_length.to_string(), key.user.to_string());
        let mut action = bucket.put_object(Some(&self.credentials), &key.text);
        let headers = [("content-type", key.mime_type), ("cache-control", CACHE_CONTROL), (OWNER, owner.as_str())];
        for (name, value) in headers {
            action.headers_mut().insert(name, value);
        }
        action.headers_mut().insert("content-length", length.as_str());
        let url = Signed::new(action.sign_with_time(self.upload, &now));
        let headers = vec![
            ("Content-Type", key.mime_type.to_owned()),
            ("Cache-Control", CACHE_CONTROL.to_owned()),
            (OWNER, owner.clone()),
        ];
        Ok(Upload { url, headers, expires_at: now.saturating_add(self.upload).unwrap_or(now) })
    }

    /// Signs an address to load an object from.
    ///
    /// # Errors
    /// When no storage is set.
    pub fn get(&self, key: &str, now: Timestamp) -> Result<Signed, Away> {
        let bucket = self.bucket.as_ref().ok_or(Away::Unset)?;
        Ok(Signed::new(bucket.get_object(Some(&self.credentials), key).sign_with_time(self.get, &now)))
    }

    /// Where people load an object from.
    #[must_use]
    pub fn cdn_url(&self, key: &str) -> String {
        format!("{}/{key}", self.cdn)
    }

    /// The key of an object that people load from there.
    #[must_use]
    pub fn key_of<'a>(&self, cdn_url: &'a str) -> Option<&'a str> {
        cdn_url.strip_prefix(&self.cdn)?.strip_prefix('/')
    }

    /// What storage says of an object; none when it has none.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn head(&self, key: &str, now: Timestamp) -> Result<Option<Head>, Away> {
        let bucket = self.bucket.as_ref().ok_or(Away::Unset)?;
        let url = bucket.head_object(Some(&self.credentials), key).sign_with_time(SHORT, &now);
        let answer = self.client()?.head(url.as_str()).send().await.map_err(silent)?;
        match answer.status() {
            StatusCode::OK => Ok(Some(said(&answer))),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Away::Answered(status)),
        }
    }

    /// The bytes of an object; none when storage has it not, or another content than `etag`.
    ///
    /// # Errors
    /// When storage does not give them.
    pub async fn load(&self, key: &str, etag: &str, now: Timestamp) -> Result<Option<Vec<u8>>, Away> {
        let bucket = self.bucket.as_ref().ok_or(Away::Unset)?;
        let url = bucket.get_object(Some(&self.credentials), key).sign_with_time(SHORT, &now);
        let mut answer = self.client()?.get(url.as_str()).timeout(self.whole).send().await.map_err(silent)?;
        match answer.status() {
            StatusCode::OK if said(&answer).etag == etag => {}
            StatusCode::OK | StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(Away::Answered(status)),
        }
        let (mut bytes, most) = (Vec::new(), usize::try_from(MOST_BYTES).unwrap_or(usize::MAX));
        while let Some(chunk) = answer.chunk().await.map_err(silent)? {
            // What was registered is no larger.
            if bytes.len() + chunk.len() > most {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    /// Puts a JPEG of ours, which belongs to `owner`.
    ///
    /// # Errors
    /// When storage does not say that it is there.
    pub async fn put_jpeg(&self, key: &str, owner: Uuid, bytes: Vec<u8>, now: Timestamp) -> Result<(), Away> {
        let bucket = self.bucket.as_ref().ok_or(Away::Unset)?;
        let owner = owner.to_string();
        let headers = [("content-type", "image/jpeg"), ("cache-control", CACHE_CONTROL), (OWNER, owner.as_str())];
        let mut action = bucket.put_object(Some(&self.credentials), key);
        for (name, value) in headers {
            action.headers_mut().insert(name, value);
        }
        let url = action.sign_with_time(SHORT, &now);
        let put = self.client()?.put(url.as_str()).timeout(self.whole).body(bytes);
        let put = headers.into_iter().fold(put, |put, (name, value)| put.header(name, value));
        let answer = put.send().await.map_err(silent)?;
        if answer.status().is_success() { Ok(()) } else { Err(Away::Answered(answer.status())) }
    }

    /// Removes an object; one that is not there is removed.
    ///
    /// # Errors
    /// When storage does not say that it is gone.
    pub async fn remove(&self, key: &str, now: Timestamp) -> Result<(), Away> {
        let bucket = self.bucket.as_ref().ok_or(Away::Unset)?;
        let url = bucket.delete_object(Some(&self.credentials), key).sign_with_time(SHORT, &now);
        let answer = self.client()?.delete(url.as_str()).send().await.map_err(silent)?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            status => Err(Away::Answered(status)),
        }
    }

    fn client(&self) -> Result<&Client, Away> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .connect_timeout(self.patience)
            .timeout(self.patience)
            // Whoever redirects is not the party that we signed for.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(silent)?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// A signed address is a secret, and the text of an error has it.
fn silent(error: reqwest::Error) -> Away {
    Away::Silent(error.without_url())
}

fn said(answer: &Response) -> Head {
    let headers: &HeaderMap = answer.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Head {
        owner: text(OWNER),
        mime_type: text("content-type"),
        content_length: text("content-length").parse().unwrap_or_default(),
        etag: text("etag").trim_matches('"').to_owned(),
    }
}

impl Head {
    /// The object is of that user.
    #[must_use]
    pub fn is_of(&self, user: UserId) -> bool {
        self.owner == user.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> Storage {
        Storage::of(&Options {
            s3_endpoint: "https://s3.example.com".to_owned(),
            s3_access_key_id: "key".to_owned(),
            s3_access_key_secret: Some("secret".into()),
            cdn_base_url: "https://cdn.example.com/".to_owned(),
            ..Options::default()
        })
    }

    #[test]
    fn an_upload_is_signed_for_one_object_type_length_and_owner() {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let key = ObjectKey::new(UserId(uuid::Uuid::nil()), uuid::Uuid::nil(), "image/png", now).unwrap();
        let upload = storage().upload(&key, 7, now).unwrap();
        assert!(!format!("{upload:?}").contains("X-Amz"), "{upload:?}");
        let url = upload.url.expose();
        let signed = "X-Amz-SignedHeaders=cache-control%3Bcontent-length%3Bcontent-type%3Bhost%3Bx-amz-meta-user-id";
        assert!(url.starts_with("https://s3.example.com/coreloop-images/uploads/2026/03/"), "{url}");
        assert!(url.contains(signed) && url.contains("X-Amz-Expires=900"), "{url}");
        assert_eq!(upload.expires_at, "2026-03-01T00:15:00Z".parse().unwrap());
        assert_ne!(storage().upload(&key, 8, now).unwrap().url.expose(), url);
        let names: Vec<_> = upload.headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Content-Type", "Cache-Control", "x-amz-meta-user-id"]);
    }

    #[test]
    fn people_load_from_the_cdn() {
        let storage = storage();
        assert_eq!(storage.cdn_url("uploads/a.png"), "https://cdn.example.com/uploads/a.png");
        assert_eq!(storage.key_of("https://cdn.example.com/uploads/a.png"), Some("uploads/a.png"));
        assert_eq!(storage.key_of("https://cdn.example.com.evil/uploads/a.png"), None);
        assert!(matches!(Storage::of(&Options::default()).get("a", Timestamp::UNIX_EPOCH), Err(Away::Unset)));
    }
}
