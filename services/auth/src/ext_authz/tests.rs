//! The service through the generated client, and the scan against the generated types.

use std::{collections::HashMap, sync::LazyLock};

use coreloop_access::{
    Cors, CorsOptions, Keys, Metrics, Options, Policy, Revocations, Role,
    address::TrustedProxies,
    gate::Parts,
    testing::{Expect, Issuer, bad_tokens},
};
use coreloop_auth_api::envoy::{
    config::core::v3::{
        Address, HeaderMap, HeaderValue, SocketAddress, address, header_value_option::HeaderAppendAction,
    },
    service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
        attribute_context::{HttpRequest, Peer, Request},
        authorization_client::AuthorizationClient,
        check_response::HttpResponse,
    },
};
use coreloop_core::{Clock as _, SystemClock};
use coreloop_limit::Limiter;
use proptest::prelude::*;
use prost::Message as _;
use prost_types::value::Kind;

use super::{ExtAuthz, request::Scan};
use std::sync::Arc;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new().unwrap());

const ME: &str = "/api/v1/auth/me";

fn service() -> ExtAuthz {
    ExtAuthz::new(Arc::new(coreloop_access::Gate::new(Parts {
        options: Options { cache_entries: 1_000, ..Options::default() },
        clock: Arc::new(SystemClock),
        policy: Policy::committed().unwrap(),
        keys: Keys::fixed(&ISSUER.jwks().unwrap()),
        revocations: Revocations::alone(Arc::new(SystemClock)),
        metrics: Metrics::default(),
    })))
}

/// As Envoy writes one.
fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let mut all: HashMap<String, String> = [
        (":method", method),
        (":path", path),
        (":authority", "api.example"),
        (":scheme", "https"),
        ("user-agent", "curl/8"),
        ("x-request-id", "7f8c"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .into_iter()
    .chain(headers.iter().copied())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    all.retain(|_, value| !value.is_empty());
    let socket = SocketAddress { address: "10.0.0.9".into(), ..SocketAddress::default() };
    let peer =
        Peer { address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }), ..Peer::default() };
    let http = HttpRequest {
        id: "123".into(),
        method: method.into(),
        headers: all,
        path: path.into(),
        host: "api.example".into(),
        scheme: "https".into(),
        protocol: "HTTP/2".into(),
        size: -1,
        ..HttpRequest::default()
    };
    let request = Request { time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }), http: Some(http) };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer.clone()),
            destination: Some(peer),
            request: Some(request),
            ..AttributeContext::default()
        }),
    }
}

async fn check(service: &ExtAuthz, request: CheckRequest) -> CheckResponse {
    AuthorizationClient::new(service.clone()).check(request).await.unwrap().into_inner()
}

fn admitted(response: &CheckResponse) -> &OkHttpResponse {
    assert_eq!(response.status.as_ref().unwrap().code, 0);
    match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => ok,
        other => panic!("not admitted: {other:?}"),
    }
}

fn refused(response: &CheckResponse) -> &DeniedHttpResponse {
    assert_ne!(response.status.as_ref().unwrap().code, 0);
    match response.http_response.as_ref().unwrap() {
        HttpResponse::DeniedResponse(denied) => denied,
        other => panic!("not refused: {other:?}"),
    }
}

fn set(headers: &[coreloop_auth_api::envoy::config::core::v3::HeaderValueOption]) -> HashMap<String, String> {
    headers
        .iter()
        .map(|option| {
            assert_eq!(option.append_action, HeaderAppendAction::OverwriteIfExistsOrAdd as i32);
            let header = option.header.clone().unwrap();
            (header.key, header.value)
        })
        .collect()
}

