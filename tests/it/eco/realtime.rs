//! What concerns somebody reaches their sockets: on any replica, in order, and again after an interruption (chapter 04).

use coreloop_testkit::{
    Persona, Shared, Socket, SocketHeard, TestMesh, run,
    socket::SYNC_PATH,
    wait::{PATIENCE, wait_for},
};
use serde_json::{Value, json};

use crate::wallet::stage::Shop;

const MODULES: &[&str] = &["auth", "wallet", "realtime"];

/// Two replicas of everything behind Envoy; each test has people of its own.
static MESH: Shared<TestMesh> = Shared::new(|| {
    let mesh = TestMesh::builder().modules(MODULES).split().replicas(2).envoy();
    Box::pin(mesh.setting("limit.enabled", false).start())
});

/// Somebody is given gold, and the socket hears of it; the message.
async fn given(shop: &Shop, who: &Persona, socket: &mut Socket, amount: i64) -> Value {
    shop.grant(&who.user_id, amount).await.unwrap();
    socket.of_type("profile_update").await
}

fn gold(message: &Value) -> i64 {
    message["data"]["changes"]["gold"]
        .as_f64()
        .map(|gold| gold as i64)
        .unwrap_or_else(|| panic!("no gold in {message}"))
}

fn seq(message: &Value) -> i64 {
    message["seq"].as_i64().unwrap_or_else(|| panic!("no place in {message}"))
}

#[test]
fn a_socket_begins_with_the_state_and_hears_what_moves_on_every_replica() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, mesh.persona("alice").await, mesh.persona("bob").await);
        let mut sockets = Vec::new();
        for replica in 0..2 {
            sockets.push(alice.at(&mesh.gateway_on(replica)).socket().await);
        }
        sockets.push(alice.at(&mesh.front()).socket().await);
        let mut bobs = bob.socket().await;
        shop.grant(&alice.user_id, 7).await.unwrap();
        for socket in &mut sockets {
            let message = socket.of_type("profile_update").await;
            assert_eq!(gold(&message), 7);
            assert_eq!(message["user_id"], *alice.user_id);
            assert!(
                seq(&message) > 0 && message["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')),
                "{message}"
            );
        }
        assert_eq!(gold(&given(&shop, &bob, &mut bobs, 3).await), 3, "the first that bob hears is his own");
    });
}

#[test]
fn the_state_says_what_the_users_own_calls_would_and_names_what_is_missing() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        shop.grant(&alice.user_id, 41).await.unwrap();
        let mut socket = alice.ask_for_socket(SYNC_PATH).await.unwrap();
        let connected = socket.message().await;
        assert_eq!((&connected["type"], &connected["data"]["resumed"]), (&json!("sync_connected"), &json!(false)));
        let state = socket.message().await;
        assert_eq!(state["type"], "initial_state");
        let balances = state["data"]["parts"]["wallet"]["balances"].as_array().unwrap();
        let gold = balances.iter().find(|balance| balance["currency"] == "CURRENCY_GOLD").unwrap();
        assert_eq!(gold["available"].as_f64(), Some(41.0));
        // Nobody serves these here.
        assert_eq!(state["data"]["missing"], json!(["summary", "notifications"]));
    });
}

/// The chapter's: disconnect, miss two messages, reconnect, get them.
#[test]
fn who_comes_back_gets_what_was_missed_in_order_and_once() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        let mut socket = alice.socket().await;
        let last = seq(&given(&shop, &alice, &mut socket, 1).await);
        socket.cut();
        for amount in [10, 100] {
            shop.grant(&alice.user_id, amount).await.unwrap();
        }
        wait_for("both are in the log", PATIENCE, async || {
            let missed = alice.get(&format!("/api/realtime/replay?since={last}")).await;
            // The log is given a second, which a busy machine may take for itself.
            let missed = (missed.status == 200).then(|| missed.json())?;
            let both = missed["messages"].as_array()?.len() == 2;
            (both && missed["complete"] == true).then_some(())
        })
        .await;
        let (connected, mut socket) = alice.at(&mesh.gateway_on(1)).socket_since(last).await;
        assert_eq!(connected["data"]["resumed"], true);
        let missed = [socket.message().await, socket.message().await];
        assert_eq!(missed.each_ref().map(gold), [11, 111]);
        assert!(last < seq(&missed[0]) && seq(&missed[0]) < seq(&missed[1]), "{missed:?}");
        let next = given(&shop, &alice, &mut socket, 1000).await;
        assert_eq!(gold(&next), 1111, "and goes on");
        // Nothing was missed since then.
        let (connected, _) = alice.socket_since(seq(&next)).await;
        assert_eq!(connected["data"]["resumed"], true);
    });
}

