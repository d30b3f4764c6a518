//! Providers against the sandbox: true wire formats, attacks and faults. No database: what a provider says is all here.

use coreloop_sandbox::Sandbox;
use coreloop_service::Metrics;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{profile::Identity, provider::Start, state};
use crate::{Error, social::Registry};

const BACK: &str = "http://127.0.0.1:1/api/v1/auth/callback/x";

struct Played {
    base: String,
    http: reqwest::Client,
    registry: Registry,
}

struct Secrets {
    state: String,
    nonce: String,
    verifier: String,
}

impl Secrets {
    fn fresh() -> Self {
        Self { state: state::secret().unwrap(), nonce: state::secret().unwrap(), verifier: state::secret().unwrap() }
    }

    fn start(&self) -> Start<'_> {
        Start { state: &self.state, nonce: &self.nonce, verifier: &self.verifier, redirect_uri: BACK }
    }
}

impl Played {
    /// The settings wait for as long as a provider that plays by the rules may need on a busy machine: the impostor's key is
    /// made with the first token it signs.
    async fn start() -> Self {
        Self::waiting(30_000).await
    }

    /// One whose providers are given so many milliseconds for an answer.
    async fn waiting(timeout_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(Sandbox::serve(listener, coreloop_sandbox::Options::default()));
        let mut options = crate::Options::default();
        options.social.sandbox_url.clone_from(&base);
        options.social.timeout_ms = timeout_ms;
        options.social.exchange_timeout_ms = 60_000;
        let registry = Registry::new(&options, &Metrics::default());
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, http, registry }
    }

    async fn post(&self, path: &str, body: Value) {
        let sent = self.http.post(format!("{}{path}", self.base)).json(&body).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.status());
    }

    async fn requests(&self, endpoint: &str) -> u64 {
        let stats = self.http.get(format!("{}/_sandbox/stats", self.base)).send().await.unwrap();
        stats.json::<Value>().await.unwrap()["endpoints"][endpoint]["requests"].as_u64().unwrap_or(0)
    }

    /// Signs `persona` in at the provider and answers the code of the redirect.
    async fn code(&self, provider: &str, secrets: &Secrets, persona: &str) -> String {
        let provider = self.registry.provider(provider).unwrap();
        let mut url = provider.authorization_url(&secrets.start()).await.unwrap();
        url.query_pairs_mut().append_pair("login_hint", persona);
        let back = self.http.get(url).send().await.unwrap();
        let back = Url::parse(back.headers()["location"].to_str().unwrap()).unwrap();
        let param = |name: &str| back.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
        assert_eq!(param("state"), secrets.state);
        param("code")
    }

    async fn identify(&self, provider: &str, secrets: &Secrets, code: &str) -> Result<Identity, String> {
        let provider = self.registry.provider(provider).unwrap();
        provider.identify(code, &secrets.start()).await.map_err(|error| match error {
            Error::Provider { code, .. } => code,
            other => panic!("{other}"),
        })
    }

    async fn sign_in(&self, provider: &str, persona: &str) -> Result<Identity, String> {
        let secrets = Secrets::fresh();
        let code = self.code(provider, &secrets, persona).await;
        self.identify(provider, &secrets, &code).await
    }
}

#[tokio::test]
async fn each_provider_tells_who_signed_in() {
    let played = Played::start().await;
    for (provider, proven) in [("google", true), ("kakao", true), ("naver", false)] {
        let identity = played.sign_in(provider, "alice").await.unwrap();
        assert_eq!(identity.email.as_deref(), Some("alice@example.com"), "{provider}");
        assert_eq!(identity.email_verified, proven, "{provider}");
        assert_eq!(identity.nickname, "alice");
        let again = played.sign_in(provider, "alice").await.unwrap();
        assert_eq!(identity.provider_user_id, again.provider_user_id);
        assert_ne!(identity.provider_user_id, played.sign_in(provider, "bob").await.unwrap().provider_user_id);
    }
}

#[tokio::test]
async fn an_unproven_address_stays_unproven() {
    let played = Played::start().await;
    let set = json!({ "id": "mallory", "email": "alice@example.com", "email_verified": false });
    played.post("/_sandbox/personas", set).await;
    for provider in ["google", "kakao", "naver"] {
        let identity = played.sign_in(provider, "mallory").await.unwrap();
        assert!(!identity.email_verified, "{provider}");
    }
    played.post("/_sandbox/personas", json!({ "id": "nomail", "email": "" })).await;
    for provider in ["google", "kakao", "naver"] {
        assert_eq!(played.sign_in(provider, "nomail").await.unwrap().email, None, "{provider}");
    }
}

