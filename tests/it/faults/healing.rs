//! Connections heal within three seconds after a cut, on every pair (O5).

use std::time::Duration;

use coreloop_testkit::{
    Before, Fault, FaultProxy, Persona, TestMesh, figure, rest::Call, rpc, run, wait::PATIENCE, wait_until,
};
use serde_json::json;

/// The figure.
const O5: Duration = Duration::from_secs(3);

/// A call that hangs on what was broken leaves time for another.
fn hang() -> Duration {
    figure(O5) / 3
}

/// Reads and writes, and hashes nothing: a hash waits until no other test has anything to do.
async fn works(alice: &Persona) -> bool {
    let served = async |call: Call| {
        let answer = call.within(hang()).try_send().await;
        answer.is_ok_and(|answer| answer.status == 200)
    };
    let born = json!({"birth_date": "1990-12-31"});
    served(alice.rest().get("/api/v1/auth/tokens")).await && served(alice.rest().post("/api/v1/auth/age", &born)).await
}

async fn heals(before: Before, fault: Fault, proxy: fn(&TestMesh) -> &FaultProxy) {
    // Peers notice each other's silence as soon as they do where nobody says otherwise.
    let mesh = TestMesh::builder().split().proxy(before).setting("server.keepalive_timeout_ms", 1_000_i64);
    let mesh = mesh.toml("[limit]\nscale = 100.0\n").start().await;
    let alice = mesh.persona("alice").await;
    wait_until("it works", PATIENCE, async || works(&alice).await).await;
    proxy(&mesh).set(fault);
    // The fault is seen by somebody: by a refused call, or by calls that are served without the part.
    for _ in 0..3 {
        let _ = alice.rest().get("/api/v1/auth/tokens").within(Duration::from_secs(1)).try_send().await;
    }
    proxy(&mesh).heal();
    let what = format!("{before:?} is reached again");
    let took = wait_until(what, figure(O5), async || works(&alice).await).await;
    println!("{before:?} was reached again after {took:?}");
}

#[test]
fn postgres_is_cut_off_and_back() {
    run(heals(Before::Postgres, Fault::Cut, |mesh| mesh.postgres_proxy.as_ref().unwrap()));
}

#[test]
fn postgres_is_frozen_and_back() {
    run(heals(Before::Postgres, Fault::Pause, |mesh| mesh.postgres_proxy.as_ref().unwrap()));
}

#[test]
fn redis_is_cut_off_and_back() {
    run(heals(Before::Redis, Fault::Cut, |mesh| mesh.redis_proxy.as_ref().unwrap()));
}

#[test]
fn redis_is_frozen_and_back() {
    run(heals(Before::Redis, Fault::Pause, |mesh| mesh.redis_proxy.as_ref().unwrap()));
}

#[test]
fn auth_is_cut_off_from_the_edge_and_back() {
    run(heals(Before::Auth, Fault::Cut, |mesh| mesh.auth_proxy.as_ref().unwrap()));
}

#[test]
fn auth_is_frozen_for_the_edge_and_back() {
    run(heals(Before::Auth, Fault::Pause, |mesh| mesh.auth_proxy.as_ref().unwrap()));
}

/// The gateway behind Envoy, over REST.
async fn heals_behind_envoy(fault: Fault) {
    let mesh = TestMesh::builder().split().start().await;
    let gateway = FaultProxy::before(mesh.gateway().trim_start_matches("http://")).await;
    let envoy = mesh.envoy_before(gateway.address().parse().unwrap()).await;
    let alice = mesh.persona("alice").await.at(&envoy.url());
    let works = async || {
        let call = alice.rest().get("/api/v1/auth/tokens").within(hang());
        call.try_send().await.is_ok_and(|answer| answer.status == 200)
    };
    wait_until("it works", PATIENCE, &works).await;
    gateway.set(fault);
    for _ in 0..3 {
        let seen = alice.rest().get("/api/v1/auth/tokens").within(Duration::from_secs(1)).try_send().await;
        assert!(seen.is_err() || seen.unwrap().status == 503);
    }
    gateway.heal();
    let took = wait_until("the gateway is reached again", figure(O5), &works).await;
    println!("the gateway was reached again after {took:?}");
}

#[test]
fn the_gateway_is_cut_off_from_envoy_and_back() {
    run(heals_behind_envoy(Fault::Cut));
}

#[test]
fn the_gateway_is_frozen_for_envoy_and_back() {
    run(heals_behind_envoy(Fault::Pause));
}

/// A service behind Envoy, over gRPC; the same fault keeps its decisions away.
async fn heals_for_grpc(fault: Fault) {
    let mesh = TestMesh::builder().split().proxy(Before::Auth).envoy().start().await;
    let alice = mesh.persona("alice").await;
    let (channel, bearer) = (rpc::channel(&mesh.front()), format!("Bearer {}", alice.access_token));
    let call = async || {
        let metadata = [("authorization", bearer.as_str())];
        let call = rpc::call(&channel, "/coreloop.auth.v1.AuthService/GetMe", &[], &metadata);
        tokio::time::timeout(hang(), call).await.is_ok_and(|answer| answer.is_ok())
    };
    wait_until("it works", PATIENCE, &call).await;
    mesh.auth_proxy.as_ref().unwrap().set(fault);
    for _ in 0..3 {
        assert!(!call().await);
    }
    mesh.auth_proxy.as_ref().unwrap().heal();
    let took = wait_until("the service is reached again", figure(O5), &call).await;
    println!("the service was reached again after {took:?}");
}

#[test]
fn a_service_is_cut_off_from_envoy_and_back() {
    run(heals_for_grpc(Fault::Cut));
}

#[test]
fn a_service_is_frozen_for_envoy_and_back() {
    run(heals_for_grpc(Fault::Pause));
}

#[test]
fn a_revocation_made_while_redis_is_cut_off_is_known_within_five_seconds_after() {
    run(async {
        let mesh = TestMesh::builder().split().replicas(2).proxy(Before::Redis).start().await;
        let alice = mesh.persona("alice").await;
        let proxy = mesh.redis_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        let answer = alice.post("/api/v1/auth/logout", &json!({})).await;
        assert!(!alice.is_signed_in().await, "the replica that was told refuses at once ({})", answer.status);
        proxy.heal();
        let other = alice.at(&mesh.gateway_on(1));
        wait_until("the other replica knows", figure(Duration::from_secs(5)), async || {
            other.get("/api/v1/auth/me").await.status == 401
        })
        .await;
        assert!(!alice.is_signed_in().await);
    });
}
