//! How many sessions a person has, and what is swept when it is over.

use std::time::Duration;

use coreloop_testkit::{TestMesh, run, wait_until};
use jiff::SignedDuration;

#[test]
fn one_session_too_many_ends_the_one_not_used_for_longest() {
    run(async {
        let mesh = TestMesh::builder().replicas(2).setting("auth.sessions_per_user", 3_i64).start().await;
        let first = mesh.persona("alice").await;
        let mut sessions = vec![first.clone()];
        for number in 0..2 {
            mesh.clock.advance(SignedDuration::from_secs(1));
            sessions.push(first.visitor.elsewhere().at(&mesh.gateway_on(number)).login().await);
        }
        for session in &sessions {
            assert!(session.is_signed_in().await, "three fit");
        }
        mesh.clock.advance(SignedDuration::from_secs(1));
        sessions[0].refresh().await;
        sessions.push(first.visitor.elsewhere().login().await);
        sessions[1].get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        sessions[1].at(&mesh.gateway_on(1)).get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        for kept in [0, 2, 3] {
            assert!(sessions[kept].is_signed_in().await, "session {kept}");
        }
        let recorded = format!(
            "select count(*) from auth.auth_events where aggregate_id = '{}' and event_type like '%token_revoked'
                and payload->>'reason' = 'too_many'",
            first.user_id
        );
        assert_eq!(mesh.db.count(&recorded).await, 1);
    });
}

#[test]
fn parallel_sign_ins_on_two_replicas_leave_no_session_too_many() {
    run(async {
        let mesh = TestMesh::builder().replicas(2).setting("auth.sessions_per_user", 5_i64).start().await;
        let alice = mesh.persona("alice").await;
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        let tries = (0..20).map(|n| alice.visitor.elsewhere().at(&gateways[n % 2]).login());
        let sessions = futures::future::join_all(tries).await;
        let live = "select count(*) from auth.sessions where ended_at is null";
        assert_eq!(mesh.db.count(&format!("{live} and user_id = '{}'", alice.user_id)).await, 5);
        let mut signed_in = 0;
        for session in &sessions {
            signed_in += usize::from(session.is_signed_in().await);
        }
        assert_eq!(signed_in, 5);
    });
}

#[test]
fn what_is_over_is_swept_and_nothing_else() {
    run(async {
        let mut mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await.user_id;
        let now = format!("to_timestamp({})", mesh.now());
        for (hash, expires) in [("old", "interval '-25 hours'"), ("new", "interval '-1 hour'")] {
            let sql = format!(
                "insert into auth.password_resets (token_hash, user_id, created_at, expires_at)
                 values ('{hash}', '{alice}', {now} - interval '2 days', {now} + {expires});
                 insert into auth.processed_events (idempotency_key, domain, processed_at, expires_at)
                 values ('{hash}', 'auth', {now}, {now} + {expires} + interval '10 hours')"
            );
            for statement in sql.split(';') {
                mesh.db.execute(statement).await;
            }
        }
        // A process sweeps when it starts, and every minute.
        mesh.node_mut(0, "auth").kill().await;
        mesh.node_mut(0, "auth").start().await;
        for table in ["auth.password_resets", "auth.processed_events"] {
            let left = format!("select count(*) from {table}");
            wait_until(format!("{table} is swept"), Duration::from_secs(10), async || mesh.db.count(&left).await == 1)
                .await;
        }
        assert_eq!(mesh.db.count("select count(*) from auth.password_resets where token_hash = 'new'").await, 1);
        assert_eq!(mesh.db.count("select count(*) from auth.processed_events where idempotency_key = 'new'").await, 1);
    });
}
