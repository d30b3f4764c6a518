//! Unary REST calls.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use coreloop_core::{Kind, Problem, Reason};
use coreloop_service::{Call, RouteName, Target, Trace};
use http::{Method, Request};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use tonic::Status;

use super::ground::{PROBE, Scene, Step, failed, framed, headers, ok, read, thing};
use crate::Options;

pub(super) fn post(target: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(target).header("content-type", "application/json").body(body.into()).unwrap()
}

#[tokio::test]
async fn a_call_goes_to_the_module_of_its_package_and_comes_back_as_json() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a b", 3), ok()]);
    let mut request = Request::get("/probe/a%20b").body(Body::empty()).unwrap();
    request.headers_mut().extend(headers(&[
        ("authorization", "Bearer t"),
        ("x-user-id", "forged"),
        ("user-agent", "curl"),
    ]));
    let answer = scene.ask(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"name": "a b", "size": 3}));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let seen = scene.peer.last();
    assert_eq!(seen.path, "/coreloop.probe.v1.ProbeService/Get");
    assert_eq!(read("coreloop.probe.v1.GetRequest", &seen.message), json!({"name": "a b"}));
    assert_eq!(seen.headers["authorization"], "Bearer t");
    assert_eq!(seen.headers["grpcgateway-user-agent"], "curl");
    assert_eq!(seen.headers["grpc-timeout"], "10000000u");
    assert_eq!(seen.headers["te"], "trailers");
    assert_eq!(seen.headers["x-request-id"].to_str().unwrap(), answer.header("x-request-id").unwrap());
    assert!(!seen.headers.contains_key("x-user-id"));
}

#[tokio::test]
async fn the_call_it_runs_as_names_address_trace_and_id() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), ok()]);
    let trace = Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    let id = "id-of-the-call".parse().unwrap();
    let call = Arc::new(Call::new(id, trace, Arc::new(Target::default()), "203.0.113.7".parse().ok()));
    let mut request = Request::get("/probe/a").body(Body::empty()).unwrap();
    let forged = [("x-forwarded-for", "6.6.6.6"), ("x-request-id", "other-id"), ("traceparent", "00-1-2-01")];
    request.headers_mut().extend(headers(&forged));
    let response = Arc::clone(&call).scope(scene.send(request)).await;
    assert_eq!(call.path(), "/probe/{name}");
    assert_eq!(response.headers()["x-request-id"], "id-of-the-call");
    assert_eq!(response.extensions().get(), Some(&RouteName("/probe/{name}".into())));
    let seen = scene.peer.last().headers;
    assert_eq!(seen["x-request-id"], "id-of-the-call");
    assert_eq!(seen["x-forwarded-for"], "203.0.113.7");
    assert_eq!(seen["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
}

#[tokio::test]
async fn the_name_asked_for_is_told_by_either_http() {
    let scene = Scene::new();
    for (target, host) in [("https://api.example.com/probe/a", None), ("/probe/a", Some("api.example.com"))] {
        scene.peer.answers(vec![thing("a", 1), ok()]);
        let mut request = Request::get(target).header("x-forwarded-host", "evil.example").body(Body::empty()).unwrap();
        request.headers_mut().extend(host.map(|host| (http::header::HOST, host.parse().unwrap())));
        assert_eq!(scene.ask(request).await.status, 200);
        assert_eq!(scene.peer.last().headers["x-forwarded-host"], "api.example.com", "{target}");
    }
}

#[tokio::test]
async fn a_known_etag_answers_304_without_a_body() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), ok()]);
    scene.peer.answers(vec![thing("a", 1), ok()]);
    let first = scene.get("/probe/a").await;
    assert_eq!(first.header("cache-control"), Some("public, max-age=60"));
    let tag = first.header("etag").unwrap();
    let again = scene.ask(Request::get("/probe/a").header("if-none-match", tag).body(Body::empty()).unwrap()).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), Some(tag));
}

#[tokio::test]
async fn a_deprecated_binding_says_so_and_is_counted() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), ok()]);
    let old = scene.get("/old/a").await;
    assert_eq!(old.header("deprecation"), Some("@1795219200"));
    assert_eq!(old.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"));
    assert_eq!(old.header("link"), Some("</probe/%7Bname%7D>; rel=\"successor-version\""));
    scene.peer.answers(vec![thing("a", 1), ok()]);
    assert_eq!(scene.get("/probe/a").await.header("deprecation"), None);
    let metrics = scene.metrics.encode();
    let counted =
        metrics.lines().find(|line| line.contains("deprecated_requests_total") && line.contains("/old/{name}"));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
}

