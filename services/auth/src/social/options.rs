//! Settings of social sign-in (`auth.social`).

use std::collections::BTreeMap;

use coreloop_config::Report;
use coreloop_service::Mode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// OpenID Connect with discovery.
    Oidc,
    /// Kakao Login.
    Kakao,
    /// Naver Login.
    Naver,
}

/// Whether an address the provider tells is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTrust {
    /// When the provider says so.
    Claim,
    /// Never.
    Never,
}

/// Settings of one provider. `google`, `kakao` and `naver` have defaults for all but client id and secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProviderOptions {
    /// How it is spoken to; default `oidc`.
    pub kind: Option<Kind>,
    /// Issuer of OpenID Connect.
    pub issuer: String,
    /// Authorize address of a provider without discovery.
    pub authorization_endpoint: String,
    /// Token address of a provider without discovery.
    pub token_endpoint: String,
    /// Profile address of a provider without discovery.
    pub userinfo_endpoint: String,
    /// Client id; empty: the provider is switched off.
    pub client_id: String,
    /// Client secret; absent: a public client.
    pub client_secret: Option<SecretString>,
    /// Scopes; empty: the provider's usual ones.
    pub scopes: Vec<String>,
    /// Whether its addresses are proven; default `claim`, and `never` for Naver, which does not say.
    pub email_trust: Option<EmailTrust>,
}

/// Settings of social sign-in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Life of a state.
    pub state_ttl_secs: u32,
    /// Life of the one-time login code of the browser redirect.
    pub login_code_ttl_secs: u32,
    /// Longest time of one try to connect to a provider, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest time of one request to a provider, in milliseconds.
    pub timeout_ms: u64,
    /// Longest time of a whole exchange with a provider, retries and all, in milliseconds.
    pub exchange_timeout_ms: u64,
    /// Redirect URIs of clients, compared exactly; the edge's own callback is always one.
    pub redirect_uris: Vec<String>,
    /// Deep links of the app, compared exactly; the first is the default.
    pub app_redirect_uris: Vec<String>,
    /// Base of a sandbox that plays Google, Kakao and Naver; local mode only.
    pub sandbox_url: String,
    /// Providers by name.
    pub providers: BTreeMap<String, ProviderOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state_ttl_secs: 600,
            login_code_ttl_secs: 60,
            connect_timeout_ms: 1_000,
            timeout_ms: 2_500,
            exchange_timeout_ms: 8_000,
            redirect_uris: Vec::new(),
            app_redirect_uris: vec!["coreloop://auth/callback".to_owned()],
            sandbox_url: String::new(),
            providers: BTreeMap::new(),
        }
    }
}

/// A provider with every default filled in.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Name in paths.
    pub name: String,
    /// How it is spoken to.
    pub kind: Kind,
    /// Issuer; empty where it is not OpenID Connect.
    pub issuer: String,
    /// Authorize address; empty where it is discovered.
    pub authorization_endpoint: String,
    /// Token address; empty where it is discovered.
    pub token_endpoint: String,
    /// Profile address; empty where it is discovered.
    pub userinfo_endpoint: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Option<SecretString>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Whether its addresses are proven.
    pub email_trust: EmailTrust,
}

impl Options {
    /// The providers that are switched on, each complete.
    #[must_use]
    pub fn resolve(&self) -> Vec<Resolved> {
        let mut named = self.providers.clone();
        if !self.sandbox_url.is_empty() {
            let base = self.sandbox_url.trim_end_matches('/');
            for name in ["google", "kakao", "naver"] {
                fill(named.entry(name.to_owned()).or_default(), &sandboxed(name, base));
            }
        }
        for (name, provider) in &mut named {
            fill(provider, &usual(name));
        }
        named
            .into_iter()
            .filter(|(_, provider)| !provider.client_id.is_empty())
            .map(|(name, provider)| {
                let kind = provider.kind.unwrap_or(Kind::Oidc);
                let secret = provider.client_secret.filter(|secret| !secret.expose_secret().is_empty());
                Resolved {
                    name,
                    kind,
                    issuer: provider.issuer,
                    authorization_endpoint: provider.authorization_endpoint,
                    token_endpoint: provider.token_endpoint,
                    userinfo_endpoint: provider.userinfo_endpoint,
                    client_id: provider.client_id,
                    client_secret: secret,
                    scopes: provider.scopes,
                    email_trust: provider.email_trust.unwrap_or(EmailTrust::Claim),
                }
            })
            .collect()
    }

