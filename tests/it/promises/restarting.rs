//! A rolling restart is invisible (P1): two of each service behind Envoy, one after the other drained and started again
//! under load, and no call fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use coreloop_testkit::{Persona, Rounds, TestMesh, logs, rpc, run, wait::PATIENCE, wait_until};

/// Time between "not ready" and closed listeners, longer than Envoy takes to see it in its health checks.
const LEAD_MS: i64 = 5_000;

/// Callers who never pause: REST that reads the database, and gRPC straight to the service, both through Envoy.
#[derive(Clone)]
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl Load {
    async fn over_rest(self, alice: Persona, path: &'static str) -> Vec<String> {
        let (begin, mut failed) = (Instant::now(), Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            match alice.rest().get(path).within(Duration::from_secs(12)).try_send().await {
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
}

#[test]
fn a_rolling_restart_of_two_replicas_behind_envoy_fails_no_call() {
    run(async {
        let mut mesh = TestMesh::builder()
            .split()
            .replicas(2)
            .spread()
            .envoy()
            .setting("limit.enabled", false)
            .setting("server.drain_lead_ms", LEAD_MS)
            .start()
            .await;
        let alice = mesh.persona("alice").await;
        let load = Load { stop: Arc::default(), served: Arc::default() };
        let mut going = Vec::new();
        for path in ["/api/v1/auth/me", "/api/v1/auth/tokens", "/.well-known/jwks.json"] {
            going.push(tokio::spawn(load.clone().over_rest(alice.clone(), path)));
        }
        let grpc = tokio::spawn(load.clone().over_grpc(alice.clone(), mesh.front()));
        for round in Rounds::of(10) {
            for (replica, module) in [(0, "auth"), (0, "edge"), (1, "auth"), (1, "edge")] {
                let before = load.served.load(Ordering::Relaxed);
                mesh.node_mut(replica, module).stop().await;
                mesh.node_mut(replica, module).start().await;
                let what = format!("round {round}: calls are served after {module} {replica} came back");
                wait_until(what, PATIENCE, async || load.served.load(Ordering::Relaxed) > before + 20).await;
            }
        }
        load.stop.store(true, Ordering::Relaxed);
        let mut failed = grpc.await.unwrap();
        for caller in going {
            failed.extend(caller.await.unwrap());
        }
        let served = load.served.load(Ordering::Relaxed);
        println!("{served} calls served");
        for line in logs::lines_with("call did not reach its peer") {
            println!("{line}");
        }
        assert!(failed.is_empty(), "{} of {} calls failed: {failed:#?}", failed.len(), served + failed.len());
    });
}
