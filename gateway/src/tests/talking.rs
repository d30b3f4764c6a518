//! Streams in both directions over a WebSocket: a client's texts are the messages of the request.

use std::sync::Arc;

use coreloop_core::{Problem, Reason};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::sockets::{AUTH, Stage, at_once, end, text};
use crate::Options;

const ROUTE: &str = "/talk";
const BEARER: Option<&str> = Some("Bearer a.b.c");

#[tokio::test]
async fn each_text_is_a_message_and_each_message_a_text() {
    let stage = Stage::new(Options::default());
    let mut client = stage.open_at(ROUTE, BEARER).await;
    assert_eq!(stage.scene.peer.last().headers["authorization"], "Bearer a.b.c");
    for size in 1..=3 {
        client.send(Message::text(json!({"name": "a", "size": size}).to_string())).await.unwrap();
        assert_eq!(text(&mut client).await, json!({"name": "a", "size": size}));
    }
    // Many without waiting: all of them, in order.
    for size in 0..10 {
        client.send(Message::text(json!({"name": "b", "size": size}).to_string())).await.unwrap();
        assert_eq!(text(&mut client).await["name"], "b", "{size}");
    }
}

#[tokio::test]
async fn what_the_query_says_is_the_first_message_and_nothing_is_none() {
    let stage = Stage::new(Options::default());
    let mut client = stage.open_at("/talk?name=first&size=7", BEARER).await;
    assert_eq!(text(&mut client).await, json!({"name": "first", "size": 7}));
    let mut silent = stage.open_at(ROUTE, BEARER).await;
    silent.send(Message::text(r#"{"name":"second"}"#)).await.unwrap();
    assert_eq!(text(&mut silent).await["name"], "second");
}

#[tokio::test]
async fn a_text_that_is_no_message_is_answered_and_the_stream_goes_on() {
    let stage = Stage::new(Options::default());
    let mut client = stage.open_at(ROUTE, BEARER).await;
    for (bad, reason) in [
        ("hello", "MALFORMED_REQUEST"),
        ("", "MALFORMED_REQUEST"),
        ("{\"name\":", "MALFORMED_REQUEST"),
        ("[]", "VALIDATION_FAILED"),
        (r#"{"size":"many"}"#, "VALIDATION_FAILED"),
    ] {
        client.send(Message::text(bad)).await.unwrap();
        let said = text(&mut client).await;
        assert_eq!(said["error"]["details"][0]["reason"], reason, "{bad}: {said}");
    }
    client.send(Message::text(r#"{"name":"good"}"#)).await.unwrap();
    assert_eq!(text(&mut client).await["name"], "good");
}

#[tokio::test]
async fn a_token_that_comes_late_is_no_message() {
    let stage = Stage::new(Options::default());
    let mut client = stage.open_at(ROUTE, None).await;
    assert_eq!(stage.scene.peer.calls(), 0);
    client.send(Message::text(AUTH)).await.unwrap();
    client.send(Message::text(r#"{"name":"a"}"#)).await.unwrap();
    assert_eq!(text(&mut client).await["name"], "a");
    assert_eq!(stage.scene.peer.last().headers["authorization"], "Bearer a.b.c");
}

#[tokio::test]
async fn the_service_hears_that_a_client_went() {
    let stage = Stage::new(Options::default());
    let mut client = stage.open_at(ROUTE, BEARER).await;
    client.send(Message::text(r#"{"name":"a"}"#)).await.unwrap();
    text(&mut client).await;
    let silent = Arc::clone(&stage.scene.peer.silent);
    let parted = async {
        client.close(None).await.unwrap();
        while let Some(Ok(_)) = client.next().await {}
    };
    tokio::join!(parted, silent.notified());
}

#[tokio::test]
async fn who_talks_without_end_is_closed() {
    let mut options = Options::default();
    options.sockets.messages_per_sec = 1;
    let stage = Stage::new(options);
    let mut client = stage.open_at(ROUTE, BEARER).await;
    for _ in 0..30 {
        client.send(Message::text("{}")).await.unwrap();
        text(&mut client).await;
    }
    client.send(Message::text("{}")).await.unwrap();
    assert_eq!(end(&mut client).await.0, 1008);
}

#[tokio::test]
async fn who_is_refused_by_the_service_is_refused_in_http_and_by_a_plain_get_too() {
    let stage = Stage::new(Options::default());
    let refused = || at_once(Problem::common(Reason::TokenRevoked, "no"));
    stage.scene.peer.answers_with(refused(), vec![]);
    let (response, _) = stage.shake_at(ROUTE, BEARER, 64).await;
    assert_eq!(response.status(), 401);
    stage.scene.peer.answers_with(refused(), vec![]);
    let plain = stage.scene.get(ROUTE).await;
    assert_eq!((plain.status.as_u16(), plain.reason()), (401, "TOKEN_REVOKED".to_owned()));
    // Who may is told what is needed.
    let plain = stage.scene.get(ROUTE).await;
    assert_eq!((plain.status.as_u16(), plain.reason()), (426, "UPGRADE_REQUIRED".to_owned()));
    assert_eq!((plain.header("upgrade"), plain.header("sec-websocket-version")), (Some("websocket"), Some("13")));
}
