//! What the edge refuses without a call: counted by reason, and in the budget of the caller's address.

use axum::body::Body;
use http::{Request, Version};

use super::{
    ground::{BUDGET, PROBE, Scene, framed, ok, thing},
    rest::post,
};

const EVE: &str = "203.0.113.7";

fn get(target: &str) -> Request<Body> {
    Request::get(target).body(Body::empty()).unwrap()
}

fn grpc(rpc: &str) -> Request<Body> {
    let mut request =
        Request::post(rpc).header("content-type", "application/grpc").body(Body::from(framed(b""))).unwrap();
    *request.version_mut() = Version::HTTP_2;
    request
}

/// Every way to be refused, with the reason it is counted by.
fn refusals() -> Vec<(Request<Body>, &'static str)> {
    let with = |mut request: Request<Body>, name: &'static str, value: &str| {
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    vec![
        (get("/nothing"), "ROUTE_NOT_FOUND"),
        (get(&format!("/{}", "x".repeat(9000))), "HEADERS_TOO_LARGE"),
        (get("/probe/%zz"), "MALFORMED_REQUEST"),
        (Request::delete("/probe/a").body(Body::empty()).unwrap(), "METHOD_NOT_ALLOWED"),
        (post("/probe", "x".repeat(2049)), "BODY_TOO_LARGE"),
        (post("/probe", "{"), "MALFORMED_REQUEST"),
        (post("/probe", r#"{"name":1}"#), "VALIDATION_FAILED"),
        (with(post("/probe", "{}"), "content-type", "text/plain"), "UNSUPPORTED_MEDIA_TYPE"),
        (with(get("/probe/a"), "grpc-timeout", "soon"), "MALFORMED_REQUEST"),
        (get("/inner/a"), "ACCESS_DENIED"),
        (with(grpc("/nothing"), "content-type", "application/grpc+json"), "UNSUPPORTED_MEDIA_TYPE"),
        (grpc("/coreloop.nobody.v1.Service/Get"), "UNIMPLEMENTED"),
        (grpc(&format!("{PROBE}Inner")), "ACCESS_DENIED"),
    ]
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_reason() {
    for (request, reason) in refusals() {
        let scene = Scene::new();
        let what = format!("{} {}", request.method(), request.uri().path().get(..20).unwrap_or(request.uri().path()));
        scene.ask(request).await;
        let counted = format!("coreloop_edge_refused_total{{reason=\"{reason}\"}} 1");
        assert!(scene.metrics.encode().contains(&counted), "{what}: {}", scene.metrics.encode());
        assert_eq!(scene.peer.calls(), 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_counted_too() {
    let scene = Scene::new();
    let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    assert_eq!(scene.ask(post("/probe", Body::from_stream(never))).await.status, 408);
    assert!(scene.metrics.encode().contains("coreloop_edge_refused_total{reason=\"DEADLINE_EXCEEDED\"} 1"));
}

#[tokio::test]
async fn what_is_refused_costs_the_address_its_budget() {
    let scene = Scene::new();
    for (request, reason) in std::iter::repeat_with(refusals).flatten().take(BUDGET as usize) {
        let answer = scene.ask_from(EVE, request).await;
        assert!(answer.status != 429 && answer.header("grpc-status") != Some("8"), "{reason}: {answer:?}");
    }
    // The budget of the minute is used up, whatever comes next.
    let refused = scene.ask_from(EVE, get("/nothing")).await;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(
        (refused.header("ratelimit-limit"), refused.header("ratelimit-remaining")),
        (Some(BUDGET.to_string().as_str()), Some("0"))
    );
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit-reset").is_some());
    for (request, _) in refusals() {
        let answer = scene.ask_from(EVE, request).await;
        assert!(answer.status == 429 || answer.header("grpc-status") == Some("8"), "{answer:?}");
    }
    assert!(scene.metrics.encode().contains("coreloop_edge_refused_total{reason=\"RATE_LIMITED\"}"));
    // What is served is counted by its service, and another address has its own budget.
    scene.peer.answers(vec![thing("a", 1), ok()]);
    assert_eq!(scene.ask_from(EVE, get("/probe/a")).await.status, 200);
    assert_eq!(scene.ask_from("203.0.113.8", get("/nothing")).await.status, 404);
}
