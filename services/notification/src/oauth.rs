//! The service account that may push: it signs an assertion (RFC 7523, RS256) and is given an access token for it for an hour.

use coreloop_core::Clock;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

/// What an access token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Who is asked, by his kind of grant.
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Life of an assertion, in seconds; Google takes an hour at most.
const ASSERTION_SECS: i64 = 3_600;
/// A token is asked for anew so long before it is over.
const EARLY: SignedDuration = SignedDuration::from_secs(60);

/// A service account.
#[derive(Clone)]
pub struct Account {
    project: String,
    email: String,
    key_id: String,
    token_uri: String,
    key: EncodingKey,
}

/// The key file as Google gives it; what else is in it does not matter.
#[derive(Deserialize)]
struct KeyFile {
    project_id: String,
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

/// What the token endpoint answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: i64,
}

/// An access token, until when it is used.
#[derive(Clone)]
pub struct Bearer {
    /// The token.
    pub secret: SecretString,
    until: Timestamp,
}

impl Account {
    /// The account of a key file; none for what is none.
    #[must_use]
    pub fn parse(text: &SecretString) -> Option<Self> {
        let file: KeyFile = serde_json::from_str(text.expose_secret()).ok()?;
        let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes()).ok()?;
        // It is part of a path.
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
        if file.project_id.is_empty() || !file.project_id.chars().all(plain) {
            return None;
        }
        file.token_uri.parse::<url::Url>().ok()?;
        Some(Self {
            project: file.project_id,
            email: file.client_email,
            key_id: file.private_key_id,
            token_uri: file.token_uri,
            key,
        })
    }

    /// The project whose devices are pushed to.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Who gives access tokens.
    #[must_use]
    pub fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// What is shown for an access token; none where the key cannot sign.
    #[must_use]
    pub fn assertion(&self, clock: &dyn Clock) -> Option<String> {
        let now = clock.unix();
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + ASSERTION_SECS,
        });
        let kid = Some(self.key_id.clone()).filter(|id| !id.is_empty());
        jsonwebtoken::encode(&Header { kid, ..Header::new(Algorithm::RS256) }, &claims, &self.key).ok()
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("project", &self.project).finish_non_exhaustive()
    }
}

impl Bearer {
    /// What the token endpoint gave; none for an answer that is none.
    #[must_use]
    pub fn parse(body: &[u8], now: Timestamp) -> Option<Self> {
        let granted: Granted = serde_json::from_slice(body).ok()?;
        let fits = !granted.access_token.is_empty() && (1..=86_400).contains(&granted.expires_in);
        let until = now.saturating_add(SignedDuration::from_secs(granted.expires_in)).ok()?;
        let until = until.saturating_sub(EARLY).unwrap_or(until);
        fits.then(|| Self { secret: granted.access_token.into(), until })
    }

    /// It is good yet.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("until", &self.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_a_minute_before_its_end() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let later = |secs| now.saturating_add(SignedDuration::from_secs(secs)).unwrap();
        let bearer =
            Bearer::parse(br#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#, now).unwrap();
        assert!(bearer.is_good(later(3_538)) && !bearer.is_good(later(3_539)));
        assert!(!format!("{bearer:?}").contains("ya29"));
        for none in [r#"{"access_token":"","expires_in":9}"#, r#"{"access_token":"x","expires_in":0}"#, "{}", "<html>"]
        {
            assert!(Bearer::parse(none.as_bytes(), now).is_none(), "{none}");
        }
    }

    #[test]
    fn what_is_no_key_file_is_none() {
        let parse = |text: &str| Account::parse(&text.to_owned().into()).is_some();
        assert!(!parse("") && !parse("{}"));
        assert!(!parse(
            r#"{"project_id":"p","client_email":"a@b","private_key":"no key","token_uri":"https://oauth2.googleapis.com/token"}"#
        ));
    }
}
