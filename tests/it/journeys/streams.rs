//! Watching a session: what it tells, and that it ends with the session and the token, in every way a stream can be asked
//! for (A2: open streams too).

use std::time::{Duration, Instant};

use coreloop_testkit::{
    Heard, Persona, TestMesh, Watcher, Way, figure, rpc, run,
    wait::PATIENCE,
    wait_until,
    watcher::{WATCH, WATCH_PATH},
};
use http::Method;
use jiff::SignedDuration;
use serde_json::json;
use tonic::{Code, transport::Endpoint};

/// A message that is awaited comes within this.
const SOON: Duration = PATIENCE;
/// A2.
fn revoked_within() -> Duration {
    figure(Duration::from_secs(1))
}

async fn changed(watcher: &mut Watcher) -> Heard {
    let heard = watcher.next(SOON).await;
    assert_eq!(heard.cause(), "WATCH_CAUSE_CHANGED", "{heard:?}");
    heard
}

/// The watch ends as a call with its token would now, in time.
async fn ends_revoked(watcher: &mut Watcher, since: Instant, within: Duration) {
    let end = watcher.end(within + SOON).await;
    let took = since.elapsed();
    assert!(end.failed_with(Code::Unauthenticated, "TOKEN_REVOKED"), "{watcher:?}: {end:?}");
    assert!(took <= within, "{watcher:?} took {took:?}");
    assert_eq!(watcher.next(SOON).await, Heard::Ended, "nothing comes after the end");
}

in_both_topologies! {
    async fn a_watch_tells_what_is_and_what_changes_in_every_way(mesh) {
        for way in Way::ALL {
            let alice = mesh.persona("alice").await;
            let mut watcher = Watcher::open_with(&alice, &mesh.front(), way, &[]).await;
            let opened = watcher.next(SOON).await;
            assert_eq!(opened.cause(), "WATCH_CAUSE_OPENED");
            let session = opened.session();
            assert_eq!(session["user_id"], alice.user_id.as_str());
            assert_eq!(session["roles"], json!(["ROLE_STANDARD"]));
            assert_eq!((&session["age_state"], &session["age_verified"]), (&json!("AGE_STATE_UNKNOWN"), &json!(false)));
            assert_eq!((&session["device_name"], &session["other_sessions"]), (&json!("test phone"), &json!(0)));
            let listed = alice.get("/api/v1/auth/tokens").await.expect(200);
            assert_eq!(session["session_id"], listed["tokens"][0]["session_id"]);
            assert_eq!(session["created_at"], listed["tokens"][0]["created_at"]);
            let ends: jiff::Timestamp = session["access_token_expires_at"].as_str().unwrap().parse().unwrap();
            assert_eq!(ends.as_second(), alice.claims()["exp"].as_i64().unwrap());

            let tablet = alice.visitor.elsewhere().login().await;
            assert_eq!(changed(&mut watcher).await.session()["other_sessions"], 1);
            alice.post("/api/v1/auth/age", &json!({"birth_date": "1990-12-31"})).await.expect(200);
            assert_eq!(changed(&mut watcher).await.session()["age_state"], "AGE_STATE_DECLARED");
            tablet.logout().await;
            assert_eq!(changed(&mut watcher).await.session()["other_sessions"], 0);
        }
    }

    async fn a_watch_needs_a_good_token(mesh) {
        let alice = mesh.persona("alice").await;
        let stranger = Persona { access_token: "nonsense".to_owned(), ..alice.clone() };
        alice.logout().await;
        let at = [(Way::ALL.as_slice(), mesh.front()), (&Way::ALL[1..], mesh.gateway()), (&Way::ALL[..1], mesh.address_on(0, "auth"))];
        for (ways, base) in at {
            for way in ways {
                for (persona, reason) in [(&alice, "TOKEN_REVOKED"), (&stranger, "TOKEN_INVALID")] {
                    let refused = Watcher::open_with(persona, &base, *way, &[]).await.next(SOON).await;
                    let right = refused.failed_with(Code::Unauthenticated, reason);
                    assert!(right, "{way:?} at {base}: {refused:?}");
                }
            }
        }
    }

    async fn signing_out_ends_the_watch_at_once(mesh) {
        for way in Way::ALL {
            let alice = mesh.persona("alice").await;
            let tablet = alice.visitor.elsewhere().login().await;
            let mut watcher = Watcher::open(&alice, &mesh.front(), way).await;
            let mut other = Watcher::open(&tablet, &mesh.front(), way).await;
            let since = Instant::now();
            alice.logout().await;
            ends_revoked(&mut watcher, since, revoked_within()).await;
            let told = changed(&mut other).await;
            assert_eq!(told.session()["other_sessions"], 0, "the other session goes on, and is told");
        }
    }
}

