//! Server streams over a WebSocket, with the reference peer (tokio-tungstenite) at the other end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use coreloop_core::{Problem, Reason};
use coreloop_service::upgrade::{Upgrade, Upgraded};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ground::{Scene, Step, failed, ok, thing};
use crate::Options;

const ROUTE: &str = "/follow/x";
pub(super) const AUTH: &str = r#"{"type":"auth","token":"a.b.c"}"#;

pub(super) type Client = WebSocketStream<DuplexStream>;

/// A scene whose sockets run until it is dropped.
pub(super) struct Stage {
    pub(super) scene: Scene,
    stop: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Stage {
    pub(super) fn new(options: Options) -> Self {
        let (scene, stop) = (Scene::with(options), CancellationToken::new());
        let (worker, until) = (scene.edge.worker(), stop.clone());
        tokio::spawn(async move { worker.run(until).await });
        Self { scene, stop }
    }

    async fn shake(&self, token: Option<&str>, room: usize) -> (http::Response<tonic::body::Body>, DuplexStream) {
        self.shake_at(ROUTE, token, room).await
    }

    /// A handshake over a connection with so much room; the answer, and the client's end.
    pub(super) async fn shake_at(
        &self,
        target: &str,
        token: Option<&str>,
        room: usize,
    ) -> (http::Response<tonic::body::Body>, DuplexStream) {
        let (server, client) = tokio::io::duplex(room);
        let mut request = handshake_at(target);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let server = Arc::new(Mutex::new(Some(server)));
        request.extensions_mut().insert(Upgrade::new(move || {
            let server = server.lock().unwrap().take().unwrap();
            async move { Ok(Upgraded { stream: Box::new(server), early: bytes::Bytes::new() }) }
        }));
        (self.scene.send(request).await, client)
    }

    async fn open(&self, token: Option<&str>) -> Client {
        self.open_at(ROUTE, token).await
    }

    pub(super) async fn open_at(&self, target: &str, token: Option<&str>) -> Client {
        let (response, client) = self.shake_at(target, token, 64 * 1024).await;
        assert_eq!(response.status(), 101);
        WebSocketStream::from_raw_socket(client, Role::Client, None).await
    }

    fn counts(&self, line: &str) -> bool {
        self.scene.metrics.encode().lines().any(|counted| counted == line)
    }
}

fn handshake() -> http::request::Builder {
    handshake_at(ROUTE)
}

fn handshake_at(target: &str) -> http::request::Builder {
    Request::get(target)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A status in the headers of an answer: refused before there was a stream.
pub(super) fn at_once(status: impl Into<Status>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    status.into().add_header(&mut headers).unwrap();
    headers
}

pub(super) async fn text(client: &mut Client) -> Value {
    match client.next().await.unwrap().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("no text but {other:?}"),
    }
}

/// How the socket ends, whatever came before.
pub(super) async fn end(client: &mut Client) -> (u16, String) {
    loop {
        match client.next().await {
            Some(Ok(Message::Close(Some(close)))) => return (close.code.into(), close.reason.to_string()),
            Some(Ok(_)) => {}
            other => panic!("no goodbye but {other:?}"),
        }
    }
}

#[tokio::test]
async fn each_message_is_a_text_and_the_end_is_a_goodbye() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![thing("a", 1), thing("b", 2), ok()]);
    let mut client = stage.open(Some("Bearer a.b.c")).await;
    assert_eq!(stage.scene.peer.last().headers["authorization"], "Bearer a.b.c");
    assert!(stage.counts("cc_ws_active_connections{route=\"/follow/{name}\"} 1"), "{}", stage.scene.metrics.encode());
    assert_eq!(text(&mut client).await, json!({"name": "a", "size": 1}));
    assert_eq!(text(&mut client).await, json!({"name": "b", "size": 2}));
    assert_eq!(end(&mut client).await, (1000, String::new()));
}

#[tokio::test]
async fn who_is_refused_by_the_service_is_refused_in_http() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers_with(at_once(Problem::common(Reason::TokenRevoked, "no")), vec![]);
    let (response, _) = stage.shake(Some("Bearer a.b.c"), 64).await;
    assert_eq!((response.status().as_u16(), response.headers()["www-authenticate"].as_bytes()), (401, &b"Bearer"[..]));
    let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["details"][0]["reason"], "TOKEN_REVOKED");
    assert!(stage.counts("cc_ws_active_connections{route=\"/follow/{name}\"} 0"));
}

