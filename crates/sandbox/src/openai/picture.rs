//! Fetching a picture, within bounds, and looking at it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::sync::Semaphore;
use url::Url;

use super::refusal::Refusal;
use crate::vision::{self, Seen};

/// Largest picture, in bytes: OpenAI's bound.
const MOST_BYTES: usize = 20 << 20;
/// Longest time that fetching one takes.
const FETCH: Duration = Duration::from_secs(10);
/// Pictures that are decoded at once.
const AT_ONCE: usize = 2;

/// Looks at pictures, a few at once.
#[derive(Debug)]
pub(crate) struct Looking(Semaphore);

impl Default for Looking {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Looking {
    /// Fetches the picture at `address` and looks at it.
    pub(super) async fn at(&self, http: &reqwest::Client, address: &str) -> Result<Seen, Refusal> {
        let bytes = match address.strip_prefix("data:") {
            Some(data) => inline(data).ok_or_else(|| {
                Refusal::invalid("Invalid base64 image_url.").of("image_url").code("invalid_base64_image_url")
            })?,
            None => fetch(http, address).await?,
        };
        let _place = self.0.acquire().await.map_err(|_| Refusal::server())?;
        tokio::task::spawn_blocking(move || vision::look(&bytes)).await.map_err(|_| Refusal::server())
    }
}

/// The bytes of `image/…;base64,…`.
fn inline(data: &str) -> Option<Vec<u8>> {
    let (kind, text) = data.split_once(',')?;
    (kind.starts_with("image/") && kind.ends_with(";base64")).then(|| STANDARD.decode(text).ok()).flatten()
}

async fn fetch(http: &reqwest::Client, address: &str) -> Result<Vec<u8>, Refusal> {
    let none = |what: &str| Refusal::invalid(format!("{what} {address}.")).of("image_url").code("invalid_image_url");
    let url = Url::parse(address).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let url = url.ok_or_else(|| none("Invalid image URL:"))?;
    let failed = |error: reqwest::Error| {
        none(if error.is_timeout() { "Timeout while downloading" } else { "Error while downloading" })
    };
    let mut response = http.get(url).timeout(FETCH).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(none("Error while downloading"));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if bytes.len().saturating_add(piece.len()) > MOST_BYTES {
            return Err(Refusal::invalid("Image is too large, 20 MB are allowed.")
                .of("image_url")
                .code("image_too_large"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