#[tokio::test]
async fn a_deprecated_rpc_names_its_successor_by_every_protocol() {
    let scene = Scene::new();
    let mut native = super::grpc::call(&format!("{PROBE}Former"), "application/grpc", framed(b""));
    *native.version_mut() = http::Version::HTTP_2;
    let web = super::grpc::call(&format!("{PROBE}Former"), "application/grpc-web", framed(b""));
    for request in [Request::get("/former/a").body(Body::empty()).unwrap(), native, web] {
        scene.peer.answers(vec![thing("a", 1), ok()]);
        let answer = scene.ask(request).await;
        assert_eq!((answer.header("deprecation"), answer.header("sunset")), (Some("@1795219200"), None));
        assert_eq!(answer.header("link"), Some("</probe/%7Bname%7D>; rel=\"successor-version\""));
    }
    let metrics = scene.metrics.encode();
    for (method, route, calls) in [("GET", "/former/{name}", 1), ("gRPC", "/coreloop.probe.v1.ProbeService/Former", 2)]
    {
        let counted = format!("method=\"{method}\",route=\"{route}\"}} {calls}");
        assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    }
}

#[tokio::test]
async fn post_takes_status_and_idempotency_key_from_its_options() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("n", 1), ok()]);
    let mut request = post("/probe", r#"{"name":"n"}"#);
    request.headers_mut().extend(headers(&[("idempotency-key", "k-1"), ("x-signature", "s")]));
    let answer = scene.ask(request).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let seen = scene.peer.last();
    assert_eq!(read("coreloop.probe.v1.PutRequest", &seen.message), json!({"name": "n", "key": "k-1"}));
    assert_eq!(seen.headers["x-signature"], "s");
}

#[tokio::test]
async fn redirects_carry_their_target() {
    let scene = Scene::new();
    let target = super::ground::message("coreloop.probe.v1.Target", json!({"location": "app://open?code=1"}));
    scene.peer.answers(vec![Step::Message(target), ok()]);
    let answer = scene.get("/go/x").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("app://open?code=1")));
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_a_wrong_method() {
    let scene = Scene::new();
    let none = scene.get("/nothing").await;
    assert_eq!(
        (none.status.as_u16(), none.reason().as_str(), none.json()["code"].as_i64()),
        (404, "ROUTE_NOT_FOUND", Some(5))
    );
    let wrong = scene.ask(Request::delete("/probe/a").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.header("allow"), wrong.json()["code"].as_i64()),
        (405, Some("GET"), Some(12))
    );
    for odd in ["//probe/a", "/probe//a", "/probe/a/", "/PROBE/a", "/probe%2Fa", "/x/../probe/a", "/probe/%2e%2e"] {
        assert_eq!(scene.get(odd).await.status, 404, "{odd}");
    }
    assert_eq!(scene.get("/probe/%zz").await.status, 400);
    assert_eq!(scene.peer.calls(), 0);
    assert!(scene.metrics.encode().contains("coreloop_edge_refused_total{reason=\"ROUTE_NOT_FOUND\"}"));
}

#[tokio::test]
async fn a_stated_length_over_the_limit_is_refused_unread() {
    let scene = Scene::new();
    let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
    let mut request = post("/probe", Body::new(never));
    request.headers_mut().extend(headers(&[("content-length", "2049")]));
    let answer = scene.ask(request).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str(), answer.json()["code"].as_i64()),
        (413, "BODY_TOO_LARGE", Some(3))
    );
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_is_refused_while_reading() {
    let scene = Scene::new();
    let chunks =
        futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 600]))));
    let answer = scene.ask(post("/probe", Body::new(StreamBody::new(chunks)))).await;
    assert_eq!((answer.status.as_u16(), scene.peer.calls()), (413, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let scene = Scene::new();
    let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
    let answer = scene.ask(post("/probe", Body::new(never))).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_i64()), (408, Some(4)));
}

#[tokio::test]
async fn unreadable_bodies_get_their_status() {
    let scene = Scene::new();
    let deep = format!("{}{}", "[".repeat(5_00), "]".repeat(500));
    for bad in ["{", "[]", "\"x\"", r#"{"name":}"#, r#"{"name":1}"#, deep.as_str()] {
        let answer = scene.ask(post("/probe", bad.to_owned())).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_i64()), (400, Some(3)), "{bad}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml"] {
        let request = Request::post("/probe").header("content-type", kind).body(Body::from("{}")).unwrap();
        assert_eq!(scene.ask(request).await.status, 415, "{kind}");
    }
    let mut packed = post("/probe", "{}");
    packed.headers_mut().extend(headers(&[("content-encoding", "gzip")]));
    assert_eq!(scene.ask(packed).await.status, 415);
    assert_eq!(scene.peer.calls(), 0);
}

