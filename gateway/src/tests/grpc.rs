//! gRPC-Web and native gRPC through the edge.

use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, Version};
use http_body_util::BodyExt as _;
use serde_json::json;

use super::ground::{PROBE, Scene, framed, message, ok, read, thing};

fn call(rpc: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
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
        let encoded: Vec<u8> = match text {
            // Each frame is encoded on its own, so padding may stand in the middle.
            true => answer
                .text()
                .split_inclusive("==")
                .flat_map(|p| BASE64_STANDARD.decode(p).unwrap_or_default())
                .collect(),
            false => answer.body.to_vec(),
        };
        assert!(!encoded.is_empty());
        if !text {
            assert!(String::from_utf8_lossy(&encoded).contains("grpc-status:0"), "{encoded:?}");
        }
        assert!(answer.header("x-request-id").is_some());
    }
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

#[tokio::test]
async fn a_browser_call_over_the_limit_is_refused_unread() {
    let scene = Scene::new();
    let mut request = call(&format!("{PROBE}Get"), "application/grpc-web", get_frame());
    request.headers_mut().insert("content-length", "1048577".parse().unwrap());
    assert_eq!(scene.ask(request).await.header("grpc-status"), Some("3"));
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