#[test]
fn who_comes_back_too_late_begins_anew() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        let mut socket = alice.socket().await;
        let last = seq(&given(&shop, &alice, &mut socket, 1).await);
        given(&shop, &alice, &mut socket, 1).await;
        // As Redis does after five minutes.
        let log = format!("rt:{{{}}}:log", alice.user_id);
        let mut redis = mesh.redis.connect().await;
        let kept: i64 = redis::cmd("TTL").arg(&log).query_async(&mut redis).await.unwrap();
        assert!((1..=300).contains(&kept), "{kept}");
        let () = redis::cmd("DEL").arg(&log).query_async(&mut redis).await.unwrap();
        for since in [last, 0, i64::from(u32::MAX)] {
            let (connected, mut socket) = alice.socket_since(since).await;
            assert_eq!(connected["data"]["resumed"], false, "{since}");
            assert_eq!(socket.message().await["type"], "initial_state", "{since}");
        }
    });
}

#[test]
fn a_token_comes_with_the_first_message_and_never_in_the_address() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        for base in [mesh.front(), mesh.gateway()] {
            let visitor = alice.visitor.at(&base);
            let mut socket = visitor.ask_for_socket(SYNC_PATH).await.unwrap();
            socket.say(&json!({"type": "auth", "token": alice.access_token}).to_string()).await;
            assert_eq!(socket.message().await["type"], "sync_connected");
            assert_eq!(socket.message().await["type"], "initial_state");
            given(&shop, &alice, &mut socket, 1).await;
            let mut stranger = visitor.ask_for_socket(SYNC_PATH).await.unwrap();
            stranger.say(r#"{"type":"auth","token":"a.b.c"}"#).await;
            assert_eq!(stranger.end(PATIENCE).await, (4401, "TOKEN_INVALID".to_owned()));
            let address = format!("{SYNC_PATH}?token={}", alice.access_token);
            let mut stranger = visitor.ask_for_socket(&address).await.unwrap();
            stranger.say("{}").await;
            assert_eq!(stranger.end(PATIENCE).await, (4401, "TOKEN_MISSING".to_owned()));
        }
    });
}

#[test]
fn a_bad_token_in_a_header_is_no_handshake() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for base in [mesh.front(), mesh.gateway()] {
            let forged = Persona { access_token: "a.b.c".to_owned(), ..alice.at(&base) };
            let refusal = forged.ask_for_socket(SYNC_PATH).await.unwrap_err();
            assert_eq!((refusal.status, refusal.reason()), (401, "TOKEN_INVALID"), "{base}");
            let page = [
                ("authorization", format!("Bearer {}", alice.access_token)),
                ("origin", "https://evil.example".to_owned()),
            ];
            let page = page.each_ref().map(|(name, value)| (*name, value.as_str()));
            let refusal = Socket::ask(alice.visitor.source, &base, SYNC_PATH, &page).await.unwrap_err();
            assert_eq!((refusal.status, refusal.reason()), (403, "ACCESS_DENIED"), "{base}");
        }
    });
}

/// `Sync` and `Replay`; `StreamMetrics`, `StreamAdmin` and `LegacyGames` are asked for without a field.
#[test]
fn a_place_that_is_none_is_refused() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for path in ["/api/realtime/sync?since=-1", "/api/realtime/replay?since=-1"] {
            let refused = alice.get(path).await;
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains("since"), "{path}: {}", refused.text());
        }
        let refusal = alice.ask_for_socket("/api/realtime/sync?since=-1").await.unwrap_err();
        assert_eq!((refusal.status, refusal.reason()), (400, "VALIDATION_FAILED"));
    });
}

