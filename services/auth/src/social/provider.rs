//! The providers that are switched on, and what a sign-in asks of any of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coreloop_auth_api::v1::AuthReason;
use coreloop_service::Metrics;
use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use prometheus_client::metrics::counter::Counter;
use url::Url;

use super::{
    oauth::Oauth,
    oidc::Oidc,
    options::Kind,
    outbound::{Failure, Outbound},
    profile::Identity,
};
use crate::Error;

/// What an authorize address is made of.
#[derive(Debug, Clone)]
pub struct Start<'s> {
    /// State.
    pub state: &'s str,
    /// Nonce of OpenID Connect.
    pub nonce: &'s str,
    /// PKCE verifier; only its challenge is in the address.
    pub verifier: &'s str,
    /// Redirect URI.
    pub redirect_uri: &'s str,
}

impl Start<'_> {
    /// The S256 challenge of the verifier.
    #[must_use]
    pub fn challenge(&self) -> PkceCodeChallenge {
        PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(self.verifier.to_owned()))
    }
}

#[derive(Debug)]
enum Spoken {
    Oidc(Box<Oidc>),
    Oauth(Box<Oauth>),
}

/// A provider.
#[derive(Debug)]
pub struct Provider {
    name: String,
    spoken: Spoken,
    patience: Duration,
}

impl Provider {
    /// Name in paths.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address to open.
    ///
    /// # Errors
    /// `PROVIDER_ERROR` when its discovery does not answer.
    pub async fn authorization_url(&self, start: &Start<'_>) -> Result<Url, Error> {
        let url = async {
            match &self.spoken {
                Spoken::Oidc(oidc) => oidc.authorization_url(start).await,
                Spoken::Oauth(oauth) => oauth.authorization_url(start),
            }
        };
        self.patiently(url).await
    }

    /// Trades the code and reads who signed in.
    ///
    /// # Errors
    /// `PROVIDER_ERROR` with the provider's code.
    pub async fn identify(&self, code: &str, start: &Start<'_>) -> Result<Identity, Error> {
        let identity = async {
            match &self.spoken {
                Spoken::Oidc(oidc) => oidc.identify(code, start).await,
                Spoken::Oauth(oauth) => oauth.identify(code, start).await,
            }
        };
        self.patiently(identity).await
    }

    async fn patiently<T>(&self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Error> {
        let answer = tokio::time::timeout(self.patience, answer).await.unwrap_or_else(|_| {
            tracing::warn!(provider = %self.name, error_code = "timeout", "provider took too long");
            Err(Failure::transient("timeout"))
        });
        answer.map_err(|failure| Error::Provider {
            provider: self.name.clone(),
            code: failure.code,
            transient: failure.transient,
        })
    }
}

/// The providers that are switched on, and which addresses may be returned to.
#[derive(Debug)]
pub struct Registry {
    providers: BTreeMap<String, Arc<Provider>>,
    callback_base: String,
    redirect_uris: Vec<String>,
    app_redirect_uris: Vec<String>,
    /// Life of a state in seconds.
    pub state_ttl_secs: u32,
    /// Life of a login code in seconds.
    pub login_code_ttl_secs: u32,
    /// States that came too late or twice (`oauth_state_expired_total`).
    pub state_expired: Counter,
}

impl Registry {
    /// Builds every provider that is switched on.
    #[must_use]
    pub fn new(options: &crate::Options, metrics: &Metrics) -> Self {
        let social = &options.social;
        let http = Outbound::client(social);
        let patience = Duration::from_millis(social.exchange_timeout_ms);
        let providers = social.resolve().into_iter().map(|settings| {
            let name = settings.name.clone();
            let outbound = Outbound::new(&name, http.clone());
            let spoken = match settings.kind {
                Kind::Oidc => Spoken::Oidc(Box::new(Oidc::new(settings, outbound))),
                Kind::Kakao | Kind::Naver => Spoken::Oauth(Box::new(Oauth::new(settings, outbound))),
            };
            (name.clone(), Arc::new(Provider { name, spoken, patience }))
        });
        let state_expired = Counter::default();
        metrics.with(|registry| {
            let help = "OAuth states that were unknown, expired or used";
            registry.register("oauth_state_expired", help, state_expired.clone());
        });
        Self {
            providers: providers.collect(),
            callback_base: options.public_url.trim_end_matches('/').to_owned(),
            redirect_uris: social.redirect_uris.clone(),
            app_redirect_uris: social.app_redirect_uris.clone(),
            state_ttl_secs: social.state_ttl_secs,
            login_code_ttl_secs: social.login_code_ttl_secs,
            state_expired,
        }
    }

