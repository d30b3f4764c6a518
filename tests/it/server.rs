//! Processes: start, readiness, drain, deadlines.

use coreloop_config::Settings;
use coreloop_server::Server;
use coreloop_testkit::{Before, Fault, Rest, TestMesh, rpc, run, wait::PATIENCE, wait_until};
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

fn admin(mesh: &TestMesh, module: &str) -> Rest {
    Rest::to(format!("http://{}", mesh.node(0, module).running().admin_addr))
}

#[test]
fn readiness_follows_postgres_and_redis_while_liveness_stays() {
    run(async {
        let mesh = TestMesh::builder().proxy(Before::Postgres).proxy(Before::Redis).start().await;
        for proxy in [&mesh.postgres_proxy, &mesh.redis_proxy] {
            let proxy = proxy.as_ref().unwrap();
            wait_until("it is ready", PATIENCE, async || mesh.rest().get("/readyz").send().await.status == 200).await;
            proxy.set(Fault::Cut);
            wait_until("it is not ready", PATIENCE, async || mesh.rest().get("/readyz").send().await.status == 503)
                .await;
            mesh.rest().get("/readyz").send().await.refused(503, "DEPENDENCY_UNAVAILABLE");
            assert_eq!(mesh.rest().get("/healthz").send().await.status, 200);
            assert_eq!(admin(&mesh, "auth").get("/livez").send().await.status, 200);
            assert_eq!(admin(&mesh, "auth").get("/readyz").send().await.status, 503);
            proxy.heal();
            wait_until("it is ready again", PATIENCE, async || mesh.rest().get("/readyz").send().await.status == 200)
                .await;
        }
    });
}

#[test]
fn health_is_told_over_grpc_and_watched() {
    run(async {
        let mut mesh = TestMesh::builder().split().start().await;
        let mut client = HealthClient::new(mesh.grpc("auth"));
        for service in ["", "coreloop.auth.v1.AuthService"] {
            let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        }
        let unknown = client.check(HealthCheckRequest { service: "no.such.Service".to_owned() }).await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);
        let mut watch = client.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let running = mesh.node_mut(0, "auth").take().unwrap();
        let watched = async {
            loop {
                match watch.message().await {
                    Ok(Some(answer)) if answer.status() == ServingStatus::NotServing => {}
                    other => break other,
                }
            }
        };
        let (last, ()) = tokio::join!(watched, running.shutdown());
        // Ended or told to come again, as all streams of a drain. A watch that was broken off has no error of ours.
        match last {
            Ok(None) => {}
            Ok(Some(answer)) => panic!("a drain was told as {:?}", answer.status()),
            Err(status) => assert!(status.get_error_details().retry_info().is_some(), "{status:?}"),
        }
    });
}

#[test]
fn a_drain_lets_running_calls_end_and_refuses_new_ones() {
    run(async {
        // Hashes come last of all on a busy machine: the drain waits as long as calls may take here.
        let mut mesh = TestMesh::builder().split().setting("server.drain_ms", 28_000_i64).start().await;
        let base = mesh.gateway();
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let visitor = mesh.visitor("alice").at(&base);
                tokio::spawn(async move {
                    visitor.post("/api/v1/auth/signup", &visitor.sign_up_body()).await.status.as_u16()
                })
            })
            .collect();
        wait_until("the calls run", PATIENCE, async || {
            mesh.db.count("select count(*) from auth.users where nickname = 'alice'").await > 0
        })
        .await;
        let running = mesh.node_mut(0, "auth").take().unwrap();
        running.shutdown().await;
        let statuses: Vec<u16> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let accounts = mesh.db.count("select count(*) from auth.users where nickname = 'alice'").await;
        let served = statuses.iter().filter(|status| **status == 201).count();
        assert_eq!(i64::try_from(served).unwrap(), accounts, "every account was answered: {statuses:?}");
        let late = mesh.visitor("late").at(&base).try_login("x").await;
        assert_eq!(late.status, 503);
    });
}

