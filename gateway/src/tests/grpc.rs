//! gRPC-Web and native gRPC through the edge.

use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, Version};
use http_body_util::BodyExt as _;
use serde_json::json;
use tonic_types::StatusExt as _;

use super::ground::{Answer, PROBE, Scene, framed, message, ok, read, thing};

pub(super) fn call(rpc: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(rpc).header("content-type", kind).header("x-user-id", "forged").body(body.into()).unwrap()
}

fn get_frame() -> bytes::Bytes {
    framed(&message("coreloop.probe.v1.GetRequest", json!({"name": "n"})))
}

#[tokio::test]
async fn a_browser_call_is_translated_both_ways() {
    let scene = Scene::new();
    for (kind, text) in [("application/grpc-web+proto", false), ("application/grpc-web-text", true)] {
        scene.peer.answers(vec![thing("n", 5), ok()]);
        let frame = get_frame();
        let body = if text { BASE64_STANDARD.encode(&frame).into() } else { frame };
        let mut request = call(&format!("{PROBE}Get"), kind, body);
        request.headers_mut().insert("accept", kind.parse().unwrap());
        let answer = scene.ask(request).await;
        assert_eq!(answer.status, 200, "{kind}");
        let seen = scene.peer.last();
        assert_eq!(read("coreloop.probe.v1.GetRequest", &seen.message), json!({"name": "n"}));
        assert_eq!(seen.headers["content-type"], "application/grpc");
        assert!(!seen.headers.contains_key("x-user-id"));
        assert!(answer.header("content-type").unwrap().starts_with(kind.trim_end_matches("+proto")), "{kind}");
        let body = if text { decoded(answer.text()) } else { answer.body.to_vec() };
        let [(0, reply), (0x80, trailers)] = &frames(&body)[..] else { panic!("{kind}: {body:?}") };
        assert_eq!(read("coreloop.probe.v1.Thing", reply), json!({"name": "n", "size": 5}), "{kind}");
        assert_eq!(String::from_utf8_lossy(trailers).trim(), "grpc-status:0", "{kind}");
        assert!(answer.header("x-request-id").is_some());
    }
}

/// Text whose pieces are each padded by themselves, so that padding may stand in the middle: four letters at a time.
fn decoded(text: &str) -> Vec<u8> {
    let fours = text.as_bytes().chunks(4);
    fours.flat_map(|four| BASE64_STANDARD.decode(four).unwrap()).collect()
}

/// The frames of a reply of gRPC-Web: flag and content.
fn frames(mut body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((&[flag, a, b, c, d], rest)) = body.split_first_chunk() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        frames.push((flag, frame));
        body = rest;
    }
    assert!(body.is_empty(), "{body:?}");
    frames
}

#[tokio::test]
async fn native_grpc_passes_with_its_trailers() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("n", 5), ok()]);
    let mut request = call(&format!("{PROBE}Get"), "application/grpc", get_frame());
    *request.version_mut() = Version::HTTP_2;
    let body = scene.send(request).await.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert!(!scene.peer.last().headers.contains_key("x-user-id"));
}

#[tokio::test]
async fn health_and_reflection_are_the_edges_own() {
    let scene = Scene::new();
    for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        scene.peer.answers(vec![ok()]);
        let mut request = call(path, "application/grpc", framed(b""));
        *request.version_mut() = Version::HTTP_2;
        scene.send(request).await;
        assert_eq!(scene.peer.last().path, path);
    }
}

#[tokio::test]
async fn what_nobody_serves_and_what_the_mesh_keeps_is_refused() {
    let scene = Scene::new();
    let cases = [
        ("/coreloop.nobody.v1.Service/Get", "12"),
        ("/envoy.service.auth.v3.Authorization/Check", "12"),
        ("/nothing", "12"),
        ("/coreloop.probe.v1.ProbeService/Inner", "7"),
    ];
    for (path, code) in cases {
        let mut request = call(path, "application/grpc", get_frame());
        *request.version_mut() = Version::HTTP_2;
        assert_eq!(scene.ask(request).await.header("grpc-status"), Some(code), "{path}");
    }
    assert_eq!(scene.peer.calls(), 0);
}

/// A message of this length, framed: a name and no more.
fn put_frame(length: usize) -> bytes::Bytes {
    let frame = framed(&message("coreloop.probe.v1.PutRequest", json!({"name": "n".repeat(length - 3)})));
    assert_eq!(frame.len(), length + 5);
    frame
}

fn reason(answer: &Answer) -> String {
    let status = tonic::Status::from_header_map(&answer.headers).unwrap();
    status.get_error_details().error_info().unwrap().reason.clone()
}

#[tokio::test]
async fn a_browser_call_has_the_limit_of_its_rpc() {
    let scene = Scene::new();
    let put = format!("{PROBE}Put");
    let bodies = |length| {
        let frame = put_frame(length);
        let text = BASE64_STANDARD.encode(&frame).into();
        [("application/grpc-web+proto", frame), ("application/grpc-web-text", text)]
    };
    for (kind, body) in bodies(2048) {
        scene.peer.answers(vec![thing("n", 5), ok()]);
        let answer = scene.ask(call(&put, kind, body)).await;
        assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, None), "{kind}");
    }
    for (kind, body) in bodies(2052) {
        // Stated, and found out while reading.
        let mut stated = call(&put, kind, body.clone());
        stated.headers_mut().insert("content-length", body.len().into());
        let parts: Vec<_> = body.chunks(500).map(bytes::Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
        let chunked = call(&put, kind, Body::from_stream(futures::stream::iter(parts)));
        for request in [stated, chunked] {
            let answer = scene.ask(request).await;
            let said = (answer.status.as_u16(), answer.header("grpc-status"), reason(&answer));
            assert_eq!(said, (200, Some("3"), "BODY_TOO_LARGE".to_owned()), "{kind}");
        }
    }
    assert_eq!(scene.peer.calls(), 2);
}

#[tokio::test]
async fn a_browser_call_over_the_setting_is_refused_unread() {
    let scene = Scene::new();
    let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let mut request = call(&format!("{PROBE}Get"), "application/grpc-web", Body::from_stream(never));
    request.headers_mut().insert("content-length", "1048582".parse().unwrap());
    let answer = scene.ask(request).await;
    assert_eq!((answer.header("grpc-status"), reason(&answer).as_str()), (Some("3"), "BODY_TOO_LARGE"));
    assert_eq!(scene.peer.calls(), 0);
}

#[tokio::test]
async fn grpc_over_http1_and_odd_spellings_are_415() {
    let scene = Scene::new();
    for kind in ["application/grpc", "application/grpc+json", "application/grpcx"] {
        assert_eq!(scene.ask(call(&format!("{PROBE}Get"), kind, get_frame())).await.status, 415, "{kind}");
    }
    let get =
        Request::get(format!("{PROBE}Get")).header("content-type", "application/grpc-web").body(Body::empty()).unwrap();
    assert_eq!(scene.ask(get).await.status, 405);
}
