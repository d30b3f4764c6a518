//! One request is one trace, one request id, one line; metrics count it.

use std::time::Duration;

use coreloop_testkit::{Rest, TestMesh, logs, run, wait::wait_for};

fn admin(mesh: &TestMesh, module: &str) -> Rest {
    Rest::to(format!("http://{}", mesh.node(0, module).running().admin_addr))
}

in_both_topologies! {
    async fn every_call_is_counted_by_rpc(mesh) {
        let alice = mesh.persona("alice").await;
        alice.me().await;
        let metrics = admin(mesh, "auth").get("/metrics").send().await;
        assert_eq!(metrics.status, 200);
        let text = metrics.text();
        let counted = text.lines().any(|line| !line.starts_with('#') && line.contains("GetMe") && !line.ends_with(" 0"));
        assert!(counted, "GetMe is not counted: {}", &text[..text.len().min(2_000)]);
        assert!(!text.contains(&alice.visitor.email) && !text.contains(&alice.user_id), "metrics tell who it was");
    }

    async fn the_metrics_of_the_chapter_are_there(mesh) {
        mesh.visitor("nobody").try_login("not the password").await;
        let text = admin(mesh, "auth").get("/metrics").send().await.text();
        for name in [
            "cc_auth_login_latency_seconds", "cc_auth_login_fail_total", "cc_auth_token_revocation_lag_seconds",
            "cc_auth_active_sessions", "oauth_state_expired_total",
        ] {
            assert!(text.contains(name), "{name} is missing");
        }
    }

    async fn the_request_id_of_a_client_is_kept(mesh) {
        let answer = mesh.rest().get("/healthz").header("x-request-id", "0192f0c4-7f5e-7000-8000-00000000abcd").send().await;
        assert_eq!(answer.header("x-request-id"), "0192f0c4-7f5e-7000-8000-00000000abcd");
        let hostile = Rest::to(mesh.gateway()).get("/healthz").header("x-request-id", &"x".repeat(5_000)).send().await;
        assert!(hostile.header("x-request-id").len() < 200);
        for odd in [&"x".repeat(5_000), &"y".repeat(129), "short", "with space in it", "<script>alert(1)</script>"] {
            for path in ["/healthz", "/api/v1/auth/me", "/nowhere"] {
                let answer = mesh.rest().get(path).header("x-request-id", odd).send().await;
                let id = answer.header("x-request-id");
                assert!(id.len() == 36 && id != odd, "{path} with {odd}: {id}");
            }
        }
    }

    async fn sign_ins_are_audited_without_making_anybody_wait(mesh) {
        let alice = mesh.persona("alice").await;
        alice.visitor.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
        alice.visitor.elsewhere().login().await;
        let admin = mesh.admin().await;
        let path = format!("/api/v1/auth/admin/login-audits?user_id={}", alice.user_id);
        let audits = wait_for("the audit has all three", Duration::from_secs(5), async || {
            let audits = admin.get(&path).await.expect(200)["audits"].as_array().cloned().unwrap_or_default();
            (audits.len() >= 3).then_some(audits)
        })
        .await;
        let outcomes: Vec<_> = audits.iter().map(|audit| audit["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["ok", "INVALID_CREDENTIALS", "ok"]);
        assert_eq!(audits[2]["ip"], alice.visitor.source.to_string());
    }
}

#[test]
fn one_request_is_one_trace_from_envoy_to_the_service_and_its_log() {
    run(async {
        let mesh = TestMesh::builder().split().envoy().otlp().start().await;
        let alice = mesh.persona("alice").await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let call = alice
            .call(http::Method::GET, "/api/v1/auth/me")
            .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
        let answer = call.send().await;
        assert_eq!(answer.status, 200);
        let spans = wait_for("spans of edge and auth have come", Duration::from_secs(10), async || {
            let spans = mesh.otlp.as_ref().unwrap().trace(trace);
            let of = |name: &str| spans.iter().any(|received| received.span.name.contains(name));
            (of("GetMe") && spans.len() >= 3).then_some(spans)
        })
        .await;
        let ids: Vec<_> = spans.iter().map(|received| received.span.span_id.clone()).collect();
        let linked = spans.iter().filter(|received| ids.contains(&received.span.parent_span_id)).count();
        assert!(linked >= 1, "no span is the child of another: {spans:?}");

        let failed = "5bf92f3577b34da6a3ce929d0e0e4736";
        let call = alice
            .call(http::Method::POST, "/api/v1/auth/password/change")
            .header("traceparent", &format!("00-{failed}-00f067aa0ba902b7-01"));
        let body =
            serde_json::json!({"current_password": "not the password", "new_password": "another fine passphrase"});
        let answer = call.json(&body).send().await;
        answer.refused(401, "INVALID_CREDENTIALS");
        let lines = wait_for("the refused call is in the log", Duration::from_secs(10), async || {
            let lines = logs::lines_with(failed);
            (!lines.is_empty()).then_some(lines)
        })
        .await;
        for line in &lines {
            assert_eq!(line["trace_id"], failed);
            assert!(!line["request_id"].as_str().unwrap_or_default().is_empty(), "{line}");
        }
        let all = format!("{lines:?}");
        assert!(!all.contains("not the password") && !all.contains(&alice.visitor.email), "the log tells who it was");
    });
}

#[test]
fn the_log_never_tells_a_secret() {
    run(async {
        let mesh = crate::meshes::TOGETHER.get().await;
        let alice = mesh.persona("alice").await;
        alice.visitor.elsewhere().try_login("a password that is wrong 93").await.refused(401, "INVALID_CREDENTIALS");
        // A log that says nothing keeps every secret: the call must be in it.
        wait_for("sign-ins are in the log", Duration::from_secs(10), async || {
            (!logs::lines_with("AuthService/Login").is_empty()).then_some(())
        })
        .await;
        for secret in [
            alice.access_token.as_str(),
            &alice.refresh_token,
            "a password that is wrong 93",
            coreloop_testkit::PASSWORD,
            &alice.visitor.email,
        ] {
            assert!(logs::lines_with(secret).is_empty(), "the log tells {secret}");
        }
    });
}

#[test]
fn events_are_recorded_with_the_act() {
    run(async {
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        alice.logout().await;
        let of = |kind: &str| {
            format!(
                "select count(*) from auth.outbox where aggregateid = '{}' and aggregatetype || '.' || type = '{kind}'",
                alice.user_id
            )
        };
        for kind in ["auth.user_registered", "auth.user_logged_in", "auth.user_logged_out", "auth.token_revoked"] {
            assert_eq!(mesh.db.count(&of(kind)).await, 1, "{kind}");
        }
        let history = format!("select count(*) from auth.auth_events where aggregate_id = '{}'", alice.user_id);
        assert!(mesh.db.count(&history).await >= 3);
        let secrets = "select count(*) from auth.outbox where payload::text ~ 'eyJ|argon2|plum kettle'";
        assert_eq!(mesh.db.count(secrets).await, 0);
    });
}
