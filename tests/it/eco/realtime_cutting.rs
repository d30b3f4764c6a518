//! Sockets while parts fail: what was missed comes when they are back, and what is revoked ends in time (A2).

use std::time::{Duration, Instant};

use coreloop_core::Clock as _;
use coreloop_testkit::{
    Before, Fault, TestMesh, figure, run,
    socket::SYNC_PATH,
    wait::{PATIENCE, wait_for},
};
use serde_json::{Value, json};

use super::{
    realtime_lasting::{badge, tell},
    stage::LONG,
};
use crate::wallet::stage::Shop;

/// A2, with pub/sub cut.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
const MODULES: &[&str] = &["auth", "wallet", "realtime"];

fn gold(message: &Value) -> i64 {
    message["data"]["changes"]["gold"].as_f64().map_or_else(|| panic!("no gold in {message}"), |gold| gold as i64)
}

#[test]
fn what_was_said_while_the_channel_was_lost_comes_when_it_is_back() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut socket = alice.socket().await;
        let mut redis = mesh.redis.connect().await;
        for round in 1..=3 {
            let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").to_owned();
            let () = kill.query_async(&mut redis).await.unwrap();
            shop.grant(&alice.user_id, 1).await.unwrap();
            assert_eq!(gold(&socket.of_type("profile_update").await), round, "once, in order, on the same socket");
        }
    });
}

#[test]
fn a_socket_lives_through_a_redis_that_is_away_and_hears_what_was_said_meanwhile() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).split().proxy(Before::Redis).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut socket = alice.socket().await;
        for (round, fault) in (1..).zip([Fault::Cut, Fault::Pause]) {
            mesh.redis_proxy.as_ref().unwrap().set(fault);
            shop.grant(&alice.user_id, 1).await.unwrap();
            mesh.redis_proxy.as_ref().unwrap().heal();
            assert_eq!(gold(&socket.of_type("profile_update").await), round);
        }
    });
}

#[test]
fn a_redis_that_lost_its_data_is_a_new_beginning() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut socket = alice.socket().await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        let last = socket.of_type("profile_update").await["seq"].as_i64().unwrap();
        mesh.redis.flush().await;
        let (connected, mut socket) = alice.socket_since(last).await;
        assert_eq!(connected["data"]["resumed"], false);
        assert_eq!(socket.message().await["type"], "initial_state");
        shop.grant(&alice.user_id, 1).await.unwrap();
        // What was told last may be told again by a bus that has forgotten who heard it.
        let mut told = Vec::new();
        while told.last() != Some(&2) {
            let message = socket.of_type("profile_update").await;
            assert!(message["seq"].as_i64().unwrap() > last, "places only grow");
            told.push(gold(&message));
        }
        assert!(told == [2] || told == [1, 2], "{told:?}");
    });
}

#[test]
fn without_postgres_sockets_stay_and_resume_and_what_happened_comes_when_it_is_back() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).split().proxy(Before::Postgres);
        let mesh = mesh.setting("limit.enabled", false).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut stays = alice.socket().await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        let last = stays.of_type("profile_update").await["seq"].as_i64().unwrap();
        shop.grant(&alice.user_id, 1).await.unwrap();
        assert_eq!(gold(&stays.of_type("profile_update").await), 2);
        let postgres = mesh.postgres_proxy.as_ref().unwrap();
        postgres.set(Fault::Cut);
        wait_for("the wallet is away", PATIENCE, async || shop.balances(&alice.user_id).await.err()).await;

        let (connected, mut resumed) = alice.socket_since(last).await;
        assert_eq!(connected["data"]["resumed"], true);
        assert_eq!(gold(&resumed.message().await), 2);
        let log = async || {
            let log = alice.get("/api/realtime/replay?since=0").await.expect(200);
            log["messages"].as_array().cloned().unwrap_or_default()
        };
        assert_eq!(log().await.iter().map(gold).collect::<Vec<_>>(), [1, 2]);
        let mut fresh = alice.ask_for_socket(SYNC_PATH).await.unwrap();
        assert_eq!(fresh.message().await["type"], "sync_connected");
        let state = fresh.message().await;
        assert_eq!(state["data"]["missing"], json!(["wallet", "summary", "notifications"]), "{state}");

        // Written past the cut, as by a service whose database is another.
        tell(&mesh, &alice, &badge(&alice, "FIRST_SCAN"), mesh.clock.now()).await;
        postgres.heal();
        wait_for("it is said", LONG, async || (log().await.len() == 3).then_some(())).await;
        for socket in [&mut stays, &mut resumed, &mut fresh] {
            let message = socket.message().await;
            assert_eq!(message["data"]["achievement_code"], "FIRST_SCAN", "and nothing before it: {message}");
        }
    });
}

