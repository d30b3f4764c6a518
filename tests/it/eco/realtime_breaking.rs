//! Sockets in front of clients that break the rules: bad frames, no reading, idleness, thousands at once (E5). Nobody else notices.

use coreloop_testkit::{
    Persona, Shared, Socket, SocketHeard, TestMesh, memory, run,
    socket::SYNC_PATH,
    wait::{PATIENCE, wait_for},
};

use crate::wallet::stage::Shop;

static MESH: Shared<TestMesh> = Shared::new(|| {
    let mesh = TestMesh::builder().modules(&["auth", "wallet", "realtime"]).envoy();
    let mesh = mesh.setting("limit.enabled", false).setting("realtime.sockets_per_user", 1_000_i64);
    Box::pin(mesh.setting("realtime.queue", 16_i64).start())
});

/// A masked frame with any first byte; the mask is nought, so the payload stands as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..=125) => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[test]
fn a_broken_frame_closes_its_own_socket_with_its_code() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (shop, mut bystander) = (Shop::of(mesh).await, alice.socket().await);
        let huge = [&[0x81, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        let cases: [(&str, Vec<u8>, u16); 10] = [
            ("a reserved bit", frame(0xc1, b"x"), 1002),
            ("an unknown opcode", frame(0x83, b"x"), 1002),
            ("a fragmented ping", frame(0x09, b""), 1002),
            ("a ping that is too long", frame(0x89, &[b'x'; 126]), 1002),
            ("more of nothing", frame(0x80, b"x"), 1002),
            ("no mask", vec![0x81, 0x01, b'x'], 1002),
            ("bytes", frame(0x82, b"x"), 1003),
            ("no UTF-8", frame(0x81, &[0xff, 0xfe]), 1007),
            ("a terabyte", huge, 1009),
            ("a close with half a code", frame(0x88, b"x"), 1002),
        ];
        for (base, (what, bytes, code)) in
            cases.iter().enumerate().map(|(at, case)| (if at % 2 == 0 { mesh.front() } else { mesh.gateway() }, case))
        {
            let mut socket = alice.at(&base).socket().await;
            socket.say_raw(bytes).await;
            assert_eq!(socket.end(PATIENCE).await.0, *code, "{what}");
        }
        shop.grant(&alice.user_id, 1).await.unwrap();
        bystander.of_type("profile_update").await;
    });
}

#[test]
fn a_frame_in_single_bytes_is_a_frame_and_pings_are_answered() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut socket = alice.at(&mesh.front()).socket().await;
        for byte in frame(0x81, b"{\"type\":\"anything\"}").chunks(1) {
            socket.say_raw(byte).await;
        }
        socket.say_raw(&frame(0x89, b"there?")).await;
        assert_eq!(socket.pong(PATIENCE).await, b"there?");
        Shop::of(mesh).await.grant(&alice.user_id, 1).await.unwrap();
        socket.of_type("profile_update").await;
    });
}

/// One reads nothing while a hundred messages a time come; another of the same user hears each.
#[test]
fn a_client_that_does_not_read_costs_others_nothing_and_is_closed() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (mut stuck, mut reads) = (alice.at(&mesh.gateway()).socket().await, alice.socket().await);
        // Through Redis as the writer does, but large: the buffers of the system are megabytes.
        let mut redis = mesh.redis.connect().await;
        let channel = format!("rt:{{{}}}", alice.user_id);
        let text = "x".repeat(64 * 1024);
        let mut seq: i64 = redis::cmd("GET").arg(format!("{channel}:seq")).query_async(&mut redis).await.unwrap_or(0);
        let mut heard = 0;
        for _ in 0..400 {
            let said = serde_json::json!({
                "type": "notification", "data": {"body": text}, "timestamp": "2026-01-02T03:04:05Z",
            });
            let word = format!("{} {seq} {said}", seq + 1);
            seq += 1;
            let () = redis::cmd("PUBLISH").arg(&channel).arg(word).query_async(&mut redis).await.unwrap();
            reads.of_type("notification").await;
            heard += 1;
        }
        assert_eq!(heard, 400);
        // What the system holds for it comes first.
        assert_eq!(stuck.end(PATIENCE).await, (4410, "SLOW_CONSUMER".to_owned()));
        let metrics = mesh.node(0, "realtime").running().metrics.encode();
        let failed =
            metrics.lines().find_map(|line| line.strip_prefix("cc_ws_delivery_fail_total ")?.parse::<u64>().ok());
        assert!(failed.is_some_and(|failed| failed > 0), "{metrics}");
    });
}

#[test]
fn who_is_silent_is_closed() {
    run(async {
        let mesh = TestMesh::builder().modules(&["auth", "realtime"]);
        let mesh = mesh.setting("gateway.sockets.ping_secs", 2_i64).setting("gateway.sockets.idle_secs", 5_i64);
        let mesh = mesh.setting("gateway.sockets.first_message_ms", 500_i64).start().await;
        let alice = mesh.persona("alice").await;
        let mut silent = alice.socket().await;
        // The reference peer answers pings only while it is asked to read.
        wait_for("the silent one is closed", PATIENCE, async || {
            let metrics = mesh.node(0, "edge").running().metrics.encode();
            metrics.contains("coreloop_edge_sockets_closed_total{code=\"4408\"} 1").then_some(())
        })
        .await;
        assert_eq!(silent.end(PATIENCE).await, (4408, "IDLE".to_owned()));
        let mut mute = alice.visitor.ask_for_socket(SYNC_PATH).await.unwrap();
        assert_eq!(mute.end(PATIENCE).await, (4401, "TOKEN_MISSING".to_owned()));
    });
}

/// Short: a thousand. Ten thousand are the bench's, which has a process for each end.
#[test]
fn a_thousand_idle_sockets_are_held_and_cost_little() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (shop, mut bystander) = (Shop::of(mesh).await, bob.socket().await);
        let gateway = alice.at(&mesh.gateway());
        let before = memory::resident_kib();
        let mut sockets = Vec::new();
        for _ in 0..900 {
            sockets.push(idle(&gateway).await);
        }
        let each = (memory::resident_kib().saturating_sub(before)) as f64 / sockets.len() as f64;
        println!("an idle socket, both ends and the stream behind it: {each:.1} KiB");
        shop.grant(&bob.user_id, 1).await.unwrap();
        bystander.of_type("profile_update").await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        for socket in &mut sockets {
            assert!(matches!(socket.next(PATIENCE).await, SocketHeard::Message(_)));
        }
        drop(sockets);
        wait_for("all are gone", PATIENCE, async || {
            let metrics = mesh.node(0, "edge").running().metrics.encode();
            let left = metrics.lines().find_map(|line| {
                line.strip_prefix("cc_ws_active_connections{route=\"/api/realtime/sync\"} ")?.parse::<i64>().ok()
            });
            (left? < 100).then_some(())
        })
        .await;
    });
}

async fn idle(who: &Persona) -> Socket {
    who.socket().await
}