#[tokio::test]
async fn a_late_token_opens_the_stream_and_not_before() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![thing("a", 1), Step::Hang]);
    let mut client = stage.open(None).await;
    assert_eq!(stage.scene.peer.calls(), 0, "nobody is asked before it is known who asks");
    client.send(Message::text(AUTH)).await.unwrap();
    assert_eq!(text(&mut client).await["name"], "a");
    assert_eq!(stage.scene.peer.last().headers["authorization"], "Bearer a.b.c");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_open_the_stream_holds_nobodys_place() {
    let stage = Stage::new(Options::default());
    let began = tokio::time::Instant::now();
    stage.scene.peer.answers(vec![Step::Mute]);
    let mut client = stage.open(None).await;
    client.send(Message::text(AUTH)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), end(&mut client)).await;
    assert_eq!(ended.expect("it ends"), (1013, "DEPENDENCY_UNAVAILABLE".to_owned()));
    assert!((10..12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    stage.scene.peer.answers(vec![Step::Mute]);
    let shaken = tokio::time::timeout(Duration::from_secs(60), stage.shake(Some("Bearer a.b.c"), 64)).await;
    let (response, _) = shaken.expect("it is answered");
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
}

#[tokio::test]
async fn a_late_token_that_is_refused_closes_with_the_reason() {
    for (reason, expected) in [
        (Reason::TokenInvalid, (4401, "TOKEN_INVALID".to_owned())),
        (Reason::RoleRequired, (4403, "ROLE_REQUIRED".to_owned())),
        (Reason::DependencyUnavailable, (1013, "DEPENDENCY_UNAVAILABLE".to_owned())),
    ] {
        let stage = Stage::new(Options::default());
        stage.scene.peer.answers_with(at_once(Problem::common(reason, "no")), vec![]);
        let mut client = stage.open(None).await;
        client.send(Message::text(AUTH)).await.unwrap();
        assert_eq!(end(&mut client).await, expected);
    }
}

#[tokio::test]
async fn a_first_message_without_a_token_ends_it() {
    for first in ["hello", r#"{"type":"auth"}"#, r#"{"type":"auth","token":"a b"}"#] {
        let stage = Stage::new(Options::default());
        let mut client = stage.open(None).await;
        client.send(Message::text(first)).await.unwrap();
        assert_eq!(end(&mut client).await, (4401, "TOKEN_MISSING".to_owned()), "{first}");
        assert_eq!(stage.scene.peer.calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_message_that_does_not_come_ends_it() {
    let stage = Stage::new(Options::default());
    let began = tokio::time::Instant::now();
    let mut client = stage.open(None).await;
    assert_eq!(end(&mut client).await, (4401, "TOKEN_MISSING".to_owned()));
    assert!((5..6).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_ends_the_stream_closes_the_socket() {
    for (problem, expected) in [
        (Problem::common(Reason::TokenRevoked, "no"), (4401, "TOKEN_REVOKED")),
        (Problem::common(Reason::TokenExpired, "no"), (4401, "TOKEN_EXPIRED")),
        (
            Problem::new(coreloop_core::Kind::ResourceExhausted, "realtime", "SLOW_CONSUMER", "no"),
            (4410, "SLOW_CONSUMER"),
        ),
        (Problem::common(Reason::DependencyUnavailable, "restarts"), (1013, "DEPENDENCY_UNAVAILABLE")),
        (Problem::internal("10.1.2.3"), (1011, "INTERNAL")),
    ] {
        let stage = Stage::new(Options::default());
        stage.scene.peer.answers(vec![thing("a", 1), failed(problem)]);
        let mut client = stage.open(Some("Bearer a.b.c")).await;
        assert_eq!(end(&mut client).await, (expected.0, expected.1.to_owned()));
    }
}

#[tokio::test]
async fn open_sockets_close_when_the_process_drains() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![thing("a", 1), Step::Hang]);
    let mut client = stage.open(Some("Bearer a.b.c")).await;
    let mut waits_for_its_token = stage.open(None).await;
    text(&mut client).await;
    stage.scene.stopping.cancel();
    assert_eq!(end(&mut client).await.0, 1001);
    assert_eq!(end(&mut waits_for_its_token).await.0, 1001);
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_closed_and_who_answers_pings_is_not() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![Step::Hang]);
    stage.scene.peer.answers(vec![Step::Hang]);
    let (_, mut silent) = stage.shake(Some("Bearer a.b.c"), 64 * 1024).await;
    let mut answers = stage.open(Some("Bearer a.b.c")).await;
    // The reference peer answers as long as it is asked to read.
    let reading = tokio::time::timeout(Duration::from_secs(600), end(&mut answers)).await;
    assert!(reading.is_err(), "{reading:?}");
    let mut told = Vec::new();
    silent.read_to_end(&mut told).await.unwrap();
    assert!(told.ends_with(b"\x88\x06\x11\x38IDLE"), "a close frame of 4408: {told:02x?}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_cut_and_holds_nothing() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![thing(&"x".repeat(1000), 1), Step::Hang]);
    let (response, _unread) = stage.shake(Some("Bearer a.b.c"), 64).await;
    assert_eq!(response.status(), 101);
    let given_back = async {
        while !stage.counts("cc_ws_active_connections{route=\"/follow/{name}\"} 0") {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(120), given_back).await;
    assert!(in_time.is_ok(), "{}", stage.scene.metrics.encode());
    assert!(stage.counts("coreloop_edge_sockets_closed_total{code=\"4410\"} 1"), "{}", stage.scene.metrics.encode());
}

#[tokio::test]
async fn broken_messages_close_with_their_code() {
    for (message, code) in [(Message::binary(vec![1, 2, 3]), 1003), (Message::text("x".repeat(16 * 1024 + 1)), 1009)] {
        let stage = Stage::new(Options::default());
        stage.scene.peer.answers(vec![Step::Hang]);
        let mut client = stage.open(Some("Bearer a.b.c")).await;
        client.send(message).await.unwrap();
        assert_eq!(end(&mut client).await.0, code);
    }
}

#[tokio::test]
async fn a_client_that_talks_without_end_is_closed() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![Step::Hang]);
    let mut client = stage.open(Some("Bearer a.b.c")).await;
    for _ in 0..61 {
        client.send(Message::text("{}")).await.unwrap();
    }
    assert_eq!(end(&mut client).await.0, 1008);
}

#[tokio::test]
async fn a_client_that_pings_without_end_is_closed() {
    let stage = Stage::new(Options::default());
    stage.scene.peer.answers(vec![Step::Hang]);
    let (mut says, mut hears) = stage.open(Some("Bearer a.b.c")).await.split();
    let pinging = async {
        // It may be closed before the last is sent.
        for _ in 0..1_100 {
            if says.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                break;
            }
        }
    };
    let closed = async {
        loop {
            match hears.next().await {
                Some(Ok(Message::Close(Some(close)))) => break u16::from(close.code),
                Some(Ok(_)) => {}
                other => panic!("no goodbye but {other:?}"),
            }
        }
    };
    assert_eq!(tokio::join!(pinging, closed).1, 1008);
}

#[tokio::test]
async fn no_more_are_open_than_may_be() {
    let mut options = Options::default();
    options.sockets.max_open = 1;
    let stage = Stage::new(options);
    stage.scene.peer.answers(vec![Step::Hang]);
    let _open = stage.open(Some("Bearer a.b.c")).await;
    let (response, _) = stage.shake(Some("Bearer a.b.c"), 64).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
}

#[tokio::test]
async fn another_version_is_told_which_and_a_plain_get_is_a_plain_stream() {
    let stage = Stage::new(Options::default());
    let mut request = handshake().body(Body::empty()).unwrap();
    request.headers_mut().insert("sec-websocket-version", "8".parse().unwrap());
    let answer = stage.scene.ask(request).await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (426, "UPGRADE_REQUIRED".to_owned()));
    assert_eq!((answer.header("sec-websocket-version"), answer.header("upgrade")), (Some("13"), Some("websocket")));
    assert!(stage.counts("coreloop_edge_refused_total{reason=\"UPGRADE_REQUIRED\"} 1"));
    stage.scene.peer.answers(vec![thing("a", 1), ok()]);
    assert_eq!(stage.scene.get(ROUTE).await.text(), "{\"result\":{\"name\":\"a\",\"size\":1}}\n");
}
