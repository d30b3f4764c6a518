//! The push gateway.

use coreloop_core::{Clock as _, SystemClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::*;

const DEVICE: &str = "device-token-of-a-phone:APA91b";
const SEND: &str = "/fcm/v1/projects/coreloop-sandbox/messages:send";

/// An assertion that says what Google wants, but for the changes.
fn assertion(played: &Played, change: &Value) -> String {
    let now = SystemClock.unix();
    let mut claims = json!({
        "iss": Options::default().fcm_client_email, "aud": format!("{}/fcm/token", played.base), "iat": now, "exp": now + 3_600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let key = EncodingKey::from_rsa_pem(Options::default().fcm_private_key.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap()
}

async fn token(played: &Played, grant: &str, assertion: &str) -> Response {
    let form = [("grant_type", grant), ("assertion", assertion)];
    played.http.post(format!("{}/fcm/token", played.base)).form(&form).send().await.unwrap()
}

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

async fn bearer(played: &Played) -> String {
    let answer = token(played, GRANT, &assertion(played, &json!({}))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3_599)));
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn send(played: &Played, path: &str, bearer: &str, message: &Value) -> (u16, Value) {
    let asked =
        played.http.post(format!("{}{path}", played.base)).bearer_auth(bearer).json(&json!({"message": message}));
    let answer = asked.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn message(token: &str) -> Value {
    json!({"token": token, "notification": {"title": "t", "body": "b"}, "data": {"code": "CHR001"}, "android": {"ttl": "60s"}})
}

#[tokio::test]
async fn who_signs_with_the_accounts_key_is_given_a_token_and_sends() {
    let played = Played::start().await;
    let bearer = bearer(&played).await;
    let (status, answer) = send(&played, SEND, &bearer, &message(DEVICE)).await;
    assert_eq!(status, 200);
    assert!(answer["name"].as_str().unwrap().starts_with("projects/coreloop-sandbox/messages/"), "{answer}");
    let kept: Value = played.get(&format!("/_sandbox/pushes?token={DEVICE}")).await.json().await.unwrap();
    assert_eq!((&kept["pushes"][0]["name"], &kept["pushes"][0]["message"]), (&answer["name"], &message(DEVICE)));
    let others: Value = played.get("/_sandbox/pushes?token=another").await.json().await.unwrap();
    assert_eq!(others["pushes"], json!([]));
    let topic = json!({"topic": "news", "notification": {"title": "t"}});
    assert_eq!(send(&played, SEND, &bearer, &topic).await.0, 200);
    played.http.delete(format!("{}/_sandbox/pushes", played.base)).send().await.unwrap();
    assert_eq!(played.get("/_sandbox/pushes").await.json::<Value>().await.unwrap()["pushes"], json!([]));
}

#[tokio::test]
async fn an_assertion_that_is_none_is_refused_in_googles_words() {
    let played = Played::start().await;
    let now = SystemClock.unix();
    for (change, error, why) in [
        (json!({"iss": "eve@stranger.example"}), "invalid_grant", "account not found"),
        (json!({"aud": "https://oauth2.googleapis.com/token"}), "invalid_grant", "audience"),
        (json!({"exp": now + 7_200}), "invalid_grant", "short-lived"),
        (json!({"iat": now - 7_200, "exp": now - 3_600}), "invalid_grant", "short-lived"),
        (json!({"iat": now + 3_600, "exp": now + 7_200}), "invalid_grant", "short-lived"),
        (json!({"scope": "https://www.googleapis.com/auth/drive"}), "invalid_scope", "scope"),
    ] {
        let refused = token(&played, GRANT, &assertion(&played, &change)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{change}");
        let refused: Value = refused.json().await.unwrap();
        assert_eq!(refused["error"], error, "{change}");
        assert!(refused["error_description"].as_str().unwrap().contains(why), "{change}: {refused}");
    }
    let good = assertion(&played, &json!({}));
    // Another's signature under the right claims; and HMAC with what everybody may know.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let turned: String = signature.chars().rev().collect();
    let hmac = EncodingKey::from_secret(b"coreloop-sandbox");
    let weak = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(&good), &hmac).unwrap();
    for forged in [format!("{signed}.{turned}"), weak, "no.jwt.atall".to_owned(), String::new()] {
        let refused: Value = token(&played, GRANT, &forged).await.json().await.unwrap();
        assert_eq!(
            (&refused["error"], &refused["error_description"]),
            (&json!("invalid_grant"), &json!("Invalid JWT Signature."))
        );
    }
    let refused: Value = token(&played, "password", &good).await.json().await.unwrap();
    assert_eq!(refused["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_message_is_refused_as_fcm_does() {
    let played = Played::start().await;
    let bearer = bearer(&played).await;
    for nobody in ["", "another", &bearer.to_uppercase()] {
        let (status, answer) = send(&played, SEND, nobody, &message(DEVICE)).await;
        assert_eq!((status, &answer["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    }
    let (status, answer) = send(&played, "/fcm/v1/projects/another/messages:send", &bearer, &message(DEVICE)).await;
    assert_eq!((status, &answer["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    for (token, expected, code) in [
        ("unregistered-token-of-a-phone", 404, "UNREGISTERED"),
        ("stranger-token-of-a-phone", 403, "SENDER_ID_MISMATCH"),
        ("malformed-token-of-a-phone", 400, "INVALID_ARGUMENT"),
        ("short", 400, "INVALID_ARGUMENT"),
        ("token with blanks in it", 400, "INVALID_ARGUMENT"),
    ] {
        let (status, answer) = send(&played, SEND, &bearer, &message(token)).await;
        assert_eq!((status, &answer["error"]["details"][0]["errorCode"]), (expected, &json!(code)), "{token}");
        let sentence = answer["error"]["message"].as_str().unwrap().contains("registration token");
        assert_eq!((sentence, answer["error"]["details"].as_array().unwrap().len()), (expected == 400, 1), "{answer}");
    }
    let with = |name: &str, value: Value| {
        let mut message = message(DEVICE);
        message[name] = value;
        message
    };
    for wrong in [
        with("data", json!({"count": 3})),
        with("data", json!({"from": "x"})),
        with("data", json!({"text": "x".repeat(4_097)})),
        with("topic", json!("news")),
        with("android", json!({"ttl": 60})),
        with("notification", json!({"title": 1})),
        json!({"notification": {"title": "to nobody"}}),
    ] {
        let (status, answer) = send(&played, SEND, &bearer, &wrong).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")), "{wrong}");
        assert!(answer["error"]["details"][1]["fieldViolations"][0]["field"].is_string(), "{wrong}: {answer}");
    }
    assert_eq!(played.get("/_sandbox/pushes").await.json::<Value>().await.unwrap()["pushes"], json!([]));
}

#[tokio::test]
async fn faults_are_worded_as_fcm_does() {
    let played = Played::start().await;
    let bearer = bearer(&played).await;
    for (status, code) in [
        (400, "INVALID_ARGUMENT"),
        (404, "UNREGISTERED"),
        (429, "QUOTA_EXCEEDED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
    ] {
        let fault = json!({"provider": "fcm", "endpoint": "send", "kind": "error", "status": status, "times": 1});
        played.post("/_sandbox/faults", fault).await;
        let (said, answer) = send(&played, SEND, &bearer, &message(DEVICE)).await;
        assert_eq!((said, &answer["error"]["details"][0]["errorCode"]), (status, &json!(code)));
    }
    played.post("/_sandbox/faults", json!({"provider": "fcm", "endpoint": "send", "kind": "quota", "times": 1})).await;
    assert_eq!(send(&played, SEND, &bearer, &message(DEVICE)).await.0, 200);
    let asked = played.http.post(format!("{}{SEND}", played.base)).bearer_auth(&bearer).json(&json!({}));
    let refused = asked.send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
}

#[test]
fn what_is_given_to_services_is_the_accounts_key_file() {
    let file: Value = serde_json::from_str(&Options::default().fcm_service_account("http://127.0.0.1:1")).unwrap();
    assert_eq!(
        (&file["type"], &file["token_uri"]),
        (&json!("service_account"), &json!("http://127.0.0.1:1/fcm/token"))
    );
    assert!(EncodingKey::from_rsa_pem(file["private_key"].as_str().unwrap().as_bytes()).is_ok());
}