#[tokio::test]
async fn a_stolen_code_is_worth_nothing_without_the_verifier() {
    let played = Played::start().await;
    for (provider, error) in [("google", "invalid_grant"), ("kakao", "KOE320"), ("naver", "invalid_request")] {
        let victim = Secrets::fresh();
        let code = played.code(provider, &victim, "alice").await;
        let thief = Secrets { verifier: state::secret().unwrap(), ..Secrets::fresh() };
        assert_eq!(played.identify(provider, &thief, &code).await.unwrap_err(), error);
        // And it is spent.
        assert!(played.identify(provider, &victim, &code).await.is_err());
    }
}

#[tokio::test]
async fn a_code_of_another_provider_or_client_is_refused() {
    let played = Played::start().await;
    let secrets = Secrets::fresh();
    let code = played.code("kakao", &secrets, "alice").await;
    assert_eq!(played.identify("google", &secrets, &code).await.unwrap_err(), "invalid_grant");
    let secrets = Secrets::fresh();
    let provider = played.registry.provider("google").unwrap();
    let url = provider.authorization_url(&secrets.start()).await.unwrap().to_string();
    let url = url.replace("client_id=sandbox-google", "client_id=stranger-google") + "&login_hint=alice";
    let back = played.http.get(url).send().await.unwrap();
    let back = Url::parse(back.headers()["location"].to_str().unwrap()).unwrap();
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    assert_eq!(played.identify("google", &secrets, &code).await.unwrap_err(), "invalid_grant");
}

#[tokio::test]
async fn an_id_token_that_lies_is_refused() {
    let played = Played::start().await;
    for (what, code) in [
        ("nonce", "id_token_nonce"),
        ("no_nonce", "id_token_nonce"),
        ("aud", "id_token_audience"),
        ("iss", "id_token_issuer"),
        ("exp", "id_token_expired"),
        ("key", "id_token_signature"),
        ("kid", "id_token_key"),
        ("signature", "id_token_signature"),
        ("alg_none", "id_token_signature"),
        ("hs256", "id_token_signature"),
        ("missing", "id_token_missing"),
        ("garbage", "malformed_response"),
        ("sub", "malformed_response"),
    ] {
        let fault = json!({ "provider": "google", "kind": "tamper", "what": what, "times": 1 });
        played.post("/_sandbox/faults", fault).await;
        let refused = played.sign_in("google", "alice").await;
        assert_eq!(refused.unwrap_err(), code, "{what}");
    }
    played.sign_in("google", "alice").await.unwrap();
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_once_more() {
    let played = Played::waiting(2_000).await;
    for kind in ["error", "garbage", "reset", "timeout"] {
        for provider in ["google", "kakao", "naver"] {
            let secrets = Secrets::fresh();
            let code = played.code(provider, &secrets, "alice").await;
            let before = played.requests(&format!("{provider}/token")).await;
            let fault = json!({ "provider": provider, "endpoint": "token", "kind": kind, "times": 1, "ms": 10_000 });
            played.post("/_sandbox/faults", fault).await;
            played.identify(provider, &secrets, &code).await.unwrap_or_else(|code| panic!("{kind} {provider}: {code}"));
            assert_eq!(played.requests(&format!("{provider}/token")).await, before + 2);
        }
    }
}

#[tokio::test]
async fn a_provider_that_goes_on_failing_is_told_by_its_code() {
    let played = Played::waiting(2_000).await;
    for (kind, code) in [("error", "server_error"), ("garbage", "malformed_response"), ("timeout", "timeout")] {
        let secrets = Secrets::fresh();
        let granted = played.code("google", &secrets, "alice").await;
        let fault = json!({ "provider": "google", "endpoint": "token", "kind": kind, "times": 2, "ms": 10_000 });
        played.post("/_sandbox/faults", fault).await;
        assert_eq!(played.identify("google", &secrets, &granted).await.unwrap_err(), code);
    }
    let before = played.requests("kakao/token").await;
    let refused = played.identify("kakao", &Secrets::fresh(), "no-such-code").await;
    assert_eq!(refused.unwrap_err(), "KOE320");
    assert_eq!(played.requests("kakao/token").await, before + 1, "a refusal is not asked again");
}
