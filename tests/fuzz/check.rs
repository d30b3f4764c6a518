//! `CheckRequest`s: nobody is admitted but by the gate's own rule, read by another decoder, and never without a token that
//! was signed where one is needed.

use std::{collections::HashMap, sync::Arc};

use coreloop_access::{Decision, Gate, HeaderView, Keys, Level, Metrics, Options, Policy, Revocations, gate::Parts};
use coreloop_auth::ext_authz::ExtAuthz;
use coreloop_auth_api::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    check_response::HttpResponse,
};
use coreloop_core::Clock;
use coreloop_transcode::router::{self, Match};
use futures::executor::block_on;
use prost::Message as _;

use crate::{
    drive::{FEWER, structured},
    mutate::{Random, mutate},
    token,
};

const WORDS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"OPTIONS",
    b"/api/v1/auth/me",
    b"/coreloop.auth.v1.AuthService/GetMe",
    b"authorization",
    b"Authorization",
    b"AUTHORIZATION",
    b"content-type",
    b"application/grpc",
    b"application/grpc-web",
    b"origin",
    b"access-control-request-method",
    b"accept-language",
    b"ko",
    b"upgrade",
    b"websocket",
    b"x-user-id",
    b"X_User-ID",
    b"x-session-id",
    b"Bearer ",
    b"bearer ",
    b",",
    b"%2e",
    b"//",
    b"\x0a",
    b"\x12",
    b"\x1a",
    b"\x22",
    b"\x6a",
    b"\x00",
    b"\xff",
    b"\x80\x80\x80",
    b"\x0a\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"?a=b",
    b"#",
    b"{",
];

/// Time stands still, so that tokens stay good.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(token::NOW).unwrap()
    }
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(Parts {
        options: Options { cache_entries: 1_000, ..token::issuer().options.clone() },
        clock: Arc::new(Still),
        policy: Policy::committed().unwrap(),
        keys: Keys::fixed(&token::issuer().jwks().unwrap()),
        revocations: Revocations::alone(Arc::new(Still)),
        metrics: Metrics::default(),
    }))
}

/// As Envoy writes one.
fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let all = [(":method", method), (":path", path), ("user-agent", "curl/8"), ("x-request-id", "7f8c")];
    let headers = all.iter().chain(headers).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest {
        method: method.into(),
        path: path.into(),
        host: "api.example".into(),
        scheme: "https".into(),
        headers,
        ..HttpRequest::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
}

fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for (index, route) in router::router().routes().iter().enumerate() {
        let bearer = format!("Bearer {}", token::signed()[index % token::signed().len()]);
        let path = route.template.fill(|_| "a".to_owned());
        let method = if route.http_method == "*" { "GET" } else { &route.http_method };
        corpus.push(request(method, &path, &[("authorization", &bearer), ("x-user-id", "forged")]));
        corpus.push(request(
            "POST",
            &route.rpc_path,
            &[("content-type", "application/grpc"), ("authorization", &bearer)],
        ));
        corpus.push(request(method, &path, &[("accept-language", "ko;q=0.5, en")]));
        if route.edge.socket {
            corpus.push(request(method, &path, &[("upgrade", "websocket"), ("connection", "upgrade")]));
        }
        corpus.push(request("OPTIONS", &path, &[("origin", "https://x.y"), ("access-control-request-method", method)]));
    }
    corpus.iter().map(prost::Message::encode_to_vec).collect()
}

