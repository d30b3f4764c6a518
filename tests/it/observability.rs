//! One request is one trace, one request id, one line; metrics count it.

use coreloop_testkit::{
    Before, Fault, Rest, TestMesh, logs, run,
    wait::{PATIENCE, wait_for},
};

fn admin(mesh: &TestMesh, module: &str) -> Rest {
    Rest::to(format!("http://{}", mesh.node(0, module).running().admin_addr))
}

async fn metrics(mesh: &TestMesh) -> String {
    admin(mesh, "auth").get("/metrics").send().await.text()
}

/// Value of a series: a `# TYPE` of it is none, and one that nothing has counted yet is 0.
fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    lines.next().map_or(0.0, |value| value.parse().unwrap())
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
        const MOVED: [&str; 4] = [
            "cc_auth_login_latency_seconds_count", "cc_auth_login_fail_total{reason=\"INVALID_CREDENTIALS\"}",
            "cc_auth_token_revocation_lag_seconds_count", "oauth_state_expired_total",
        ];
        let before = metrics(mesh).await;
        let alice = mesh.persona("alice").await;
        alice.visitor.elsewhere().try_login("not the password").await;
        alice.logout().await;
        mesh.rest().get("/api/v1/auth/callback/google?state=nobody-made-this-state&code=x").send().await;
        // A revocation is known when its stream was read.
        let after = wait_for("all of them moved", PATIENCE, async || {
            let after = metrics(mesh).await;
            MOVED.iter().all(|name| value(&after, name) > value(&before, name)).then_some(after)
        })
        .await;
        let here = mesh.persona("bob").await;
        assert!(value(&metrics(mesh).await, "cc_auth_active_sessions") > 0.0, "{after}");
        here.logout().await;
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
        let audits = wait_for("the audit has all three", PATIENCE, async || {
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
        let names = ["ingress", "GET /api/v1/auth/me", "coreloop.auth.v1.AuthService/GetMe"];
        let spans = wait_for("spans of Envoy, edge and auth have come", PATIENCE, async || {
            let spans = mesh.otlp.as_ref().unwrap().trace(trace);
            names.iter().all(|name| spans.iter().any(|received| received.span.name == *name)).then_some(spans)
        })
        .await;
        let mut parent = hex("00f067aa0ba902b7");
        for name in names {
            let span = &spans.iter().find(|received| received.span.name == name).unwrap().span;
            assert_eq!(span.parent_span_id, parent, "{name} hangs elsewhere: {spans:?}");
            parent.clone_from(&span.span_id);
        }

        let failed = "5bf92f3577b34da6a3ce929d0e0e4736";
        let call = alice
            .call(http::Method::POST, "/api/v1/auth/password/change")
            .header("traceparent", &format!("00-{failed}-00f067aa0ba902b7-01"));
        let body =
            serde_json::json!({"current_password": "not the password", "new_password": "another fine passphrase"});
        let answer = call.json(&body).send().await;
        answer.refused(401, "INVALID_CREDENTIALS");
        let lines = wait_for("the refused call is in the log", PATIENCE, async || {
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

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The callers say "not sampled", and of what begins here nothing is: what failed is exported all the same, from every
/// process it went through, and what did not is not.
#[test]
fn failed_calls_are_exported_whatever_is_sampled() {
    run(async {
        let mesh =
            TestMesh::builder().split().otlp().proxy(Before::Postgres).toml("[otlp]\nratio = 0.0\n").start().await;
        let alice = mesh.persona("alice").await;
        let (good, failed) = ("6bf92f3577b34da6a3ce929d0e0e4736", "7bf92f3577b34da6a3ce929d0e0e4736");
        let unsampled = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-00");
        let me = alice.call(http::Method::GET, "/api/v1/auth/me").header("traceparent", &unsampled(good));
        assert_eq!(me.send().await.status, 200);
        alice.me().await;
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        let visitor = mesh.visitor("late");
        let call = visitor.rest().post("/api/v1/auth/signup", &visitor.sign_up_body());
        assert_eq!(call.header("traceparent", &unsampled(failed)).send().await.status, 503);
        let otlp = mesh.otlp.as_ref().unwrap();
        let spans = wait_for("edge and auth have told of the failure", PATIENCE, async || {
            let spans = otlp.trace(failed);
            (spans.len() >= 2).then_some(spans)
        })
        .await;
        let names: Vec<_> = spans.iter().map(|received| received.span.name.as_str()).collect();
        assert!(names.contains(&"POST /api/v1/auth/signup"), "{names:?}");
        assert!(names.contains(&"coreloop.auth.v1.AuthService/SignUp"), "{names:?}");
        // They ended before, so they would have come before.
        assert!(otlp.trace(good).is_empty(), "{:?}", otlp.trace(good));
        let fine = otlp.all().into_iter().filter(|received| received.span.status.as_ref().is_none_or(|s| s.code != 2));
        assert_eq!(fine.count(), 0);
    });
}

/// Addresses in paths and made-up methods: logs, spans and the access log say the template, the RPC or that it is unknown.
#[test]
fn what_a_client_types_is_in_no_log_and_no_span() {
    run(async {
        let mesh = TestMesh::builder().split().envoy().otlp().start().await;
        let (typed, trace) = ("alice.typed@example.com", "8bf92f3577b34da6a3ce929d0e0e4736");
        let id = |number: u8| format!("0192f0c4-7f5e-7000-8000-00000000ab{number:02}");
        let calls = [
            (mesh.gateway(), "GET", format!("/nowhere/{typed}")),
            (mesh.gateway(), "DELETE", format!("/api/v1/auth/tokens/{typed}")),
            (mesh.gateway(), "ALICE-TYPED", "/api/v1/auth/me".to_owned()),
            (mesh.front(), "GET", format!("/nowhere/{typed}?email={typed}")),
            (mesh.front(), "GET", format!("/api/v1/auth/me?email={typed}")),
        ];
        for (number, (base, method, path)) in (0..).zip(&calls) {
            let call = Rest::to(base).call(http::Method::from_bytes(method.as_bytes()).unwrap(), path);
            let call = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
            let status = call.header("x-request-id", &id(number)).send().await.status.as_u16();
            assert!((400..500).contains(&status), "{method} {path}: {status}");
        }
        let line = |number: u8| {
            let lines = logs::lines_with(&id(number)).into_iter();
            lines.filter(|line| line["logger"] == "coreloop::http").map(|line| line["path"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(line(0), ["unknown"]);
        assert_eq!(line(1), ["/api/v1/auth/tokens/{jti}"]);
        let made_up = logs::lines_with(&id(2));
        assert!(made_up.iter().any(|line| line["method"] == "other"), "{made_up:?}");
        // Envoy writes its access log every ten seconds.
        let written = wait_for("Envoy wrote of both", PATIENCE, async || {
            let log = mesh.envoy.as_ref().unwrap().log();
            (log.contains(&id(3)) && log.contains(&id(4))).then_some(log)
        })
        .await;
        let spans = wait_for("the spans have come", PATIENCE, async || {
            let spans = mesh.otlp.as_ref().unwrap().trace(trace);
            let named = |name: &str| spans.iter().any(|received| received.span.name == name);
            ["GET unknown", "DELETE /api/v1/auth/tokens/{jti}", "ingress"]
                .iter()
                .all(|name| named(name))
                .then_some(spans)
        })
        .await;
        for told in [written, format!("{spans:?}"), format!("{:?}", logs::lines_with("00000000ab0"))] {
            assert!(!told.contains("alice.typed") && !told.contains("ALICE-TYPED"), "{told}");
        }
    });
}

#[test]
fn the_log_never_tells_a_secret() {
    run(async {
        let mesh = crate::meshes::TOGETHER.get().await;
        let alice = mesh.persona("alice").await;
        alice.visitor.elsewhere().try_login("a password that is wrong 93").await.refused(401, "INVALID_CREDENTIALS");
        // A log that says nothing keeps every secret: the call must be in it.
        wait_for("sign-ins are in the log", PATIENCE, async || {
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
