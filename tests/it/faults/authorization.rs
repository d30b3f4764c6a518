//! While auth cannot decide, nothing protected reaches a backend; when it can again, things go on within two seconds (O1).

use std::time::Duration;

use coreloop_testkit::{
    Answer, Before, Envoy, Fault, Persona, Probe, Rest, TestMesh, figure, mesh::AUTHZ_TIMEOUT_MS, rpc, run, wait_until,
};

/// The figure.
const O1: Duration = Duration::from_secs(2);

/// A mesh whose auth can be made to misbehave, and a backend that tells what reached it.
struct Stage {
    mesh: TestMesh,
    probe: Probe,
    envoy: Envoy,
    alice: Persona,
}

impl Stage {
    async fn set() -> Self {
        let mesh = TestMesh::builder().split().proxy(Before::Auth).start().await;
        let probe = Probe::start().await;
        let envoy = mesh.envoy_before(probe.address()).await;
        let alice = mesh.persona("alice").await.at(&envoy.url());
        assert_eq!(alice.get("/api/v1/auth/me").await.status, 200);
        assert_eq!(probe.take().len(), 1);
        Self { mesh, probe, envoy, alice }
    }

    /// Sends good and bad requests over REST and gRPC, all at once; none may reach a backend.
    async fn nothing_gets_through(&self, fault: &str) {
        let grpc = rpc::channel(&self.envoy.url());
        let bearer = format!("Bearer {}", self.alice.access_token);
        let rest = (0..12).map(async |number| {
            let token = if number % 3 == 0 { "" } else { &self.alice.access_token };
            let path = ["/api/v1/auth/me", "/api/v1/auth/tokens", "/api/v1/auth/admin/invites"][number % 3];
            Rest::to(self.envoy.url()).get(path).bearer(token).within(Duration::from_secs(20)).try_send().await
        });
        let calls = (0..4).map(async |_| {
            rpc::call(&grpc, "/coreloop.auth.v1.AuthService/GetMe", &[], &[("authorization", &bearer)]).await
        });
        let (answers, calls) = tokio::join!(futures::future::join_all(rest), futures::future::join_all(calls));
        for answer in answers {
            let answer: Answer = answer.unwrap_or_else(|error| panic!("{fault}: no answer: {error}"));
            assert_eq!(answer.status, 503, "{fault}: {}", answer.text());
            assert!(!answer.header("retry-after").is_empty(), "{fault}");
            assert_eq!(answer.reason(), "DEPENDENCY_UNAVAILABLE", "{fault}");
        }
        for call in calls {
            assert_eq!(call.expect_err(fault).code(), tonic::Code::Unavailable, "{fault}");
        }
        assert_eq!(self.probe.take().len(), 0, "{fault}: a request reached the backend");
    }

    /// Things go on within the time that is promised, and forged callers still do not.
    async fn goes_on(&self, fault: &str) {
        let what = format!("requests pass again after {fault}");
        let took = wait_until(what, figure(O1), async || {
            let me = self.alice.rest().get("/api/v1/auth/me").within(figure(O1) / 2).try_send().await;
            me.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        println!("{fault}: requests passed again after {took:?}");
        Rest::to(self.envoy.url()).get("/api/v1/auth/me").send().await.refused(401, "TOKEN_MISSING");
        drop(self.probe.take());
    }
}

async fn survives(name: &str, fault: Fault) {
    let stage = Stage::set().await;
    let proxy = stage.mesh.auth_proxy.as_ref().unwrap();
    for _ in 0..2 {
        proxy.set(fault);
        stage.nothing_gets_through(name).await;
        proxy.heal();
        stage.goes_on(name).await;
    }
}

#[test]
fn auth_is_cut_off() {
    run(survives("cut", Fault::Cut));
}

#[test]
fn auth_is_frozen() {
    run(survives("frozen", Fault::Pause));
}

#[test]
fn auth_is_slow() {
    run(survives("slow", Fault::Delay(Duration::from_millis(u64::from(AUTHZ_TIMEOUT_MS) + 1_000))));
}

#[test]
fn auth_talks_garbage() {
    run(survives("garbage", Fault::Garbage));
}

#[test]
fn auth_is_killed_and_starts_again() {
    run(async {
        let mut stage = Stage::set().await;
        stage.mesh.node_mut(0, "auth").kill().await;
        stage.nothing_gets_through("killed").await;
        stage.mesh.node_mut(0, "auth").start().await;
        stage.goes_on("killed").await;
    });
}

#[test]
fn the_edge_alone_admits_nobody_either() {
    run(async {
        let mut mesh = TestMesh::builder().split().start().await;
        let alice = mesh.persona("alice").await;
        mesh.node_mut(0, "auth").kill().await;
        for path in ["/api/v1/auth/me", "/metrics"] {
            let answer = alice.get(path).await;
            assert!([401, 403, 503].contains(&answer.status.as_u16()), "{path}: {} {}", answer.status, answer.text());
        }
        assert_eq!(mesh.rest().get("/healthz").send().await.status, 200, "liveness depends on nobody");
        assert_eq!(mesh.rest().get("/openapi.json").send().await.status, 200, "what is public goes on");
        mesh.node_mut(0, "auth").start().await;
        wait_until("the edge is back", figure(Duration::from_secs(3)), async || {
            alice.get("/api/v1/auth/me").await.status == 200
        })
        .await;
    });
}
