//! Live maps over a WebSocket, through Envoy: a browser's way.

use coreloop_location::globe::Point;
use coreloop_testkit::{Persona, Shared, Socket, TestMesh, run, wait::PATIENCE};
use serde_json::{Value, json};

use super::stage::{HALL, LONG, SEA, Shop, mesh, there};

const PATH: &str = "/api/v1/location/realtime";

/// Two replicas behind Envoy; each test has people of its own.
static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).envoy().start()));

fn fix(id: i64, place: Point) -> String {
    json!({"fix_id": id, "lat": place.lat, "lng": place.lng}).to_string()
}

/// A live map that is open.
async fn of(who: &Persona) -> Socket {
    let mut socket = who.ask_for_socket(PATH).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(socket.message().await["type"], "opened");
    socket
}

fn distances(message: &Value) -> Vec<&str> {
    message["distances"].as_array().unwrap().iter().map(|one| one["shop_id"].as_str().unwrap()).collect()
}

#[test]
fn who_streams_fixes_is_told_how_far_shops_are() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut socket = of(&alice).await;
        socket.say(&fix(1, HALL)).await;
        let message = socket.of_type("position").await;
        assert_eq!((&message["fix_id"], &message["source"]), (&json!(1), &json!("KAKAO")));
        assert_eq!(distances(&message), there(HALL, 2_000.0, Shop::is_searched));
        assert_eq!(message["entered"].as_array().unwrap().len(), distances(&message).len());
        socket.say(&fix(2, SEA)).await;
        let message = socket.of_type("position").await;
        assert_eq!((&message["fix_id"], distances(&message).len()), (&json!(2), 0));
        // The query says the first fix.
        let path = format!("{PATH}?fix_id=7&lat={}&lng={}", HALL.lat, HALL.lng);
        let mut socket = alice.ask_for_socket(&path).await.unwrap();
        assert_eq!(socket.of_type("position").await["fix_id"], 7);
    });
}

#[test]
fn bad_fixes_and_broken_texts_are_refused_and_not_fatal() {
    run(async {
        let mesh = MESH.get().await;
        let mut socket = of(&mesh.persona("alice").await).await;
        for bad in ["hello", "[]", r#"{"lat":"north"}"#, r#"{"lat":1"#] {
            socket.say(bad).await;
            let said = socket.message().await;
            assert!(said["error"]["details"][0]["reason"].is_string(), "{bad}: {said}");
        }
        for bad in [r#"{"fix_id":3,"lat":91,"lng":0}"#, r#"{"fix_id":3,"lat":"NaN","lng":0}"#, r#"{"fix_id":3}"#] {
            socket.say(bad).await;
            let said = socket.of_type("refused").await;
            assert_eq!((&said["fix_id"], &said["reason"]), (&json!(3), &json!("FIX_INVALID")), "{bad}");
        }
        socket.say(&fix(4, SEA)).await;
        assert_eq!(socket.of_type("position").await["fix_id"], 4);
        // Bytes are none of the protocol.
        socket.say_raw(&[0x82, 0x80, 0, 0, 0, 0]).await;
        assert_eq!(socket.end(PATIENCE).await.0, 1003);
    });
}

#[test]
fn a_token_may_come_with_the_first_text_and_none_opens_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut socket = alice.visitor.ask_for_socket(PATH).await.unwrap();
        socket.say(&json!({"type": "auth", "token": alice.access_token}).to_string()).await;
        assert_eq!(socket.message().await["type"], "opened");
        socket.say(&fix(1, SEA)).await;
        assert_eq!(socket.of_type("position").await["fix_id"], 1);
        let mut nobody = alice.visitor.ask_for_socket(PATH).await.unwrap();
        nobody.say(&fix(1, SEA)).await;
        assert_eq!(nobody.end(PATIENCE).await, (4401, "TOKEN_MISSING".to_owned()));
        // It is no path for a plain request.
        alice.get(PATH).await.refused(426, "UPGRADE_REQUIRED");
        alice.visitor.rest().get(PATH).send().await.refused(401, "TOKEN_MISSING");
    });
}

#[test]
fn it_closes_with_the_session() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut socket = of(&alice).await;
        alice.logout().await;
        assert_eq!(socket.end(LONG).await, (4401, "TOKEN_REVOKED".to_owned()));
    });
}