#[test]
fn a_revoked_token_ends_its_sockets_in_time_although_pubsub_is_cut() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).split().replicas(2).envoy().start().await;
        let alice = mesh.persona("alice").await;
        let mut sockets = [alice.at(&mesh.front()).socket().await, alice.at(&mesh.gateway_on(0)).socket().await];
        let mut redis = mesh.redis.connect().await;
        let forbid = redis::cmd("ACL").arg("SETUSER").arg("default").arg("-xread").arg("-subscribe").to_owned();
        let () = forbid.query_async(&mut redis).await.unwrap();
        let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").to_owned();
        let () = kill.query_async(&mut redis).await.unwrap();
        let since = Instant::now();
        alice.at(&mesh.gateway_on(1)).logout().await;
        for socket in &mut sockets {
            assert_eq!(socket.end(PATIENCE).await, (4401, "TOKEN_REVOKED".to_owned()));
        }
        assert!(since.elapsed() <= figure(REVOKED_WITHIN), "{:?}", since.elapsed());
    });
}

/// P1: a replica drains; its sockets are told so and go on elsewhere with nothing missed.
#[test]
fn a_replica_that_drains_sends_its_sockets_elsewhere_with_nothing_missed() {
    run(async {
        let mut mesh = TestMesh::builder().modules(MODULES).replicas(2).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut socket = alice.at(&mesh.gateway_on(1)).socket().await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        let last = socket.of_type("profile_update").await["seq"].as_i64().unwrap();
        let elsewhere = alice.at(&mesh.gateway_on(0));
        let (end, ()) = tokio::join!(socket.end(PATIENCE), mesh.node_mut(1, "edge").stop());
        assert_eq!(end.0, 1001);
        shop.grant(&alice.user_id, 1).await.unwrap();
        let (connected, mut socket) = elsewhere.socket_since(last).await;
        assert_eq!(connected["data"]["resumed"], true);
        assert_eq!(gold(&socket.of_type("profile_update").await), 2);
    });
}

#[test]
fn a_writer_that_is_killed_says_nothing_twice_and_leaves_nothing_out() {
    run(async {
        let mut mesh = TestMesh::builder().modules(MODULES).split().replicas(2).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut expected = 0;
        for replica in [0, 1, 0] {
            for _ in 0..5 {
                shop.grant(&alice.user_id, 1).await.unwrap();
            }
            mesh.node_mut(replica, "realtime").kill().await;
            mesh.node_mut(replica, "realtime").start().await;
            expected += 5;
            wait_for("all of it is in the log", PATIENCE, async || {
                let log = alice.at(&mesh.gateway_on(0)).get("/api/realtime/replay?since=0").await;
                // The edge may have found out a moment later that realtime was killed.
                let log = (log.status == 200).then(|| log.json())?;
                let all: Vec<_> = log["messages"].as_array()?.iter().map(gold).collect();
                assert!(all.is_sorted_by(|a, b| a < b), "one twice or out of order: {all:?}");
                (all.len() == expected).then_some(())
            })
            .await;
        }
    });
}
