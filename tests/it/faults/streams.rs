//! Open streams while parts fail: revoked is ended within seconds without the channel, and even without Redis (A2); nobody
//! hangs on a part that is gone.

use std::time::{Duration, Instant};

use coreloop_testkit::{Before, Fault, Heard, TestMesh, Watcher, Way, figure, run, wait::PATIENCE, wait_until};
use serde_json::json;
use tonic::Code;

const SOON: Duration = Duration::from_secs(5);
/// A2, with pub/sub cut.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_watch_ends_in_time_although_neither_stream_nor_channel_can_be_read() {
    run(async {
        let mesh = TestMesh::builder().split().replicas(2).envoy().start().await;
        let alice = mesh.persona("alice").await;
        let tablet = alice.visitor.elsewhere().login().await;
        let mut watchers = Vec::new();
        for way in Way::ALL {
            watchers.push(Watcher::open(&alice, &mesh.front(), way).await);
        }
        let mut redis = mesh.redis.connect().await;
        let acl = "ACL SETUSER default -xread -subscribe";
        let mut forbid = redis::cmd("ACL");
        acl.split(' ').skip(1).for_each(|word| {
            forbid.arg(word);
        });
        let () = forbid.query_async(&mut redis).await.unwrap();
        let () = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query_async(&mut redis).await.unwrap();
        let since = Instant::now();
        alice.at(&mesh.gateway_on(1)).logout().await;
        for watcher in &mut watchers {
            let end = watcher.end(PATIENCE).await;
            assert!(end.failed_with(Code::Unauthenticated, "TOKEN_REVOKED"), "{watcher:?}: {end:?}");
        }
        assert!(since.elapsed() <= figure(REVOKED_WITHIN), "{:?}", since.elapsed());
        let mut other = Watcher::open(&tablet, &mesh.front(), Way::Lines).await;
        alice.visitor.elsewhere().at(&mesh.gateway_on(1)).login().await;
        let heard = other.next(PATIENCE).await;
        assert_eq!(heard.session()["other_sessions"], 1, "changes come by the database meanwhile");
    });
}

async fn ends_in_time_and_goes_on_otherwise(fault: Fault) {
    let mesh = TestMesh::builder().split().replicas(2).proxy(Before::Redis).envoy().start().await;
    let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
    let mut watchers = Vec::new();
    for way in Way::ALL {
        watchers.push(Watcher::open(&alice, &mesh.front(), way).await);
    }
    let mut bystander = Watcher::open(&bob, &mesh.front(), Way::Lines).await;
    mesh.redis_proxy.as_ref().unwrap().set(fault);
    // Recorded, though it cannot be published.
    alice.at(&mesh.gateway_on(1)).post("/api/v1/auth/logout", &json!({})).await;
    let since = Instant::now();
    for watcher in &mut watchers {
        let end = watcher.end(PATIENCE).await;
        assert!(end.failed_with(Code::Unauthenticated, "TOKEN_REVOKED"), "{watcher:?}: {end:?}");
    }
    assert!(since.elapsed() <= figure(REVOKED_WITHIN), "{:?}", since.elapsed());
    mesh.redis_proxy.as_ref().unwrap().heal();
    bob.visitor.elsewhere().at(&mesh.gateway_on(1)).login().await;
    let heard = bystander.next(PATIENCE).await;
    assert_eq!(heard.session()["other_sessions"], 1, "who was not signed out was never ended");
}

#[test]
fn a_watch_ends_in_time_while_redis_is_cut_off_and_goes_on_otherwise() {
    run(ends_in_time_and_goes_on_otherwise(Fault::Cut));
}

#[test]
fn a_watch_ends_in_time_while_redis_is_frozen_and_goes_on_otherwise() {
    run(ends_in_time_and_goes_on_otherwise(Fault::Pause));
}