#[test]
fn a_session_ended_at_one_replica_ends_its_watches_at_the_other() {
    run(async {
        let mesh = crate::meshes::APART.get().await;
        for way in Way::ALL {
            let alice = mesh.persona("alice").await;
            let tablet = alice.visitor.elsewhere().login().await;
            let mut watcher = Watcher::open(&alice, &mesh.front(), way).await;
            let bob = mesh.persona("bob").await;
            let mut bystander = Watcher::open(&bob, &mesh.front(), way).await;
            // The tablet ends the phone's session, at the replica where nobody watches.
            let tablet = tablet.at(&mesh.gateway_on(1));
            let sessions = tablet.get("/api/v1/auth/tokens").await.expect(200);
            let jti = sessions["tokens"][1]["jti"].as_str().unwrap().to_owned();
            let since = Instant::now();
            tablet.delete(&format!("/api/v1/auth/tokens/{jti}")).await.expect(200);
            ends_revoked(&mut watcher, since, revoked_within()).await;
            bob.visitor.elsewhere().login().await;
            assert_eq!(changed(&mut bystander).await.session()["other_sessions"], 1, "bob's goes on, and is told");
        }
    });
}

#[test]
fn a_change_at_one_replica_is_told_at_the_other() {
    run(async {
        let mesh = crate::meshes::APART.get().await;
        let alice = mesh.persona("alice").await;
        let mut watcher = Watcher::open(&alice, &mesh.front(), Way::Events).await;
        for round in 0..5 {
            let tablet = alice.visitor.elsewhere().at(&mesh.gateway_on(1));
            let tablet = tablet.login().await;
            let since = Instant::now();
            assert_eq!(changed(&mut watcher).await.session()["other_sessions"], 1);
            assert!(since.elapsed() < figure(Duration::from_millis(2_500)), "round {round}: {:?}", since.elapsed());
            tablet.logout().await;
            assert_eq!(changed(&mut watcher).await.session()["other_sessions"], 0);
        }
    });
}

#[test]
fn a_role_change_at_one_replica_ends_the_watches_at_the_other() {
    run(async {
        let mesh = crate::meshes::APART.get().await;
        let admin = mesh.admin().await.at(&mesh.gateway_on(1));
        for way in Way::ALL {
            let alice = mesh.persona("alice").await;
            let mut watcher = Watcher::open(&alice, &mesh.front(), way).await;
            let path = format!("/api/v1/auth/admin/users/{}/roles", alice.user_id);
            let since = Instant::now();
            admin.call(Method::PUT, &path).json(&json!({"roles": ["ROLE_VIP"]})).send().await.expect(200);
            ends_revoked(&mut watcher, since, revoked_within()).await;
            let again = alice.visitor.elsewhere().login().await;
            let mut watcher = Watcher::open_with(&again, &mesh.front(), way, &[]).await;
            assert_eq!(watcher.next(SOON).await.session()["roles"], json!(["ROLE_STANDARD", "ROLE_VIP"]));
        }
    });
}

#[test]
fn a_watch_beats_and_ends_with_its_token_while_its_session_goes_on() {
    run(async {
        let mesh = TestMesh::builder().setting("auth.watch_heartbeat_secs", 1_i64).envoy().start().await;
        let mut alice = mesh.persona("alice").await;
        let mut watchers = Vec::new();
        for way in Way::ALL {
            watchers.push(Watcher::open(&alice, &mesh.front(), way).await);
        }
        // A new call would be admitted until the leeway has passed, too: most of that is the machine's.
        let ends = alice.claims()["exp"].as_i64().unwrap();
        mesh.clock.advance(SignedDuration::from_secs(ends + 2 - mesh.now()));
        for watcher in &mut watchers {
            assert_eq!(watcher.next(SOON).await.cause(), "WATCH_CAUSE_HEARTBEAT");
        }
        assert!(alice.is_signed_in().await);
        let since = Instant::now();
        mesh.clock.advance(SignedDuration::from_secs(ends + 31 - mesh.now()));
        for watcher in &mut watchers {
            let end = watcher.end(SOON).await;
            assert!(end.failed_with(Code::Unauthenticated, "TOKEN_EXPIRED"), "{watcher:?}: {end:?}");
        }
        assert!(since.elapsed() <= revoked_within(), "{:?}", since.elapsed());
        alice.refresh().await;
        Watcher::open(&alice, &mesh.front(), Way::Events).await;
    });
}

