//! The wire formats, over a real socket.

mod fcm;
mod kakao_local;
mod openai;
mod s3;
mod vision;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::{Options, Sandbox, secret};

const BACK: &str = "http://127.0.0.1:1/back?x=1";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-000";

struct Played {
    base: String,
    http: Client,
}

impl Played {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(Sandbox::serve(listener, Options::default()));
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, http }
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.http.post(format!("{}{path}", self.base)).json(&body).send().await.unwrap()
    }

    /// Where the authorize address sends the browser.
    async fn authorize(&self, path: &str, more: &[(&str, &str)]) -> Response {
        let mut url = Url::parse(&format!("{}{path}", self.base)).unwrap();
        let provider = path.split('/').nth(1).unwrap();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &format!("sandbox-{provider}"))
            .append_pair("redirect_uri", BACK)
            .append_pair("state", "s1")
            .append_pair("code_challenge", &secret::s256(VERIFIER))
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(more);
        self.http.get(url).send().await.unwrap()
    }

    async fn code(&self, path: &str) -> String {
        let response = self.authorize(path, &[("login_hint", "alice"), ("nonce", "n1"), ("scope", "openid")]).await;
        assert_eq!(response.status(), StatusCode::FOUND);
        param(&location(&response), "code")
    }

    async fn redeem(&self, path: &str, code: &str, change: &[(&str, &str)]) -> Response {
        let provider = path.split('/').nth(1).unwrap();
        let id = format!("sandbox-{provider}");
        let key = format!("sandbox-{provider}-secret");
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &id),
            ("client_secret", &key),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
            ("code", code),
        ];
        for (name, value) in change {
            form.retain(|(known, _)| known != name);
            form.push((name, value));
        }
        form.retain(|(_, value)| !value.is_empty());
        self.http.post(format!("{}{path}", self.base)).form(&form).send().await.unwrap()
    }
}

fn location(response: &Response) -> Url {
    Url::parse(response.headers().get("location").unwrap().to_str().unwrap()).unwrap()
}