#[test]
fn no_statement_starts_after_the_callers_deadline() {
    run(async {
        let mesh = TestMesh::builder().proxy(Before::Postgres).start().await;
        let visitor = mesh.visitor("alice");
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Pause);
        let call = visitor.rest().post("/api/v1/auth/signup", &visitor.sign_up_body()).header("grpc-timeout", "500m");
        let answer = call.send().await;
        assert!([503, 504].contains(&answer.status.as_u16()), "{} {}", answer.status, answer.text());
        mesh.postgres_proxy.as_ref().unwrap().heal();
        wait_until("Postgres is back", PATIENCE, async || mesh.rest().get("/readyz").send().await.status == 200).await;
        let made = format!("select count(*) from auth.users where email = '{}'", visitor.email);
        assert_eq!(mesh.db.count(&made).await, 0, "nothing happens after the deadline");
        assert_eq!(visitor.post("/api/v1/auth/signup", &visitor.sign_up_body()).await.status, 201);
    });
}

#[test]
fn a_process_does_not_start_on_a_port_that_is_taken() {
    run(async {
        let mesh = TestMesh::builder().split().start().await;
        let taken = mesh.node(0, "auth").try_start().await.unwrap_err();
        assert!(taken.to_string().contains("server.ports.auth"), "{taken}");
    });
}

/// The missing peer is told with all else that is wrong with the settings, not in a start of its own.
#[test]
fn a_process_does_not_start_without_a_peer_it_needs() {
    run(async {
        let settings = Settings::defaults().with("mode", "local");
        let edge = |settings| Server::builder(settings).modules(vec![Box::new(coreloop_gateway::module())]).start();
        let alone = edge(settings.with("server.host", "nowhere")).await.unwrap_err().to_string();
        for part in ["2 problems", "peers.auth: must be set", "server.host"] {
            assert!(alone.contains(part), "{part} is not in: {alone}");
        }
        let running = edge(settings.with("peers.auth", "http://127.0.0.1:1")).await;
        running.expect("an address is enough: the peer may come later").abort().await;
    });
}

#[test]
fn grpcurl_works_against_every_service_and_envoy() {
    run(async {
        let mesh = crate::meshes::APART.get().await;
        let alice = mesh.persona("alice").await;
        let bearer = format!("Bearer {}", alice.access_token);
        for base in [mesh.address_on(0, "auth"), mesh.front(), mesh.gateway()] {
            let service = "coreloop.auth.v1.AuthService";
            let reflected = rpc::Reflected::learn(&rpc::channel(&base), &[service]).await.unwrap();
            assert!(reflected.services.iter().any(|name| name == service), "{base}: {:?}", reflected.services);
            let me = reflected.call(service, "GetMe", &json!({}), &[("authorization", &bearer)]).await.unwrap();
            assert_eq!(me["user"]["id"], alice.user_id, "{base}");
        }
        let edge = rpc::Reflected::learn(&mesh.grpc("edge"), &["coreloop.edge.v1.EdgeService"]).await.unwrap();
        assert!(edge.services.iter().any(|name| name.starts_with("coreloop.edge.")));
    });
}

/// What a mesh was not asked for is away, as a service that an edge does not know is.
#[test]
fn a_mesh_of_some_modules_serves_these_and_answers_for_the_others() {
    run(async {
        let mesh = TestMesh::builder().modules(&["auth", "wallet"]).start().await;
        let alice = mesh.persona("alice").await;
        assert_eq!(alice.get("/v1/points/balance").await.status, 200);
        alice.get("/api/shop/catalog").await.refused(503, "DEPENDENCY_UNAVAILABLE");
        let bearer = format!("Bearer {}", alice.access_token);
        let path = "/coreloop.shop.v1.ShopService/GetCatalog";
        let refused = rpc::call(&rpc::channel(&mesh.gateway()), path, &[], &[("authorization", &bearer)]).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::Unimplemented);
    });
}