fn facts(response: &CheckResponse) -> HashMap<String, String> {
    let fields = response.dynamic_metadata.clone().unwrap().fields.into_iter();
    fields
        .map(|(name, value)| match value.kind {
            Some(Kind::StringValue(text)) => (name, text),
            other => panic!("{name}: {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_user_is_admitted_and_named_by_us_alone() {
    let service = service();
    let claims = ISSUER.access(SystemClock.unix(), &[Role::Standard, Role::Vip]);
    let bearer = format!("Bearer {}", ISSUER.sign(&claims).unwrap());
    let forged = [
        ("authorization", bearer.as_str()),
        ("x-user-id", "someone"),
        ("x-user-name", "root"),
        ("x_user_id", "someone"),
        ("X-USER-ID", "someone"),
        ("x-session_id", "another"),
        ("x-token-jti", "another"),
        ("x-forwarded-for", "1.2.3.4"),
    ];
    let response = check(&service, request("GET", ME, &forged)).await;
    let ok = admitted(&response);
    let headers = set(&ok.headers);
    assert_eq!(headers["x-user-id"], claims.user_id().unwrap().to_string());
    assert_eq!(headers["x-user-roles"], "STANDARD,VIP");
    assert_eq!(headers["x-session-id"], claims.session_id().unwrap().to_string());
    assert_eq!(headers["x-token-jti"], claims.id.to_string());
    assert_eq!(headers.len(), 4);
    // Envoy removes after it sets: what is set must not be among the removed.
    let mut removed = ok.headers_to_remove.clone();
    removed.sort();
    assert_eq!(removed, ["X-USER-ID", "x-session_id", "x-user-name", "x_user_id"]);
    let facts = facts(&response);
    assert_eq!(facts["user_id"], headers["x-user-id"]);
    assert_eq!(facts["jti"], headers["x-token-jti"]);
    assert_eq!(facts["rpc"], "/coreloop.auth.v1.AuthService/GetMe");
    assert_eq!(facts["decision"], "allow");
}

#[tokio::test]
async fn an_anonymous_call_loses_every_identity_header() {
    let response = check(&service(), request("POST", "/api/v1/auth/login", &[("x-user-id", "someone")])).await;
    let ok = admitted(&response);
    assert!(ok.headers.is_empty());
    for name in ["x-user-id", "x-user-roles", "x-session-id", "x-token-jti"] {
        assert!(ok.headers_to_remove.iter().any(|removed| removed == name), "{name}");
    }
    assert!(!ok.headers_to_remove.iter().any(|name| name == "traceparent"));
}

#[tokio::test]
async fn a_denial_is_the_error_that_the_edge_gives() {
    let service = service();
    let cases = [
        ("GET", ME, "", 401, 16, "TOKEN_MISSING"),
        ("GET", ME, "Bearer x.y.z", 401, 16, "TOKEN_INVALID"),
        ("GET", ME, "Basic eDp5", 401, 16, "TOKEN_INVALID"),
        ("GET", "/api/v1/auth/nothing", "", 404, 5, "ROUTE_NOT_FOUND"),
        ("GET", "//api/v1/auth/me", "", 404, 5, "ROUTE_NOT_FOUND"),
        ("PUT", ME, "", 405, 12, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v1/metrics", "user", 403, 7, "ROLE_REQUIRED"),
    ];
    let user = format!("Bearer {}", ISSUER.sign(&ISSUER.access(SystemClock.unix(), &[Role::Vip])).unwrap());
    for (method, path, authorization, http, code, reason) in cases {
        let authorization = if authorization == "user" { user.as_str() } else { authorization };
        let response = check(&service, request(method, path, &[("authorization", authorization)])).await;
        let denied = refused(&response);
        let headers = set(&denied.headers);
        assert_eq!(denied.status.unwrap().code, http, "{method} {path}");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers.contains_key("www-authenticate"), http == 401);
        assert_eq!(headers.contains_key("allow"), http == 405);
        let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["details"][0]["reason"], reason, "{body}");
        assert_eq!(body["details"][0]["domain"], "coreloop", "{body}");
        assert_eq!(facts(&response)["decision"], "deny");
        assert_eq!(facts(&response)["reason"], reason);
    }
}

#[tokio::test]
async fn a_grpc_denial_becomes_a_grpc_status() {
    let grpc = ("content-type", "application/grpc");
    let response = check(&service(), request("POST", "/coreloop.auth.v1.AuthService/GetMe", &[grpc])).await;
    let denied = refused(&response);
    let headers = set(&denied.headers);
    assert_eq!(denied.status.unwrap().code, 401);
    assert_eq!(headers["grpc-status"], "16");
    assert!(!denied.body.contains('{'), "the body becomes grpc-message: {}", denied.body);
    let details =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, &headers["grpc-status-details-bin"]);
    let status = tonic_types::pb::Status::decode(details.unwrap().as_slice()).unwrap();
    assert_eq!(status.code, 16);
    assert!(!status.details.is_empty());
}

#[tokio::test]
async fn a_denial_can_be_read_by_an_admitted_page_and_depends_on_the_origin_for_all() {
    const APP: &str = "https://app.example.com";
    let options = CorsOptions { origins: vec![APP.to_owned()], ..CorsOptions::default() };
    let service = service().with_cors(Cors::new(&options));
    for (origin, readable) in [(APP, true), ("https://evil.example", false), ("", false)] {
        let response = check(&service, request("GET", ME, &[("origin", origin)])).await;
        let headers = set(&refused(&response).headers);
        assert_eq!(headers["vary"], "origin", "{origin:?}");
        assert_eq!(
            headers.get("access-control-allow-origin").map(String::as_str),
            readable.then_some(APP),
            "{origin:?}"
        );
        assert_eq!(headers.contains_key("access-control-expose-headers"), readable, "{origin:?}");
    }
}

/// Each denial costs the client's address, as the proxy that asks tells it. What one asks that nobody trusts costs nothing:
/// all its clients would share its address.
#[tokio::test]
async fn denials_use_up_the_budget_of_the_address_that_they_are_of() {
    let options = coreloop_limit::Options { anonymous_per_minute: 3, ..coreloop_limit::Options::default() };
    let limiter = Arc::new(Limiter::new(&options, None, 1));
    let trusted = TrustedProxies::parse(&["10.0.0.0/8"]).unwrap();
    let service = service().with_budget(limiter, trusted);
    let ask = async |asker: &str, path: &str, headers: &[(&str, &str)]| {
        let message = request("GET", path, headers).encode_to_vec();
        CheckResponse::decode(service.check(&message, Some(asker.parse().unwrap())).await.unwrap()).unwrap()
    };
    let status = |response: &CheckResponse| refused(response).status.unwrap().code;
    let by = |client| [("x-forwarded-for", client)];
    let mut heard = Vec::new();
    for path in [ME, "/api/v1/auth/nothing", ME, ME] {
        heard.push(status(&ask("10.0.0.1", path, &by("203.0.113.5, 10.0.0.7")).await));
    }
    assert_eq!(heard, [401, 404, 401, 429]);
    let limited = ask("10.0.0.1", ME, &[("x-envoy-external-address", "203.0.113.5")]).await;
    let headers = set(&refused(&limited).headers);
    assert_eq!((status(&limited), headers["ratelimit-limit"].as_str()), (429, "3"));
    assert_eq!(headers["ratelimit-remaining"], "0");
    assert!(headers["retry-after"].parse::<u64>().unwrap() >= 1 && headers.contains_key("ratelimit-reset"));
    assert_eq!(facts(&limited)["reason"], "RATE_LIMITED");
    let body: serde_json::Value = serde_json::from_str(&refused(&limited).body).unwrap();
    let mut reasons = body["details"].as_array().unwrap().iter().filter_map(|detail| detail["reason"].as_str());
    assert_eq!((&body["code"], reasons.next()), (&8.into(), Some("RATE_LIMITED")));
    assert_eq!(status(&ask("10.0.0.1", ME, &by("203.0.113.6")).await), 401, "another address");
    for _ in 0..5 {
        let heard = status(&ask("203.0.113.9", ME, &by("203.0.113.5")).await);
        assert_eq!(heard, 401, "a stranger's word does not count, nor do its questions");
    }
    let claims = ISSUER.access(SystemClock.unix(), &[Role::Standard]);
    let bearer = format!("Bearer {}", ISSUER.sign(&claims).unwrap());
    let good = [("authorization", bearer.as_str()), ("x-forwarded-for", "203.0.113.5")];
    admitted(&ask("10.0.0.1", ME, &good).await);
}

#[tokio::test]
async fn no_bad_token_passes() {
    let service = service();
    for bad in bad_tokens(&ISSUER, SystemClock.unix()).unwrap() {
        // A CheckRequest is text; what is none is told by Envoy as raw bytes.
        let mut request = request("GET", ME, &[]);
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        let raw = HeaderValue {
            key: "authorization".into(),
            raw_value: [b"Bearer ", bad.token.as_slice()].concat(),
            ..HeaderValue::default()
        };
        http.header_map = Some(HeaderMap { headers: vec![raw] });
        let response = check(&service, request).await;
        let expected = if bad.expect == Expect::RoleRequired { 403 } else { 401 };
        assert_eq!(refused(&response).status.unwrap().code, expected, "{}", bad.name);
    }
    for (name, token) in ISSUER.good_tokens(SystemClock.unix()).unwrap() {
        let response = check(&service, request("GET", ME, &[("authorization", &format!("Bearer {token}"))])).await;
        assert!(matches!(response.http_response, Some(HttpResponse::OkResponse(_))), "{name}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused_in_either_form() {
    let service = service();
    let bearer = format!("Bearer {}", ISSUER.sign(&ISSUER.access(SystemClock.unix(), &[Role::Standard])).unwrap());
    let joined = format!("{bearer},{bearer}");
    let response = check(&service, request("GET", ME, &[("authorization", &joined)])).await;
    assert_eq!(refused(&response).status.unwrap().code, 401);
    let mut twice = request("GET", ME, &[]);
    let header = HeaderValue { key: "authorization".into(), raw_value: bearer.into_bytes(), ..HeaderValue::default() };
    let http = twice.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.header_map = Some(HeaderMap { headers: vec![header.clone(), header] });
    assert_eq!(refused(&check(&service, twice).await).status.unwrap().code, 401);
}

#[tokio::test]
async fn what_is_no_check_request_is_an_error_and_other_methods_are_unknown() {
    let service = service();
    for bad in [&[0xff][..], &[0x0a, 0x05, 0x01], &[0x0b], &[0x08, 0x01][..1]] {
        assert_eq!(service.check(bad, None).await.unwrap_err().code(), tonic::Code::InvalidArgument, "{bad:?}");
    }
    // Nothing in it: no path, so nothing to admit.
    let empty = CheckResponse::decode(service.check(&[], None).await.unwrap()).unwrap();
    refused(&empty);
    let mut other = tonic::client::Grpc::new(service);
    let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Other");
    let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
    let status = other.unary(tonic::Request::new(CheckRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Scan::of(&bytes);
    }

    /// Whatever prost reads, the scan reads alike; what the scan refuses, prost refuses.
    #[test]
    fn the_scan_agrees_with_the_generated_types(
        method in "[A-Z]{0,6}",
        path in "\\PC{0,40}",
        headers in proptest::collection::hash_map("[a-zA-Z-]{1,12}|authorization|content-type|origin", "\\PC{0,30}", 0..8),
        broken in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let pairs: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut bytes = request(&method, &path, &pairs).encode_to_vec();
        if let Some((at, to)) = broken {
            // prost reads a map entry (headers = 3, context_extensions = 10) whatever its wire type says; the format, Envoy's
            // library and the scan take a field of another wire type for an unknown one.
            prop_assume!(!(matches!(to >> 3, 3 | 10) && to & 7 != 2));
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let Ok(decoded) = CheckRequest::decode(bytes.as_slice()) else { return Ok(()) };
        let Some(scan) = Scan::of(&bytes) else {
            // Stricter in one point: fields that matter must have their wire type, where prost fails too.
            return Err(TestCaseError::fail("prost reads it and the scan does not"));
        };
        let http = decoded.attributes.and_then(|it| it.request).and_then(|it| it.http).unwrap_or_default();
        prop_assert_eq!(scan.path(), Some((http.method.as_str(), http.path.as_str())));
        if !scan.picked.authorization_twice && http.header_map.is_none() {
            let found = scan.picked.authorization.and_then(|value| std::str::from_utf8(value).ok());
            let spelt = http.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).count();
            if spelt <= 1 {
                let expected = http.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
                prop_assert_eq!(found, expected.map(|(_, value)| value.as_str()));
            }
            prop_assert_eq!(scan.picked.content_type, http.headers.get("content-type").map(String::as_str));
        }
    }
}
