//! Authorization codes and access tokens: one-use, expiring, bound. The rules every provider here shares; each says them
//! in its own words.

use std::collections::{HashMap, VecDeque};

use crate::{options::Client, secret};

/// Most live entries of a store; the oldest gives way.
const MOST: usize = 10_000;

/// An authorization code and what it is bound to.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    /// Provider that issued it.
    pub(crate) provider: &'static str,
    /// Application it was issued to.
    pub(crate) client_id: String,
    /// Redirect URI it was sent to.
    pub(crate) redirect_uri: String,
    /// S256 challenge, when the application sent one.
    pub(crate) challenge: Option<String>,
    /// Nonce of OpenID Connect, when the application sent one.
    pub(crate) nonce: Option<String>,
    /// Scope as asked.
    pub(crate) scope: String,
    /// State as sent, which Naver asks for again.
    pub(crate) state: String,
    /// Who signed in.
    pub(crate) persona: String,
    /// When it expires, in seconds since the epoch.
    pub(crate) expires_at: i64,
}

/// An access token.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Provider that issued it.
    pub(crate) provider: &'static str,
    /// Whose profile it opens.
    pub(crate) persona: String,
    /// When it expires, in seconds since the epoch.
    pub(crate) expires_at: i64,
}

/// Why a code is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Unknown, used, expired, or another application's.
    Code,
    /// Not the redirect URI it was sent to.
    RedirectUri,
    /// The verifier is missing or wrong.
    Verifier,
}

/// What a token request says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redemption<'r> {
    /// Provider asked.
    pub(crate) provider: &'static str,
    /// Application that asks.
    pub(crate) client_id: &'r str,
    /// Redirect URI it names.
    pub(crate) redirect_uri: Option<&'r str>,
    /// PKCE verifier.
    pub(crate) verifier: Option<&'r str>,
    /// Now, in seconds since the epoch.
    pub(crate) now: i64,
}

impl Code {
    /// Decides whether the request may have what the code stands for.
    pub(crate) fn admit(&self, by: Redemption<'_>) -> Result<(), Refusal> {
        if self.provider != by.provider || self.client_id != by.client_id || by.now >= self.expires_at {
            return Err(Refusal::Code);
        }
        if by.redirect_uri.is_some_and(|uri| uri != self.redirect_uri) {
            return Err(Refusal::RedirectUri);
        }
        match (&self.challenge, by.verifier) {
            (None, None) => Ok(()),
            (Some(challenge), Some(verifier)) if *challenge == secret::s256(verifier) => Ok(()),
            _ => Err(Refusal::Verifier),
        }
    }
}

/// Whether an application proves itself: its secret, where it has one.
pub(crate) fn proves(client: &Client, secret: Option<&str>) -> bool {
    client.secret.is_empty() || secret == Some(client.secret.as_str())
}

/// Whether a redirect URI is registered.
pub(crate) fn registered(client: &Client, redirect_uri: &str) -> bool {
    client.redirect_uris.is_empty() || client.redirect_uris.iter().any(|uri| uri == redirect_uri)
}

/// Secrets and what they stand for, bounded.
#[derive(Debug)]
pub(crate) struct Store<T> {
    entries: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Store<T> {
    /// Keeps `value` and answers the secret that stands for it.
    pub(crate) fn issue(&mut self, value: T) -> String {
        let secret = secret::random();
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(secret.clone());
        self.entries.insert(secret.clone(), value);
        secret
    }

    /// Takes what `secret` stands for: the second taker gets nothing.
    pub(crate) fn take(&mut self, secret: &str) -> Option<T> {
        self.entries.remove(secret)
    }

    /// What `secret` stands for.
    pub(crate) fn get(&self, secret: &str) -> Option<&T> {
        self.entries.get(secret)
    }
}