#[test]
fn a_user_may_watch_so_often_and_others_are_not_touched() {
    run(async {
        let mesh = TestMesh::builder().envoy().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let mut open = Vec::new();
        for number in 0..8 {
            open.push(Watcher::open(&alice, &mesh.front(), Way::ALL[number % 4]).await);
        }
        for way in Way::ALL {
            let refused = Watcher::open_with(&alice, &mesh.front(), way, &[]).await.next(SOON).await;
            assert!(refused.failed_with(Code::ResourceExhausted, "TOO_MANY_WATCHES"), "{way:?}: {refused:?}");
        }
        assert_eq!(alice.get(WATCH_PATH).await.status, 429);
        Watcher::open(&bob, &mesh.front(), Way::Lines).await;
        open.truncate(7);
        coreloop_testkit::wait_until("one that was closed makes room", SOON, async || {
            let heard = Watcher::open_with(&alice, &mesh.front(), Way::Grpc, &[]).await.next(SOON).await;
            matches!(heard, Heard::Message(_))
        })
        .await;
    });
}

#[test]
fn open_watches_take_no_place_from_calls() {
    run(async {
        let mesh = TestMesh::builder().toml("[server]\nmax_in_flight = 2\nmax_waiting = 0\n").start().await;
        let alice = mesh.persona("alice").await;
        let mut open = Vec::new();
        for _ in 0..6 {
            open.push(Watcher::open(&alice, &mesh.front(), Way::Lines).await);
        }
        for _ in 0..20 {
            alice.get("/api/v1/auth/me").await.expect(200);
        }
        let metrics = mesh.node(0, "auth").running().metrics.encode();
        assert!(metrics.contains("coreloop_rpc_open_streams{module=\"auth\"} 6"), "{metrics}");
        assert!(metrics.contains("auth_watches 6"), "{metrics}");
    });
}

#[test]
fn more_streams_than_a_service_admits_are_refused_and_calls_go_on() {
    run(async {
        let mesh = TestMesh::builder().toml("[server]\nmax_open_streams = 2\n").start().await;
        let alice = mesh.persona("alice").await;
        let _first = Watcher::open(&alice, &mesh.front(), Way::Lines).await;
        let _second = Watcher::open(&alice, &mesh.address_on(0, "auth"), Way::Grpc).await;
        let refused = Watcher::open_with(&alice, &mesh.front(), Way::Events, &[]).await.next(SOON).await;
        assert!(matches!(&refused, Heard::Failed { reason, retry: true, .. } if reason == "OVERLOADED"), "{refused:?}");
        alice.get("/api/v1/auth/me").await.expect(200);
    });
}

#[test]
fn nothing_is_listened_to_while_nobody_watches() {
    run(async {
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        let redis = mesh.redis.connect().await;
        let listeners = async || {
            let mut command = redis::cmd("PUBSUB");
            command.arg("NUMSUB").arg("auth:user_changed");
            let (_channel, listeners): (String, i64) = command.query_async(&mut redis.clone()).await.unwrap();
            listeners
        };
        assert_eq!(listeners().await, 0);
        for _ in 0..2 {
            let watcher = Watcher::open(&alice, &mesh.front(), Way::Lines).await;
            wait_until("it is listened to", PATIENCE, async || listeners().await == 1).await;
            drop(watcher);
            wait_until("it is left", PATIENCE, async || listeners().await == 0).await;
        }
    });
}

#[test]
fn a_slow_reader_is_told_the_newest_and_nothing_is_kept_for_it() {
    run(async {
        const CHANGES: usize = 60;
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        // Room for two messages: what else is said has to wait at the server, or to be forgotten there.
        let narrow = Endpoint::from_shared(mesh.address_on(0, "auth")).unwrap();
        let narrow = narrow.initial_stream_window_size(256).initial_connection_window_size(65_535).connect_lazy();
        let bearer = format!("Bearer {}", alice.access_token);
        let mut slow = rpc::open(&narrow, WATCH, &[], &[("authorization", &bearer)]).await.unwrap();
        let mut quick = Watcher::open(&alice, &mesh.front(), Way::Lines).await;
        let mut redis = mesh.redis.connect().await;
        for number in 0..CHANGES {
            let sql = format!("update auth.sessions set device_name = 'n{number}' where user_id = '{}'", alice.user_id);
            mesh.db.execute(&sql).await;
            let word = format!("{} {}", uuid::Uuid::nil(), alice.user_id);
            let () = redis::cmd("PUBLISH").arg("auth:user_changed").arg(word).query_async(&mut redis).await.unwrap();
            assert_eq!(changed(&mut quick).await.session()["device_name"], format!("n{number}"));
        }
        let newest = format!("n{}", CHANGES - 1);
        let mut told = 0;
        loop {
            let message = tokio::time::timeout(SOON, slow.message()).await.expect("a message").unwrap().unwrap();
            told += 1;
            if String::from_utf8_lossy(&message).contains(&newest) {
                break;
            }
        }
        assert!(told < 10, "{told} messages were kept for a reader that did not read");
    });
}
