//! A rolling restart is invisible (P1): two of each service behind Envoy, one after the other drained and started again
//! under load, no call fails, and sockets that come back have missed nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use coreloop_testkit::{
    Persona, Rounds, Socket, SocketHeard, TestMesh, logs, rpc, run,
    socket::SYNC_PATH,
    wait::{PATIENCE, wait_for},
    wait_until,
};
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::wallet::stage::Shop;

/// Time between "not ready" and closed listeners, longer than Envoy takes to see it in its health checks.
const LEAD_MS: i64 = 5_000;

/// People with a socket.
const SOCKETS: usize = 4;
/// Grants of one of them that were not heard of yet: so few that no two messages are put together.
const AHEAD: usize = 4;

/// Callers who never pause: REST that reads the database, and gRPC straight to the service, both through Envoy; and people who are
/// given something all the time, and hear of it.
#[derive(Clone, Default)]
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    told: Arc<AtomicUsize>,
}

impl Load {
    async fn over_rest(self, alice: Persona, path: &'static str) -> Vec<String> {
        let (begin, mut failed) = (Instant::now(), Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            match alice.rest().get(path).within(PATIENCE).try_send().await {
                Ok(answer) if answer.status == 200 => _ = self.served.fetch_add(1, Ordering::Relaxed),
                Ok(answer) => failed.push(format!(
                    "{:?} {path}: {} {}, logged {:?}",
                    begin.elapsed(),
                    answer.status,
                    answer.text(),
                    answer.logged()
                )),
                Err(error) => failed.push(format!("{:?} {path}: {error:#}", begin.elapsed())),
            }
        }
        failed
    }

    async fn over_grpc(self, alice: Persona, front: String) -> Vec<String> {
        let (channel, bearer) = (rpc::channel(&front), format!("Bearer {}", alice.access_token));
        let (begin, mut failed) = (Instant::now(), Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            let me = "/coreloop.auth.v1.AuthService/GetMe";
            match rpc::call(&channel, me, &[], &[("authorization", &bearer)]).await {
                Ok(_) => _ = self.served.fetch_add(1, Ordering::Relaxed),
                Err(status) => failed.push(format!("{:?} gRPC: {status}", begin.elapsed())),
            }
        }
        failed
    }

    /// One GOLD after the other, told each once, in order, on whichever socket: one that is told to come back comes back.
    async fn over_socket(&self, alice: Persona, shop: &Shop) -> Vec<String> {
        let (room, all) = (Semaphore::new(0), AtomicI64::new(i64::MAX));
        let (given, mut failed) =
            tokio::join!(self.give(&alice, shop, (&room, &all)), self.hear(&alice, (&room, &all)));
        failed.extend(given);
        failed
    }

    async fn give(&self, alice: &Persona, shop: &Shop, (room, all): (&Semaphore, &AtomicI64)) -> Option<String> {
        for number in 1.. {
            room.acquire().await.unwrap().forget();
            let is_last = self.stop.load(Ordering::Relaxed);
            if is_last {
                // Before it is given, and so before it is heard.
                all.store(number, Ordering::SeqCst);
            }
            if let Err(status) = shop.grant(&alice.user_id, 1).await {
                return Some(format!("grant {number}: {status}"));
            }
            if is_last {
                break;
            }
        }
        None
    }

    async fn hear(&self, alice: &Persona, (room, all): (&Semaphore, &AtomicI64)) -> Vec<String> {
        let (begin, mut failed) = (Instant::now(), Vec::new());
        let (mut socket, mut last, mut seq) = (alice.socket().await, 0, 0);
        // Of what is given before somebody listens a socket begins with the sum.
        room.add_permits(AHEAD);
        while last < all.load(Ordering::SeqCst) {
            let mut wrong = |what: &str| failed.push(format!("{:?} after {last}: {what}", begin.elapsed()));
            match socket.next(PATIENCE).await {
                SocketHeard::Message(message) if message["type"] == "profile_update" => {
                    let now = gold(&message);
                    if now != last + 1 {
                        wrong(&message.to_string());
                    }
                    (last, seq) = (now, message["seq"].as_i64().unwrap());
                    room.add_permits(1);
                    self.told.fetch_add(1, Ordering::Relaxed);
                }
                SocketHeard::Message(message) => {
                    if message["type"] == "sync_connected" && message["data"]["resumed"] != true {
                        wrong("it began anew");
                    }
                }
                end => {
                    if !matches!(end, SocketHeard::Closed { code: 1001 | 1013, .. }) {
                        wrong(&format!("{end:?}"));
                    }
                    socket = opened_after(alice, seq).await;
                }
            }
        }
        failed
    }
}