    /// Refuses what cannot work.
    pub fn check(&self, mode: Mode, report: &mut Report<'_>) {
        report.within("social.state_ttl_secs", self.state_ttl_secs, 30, 3_600);
        report.within("social.login_code_ttl_secs", self.login_code_ttl_secs, 5, 600);
        report.within("social.connect_timeout_ms", self.connect_timeout_ms, 10, 30_000);
        report.within("social.timeout_ms", self.timeout_ms, 10, 30_000);
        report.within("social.exchange_timeout_ms", self.exchange_timeout_ms, 10, 60_000);
        for (key, text) in self.findings(mode == Mode::Production) {
            report.refuse(&key, text);
        }
    }

    /// What is wrong with the settings: key and text.
    #[must_use]
    pub fn findings(&self, production: bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if production && !self.sandbox_url.is_empty() {
            found.push(("social.sandbox_url".to_owned(), "is for local mode only".to_owned()));
        }
        if self.app_redirect_uris.is_empty() {
            found.push(("social.app_redirect_uris".to_owned(), "needs at least one deep link".to_owned()));
        }
        for (key, uris) in [("redirect_uris", &self.redirect_uris), ("app_redirect_uris", &self.app_redirect_uris)] {
            for uri in uris.iter().filter(|uri| !is_redirect_uri(uri)) {
                found
                    .push((format!("social.{key}"), format!("{uri:?} must be an absolute address without a fragment")));
            }
        }
        for provider in self.resolve() {
            provider.findings(production, &mut found);
        }
        found
    }
}

impl Resolved {
    fn findings(&self, production: bool, found: &mut Vec<(String, String)>) {
        let needed = match self.kind {
            Kind::Oidc => vec![("issuer", &self.issuer)],
            Kind::Kakao | Kind::Naver => vec![
                ("authorization_endpoint", &self.authorization_endpoint),
                ("token_endpoint", &self.token_endpoint),
                ("userinfo_endpoint", &self.userinfo_endpoint),
            ],
        };
        for (key, value) in needed {
            let fit =
                Url::parse(value).is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && !production));
            if !fit {
                let text = if production { "must be an https address" } else { "must be an http(s) address" };
                found.push((format!("social.providers.{}.{key}", self.name), text.to_owned()));
            }
        }
    }
}

fn is_redirect_uri(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| url.fragment().is_none())
}

/// Takes from `defaults` what `provider` leaves open.
fn fill(provider: &mut ProviderOptions, defaults: &ProviderOptions) {
    let text = |slot: &mut String, default: &String| {
        if slot.is_empty() {
            slot.clone_from(default);
        }
    };
    provider.kind = provider.kind.or(defaults.kind);
    provider.email_trust = provider.email_trust.or(defaults.email_trust);
    text(&mut provider.issuer, &defaults.issuer);
    text(&mut provider.authorization_endpoint, &defaults.authorization_endpoint);
    text(&mut provider.token_endpoint, &defaults.token_endpoint);
    text(&mut provider.userinfo_endpoint, &defaults.userinfo_endpoint);
    text(&mut provider.client_id, &defaults.client_id);
    if provider.client_secret.is_none() {
        provider.client_secret.clone_from(&defaults.client_secret);
    }
    if provider.scopes.is_empty() {
        provider.scopes.clone_from(&defaults.scopes);
    }
}