#[test]
fn blind_for_too_long_ends_every_watch_to_come_back() {
    run(async {
        let toml = "[access]\nblind_limit_secs = 3\nask_timeout_ms = 50\n[limit]\nredis_timeout_ms = 50\n";
        let mut mesh = TestMesh::builder().toml(toml).envoy().start().await;
        let alice = mesh.persona("alice").await;
        let mut watcher = Watcher::open(&alice, &mesh.front(), Way::Events).await;
        let since = Instant::now();
        mesh.redis.kill();
        let end = watcher.end(PATIENCE).await;
        assert!(end.failed_with(Code::Unavailable, "REVOCATION_UNKNOWN"), "{end:?}");
        assert!(matches!(end, Heard::Failed { retry: true, .. }), "{end:?}");
        let took = since.elapsed();
        let allowed = Duration::from_secs(2)..figure(Duration::from_secs(7));
        assert!(allowed.contains(&took), "{took:?}");
        mesh.redis.resurrect().await;
        wait_until("it can be watched again", PATIENCE, async || {
            let mut again = Watcher::open_with(&alice, &mesh.front(), Way::Events, &[]).await;
            matches!(again.next(PATIENCE).await, Heard::Message(_))
        })
        .await;
    });
}

#[test]
fn a_deadline_ends_the_watch() {
    run(async {
        let mesh = crate::meshes::APART.get().await;
        let alice = mesh.persona("alice").await;
        // Envoy keeps a gRPC caller's deadline too, and can only cut when it is first; the caller keeps its own then.
        let straight = (Way::Grpc, mesh.address_on(0, "auth"));
        let through = Way::ALL.into_iter().skip(1).map(|way| (way, mesh.front()));
        for (way, base) in through.chain([straight]) {
            let since = Instant::now();
            let mut watcher = Watcher::open_with(&alice, &base, way, &[("grpc-timeout", "3S")]).await;
            assert_eq!(watcher.next(PATIENCE).await.cause(), "WATCH_CAUSE_OPENED");
            let end = watcher.end(PATIENCE).await;
            assert!(end.failed_with(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{way:?}: {end:?}");
            let took = since.elapsed();
            let allowed = Duration::from_millis(2_900)..figure(Duration::from_millis(4_500));
            assert!(allowed.contains(&took), "{way:?}: {took:?}");
        }
    });
}

async fn opened(mesh: &TestMesh) -> Vec<(Way, Watcher)> {
    let alice = mesh.persona("alice").await;
    let mut open = Vec::new();
    for way in Way::ALL {
        open.push((way, Watcher::open(&alice, &mesh.front(), way).await));
    }
    open
}

#[test]
fn a_service_that_is_gone_leaves_nobody_hanging() {
    run(async {
        let mesh = TestMesh::builder().split().proxy(Before::Auth).envoy().start().await;
        let mut open = opened(&mesh).await;
        mesh.auth_proxy.as_ref().unwrap().set(Fault::Cut);
        for (way, watcher) in &mut open {
            let end = watcher.end(figure(SOON)).await;
            // Between Envoy and a gRPC caller is nobody who could still say it: the stream is reset.
            let right = match way {
                Way::Grpc => matches!(end, Heard::Broken(_)),
                _ => end.failed_with(Code::Unavailable, "DEPENDENCY_UNAVAILABLE"),
            };
            assert!(right, "{way:?}: {end:?}");
        }
    });
}

#[test]
fn a_draining_service_sends_its_watchers_away_to_come_back() {
    run(async {
        let mut mesh = TestMesh::builder().split().envoy().start().await;
        let mut open = opened(&mesh).await;
        let since = Instant::now();
        let (_, ends) = tokio::join!(mesh.node_mut(0, "auth").stop(), async {
            let mut ends = Vec::new();
            for (way, watcher) in &mut open {
                ends.push((*way, watcher.end(PATIENCE).await));
            }
            ends
        });
        for (way, end) in ends {
            let away = Heard::Failed { code: 14, reason: "DEPENDENCY_UNAVAILABLE".to_owned(), retry: true };
            assert_eq!(end, away, "{way:?}");
        }
        assert!(since.elapsed() < figure(SOON), "the drain took {:?}: somebody held it up", since.elapsed());
    });
}

#[test]
fn a_draining_edge_sends_its_watchers_away_while_the_service_lives() {
    run(async {
        let mut mesh = TestMesh::builder().split().envoy().start().await;
        let mut open = opened(&mesh).await;
        let since = Instant::now();
        mesh.node_mut(0, "edge").stop().await;
        assert!(since.elapsed() < figure(SOON), "the drain took {:?}: somebody held it up", since.elapsed());
        for (way, watcher) in open.iter_mut().filter(|(way, _)| *way != Way::Grpc) {
            let away = Heard::Failed { code: 14, reason: "DEPENDENCY_UNAVAILABLE".to_owned(), retry: true };
            assert_eq!(watcher.end(PATIENCE).await, away, "{way:?}");
        }
    });
}