/// A socket that goes on after what was heard last, as soon as it is agreed to.
async fn opened_after(alice: &Persona, seq: i64) -> Socket {
    let path = format!("{SYNC_PATH}?since={seq}");
    wait_for("a socket that goes on", PATIENCE, async || alice.ask_for_socket(&path).await.ok()).await
}

fn gold(message: &Value) -> i64 {
    message["data"]["changes"]["gold"].as_f64().map_or_else(|| panic!("no gold in {message}"), |gold| gold as i64)
}

#[test]
fn a_rolling_restart_of_two_replicas_behind_envoy_fails_no_call_and_sockets_miss_nothing() {
    run(async {
        let mut mesh = TestMesh::builder()
            .modules(&["auth", "wallet", "realtime"])
            .split()
            .replicas(2)
            .spread()
            .envoy()
            .setting("limit.enabled", false)
            .setting("server.drain_lead_ms", LEAD_MS)
            // Who grants is never signed in again; and a socket that a replica has left behind counts a while.
            .setting("auth.internal_ttl_secs", 3_600_i64)
            .setting("realtime.sockets_per_user", 1_000_i64)
            .start()
            .await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let listeners = join_all((0..SOCKETS).map(|_| mesh.persona("listener"))).await;
        let load = Load::default();
        let mut going = Vec::new();
        for path in ["/api/v1/auth/me", "/api/v1/auth/tokens", "/.well-known/jwks.json"] {
            going.push(tokio::spawn(load.clone().over_rest(alice.clone(), path)));
        }
        let grpc = tokio::spawn(load.clone().over_grpc(alice.clone(), mesh.front()));
        let sockets = join_all(listeners.into_iter().map(|listener| load.over_socket(listener, &shop)));
        let (missed, ()) = tokio::join!(sockets, restarted(&mut mesh, &load));
        let mut failed = grpc.await.unwrap();
        for caller in going {
            failed.extend(caller.await.unwrap());
        }
        let (served, told) = (load.served.load(Ordering::Relaxed), load.told.load(Ordering::Relaxed));
        println!("{served} calls served, {told} messages heard");
        for line in logs::lines_with("call did not reach its peer") {
            println!("{line}");
        }
        assert!(failed.is_empty(), "{} of {} calls failed: {failed:#?}", failed.len(), served + failed.len());
        let missed = missed.concat();
        assert!(missed.is_empty(), "of {told} messages: {missed:#?}");
    });
}

/// One after the other, the edge in every round and the services in turn; then nobody asks any more.
async fn restarted(mesh: &mut TestMesh, load: &Load) {
    for round in Rounds::of(10) {
        let [first, second] = if round % 2 == 0 { ["auth", "realtime"] } else { ["realtime", "auth"] };
        for (replica, module) in [(0, first), (0, "edge"), (1, second), (1, "edge")] {
            let all = || (load.served.load(Ordering::Relaxed), load.told.load(Ordering::Relaxed));
            mesh.node_mut(replica, module).stop().await;
            mesh.node_mut(replica, module).start().await;
            let before = all();
            let what = format!("round {round}: calls are served, and sockets hear, after {module} {replica} came back");
            let go_on = async || {
                let now = all();
                now.0 > before.0 + 20 && now.1 > before.1 + 5 * SOCKETS
            };
            wait_until(what, PATIENCE, go_on).await;
        }
    }
    load.stop.store(true, Ordering::Relaxed);
}
