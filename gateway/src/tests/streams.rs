//! Server streams over HTTP.

use axum::body::Body;
use coreloop_core::{Problem, Reason};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::ground::{Scene, Step, failed, message, ok, thing};

fn events(target: &str) -> Request<Body> {
    Request::get(target).header("accept", "text/event-stream").body(Body::empty()).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_message_is_a_line() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), thing("b", 2), ok()]);
    let answer = scene.get("/watch/x").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    let expected = vec![json!({"result": {"name": "a", "size": 1}}), json!({"result": {"name": "b", "size": 2}})];
    assert_eq!(lines(answer.text()), expected);
}

#[tokio::test]
async fn a_failure_after_the_first_message_is_the_last_line() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), failed(Problem::common(Reason::NotFound, "gone"))]);
    let answer = scene.get("/watch/x").await;
    assert_eq!(answer.status, 200);
    let lines = lines(answer.text());
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["error"]["code"], 5);
    assert_eq!(lines[1]["error"]["details"][0]["reason"], "NOT_FOUND");
}

#[tokio::test]
async fn a_failure_before_the_first_message_has_its_own_status() {
    let scene = Scene::new();
    scene.peer.answers(vec![failed(Problem::common(Reason::NotFound, "gone"))]);
    let answer = scene.get("/watch/x").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["code"], 5);
}

#[tokio::test]
async fn events_are_whole_messages_without_an_id() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), thing("b", 2), ok()]);
    let answer = scene.ask(events("/watch/x")).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let expected = "data: {\"name\":\"a\",\"size\":1}\n\ndata: {\"name\":\"b\",\"size\":2}\n\n";
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn a_failed_event_stream_ends_with_an_error_event() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), failed(Problem::common(Reason::NotFound, "gone"))]);
    let answer = scene.ask(events("/watch/x")).await;
    let last = answer.text().split("event: error\ndata: ").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<Value>(last.trim()).unwrap()["error"]["code"], 5);
    assert!(last.ends_with("\n\n"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_opens_and_beats() {
    let plain = Request::get("/watch/x").body(Body::empty()).unwrap();
    for (request, expected) in [(events("/watch/x"), ": keep-alive\n\n"), (plain, "\n")] {
        let scene = Scene::new();
        scene.peer.answers(vec![Step::Hang]);
        let began = tokio::time::Instant::now();
        let opened = tokio::time::timeout(std::time::Duration::from_secs(60), scene.send(request)).await;
        let response = opened.expect("its headers come");
        assert_eq!((response.status().as_u16(), began.elapsed().as_secs()), (200, 1));
        let mut body = response.into_body();
        for beats in 1..=2 {
            let beat = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(beat, expected);
            assert_eq!(began.elapsed().as_secs(), 1 + 15 * beats);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_on_as_it_is_has_no_beat() {
    let scene = Scene::new();
    let chunk = message("google.api.HttpBody", json!({"contentType": "text/csv", "data": "YSxiCg=="}));
    scene.peer.answers(vec![Step::Message(chunk), Step::Hang]);
    let mut body = scene.send(Request::get("/fetch/x").body(Body::empty()).unwrap()).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a,b\n");
    let more = tokio::time::timeout(std::time::Duration::from_secs(120), body.frame()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn open_streams_end_when_the_process_stops() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), Step::Hang]);
    let response = scene.send(Request::get("/watch/x").body(Body::empty()).unwrap()).await;
    scene.stopping.cancel();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let lines = lines(std::str::from_utf8(&text).unwrap());
    assert_eq!(lines.last().unwrap()["error"]["code"], 14);
}

#[tokio::test]
async fn streams_that_wait_for_their_first_message_end_when_the_process_stops() {
    for accept in ["application/json", "text/event-stream"] {
        let scene = Scene::new();
        scene.peer.answers(vec![Step::Hang]);
        let request = Request::get("/watch/x").header("accept", accept).body(Body::empty()).unwrap();
        let mut waiting = std::pin::pin!(scene.ask(request));
        assert!(futures::poll!(&mut waiting).is_pending(), "{accept}");
        scene.stopping.cancel();
        let answer = waiting.await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")), "{accept}");
        assert_eq!(answer.json()["error"]["code"], 14, "{accept}");
    }
}

#[tokio::test]
async fn a_stream_that_panics_ends_by_itself() {
    let scene = Scene::new();
    scene.peer.answers(vec![thing("a", 1), Step::Panic]);
    let answer = scene.get("/watch/x").await;
    let lines = lines(answer.text());
    assert_eq!((answer.status.as_u16(), lines.len()), (200, 2));
    assert_eq!((&lines[1]["error"]["code"], lines[0]["result"]["name"].as_str()), (&json!(13), Some("a")));
    assert!(!answer.text().contains("fault of the stream"));
}

#[tokio::test]
async fn raw_messages_are_chunks_of_one_body() {
    let scene = Scene::new();
    let chunk =
        |data: &str| Step::Message(message("google.api.HttpBody", json!({"contentType": "text/csv", "data": data})));
    scene.peer.answers(vec![chunk("YSxiCg=="), chunk("MSwyCg=="), ok()]);
    let answer = scene.get("/fetch/x").await;
    assert_eq!((answer.header("content-type"), answer.text()), (Some("text/csv"), "a,b\n1,2\n"));
}