    /// Names of those that are switched on, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// A provider by name.
    ///
    /// # Errors
    /// `PROVIDER_UNKNOWN`.
    pub fn provider(&self, name: &str) -> Result<Arc<Provider>, Error> {
        self.providers.get(name).cloned().ok_or_else(|| AuthReason::ProviderUnknown.into())
    }

    /// The redirect URI to use: as asked when it is registered exactly so, else the edge's own callback when none is
    /// asked for.
    ///
    /// # Errors
    /// `REDIRECT_URI_NOT_ALLOWED`.
    pub fn redirect_uri(&self, provider: &str, asked: &str) -> Result<String, Error> {
        let own = format!("{}/api/v1/auth/callback/{provider}", self.callback_base);
        if asked.is_empty() || asked == own {
            return Ok(own);
        }
        registered(&self.redirect_uris, asked)
    }

    /// The deep link to return to: as asked when it is registered exactly so, else the first one when none is asked for.
    ///
    /// # Errors
    /// `REDIRECT_URI_NOT_ALLOWED`.
    pub fn app_redirect_uri(&self, asked: &str) -> Result<String, Error> {
        match self.app_redirect_uris.first() {
            Some(first) if asked.is_empty() => Ok(first.clone()),
            _ => registered(&self.app_redirect_uris, asked),
        }
    }
}

/// Compared exactly (RFC 9700, 2.1): no prefix, no case, no trailing slash is forgiven.
fn registered(known: &[String], asked: &str) -> Result<String, Error> {
    known.iter().find(|uri| *uri == asked).cloned().ok_or_else(|| AuthReason::RedirectUriNotAllowed.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let mut options = crate::Options { public_url: "https://api.example.com/".to_owned(), ..Default::default() };
        options.social.redirect_uris = vec!["https://app.example.com/back".to_owned()];
        options.social.sandbox_url = "http://127.0.0.1:9".to_owned();
        Registry::new(&options, &Metrics::default())
    }

    #[test]
    fn redirect_uris_are_compared_exactly() {
        let registry = registry();
        let own = "https://api.example.com/api/v1/auth/callback/google";
        assert_eq!(registry.redirect_uri("google", "").unwrap(), own);
        assert_eq!(registry.redirect_uri("google", own).unwrap(), own);
        assert!(registry.redirect_uri("google", "https://app.example.com/back").is_ok());
        for near in [
            "https://app.example.com/back/",
            "https://app.example.com/back?x",
            "https://app.example.com/back#f",
            "https://APP.example.com/back",
            "https://app.example.com:443/back",
            "https://app.example.com/back/../evil",
            "https://app.example.com@evil.example/back",
            "http://app.example.com/back",
            " https://app.example.com/back",
            "https://api.example.com/api/v1/auth/callback/kakao",
        ] {
            assert!(registry.redirect_uri("google", near).is_err(), "{near}");
        }
    }

    #[test]
    fn deep_links_are_compared_exactly_and_the_first_is_the_default() {
        let registry = registry();
        assert_eq!(registry.app_redirect_uri("").unwrap(), "coreloop://auth/callback");
        assert!(registry.app_redirect_uri("coreloop://auth/callback").is_ok());
        assert!(registry.app_redirect_uri("coreloop://auth/callback2").is_err());
        assert!(registry.app_redirect_uri("evil://auth/callback").is_err());
    }

    #[tokio::test]
    async fn an_authorize_address_carries_the_challenge_and_never_the_verifier() {
        let registry = registry();
        let start = Start {
            state: "the-state",
            nonce: "the-nonce",
            verifier: "the-verifier-the-verifier-the-verifier-43ch",
            redirect_uri: "https://api.example.com/api/v1/auth/callback/kakao",
        };
        for name in ["kakao", "naver"] {
            let url = registry.provider(name).unwrap().authorization_url(&start).await.unwrap();
            let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
            assert_eq!(query.get("code_challenge_method").map(String::as_str), Some("S256"));
            assert_eq!(query.get("code_challenge").map(String::as_str), Some(start.challenge().as_str()));
            assert_eq!(query.get("state").map(String::as_str), Some("the-state"));
            assert!(!url.as_str().contains(start.verifier));
        }
        assert!(registry.provider("github").is_err());
    }
}