/// Changes bytes, or the method, path or a header of the message read, so that lengths stay right.
fn change(message: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let read = if random.one_in(2) { None } else { CheckRequest::decode(message.as_slice()).ok() };
    let Some(mut read) = read else { return mutate(message, other, WORDS, random) };
    let Some(http) = read.attributes.as_mut().and_then(|all| all.request.as_mut()).and_then(|all| all.http.as_mut())
    else {
        return mutate(message, other, WORDS, random);
    };
    let text = |text: &mut String, random: &mut Random| {
        let mut bytes = std::mem::take(text).into_bytes();
        mutate(&mut bytes, other, WORDS, random);
        *text = String::from_utf8_lossy(&bytes).into_owned();
    };
    match random.below(6) {
        0 => text(&mut http.method, random),
        1 | 2 => text(&mut http.path, random),
        3 => {
            let mut names: Vec<String> = http.headers.keys().cloned().collect();
            names.sort_unstable();
            if let Some(value) = names.get(random.below(names.len().max(1))).and_then(|name| http.headers.get_mut(name))
            {
                text(value, random);
            }
        }
        4 => {
            let name = String::from_utf8_lossy(random.of(WORDS)).into_owned();
            http.headers.insert(name, String::from_utf8_lossy(random.of(WORDS)).into_owned());
        }
        _ => {
            let mut changed = random.of(&[&token::signed()[0], &token::signed()[6]]).clone().into_bytes();
            token::change(&mut changed, token::signed()[1].as_bytes(), random);
            http.headers.insert("authorization".into(), format!("Bearer {}", String::from_utf8_lossy(&changed)));
        }
    }
    *message = read.encode_to_vec();
}

/// The decision's RPC, as the answer tells it; none for a denial.
fn admitted(response: &CheckResponse) -> Option<String> {
    let code = response.status.as_ref().expect("an answer has a status").code;
    match response.http_response.as_ref().expect("an answer says which") {
        HttpResponse::OkResponse(_) => {
            assert_eq!(code, 0);
            let facts = &response.dynamic_metadata.as_ref().unwrap().fields;
            match facts["rpc"].kind.as_ref().unwrap() {
                prost_types::value::Kind::StringValue(rpc) => Some(rpc.clone()),
                other => panic!("{other:?}"),
            }
        }
        HttpResponse::DeniedResponse(denied) => {
            assert_ne!(code, 0);
            assert!(denied.status.as_ref().unwrap().code >= 400);
            None
        }
        HttpResponse::ErrorResponse(_) => panic!("an error response"),
    }
}

/// Who was admitted to `rpc` is so by the gate's rule over the message as the generated types read it.
fn is_right(gate: &Gate, message: &[u8], rpc: &str) {
    let policy = gate.policy().rpc(rpc).unwrap_or_else(|| panic!("admitted to {rpc}, which has no policy"));
    let Ok(read) = CheckRequest::decode(message) else { return };
    let Some(http) = read.attributes.and_then(|all| all.request).and_then(|all| all.http) else {
        panic!("admitted without a request")
    };
    let preflight = http.method == "OPTIONS";
    // The token comes with the first message of the socket that is asked for.
    let asks = |part: &[u8]| part.eq_ignore_ascii_case(b"websocket");
    let late = policy.late_token && http.method == "GET" && message.windows(9).any(asks);
    if !preflight && !late && !matches!(policy.level, Level::Public | Level::Optional) {
        let signed = |token: &String| message.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(token::signed().iter().any(signed), "admitted to {rpc} without a token that was signed");
    }
    if http.method != "POST" && !preflight {
        match router::router().find(&http.method, &http.path) {
            Match::Found { route, .. } => assert_eq!(route.rpc_path, rpc, "the edge routes elsewhere"),
            other => panic!("admitted to {rpc}, the edge routes nowhere: {other:?}"),
        }
    }
    let odd_names = http.headers.keys().any(|name| name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if http.header_map.is_none() && !odd_names {
        let headers: HashMap<String, String> = http.headers;
        match block_on(gate.decide_http(&http.method, &http.path, &HeaderView::Pairs(&headers))) {
            Decision::Allow(allowed) => assert_eq!(&*allowed.rpc.path, rpc),
            Decision::Deny(denied) => panic!("admitted to {rpc}, which the gate denies: {denied}"),
        }
    }
}

#[test]
fn check_requests() {
    let gate = gate();
    let service = ExtAuthz::new(Arc::clone(&gate));
    structured(("check requests", FEWER), corpus(), change, |message, _| {
        match block_on(service.check(message, None)) {
            Ok(answer) => {
                let response = CheckResponse::decode(answer).expect("an answer is a CheckResponse");
                admitted(&response).inspect(|rpc| is_right(&gate, message, rpc)).is_some()
            }
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::InvalidArgument);
                false
            }
        }
    });
    assert!(gate.remembered() <= 1_000);
}
