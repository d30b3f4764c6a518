//! What the edge holds of request bodies at once.

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;

use super::{
    ground::{Scene, Step, ok, thing},
    rest::post,
};
use crate::Options;

/// A body of which `part` has come, and the rest does not before `last` is called.
fn slow_body(part: Vec<u8>) -> (tokio::sync::oneshot::Sender<()>, Body) {
    let (last, more) = tokio::sync::oneshot::channel::<()>();
    let first = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(Frame::data(Bytes::from(part)))));
    let end = futures::stream::once(async move {
        let _ = more.await;
        Ok(Frame::data(Bytes::from_static(b"\"}")))
    });
    (last, Body::new(StreamBody::new(futures::StreamExt::chain(first, end))))
}

#[tokio::test]
async fn bodies_are_bounded_in_sum() {
    let scene = Scene::with(Options { bodies_limit_bytes: 1500, ..Options::default() });
    let (last, body) = slow_body(format!("{{\"name\":\"{}", "x".repeat(990)).into_bytes());
    let first = scene.ask(post("/probe", body));
    let mut first = std::pin::pin!(first);
    assert!(futures::poll!(&mut first).is_pending(), "its body has not come yet");
    let second = || post("/probe", format!("{{\"name\":\"{}\"}}", "y".repeat(990)));
    let refused = scene.ask(second()).await;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (503, "OVERLOADED"));
    assert_eq!((refused.header("retry-after"), scene.peer.calls()), (Some("1"), 0));
    // What fits beside it is served, and what it took is given back at its end.
    scene.peer.answers(vec![thing("n", 1), ok()]);
    assert_eq!(scene.ask(post("/probe", r#"{"name":"small"}"#)).await.status, 201);
    scene.peer.answers(vec![thing("n", 1), ok()]);
    last.send(()).unwrap();
    assert_eq!(first.await.status, 201);
    scene.peer.answers(vec![thing("n", 1), ok()]);
    assert_eq!(scene.ask(second()).await.status, 201);
}

#[tokio::test]
async fn a_body_keeps_its_room_until_the_service_has_answered() {
    let scene = Scene::with(Options { bodies_limit_bytes: 1500, ..Options::default() });
    let large = || post("/probe", format!("{{\"name\":\"{}\"}}", "y".repeat(990)));
    scene.peer.answers(vec![Step::Hang]);
    {
        let mut first = std::pin::pin!(scene.ask(large()));
        assert!(futures::poll!(&mut first).is_pending(), "the service has not answered");
        assert_eq!(scene.ask(large()).await.reason(), "OVERLOADED");
    }
    scene.peer.answers(vec![thing("n", 1), ok()]);
    assert_eq!(scene.ask(large()).await.status, 201, "a caller that went away gives its room back");
}