#[tokio::test]
async fn unknown_fields_are_ignored_unless_the_setting_refuses_them() {
    let strict = Options { strict_unknown_fields: true, ..Options::default() };
    for (options, status) in [(Options::default(), 201), (strict, 400)] {
        let scene = Scene::with(options);
        scene.peer.answers(vec![thing("n", 1), ok()]);
        assert_eq!(scene.ask(post("/probe", r#"{"name":"n","colour":"red"}"#)).await.status, status);
    }
}

#[tokio::test]
async fn long_paths_and_headers_are_refused() {
    let scene = Scene::new();
    let long = scene.get(&format!("/probe/{}", "a".repeat(9000))).await;
    assert_eq!((long.status.as_u16(), long.reason().as_str()), (414, "HEADERS_TOO_LARGE"));
    let fat = Request::get("/probe/a").header("x-fat", "b".repeat(17_000)).body(Body::empty()).unwrap();
    assert_eq!(scene.ask(fat).await.status, 431);
}

#[tokio::test]
async fn a_status_becomes_json_in_the_callers_language() {
    let scene = Scene::new();
    let limited = Problem::common(Reason::RateLimited, "too many").retry_after(Duration::from_secs(7));
    let mut status = Status::from(limited);
    status.metadata_mut().insert("ratelimit-limit", "5".parse().unwrap());
    scene.peer.answers(vec![failed(status)]);
    let request = Request::get("/probe/a").header("accept-language", "ko").body(Body::empty()).unwrap();
    let answer = scene.ask(request).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, Some("7")));
    assert_eq!(answer.header("ratelimit-limit"), Some("5"));
    assert!(answer.text().contains("요청이 너무 많습니다"), "{}", answer.text());
}

#[tokio::test]
async fn internal_text_stays_inside() {
    let scene = Scene::new();
    scene.peer.answers(vec![failed(Status::unknown("panicked at src/x.rs: 10.0.0.4"))]);
    let answer = scene.get("/probe/a").await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (500, "INTERNAL"));
    assert!(!answer.text().contains("10.0.0.4"));
}

#[tokio::test]
async fn a_reply_that_breaks_the_protocol_is_a_fault() {
    for steps in [vec![ok()], vec![thing("a", 1)], vec![thing("a", 1), thing("b", 1), ok()]] {
        let scene = Scene::new();
        scene.peer.answers(steps);
        assert_eq!(scene.get("/probe/a").await.status, 500);
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_has_a_deadline() {
    let scene = Scene::new();
    scene.peer.answers(vec![Step::Hang]);
    let answer = scene.get("/probe/a").await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (504, "DEADLINE_EXCEEDED"));
    scene.peer.answers(vec![Step::Hang]);
    let request = Request::get("/probe/a").header("grpc-timeout", "50m").body(Body::empty()).unwrap();
    assert_eq!(scene.ask(request).await.status, 504);
    assert_eq!(scene.peer.last().headers["grpc-timeout"], "50000u");
    let request = Request::get("/probe/a").header("grpc-timeout", "soon").body(Body::empty()).unwrap();
    assert_eq!(scene.ask(request).await.status, 400);
}

#[tokio::test]
async fn trailers_go_to_those_who_read_them() {
    let scene = Scene::new();
    let end = || Step::Trailers(headers(&[("grpc-status", "0"), ("cost", "3")]));
    scene.peer.answers_with(headers(&[("shop", "7")]), vec![thing("a", 1), end()]);
    let plain = scene.get("/probe/a").await;
    assert_eq!((plain.header("grpc-metadata-shop"), plain.trailers.is_none()), (Some("7"), true));
    scene.peer.answers(vec![thing("a", 1), end()]);
    let asked = scene.ask(Request::get("/probe/a").header("te", "trailers").body(Body::empty()).unwrap()).await;
    assert_eq!(asked.trailers.unwrap()["grpc-trailer-cost"], "3");
    assert_eq!(asked.headers["trailer"], "grpc-trailer-cost");
}

#[tokio::test]
async fn large_replies_are_compressed_for_those_who_accept_it() {
    let scene = Scene::new();
    for (accept, expected) in [("gzip", Some("gzip")), ("zstd, gzip", Some("zstd")), ("br", None)] {
        scene.peer.answers(vec![thing(&"a".repeat(4000), 1), ok()]);
        let request = Request::get("/probe/a").header("accept-encoding", accept).body(Body::empty()).unwrap();
        let answer = scene.ask(request).await;
        assert_eq!(answer.header("content-encoding"), expected, "{accept}");
        assert_eq!(answer.body.len() < 1000, expected.is_some(), "{accept}");
    }
    scene.peer.answers(vec![thing("small", 1), ok()]);
    let request = Request::get("/probe/a").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    assert_eq!(scene.ask(request).await.header("content-encoding"), None);
}

#[tokio::test]
async fn a_kind_is_answered_with_its_http_status() {
    let kinds = [
        (Kind::InvalidArgument, 400),
        (Kind::Unauthenticated, 401),
        (Kind::PermissionDenied, 403),
        (Kind::NotFound, 404),
        (Kind::AlreadyExists, 409),
        (Kind::FailedPrecondition, 400),
        (Kind::Aborted, 409),
        (Kind::ResourceExhausted, 429),
        (Kind::Unimplemented, 501),
        (Kind::Unavailable, 503),
        (Kind::DeadlineExceeded, 504),
        (Kind::Cancelled, 499),
        (Kind::Internal, 500),
    ];
    let scene = Scene::new();
    for (kind, status) in kinds {
        scene.peer.answers(vec![failed(Problem::new(kind, "probe", "SOME_REASON", "text"))]);
        let answer =
            scene.ask(Request::builder().method(Method::GET).uri("/probe/a").body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (status, "SOME_REASON"), "{kind:?}");
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
    }
}
