//! Fetching a picture, within bounds, and looking at it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};
use url::Url;

use super::refusal::Refusal;
use crate::vision::{self, Seen};

/// Largest picture, in bytes: OpenAI's bound.
const MOST_BYTES: usize = 20 << 20;
/// Longest time that fetching one takes.
const FETCH: Duration = Duration::from_secs(10);
/// Pictures that are decoded at once.
const AT_ONCE: usize = 2;

/// Looks that are remembered.
const MOST_LOOKS: usize = 10_000;

/// A look at a picture that is over.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    /// Path of its address; empty for a `data:` URL.
    path: String,
    /// How long fetching it and looking at it took; what a fault adds is not in it.
    micros: u64,
}

/// Looks at pictures, a few at once.
#[derive(Debug)]
pub(crate) struct Looking {
    places: Semaphore,
    looks: Mutex<VecDeque<Look>>,
}

impl Default for Looking {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE), looks: Mutex::default() }
    }
}

impl Looking {
    /// Fetches the picture at `address` and looks at it.
    pub(super) async fn at(&self, http: &reqwest::Client, address: &str) -> Result<Seen, Refusal> {
        let begun = Instant::now();
        let seen = self.seen(http, address).await?;
        let path = match address.starts_with("data:") {
            true => String::new(),
            false => Url::parse(address).map_or_else(|_| String::new(), |url| url.path().to_owned()),
        };
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut looks = self.looked();
        if looks.len() >= MOST_LOOKS {
            looks.pop_front();
        }
        looks.push_back(Look { path, micros });
        Ok(seen)
    }

    /// The last looks that came to an end, the oldest first.
    pub(crate) fn looks(&self) -> Vec<Look> {
        self.looked().iter().cloned().collect()
    }

    async fn seen(&self, http: &reqwest::Client, address: &str) -> Result<Seen, Refusal> {
        let bytes = match address.strip_prefix("data:") {
            Some(data) => inline(data).ok_or_else(|| {
                Refusal::invalid("Invalid base64 image_url.").of("image_url").code("invalid_base64_image_url")
            })?,
            None => fetch(http, address).await?,
        };
        let _place = self.places.acquire().await.map_err(|_| Refusal::server())?;
        tokio::task::spawn_blocking(move || vision::look(&bytes)).await.map_err(|_| Refusal::server())
    }

    fn looked(&self) -> MutexGuard<'_, VecDeque<Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
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
