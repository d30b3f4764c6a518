//! How many sessions a person has, and what is swept when it is over.

use coreloop_testkit::{Persona, TestMesh, run, wait::PATIENCE, wait_until};
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
            wait_until(format!("{table} is swept"), PATIENCE, async || mesh.db.count(&left).await == 1).await;
        }
        assert_eq!(mesh.db.count("select count(*) from auth.password_resets where token_hash = 'new'").await, 1);
        assert_eq!(mesh.db.count("select count(*) from auth.processed_events where idempotency_key = 'new'").await, 1);
    });
}

#[test]
fn whatever_is_over_goes_in_one_sweep() {
    run(async {
        let mut mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        let now = format!("to_timestamp({})", mesh.now());
        // More than two statements' worth of each.
        for sql in [
            format!(
                "insert into auth.processed_events (idempotency_key, domain, processed_at, expires_at)
                 select 'old ' || n, 'auth', {now}, {now} - interval '1 hour' from generate_series(1, 2500) n"
            ),
            format!(
                "insert into auth.revocations (id, kind, user_id, reason, revoked_at, expires_at, published_at)
                 select gen_random_uuid(), 'token', '{}', 'logout', {now}, {now} - interval '1 hour', {now}
                   from generate_series(1, 2500)",
                alice.user_id
            ),
            format!(
                "insert into auth.sign_in_guards (bucket, tries, touched_at)
                 select decode(lpad(to_hex(n), 8, '0'), 'hex'), '{{}}', {now} - interval '1 day' from generate_series(1, 2500) n"
            ),
            format!(
                "insert into auth.sessions
                 select old.* from auth.sessions s, generate_series(1, 2500) n, lateral jsonb_populate_record(s,
                        jsonb_build_object('id', gen_random_uuid(), 'access_jti', gen_random_uuid(), 'device_name', 'old ' || n,
                                           'refresh_jti', gen_random_uuid(), 'expires_at', {now} - interval '2 days')) old
                  where s.user_id = '{}'",
                alice.user_id
            ),
        ] {
            mesh.db.execute(&sql).await;
        }
        mesh.node_mut(0, "auth").kill().await;
        mesh.node_mut(0, "auth").start().await;
        for (table, left) in [
            ("auth.processed_events where idempotency_key like 'old %'", 0),
            ("auth.revocations", 0),
            ("auth.sign_in_guards where octet_length(bucket) = 4", 0),
            ("auth.sessions", 1),
        ] {
            let count = format!("select count(*) from {table}");
            wait_until(format!("{table} is swept"), PATIENCE, async || mesh.db.count(&count).await == left).await;
        }
        assert!(alice.is_signed_in().await, "her session is not over");
    });
}

/// `auth:user_tokens:{user_id}` is for operators: who has what token, for as long as one lives.
#[test]
fn the_list_of_a_persons_tokens_lives_as_long_as_the_longest_of_them() {
    run(async {
        let mesh = TestMesh::start().await;
        let admin = mesh.admin_account().await;
        let listed = async |list: &str| -> (Vec<(String, i64)>, i64) {
            let mut redis = mesh.redis.connect().await;
            let mut pipe = redis::pipe();
            pipe.cmd("ZRANGE").arg(list).arg(0).arg(-1).arg("WITHSCORES").cmd("EXPIRETIME").arg(list);
            pipe.query_async(&mut redis).await.unwrap()
        };
        let list = format!("auth:user_tokens:{}", admin.user_id);
        // As somebody who plays, and then as an administrator, whose token lives for less.
        let (mut player, tablet) = (admin.visitor.elsewhere().login().await, admin.visitor.elsewhere().login().await);
        let answer = admin.try_login(&admin.code_at(mesh.now())).await.expect(200);
        let office = Persona::signed_in(admin.visitor.clone(), &answer);
        let (played, lent, worked) = (claims(&player), claims(&tablet), claims(&office));
        assert!(worked.1 < played.1);
        wait_until("all are listed", PATIENCE, async || {
            let (tokens, end) = listed(&list).await;
            [&played, &lent, &worked].iter().all(|token| tokens.contains(token)) && end == played.1.max(lent.1)
        })
        .await;
        mesh.clock.advance(SignedDuration::from_secs(30));
        player.refresh().await;
        let renewed = claims(&player);
        wait_until("the new one is listed", PATIENCE, async || {
            let (tokens, end) = listed(&list).await;
            tokens.contains(&renewed) && end == renewed.1
        })
        .await;
        tablet.logout().await;
        wait_until("what was ended is not listed", PATIENCE, async || {
            let (tokens, end) = listed(&list).await;
            !tokens.contains(&lent) && tokens.contains(&renewed) && end == renewed.1
        })
        .await;
    });
}

/// Id and end of a person's access token.
fn claims(person: &Persona) -> (String, i64) {
    let claims = person.claims();
    (claims["jti"].as_str().unwrap().to_owned(), claims["exp"].as_i64().unwrap())
}