fn param(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn google_signs_what_its_jwks_verifies() {
    let played = Played::start().await;
    let found: Value = played.get("/google/.well-known/openid-configuration").await.json().await.unwrap();
    assert_eq!(found["issuer"], format!("{}/google", played.base));
    let jwks: Value = played.get("/google/oauth2/v3/certs").await.json().await.unwrap();
    let jwk = &jwks["keys"][0];
    let code = played.code("/google/o/oauth2/v2/auth").await;
    let answer: Value = played.redeem("/google/token", &code, &[]).await.json().await.unwrap();
    let key = jsonwebtoken::DecodingKey::from_rsa_components(jwk["n"].as_str().unwrap(), jwk["e"].as_str().unwrap());
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.set_audience(&["sandbox-google"]);
    let token = answer["id_token"].as_str().unwrap();
    let read = jsonwebtoken::decode::<Value>(token, &key.unwrap(), &rules).unwrap();
    assert_eq!(read.header.kid.as_deref(), jwk["kid"].as_str());
    assert_eq!(read.claims["nonce"], "n1");
    assert_eq!(read.claims["email"], "alice@example.com");
    let access = answer["access_token"].as_str().unwrap();
    let info = played.http.get(format!("{}/google/v1/userinfo", played.base)).bearer_auth(access);
    let info: Value = info.send().await.unwrap().json().await.unwrap();
    assert_eq!(info["sub"], read.claims["sub"]);
    assert_eq!(info["sub"].as_str().unwrap().len(), 21);
}

#[tokio::test]
async fn a_google_code_is_bound_and_good_once() {
    let played = Played::start().await;
    let at = "/google/token";
    for (change, error) in [
        (("code_verifier", "another-verifier-of-at-least-forty-three-characters"), "invalid_grant"),
        (("code_verifier", ""), "invalid_grant"),
        (("redirect_uri", "http://127.0.0.1:1/back"), "redirect_uri_mismatch"),
        (("client_secret", "wrong"), "invalid_client"),
        (("grant_type", "password"), "unsupported_grant_type"),
    ] {
        let code = played.code("/google/o/oauth2/v2/auth").await;
        let refused: Value = played.redeem(at, &code, &[change]).await.json().await.unwrap();
        assert_eq!(refused["error"], error, "{change:?}");
    }
    let code = played.code("/google/o/oauth2/v2/auth").await;
    let stranger = [("client_id", "stranger-google"), ("client_secret", "stranger-google-secret")];
    assert_eq!(played.redeem(at, &code, &stranger).await.status(), StatusCode::BAD_REQUEST);
    let code = played.code("/google/o/oauth2/v2/auth").await;
    assert_eq!(played.redeem(at, &code, &[]).await.status(), StatusCode::OK);
    assert_eq!(played.redeem(at, &code, &[]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn kakao_speaks_in_koe_codes_and_nests_the_account() {
    let played = Played::start().await;
    let refused = played.redeem("/kakao/oauth/token", "no-such-code", &[]).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!((&refused["error"], &refused["error_code"]), (&json!("invalid_grant"), &json!("KOE320")));
    let refused = played.redeem("/kakao/oauth/token", "x", &[("client_secret", "wrong")]).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let code = played.code("/kakao/oauth/authorize").await;
    let answer: Value = played.redeem("/kakao/oauth/token", &code, &[]).await.json().await.unwrap();
    assert_eq!(answer["token_type"], "bearer");
    let me = played.http.get(format!("{}/kakao/v2/user/me", played.base));
    let me: Value =
        me.bearer_auth(answer["access_token"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
    assert!(me["id"].is_u64());
    assert_eq!(me["kakao_account"]["profile"]["nickname"], "alice");
    assert_eq!(me["kakao_account"]["is_email_verified"], true);
    let refused: Value = played.get("/kakao/v2/user/me").await.json().await.unwrap();
    assert_eq!(refused["code"], -401);
}

#[tokio::test]
async fn naver_errs_with_status_200_and_answers_by_get_too() {
    let played = Played::start().await;
    let refused = played.redeem("/naver/oauth2.0/token", "no-such-code", &[]).await;
    assert_eq!(refused.status(), StatusCode::OK);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"], "invalid_request");
    let code = played.code("/naver/oauth2.0/authorize").await;
    let query = format!(
        "grant_type=authorization_code&client_id=sandbox-naver&client_secret=sandbox-naver-secret&code={code}\
         &state=s1&code_verifier={VERIFIER}"
    );
    let answer: Value = played.get(&format!("/naver/oauth2.0/token?{query}")).await.json().await.unwrap();
    assert_eq!(answer["expires_in"], "3600", "as text");
    let me = played.http.get(format!("{}/naver/v1/nid/me", played.base));
    let me: Value =
        me.bearer_auth(answer["access_token"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
    assert_eq!((&me["resultcode"], &me["message"]), (&json!("00"), &json!("success")));
    assert_eq!(me["response"]["id"].as_str().unwrap().len(), 43);
    let again: Value = played.get(&format!("/naver/oauth2.0/token?{query}")).await.json().await.unwrap();
    assert_eq!(again["error_description"], "no valid data in session");
}

#[tokio::test]
async fn authorize_asks_who_and_never_redirects_for_strangers() {
    let played = Played::start().await;
    let page = played.authorize("/google/o/oauth2/v2/auth", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("value=\"alice\""));
    let unknown = "/google/o/oauth2/v2/auth?response_type=code&client_id=nobody&redirect_uri=http://x/";
    let unknown = played.get(unknown).await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    played.post("/_sandbox/personas", json!({ "id": "shy", "denies": true })).await;
    let denied = played.authorize("/kakao/oauth/authorize", &[("persona", "shy")]).await;
    assert_eq!(param(&location(&denied), "error"), "access_denied");
    assert_eq!(param(&location(&denied), "state"), "s1");
    assert_eq!(param(&location(&denied), "x"), "1", "the redirect URI's own query stays");
}

#[tokio::test]
async fn personas_keep_their_ids_and_take_attributes() {
    let played = Played::start().await;
    let set = json!({ "id": "mallory", "email": "alice@example.com", "email_verified": false });
    let first: Value = played.post("/_sandbox/personas", set.clone()).await.json().await.unwrap();
    let again: Value = Played::start().await.post("/_sandbox/personas", set).await.json().await.unwrap();
    assert_eq!(first, again);
    assert_eq!(first["persona"]["email_verified"], false);
    let bad = played.post("/_sandbox/personas", json!({ "id": "Not A Name" })).await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn tampered_tokens_lie_as_asked() {
    let played = Played::start().await;
    for what in ["nonce", "aud", "iss", "exp", "alg_none", "hs256", "key", "kid", "signature"] {
        let fault = json!({ "provider": "google", "kind": "tamper", "what": what, "times": 1 });
        assert_eq!(played.post("/_sandbox/faults", fault).await.status(), StatusCode::CREATED);
        let code = played.code("/google/o/oauth2/v2/auth").await;
        let answer: Value = played.redeem("/google/token", &code, &[]).await.json().await.unwrap();
        let token = answer["id_token"].as_str().unwrap();
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
        match what {
            "nonce" => assert_eq!(claims(token)["nonce"], "another-nonce"),
            "aud" => assert_eq!(claims(token)["aud"], "stranger-google"),
            "alg_none" => assert_eq!(header["alg"], "none"),
            "hs256" => assert_eq!(header["alg"], "HS256"),
            "key" => assert_eq!(header["kid"], "sandbox-google-1"),
            "kid" => assert_eq!(header["kid"], "sandbox-impostor"),
            _ => assert_eq!(claims(token)["azp"], "sandbox-google"),
        }
    }
}

#[tokio::test]
async fn faults_run_out_and_are_counted() {
    let played = Played::start().await;
    let at = "/kakao/v2/user/me";
    let error = json!({ "provider": "kakao", "kind": "error", "endpoint": "userinfo", "status": 502, "times": 2 });
    played.post("/_sandbox/faults", error).await;
    assert_eq!(played.get(at).await.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(played.get(at).await.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(played.get(at).await.status(), StatusCode::UNAUTHORIZED, "the fault is spent");
    played.post("/_sandbox/faults", json!({ "provider": "*", "kind": "garbage" })).await;
    assert!(played.get(at).await.json::<Value>().await.is_err());
    let off = played.http.delete(format!("{}/_sandbox/faults", played.base)).send().await.unwrap();
    assert_eq!(off.status(), StatusCode::NO_CONTENT);
    played.post("/_sandbox/faults", json!({ "provider": "kakao", "kind": "reset", "times": 1 })).await;
    let broken = played.http.get(format!("{}{at}", played.base)).send().await;
    assert!(match broken {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    });
    played.post("/_sandbox/faults", json!({ "provider": "kakao", "kind": "timeout", "times": 1, "ms": 5 })).await;
    assert_eq!(played.get(at).await.status(), StatusCode::GATEWAY_TIMEOUT);
    let stats: Value = played.get("/_sandbox/stats").await.json().await.unwrap();
    let seen = &stats["endpoints"]["kakao/userinfo"];
    assert_eq!((&seen["requests"], &seen["faulted"]), (&json!(6), &json!(5)));
}

#[tokio::test]
async fn mail_is_taken_as_sendgrid_takes_it() {
    let played = Played::start().await;
    let mail = json!({
        "personalizations": [{ "to": [{ "email": "bob@example.com" }] }],
        "from": { "email": "no-reply@coreloop.example" },
        "subject": "Hello",
        "content": [{ "type": "text/plain", "value": "text" }]
    });
    let at = format!("{}/v3/mail/send", played.base);
    let refused = played.http.post(&at).bearer_auth("wrong").json(&mail).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let bad = played.http.post(&at).bearer_auth("sandbox-mail-key").json(&json!({})).send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    let reader = played.get("/_sandbox/mail?to=BOB@example.com&wait_ms=20000");
    let sender = async {
        let sent = played.http.post(&at).bearer_auth("sandbox-mail-key").json(&mail).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::ACCEPTED);
        assert!(sent.headers().contains_key("x-message-id"));
    };
    let (read, ()) = tokio::join!(reader, sender);
    let read: Value = read.json().await.unwrap();
    assert_eq!(read["mails"][0]["subject"], "Hello");
    let none: Value = played.get("/_sandbox/mail?to=carol@example.com").await.json().await.unwrap();
    assert_eq!(none["mails"], json!([]));
}

/// Somebody who takes webhooks, and what they are told.
async fn hook() -> (String, tokio::sync::mpsc::UnboundedReceiver<(http::HeaderMap, String)>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let take = move |headers: http::HeaderMap, body: String| {
        let _ = tell.send((headers, body));
        async { "taken" }
    };
    let router = axum::Router::new().route("/hook", axum::routing::post(take));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let callback = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (callback, told)
}

#[tokio::test]
async fn the_age_webhook_is_signed() {
    let played = Played::start().await;
    let (callback, mut told) = hook().await;
    let asked = json!({ "callback_url": callback, "user_id": "u1", "event_id": "e1", "timestamp": 7 });
    let answer: Value = played.post("/age/verifications", asked).await.json().await.unwrap();
    assert_eq!((&answer["status"], &answer["event_id"]), (&json!(200), &json!("e1")));
    let (headers, body) = told.recv().await.unwrap();
    assert_eq!(headers["x-coreloop-timestamp"], "7");
    let expected = secret::webhook_signature("sandbox-age-webhook-secret", "7", body.as_bytes());
    assert_eq!(headers["x-coreloop-signature"], expected.as_str());
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["result"], "verified");
}

/// Asks for a payment: the status of the answer, and what it says.
async fn pay(played: &Played, key: &str, handle: &str, amount: i64) -> (u16, Value) {
    let asked = json!({ "reference": "r1", "user": "u1", "amount": amount, "handle": handle });
    let at = format!("{}/payment/v1/payments", played.base);
    let request = played.http.post(&at).bearer_auth("sandbox-payment-key").header("idempotency-key", key);
    let answer = request.json(&asked).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_payment_is_one_for_its_key_and_body() {
    let played = Played::start().await;
    let (status, first) = pay(&played, "k1", "card", 10).await;
    assert_eq!((status, &first["status"]), (200, &json!("confirmed")));
    assert_eq!(pay(&played, "k1", "card", 10).await, (200, first.clone()));
    let (status, other) = pay(&played, "k1", "card", 11).await;
    assert_eq!((status, &other["error"]), (422, &json!("idempotency_mismatch")));
    for (key, handle, amount, expected) in
        [("k2", "refused", 10, 402), ("k3", "pending", 10, 202), ("k4", "card", 0, 400), ("k5", "card", -1, 400)]
    {
        assert_eq!(pay(&played, key, handle, amount).await.0, expected, "{handle} {amount}");
    }
    let bare = played.post("/payment/v1/payments", json!({ "reference": "r", "user": "u", "amount": 1 })).await;
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    let listed: Value = played.get("/_sandbox/payments?reference=r1").await.json().await.unwrap();
    assert_eq!(listed["payments"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_decided_of_a_payment_is_told_signed_as_often_as_asked() {
    let played = Played::start().await;
    let (callback, mut told) = hook().await;
    let (_, payment) = pay(&played, "k1", "pending", 10).await;
    let at = format!("/_sandbox/payments/{}", payment["payment_id"].as_str().unwrap());
    for (status, times) in [("confirmed", 2), ("voided", 1)] {
        let decision = json!({ "status": status, "callback_url": callback, "times": times, "timestamp": 7 });
        let answer: Value = played.post(&at, decision).await.json().await.unwrap();
        assert_eq!(answer["status"], status, "{answer}");
        let mut events = Vec::new();
        for _ in 0..times {
            let (headers, body) = told.recv().await.unwrap();
            let expected = secret::webhook_signature("sandbox-payment-webhook-secret", "7", body.as_bytes());
            assert_eq!(headers["x-coreloop-signature"], expected.as_str());
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&body["status"], &body["reference"]), (&json!(status), &json!("r1")));
            events.push(body["event_id"].clone());
        }
        events.dedup();
        assert_eq!(events.len(), 1, "a replay is the same event");
    }
    // What was voided is not confirmed after all.
    let answer: Value = played.post(&at, json!({ "status": "confirmed" })).await.json().await.unwrap();
    assert_eq!(answer["status"], "voided");
}