fn owned<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// What is known of a provider of that name.
fn usual(name: &str) -> ProviderOptions {
    let none = ProviderOptions::default();
    match name {
        "google" => ProviderOptions {
            kind: Some(Kind::Oidc),
            issuer: "https://accounts.google.com".to_owned(),
            scopes: owned(["email", "profile"]),
            ..none
        },
        "kakao" => ProviderOptions {
            kind: Some(Kind::Kakao),
            authorization_endpoint: "https://kauth.kakao.com/oauth/authorize".to_owned(),
            token_endpoint: "https://kauth.kakao.com/oauth/token".to_owned(),
            userinfo_endpoint: "https://kapi.kakao.com/v2/user/me".to_owned(),
            // Kakao separates scopes by comma, so they are one scope to the library.
            scopes: owned(["account_email,profile_nickname,profile_image"]),
            ..none
        },
        "naver" => ProviderOptions {
            kind: Some(Kind::Naver),
            authorization_endpoint: "https://nid.naver.com/oauth2.0/authorize".to_owned(),
            token_endpoint: "https://nid.naver.com/oauth2.0/token".to_owned(),
            userinfo_endpoint: "https://openapi.naver.com/v1/nid/me".to_owned(),
            email_trust: Some(EmailTrust::Never),
            ..none
        },
        _ => ProviderOptions { scopes: owned(["email", "profile"]), ..none },
    }
}

/// The sandbox's own client of a provider.
fn sandboxed(name: &str, base: &str) -> ProviderOptions {
    let client = ProviderOptions {
        client_id: format!("sandbox-{name}"),
        client_secret: Some(format!("sandbox-{name}-secret").into()),
        ..ProviderOptions::default()
    };
    match name {
        "google" => ProviderOptions { issuer: format!("{base}/google"), ..client },
        "kakao" => ProviderOptions {
            authorization_endpoint: format!("{base}/kakao/oauth/authorize"),
            token_endpoint: format!("{base}/kakao/oauth/token"),
            userinfo_endpoint: format!("{base}/kakao/v2/user/me"),
            ..client
        },
        _ => ProviderOptions {
            authorization_endpoint: format!("{base}/naver/oauth2.0/authorize"),
            token_endpoint: format!("{base}/naver/oauth2.0/token"),
            userinfo_endpoint: format!("{base}/naver/v1/nid/me"),
            ..client
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_provider_without_client_id_is_off() {
        let mut options = Options::default();
        assert!(options.resolve().is_empty());
        let google = ProviderOptions { client_id: "id".to_owned(), ..ProviderOptions::default() };
        options.providers.insert("google".to_owned(), google);
        let resolved = options.resolve();
        assert_eq!(resolved.len(), 1);
        assert_eq!(resolved[0].issuer, "https://accounts.google.com");
    }

    #[test]
    fn the_sandbox_plays_all_three_and_gives_way_to_what_is_set() {
        let mut options = Options { sandbox_url: "http://127.0.0.1:9/".to_owned(), ..Options::default() };
        let kakao = ProviderOptions { client_id: "mine".to_owned(), ..ProviderOptions::default() };
        options.providers.insert("kakao".to_owned(), kakao);
        let resolved = options.resolve();
        assert_eq!(resolved.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["google", "kakao", "naver"]);
        assert_eq!(resolved[0].issuer, "http://127.0.0.1:9/google");
        assert_eq!(resolved[1].client_id, "mine");
        assert_eq!(resolved[1].token_endpoint, "http://127.0.0.1:9/kakao/oauth/token");
        assert_eq!(resolved[2].email_trust, EmailTrust::Never);
        assert!(options.findings(false).is_empty());
        assert!(!options.findings(true).is_empty(), "no sandbox and no plain http in production");
    }

    #[test]
    fn a_new_oidc_provider_is_a_setting() {
        let mut options = Options::default();
        let okta = ProviderOptions {
            issuer: "https://id.example.com".to_owned(),
            client_id: "c".to_owned(),
            ..ProviderOptions::default()
        };
        options.providers.insert("okta".to_owned(), okta);
        assert_eq!(options.resolve()[0].kind, Kind::Oidc);
        assert!(options.findings(true).is_empty());
    }

    #[test]
    fn every_wrong_address_is_told() {
        let mut options = Options { redirect_uris: vec!["/relative".to_owned()], ..Options::default() };
        options.app_redirect_uris = vec!["app://x#fragment".to_owned()];
        let broken = ProviderOptions { client_id: "c".to_owned(), ..ProviderOptions::default() };
        options.providers.insert("okta".to_owned(), broken);
        let keys: Vec<_> = options.findings(false).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["social.redirect_uris", "social.app_redirect_uris", "social.providers.okta.issuer"]);
    }
}
