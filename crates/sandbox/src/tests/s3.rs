//! The S3 store, by addresses that this test signs itself (Signature V4, presigned).

use std::collections::BTreeMap;

use coreloop_core::{Clock as _, SystemClock};
use jiff::Timestamp;
use reqwest::Method;

use super::*;

const KEY: &str = "uploads/2026/11/u1/photo 1.jpg";
const BUCKET: &str = "coreloop-images";
/// MD5 of `hello`.
const HELLO: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

/// Who signs, when, for how long.
#[derive(Clone)]
struct Signer {
    base: String,
    id: &'static str,
    secret: &'static str,
    at: i64,
    life_secs: u32,
}

impl Signer {
    fn of(played: &Played) -> Self {
        let (id, secret) = ("sandbox-s3-key", "sandbox-s3-secret");
        Self { base: played.base.clone(), id, secret, at: SystemClock.unix(), life_secs: 900 }
    }

    /// An address that `method` may use with exactly these headers.
    fn sign(&self, method: &Method, key: &str, headers: &[(&str, &str)]) -> Url {
        let time = Timestamp::from_second(self.at).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = time[..8].to_owned();
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let host = self.base.strip_prefix("http://").unwrap();
        let mut signed = BTreeMap::from([("host", host)]);
        signed.extend(headers.iter().copied());
        let names = signed.keys().copied().collect::<Vec<_>>().join(";");
        let life = self.life_secs.to_string();
        let query = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{scope}", self.id)),
            ("X-Amz-Date", time.clone()),
            ("X-Amz-Expires", life),
            ("X-Amz-SignedHeaders", names.clone()),
        ];
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value, false))).collect();
        let (query, path) = (query.join("&"), format!("/{BUCKET}/{}", encoded(key, true)));
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(digest.as_ref()));
        let mut by = format!("AWS4{}", self.secret).into_bytes();
        for part in [&day, "us-east-1", "s3", "aws4_request", &text] {
            by = hmac(&by, part);
        }
        let signature = hex::encode(by);
        format!("{}{path}?{query}&X-Amz-Signature={signature}", self.base).parse().unwrap()
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Percent-encodes as S3 wants it: everything but letters, digits, `-._~`, and the slashes of a path.
fn encoded(text: &str, path: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (path && byte == b'/');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

const UPLOAD: &[(&str, &str)] = &[
    ("cache-control", "public,max-age=3600"),
    ("content-length", "5"),
    ("content-type", "image/jpeg"),
    ("x-amz-meta-user-id", "u1"),
];

async fn send(played: &Played, method: Method, url: Url, headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut request = played.http.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_empty() { request } else { request.body(body) }.send().await.unwrap()
}

async fn upload(played: &Played) {
    let url = Signer::of(played).sign(&Method::PUT, KEY, UPLOAD);
    let put = send(played, Method::PUT, url, UPLOAD, "hello").await;
    assert_eq!(put.status(), StatusCode::OK);
    assert_eq!(put.headers()["etag"], HELLO);
}

async fn simply(played: &Played, method: Method) -> Response {
    let url = Signer::of(played).sign(&method, KEY, &[]);
    send(played, method, url, &[], "").await
}

/// The code of an S3 error.
async fn code(response: Response) -> String {
    let text = response.text().await.unwrap();
    let (_, rest) = text.split_once("<Code>").unwrap_or_else(|| panic!("no S3 error: {text}"));
    rest.split_once("</Code>").unwrap().0.to_owned()
}

#[tokio::test]
async fn an_upload_is_there_until_it_is_deleted() {
    let played = Played::start().await;
    assert_eq!(simply(&played, Method::HEAD).await.status(), StatusCode::NOT_FOUND);
    upload(&played).await;
    let head = simply(&played, Method::HEAD).await;
    assert_eq!(head.status(), StatusCode::OK);
    for (name, value) in [UPLOAD, &[("etag", HELLO)]].concat() {
        assert_eq!(head.headers()[name], value, "{name}");
    }
    let got = simply(&played, Method::GET).await;
    assert_eq!(
        (&got.headers()["content-type"], &got.headers()["x-amz-meta-user-id"]),
        (&"image/jpeg".parse().unwrap(), &"u1".parse().unwrap())
    );
    assert_eq!(got.text().await.unwrap(), "hello");
    assert_eq!(simply(&played, Method::DELETE).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(simply(&played, Method::DELETE).await.status(), StatusCode::NO_CONTENT, "and again, as S3 does");
    let gone = simply(&played, Method::GET).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!(code(gone).await, "NoSuchKey");
}

#[tokio::test]
async fn what_was_not_signed_so_is_refused() {
    let played = Played::start().await;
    upload(&played).await;
    let signer = Signer::of(&played);
    let put = |url: Url, headers: Vec<(&'static str, &'static str)>| {
        let played = &played;
        async move {
            let refused = send(played, Method::PUT, url, &headers, "HELLO").await;
            (refused.status().as_u16(), code(refused).await)
        }
    };
    let mismatch = (403, "SignatureDoesNotMatch".to_owned());
    let url = signer.sign(&Method::PUT, KEY, UPLOAD);
    let changed = |name: &str, value: &'static str| -> Vec<_> {
        UPLOAD.iter().map(|(known, kept)| (*known, if *known == name { value } else { *kept })).collect()
    };
    assert_eq!(put(url.clone(), changed("content-type", "image/png")).await, mismatch, "another type");
    assert_eq!(put(url.clone(), changed("x-amz-meta-user-id", "u2")).await, mismatch, "another owner");
    assert_eq!(put(url.clone(), UPLOAD[..3].to_vec()).await, mismatch, "an owner left out");
    let longer = send(&played, Method::PUT, url.clone(), &changed("content-length", "6"), "HELLO!").await;
    assert_eq!(code(longer).await, "SignatureDoesNotMatch", "another length");
    let tampered = |from: &str, to: &str| -> Url { url.as_str().replace(from, to).parse().unwrap() };
    assert_eq!(put(tampered("photo", "pho-o"), UPLOAD.to_vec()).await, mismatch, "another key");
    assert_eq!(put(tampered("Expires=900", "Expires=9000"), UPLOAD.to_vec()).await, mismatch, "a longer life");
    let end = &url.as_str()[url.as_str().len() - 1..];
    let mut other = url.to_string();
    other.pop();
    other.push(if end == "0" { '1' } else { '0' });
    assert_eq!(put(other.parse().unwrap(), UPLOAD.to_vec()).await, mismatch, "another signature");
    let guessed = Signer { secret: "guess", ..signer.clone() };
    assert_eq!(put(guessed.sign(&Method::PUT, KEY, UPLOAD), UPLOAD.to_vec()).await, mismatch, "another secret");
    let nobody = Signer { id: "nobody", ..signer.clone() };
    assert_eq!(put(nobody.sign(&Method::PUT, KEY, UPLOAD), UPLOAD.to_vec()).await.0, 403, "an unknown key");
    let early = Signer { at: signer.at - 901, ..signer.clone() };
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(put(early.sign(&Method::PUT, KEY, UPLOAD), UPLOAD.to_vec()).await, denied, "expired");
    let mut bare = url.clone();
    bare.set_query(None);
    assert_eq!(put(bare, UPLOAD.to_vec()).await, denied, "not signed");
    let got = send(&played, Method::GET, signer.sign(&Method::HEAD, KEY, &[]), &[], "").await;
    assert_eq!(code(got).await, "SignatureDoesNotMatch", "another method");
    assert_eq!(simply(&played, Method::GET).await.text().await.unwrap(), "hello", "nothing of it came through");
}

#[tokio::test]
async fn the_cdn_shows_what_people_load_and_the_store_nothing() {
    let played = Played::start().await;
    upload(&played).await;
    let hidden = "reports/2026.csv";
    let url = Signer::of(&played).sign(&Method::PUT, hidden, &[("content-length", "5")]);
    assert_eq!(send(&played, Method::PUT, url, &[("content-length", "5")], "hello").await.status(), StatusCode::OK);
    let at = |path: &str| -> Url { format!("{}{path}", played.base).parse().unwrap() };
    let key = encoded(KEY, true);
    let shown = send(&played, Method::GET, at(&format!("/cdn/{BUCKET}/{key}")), &[], "").await;
    assert_eq!((shown.status(), &shown.headers()["etag"]), (StatusCode::OK, &HELLO.parse().unwrap()));
    assert_eq!(shown.headers()["cache-control"], "public,max-age=3600");
    assert_eq!(shown.text().await.unwrap(), "hello");
    let head = send(&played, Method::HEAD, at(&format!("/cdn/{BUCKET}/{key}")), &[], "").await;
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &"5".parse().unwrap()));
    // Neither what is not for people, by whichever way, nor a list, nor anything but reading.
    for path in [hidden, "uploads/..%2freports/2026.csv"] {
        let refused = send(&played, Method::GET, at(&format!("/cdn/{BUCKET}/{path}")), &[], "").await;
        assert_eq!(
            (refused.status(), code(refused).await),
            (StatusCode::FORBIDDEN, "AccessDenied".to_owned()),
            "{path}"
        );
    }
    for path in ["uploads/none.jpg", "uploads/", "uploads/2026", "?list-type=2&prefix=uploads/"] {
        let none = send(&played, Method::GET, at(&format!("/cdn/{BUCKET}/{path}")), &[], "").await;
        assert_eq!(none.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        let refused = send(&played, method.clone(), at(&format!("/cdn/{BUCKET}/{key}")), &[], "").await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    // The store itself is as closed as before.
    for path in [format!("/{BUCKET}/{key}"), format!("/{BUCKET}"), format!("/{BUCKET}?list-type=2")] {
        let refused = send(&played, Method::GET, at(&path), &[], "").await;
        assert_eq!(
            (refused.status(), code(refused).await),
            (StatusCode::FORBIDDEN, "AccessDenied".to_owned()),
            "{path}"
        );
    }
    assert_eq!(simply(&played, Method::DELETE).await.status(), StatusCode::NO_CONTENT);
    let gone = send(&played, Method::GET, at(&format!("/cdn/{BUCKET}/{key}")), &[], "").await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_store_fails_slows_and_is_counted() {
    let played = Played::start().await;
    upload(&played).await;
    played.post("/_sandbox/faults", json!({ "provider": "s3", "endpoint": "head", "kind": "quota", "times": 1 })).await;
    assert_eq!(simply(&played, Method::HEAD).await.status(), StatusCode::OK);
    assert_eq!(simply(&played, Method::HEAD).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let lost = json!({ "provider": "s3", "endpoint": "delete", "kind": "lost", "times": 1 });
    played.post("/_sandbox/faults", lost).await;
    let url = Signer::of(&played).sign(&Method::DELETE, KEY, &[]);
    let unheard = played.http.delete(url).send().await;
    assert!(match unheard {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    });
    assert_eq!(simply(&played, Method::GET).await.status(), StatusCode::NOT_FOUND, "it was done");
    played.post("/_sandbox/faults", json!({ "provider": "s3", "endpoint": "get", "kind": "error", "times": 1 })).await;
    let slow = simply(&played, Method::GET).await;
    assert_eq!(
        (slow.status(), &slow.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(code(slow).await, "SlowDown");
    let stats: Value = played.get("/_sandbox/stats").await.json().await.unwrap();
    let of = |endpoint: &str| stats["endpoints"][format!("s3/{endpoint}")]["requests"].clone();
    assert_eq!([of("put"), of("head"), of("delete"), of("get")], [1, 2, 1, 2].map(|n| json!(n)));
}

#[tokio::test]
async fn the_model_looks_at_what_was_uploaded() {
    let played = Played::start().await;
    let photo = crate::PHOTOS[0];
    let put = Signer::of(&played).sign(&Method::PUT, "p.jpg", &[("content-type", photo.mime_type)]);
    let put = played.http.put(put).header("content-type", photo.mime_type).body(photo.bytes).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::OK);
    let asked = json!({ "image_url": Signer::of(&played).sign(&Method::GET, "p.jpg", &[]).as_str() });
    let at = format!("{}/classify", played.base);
    let seen = played.http.post(at).bearer_auth("sandbox-openai-key").json(&asked).send().await.unwrap();
    assert_eq!(seen.json::<Value>().await.unwrap()["category"], photo.category);
}

#[tokio::test]
async fn an_object_says_its_length() {
    let played = Played::start().await;
    let url = Signer::of(&played).sign(&Method::PUT, KEY, &[]);
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>("hello")]);
    let put = played.http.put(url).body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::LENGTH_REQUIRED);
    assert_eq!(code(put).await, "MissingContentLength");
}

#[tokio::test]
async fn a_bucket_is_called_as_nothing_else_is() {
    for name in ["google", "v1", "cdn", "_sandbox", "a", "Images", "a/b", "{key}"] {
        let options = Options { s3_buckets: vec![name.to_owned()], ..Options::default() };
        assert!(Sandbox::new(options).is_err(), "{name}");
    }
    let options = Options { s3_buckets: vec!["one".into(), "two".into(), "one".into()], ..Options::default() };
    let _routes = Sandbox::new(options).unwrap().router();
}