#[test]
fn a_user_has_no_more_sockets_than_they_may_over_all_replicas() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut sockets = Vec::new();
        for at in 0..8 {
            sockets.push(alice.at(&mesh.gateway_on(at % 2)).socket().await);
        }
        for replica in 0..2 {
            let refusal = alice.at(&mesh.gateway_on(replica)).ask_for_socket(SYNC_PATH).await.unwrap_err();
            assert_eq!((refusal.status, refusal.reason()), (429, "TOO_MANY_SOCKETS"));
        }
        sockets.pop().unwrap().cut();
        wait_for("a place is free", PATIENCE, async || alice.ask_for_socket(SYNC_PATH).await.ok()).await;
    });
}

#[test]
fn the_old_socket_of_games_is_not_served_unless_it_is_said() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let refusal = alice.ask_for_socket("/api/games/ws").await.unwrap_err();
        assert_eq!((refusal.status, refusal.reason()), (404, "LEGACY_OFF"));
        assert_eq!(mesh.visitor("eve").ask_for_socket("/api/games/ws").await.unwrap_err().status, 401);
        let old = TestMesh::builder().modules(MODULES).setting("realtime.enable_legacy_games_ws", true).start().await;
        let bob = old.persona("bob").await;
        let mut socket = bob.ask_for_socket("/api/games/ws").await.unwrap();
        assert_eq!(socket.message().await["type"], "sync_connected");
        let counted = old.node(0, "realtime").running().metrics.encode();
        assert!(counted.contains("ws_legacy_games_connections_total 1"), "{counted}");
        // Nothing but games is said there: what another socket heard, this one did not.
        let mut other = bob.socket().await;
        given(&Shop::of(&old).await, &bob, &mut other, 1).await;
        bob.logout().await;
        let end = socket.next(PATIENCE).await;
        assert_eq!(end, SocketHeard::Closed { code: 4401, reason: "TOKEN_REVOKED".to_owned() });
    });
}

#[test]
fn the_same_messages_come_as_lines_events_and_grpc() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        let call = alice.rest().get(SYNC_PATH).header("accept", "text/event-stream");
        let mut events = call.open().await;
        let mut hear = async || loop {
            let event = events.until(b"\n\n").await.expect("a stream").expect("an event");
            let text = String::from_utf8(event).unwrap();
            if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
                return serde_json::from_str::<Value>(data).unwrap();
            }
        };
        assert_eq!(hear().await["type"], "sync_connected");
        assert_eq!(hear().await["type"], "initial_state");
        shop.grant(&alice.user_id, 5).await.unwrap();
        let message = hear().await;
        assert_eq!((&message["type"], gold(&message)), (&json!("profile_update"), 5));
    });
}

#[test]
fn administrators_see_figures_and_each_others_acts_and_nobody_else_does() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        for path in ["/api/metrics/stream", "/api/admin/stream"] {
            assert_eq!(alice.get(path).await.status, 403, "{path}");
            assert_eq!(mesh.visitor("eve").get(path).await.status, 401, "{path}");
        }
        let mut figures = admin.rest().get("/api/metrics/stream").open().await;
        let line = figures.until(b"\n").await.unwrap().unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert!(line["result"]["sockets"].as_i64().is_some_and(|sockets| sockets >= 0), "{line}");
    });
}

#[test]
fn a_socket_ends_when_its_token_is_revoked() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let tablet = alice.visitor.elsewhere().login().await;
        let mut sockets = [alice.at(&mesh.front()).socket().await, alice.at(&mesh.gateway_on(1)).socket().await];
        let mut other = tablet.socket().await;
        let since = std::time::Instant::now();
        alice.logout().await;
        for socket in &mut sockets {
            assert_eq!(socket.end(PATIENCE).await, (4401, "TOKEN_REVOKED".to_owned()));
        }
        println!("revoked sockets closed after {:?}", since.elapsed());
        let (shop, mut heard) = (Shop::of(mesh).await, None);
        shop.grant(&tablet.user_id, 1).await.unwrap();
        while heard.is_none() {
            match other.next(PATIENCE).await {
                SocketHeard::Message(message) if message["type"] == "profile_update" => heard = Some(message),
                SocketHeard::Message(_) => {}
                end => panic!("the other session's socket ended: {end:?}"),
            }
        }
    });
}
