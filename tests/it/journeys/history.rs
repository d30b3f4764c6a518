//! What is kept of what happened: the history of an account, its events on their way out, the audit of sign-ins.

use coreloop_testkit::{PASSWORD, Persona, StandIns, TestMesh, run, wait::PATIENCE, wait_until};
use http::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;

const NEW: &str = "another fine passphrase 77";

/// Facts that are nobody else's business than the account's.
const NOTES: [&str; 12] = [
    "auth.user_locked",
    "auth.user_unlocked",
    "auth.password_changed",
    "auth.password_reset",
    "auth.second_factor_set",
    "auth.provider_linked",
    "auth.provider_unlinked",
    "auth.birth_date_declared",
    "auth.age_decided",
    "auth.roles_asked",
    "auth.user_looked_at",
    "auth.rotation_asked",
];

/// The history of an account: number, name, payload.
async fn history(mesh: &TestMesh, user: &str) -> Vec<(i64, String, Value)> {
    let sql = "select sequence_number, event_type, payload
                 from auth.auth_events where aggregate_id = $1::uuid order by 1";
    sqlx::query_as(sql).bind(user).fetch_all(&mut mesh.db.connect().await).await.unwrap()
}

/// What of it goes out: name and payload, by their place in the history.
async fn outgoing(mesh: &TestMesh, user: &str) -> Vec<(String, Value)> {
    let sql = "select o.aggregatetype || '.' || o.type, o.payload
                 from auth.outbox o join auth.auth_events e on e.event_id = o.id
                where o.aggregateid = $1 order by e.sequence_number";
    sqlx::query_as(sql).bind(user).fetch_all(&mut mesh.db.connect().await).await.unwrap()
}

async fn link_and_unlink(mesh: &TestMesh, person: &Persona, provider: &str) {
    mesh.stand_ins.as_ref().unwrap().link(person, provider).await;
    person.delete(&format!("/api/v1/auth/links/{provider}")).await.expect(200);
}

async fn reset(mesh: &TestMesh, person: &Persona) {
    let ask = json!({"email": person.visitor.email});
    person.visitor.post("/api/v1/auth/password/reset-request", &ask).await.expect(202);
    let mails = mesh.stand_ins.as_ref().unwrap().mail_to(&person.visitor.email).await;
    let text = mails[0]["content"][0]["value"].as_str().unwrap();
    let token = text.split_once("token=").unwrap().1.split_whitespace().next().unwrap();
    let reset = json!({"token": token, "new_password": NEW});
    person.visitor.post("/api/v1/auth/password/reset", &reset).await.expect(200);
}

in_both_topologies! {
    async fn an_account_remembers_what_happened_to_it_and_says_what_others_must_know(mesh) {
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        for _ in 0..2 {
            alice.post("/api/v1/auth/age", &json!({"birth_date": "1986-05-04"})).await.expect(200);
        }
        let mut webhook = StandIns::age_webhook(&mesh.front(), &alice.user_id);
        webhook["event_id"] = json!(format!("history-{}", alice.user_id));
        for _ in 0..2 {
            assert_eq!(mesh.stand_ins.as_ref().unwrap().verify_age(&webhook).await, 200);
        }
        link_and_unlink(mesh, &alice, "google").await;
        let change = json!({"current_password": PASSWORD, "new_password": "a second fine passphrase 66"});
        alice.post("/api/v1/auth/password/change", &change).await.expect(200);
        let of_alice = |what: &str| format!("/api/v1/auth/admin/users/{}/{what}", alice.user_id);
        admin.call(Method::PUT, &of_alice("roles")).json(&json!({"roles": ["ROLE_VIP"]})).send().await.expect(200);
        admin.post(&of_alice("lock"), &json!({"reason": "abuse"})).await.expect(200);
        admin.post(&of_alice("unlock"), &json!({})).await.expect(200);
        reset(mesh, &alice).await;
        let session = alice.visitor.elsewhere().try_login(NEW).await.expect(200);
        let alice = Persona::signed_in(alice.visitor.clone(), &session);
        alice.post("/api/v1/auth/withdraw", &json!({"password": NEW})).await.expect(200);

        let history = history(mesh, &alice.user_id).await;
        let names: Vec<&str> = history.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(names, [
            "auth.user_registered", "auth.user_logged_in",
            "auth.birth_date_declared", "auth.age_decided",
            "auth.provider_linked", "auth.provider_unlinked",
            "auth.password_changed", "auth.token_revoked", "auth.user_logged_in",
            "auth.role_changed", "auth.token_revoked",
            "auth.user_locked", "auth.user_unlocked",
            "auth.password_reset",
            "auth.user_logged_in",
            "auth.token_revoked", "auth.user_withdrawn",
        ]);
        assert!(history.iter().zip(1..).all(|((number, _, _), expected)| *number == expected), "{history:?}");
        let told: Vec<&str> = names.iter().copied().filter(|name| !NOTES.contains(name)).collect();
        let outgoing = outgoing(mesh, &alice.user_id).await;
        assert_eq!(outgoing.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), told);

        let payload = |name: &str| &outgoing.iter().find(|(of, _)| of == name).unwrap().1;
        let (roles, left) = (payload("auth.role_changed"), payload("auth.user_withdrawn"));
        assert_eq!((&roles["user_id"], &roles["roles"]), (&json!(alice.user_id), &json!(["ROLE_STANDARD", "ROLE_VIP"])));
        assert_eq!((&left["user_id"], left.as_object().unwrap().len()), (&json!(alice.user_id), 2), "who and when: {left}");
        assert!(left["occurred_at"].is_string(), "{left}");
        let note = |name: &str| &history.iter().find(|(_, of, _)| of == name).unwrap().2;
        assert_eq!(note("auth.user_locked"), &json!({"by": admin.user_id, "reason": "abuse"}));
        assert_eq!(note("auth.age_decided")["result"], "verified");
        assert_eq!(note("auth.password_reset"), &json!({"links_ended": 0}));

        // It outlives the person, so it may not tell who they were; and each fact names the request that caused it.
        let named = format!("select count(*) from auth.auth_events where aggregate_id = '{}'
            and (payload::text ~ '1986-05-04|@|{}' or coalesce(metadata->>'request_id', '') = '')",
            alice.user_id, alice.visitor.email.split('@').next().unwrap());
        assert_eq!(mesh.db.count(&named).await, 0);
    }
}

#[test]
fn history_and_audit_are_only_added_to() {
    run(async {
        let mesh = TestMesh::start().await;
        mesh.persona("alice").await;
        let audits = "select count(*) from auth.login_audits where ip <> ''";
        wait_until("an audit is stored", PATIENCE, async || mesh.db.count(audits).await > 0).await;
        let mut connection = mesh.db.connect().await;
        for change in [
            "update auth.auth_events set payload = '{}'",
            "update auth.auth_events set created_at = now()",
            "delete from auth.auth_events",
            "truncate auth.auth_events",
            "update auth.login_audits set ip = '203.0.113.1'",
            "update auth.login_audits set ip = '', user_agent = '', outcome = 'hidden'",
            "update auth.login_audits set ip = '', user_agent = '', user_id = null",
            "delete from auth.login_audits",
            "truncate auth.login_audits",
        ] {
            let refused = connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(change))).await.unwrap_err();
            let code = refused.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
            assert_eq!(code, "23000", "{change}: {refused}");
        }
        mesh.db.execute("update auth.login_audits set ip = '', user_agent = ''").await;
        assert_eq!(mesh.db.count(audits).await, 0, "an audit can be masked");
    });
}

#[test]
fn sign_ins_are_audited_while_redis_is_away() {
    run(async {
        let mut mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        let of_alice = format!("select count(*) from auth.login_audits where user_id = '{}'", alice.user_id);
        let stored = async |db: &coreloop_testkit::TestDb, good: i64, bad: i64| {
            let ok = format!("{of_alice} and outcome = 'ok'");
            let wrong = format!("{of_alice} and outcome = 'INVALID_CREDENTIALS'");
            wait_until(format!("{good} good and {bad} bad tries are stored"), PATIENCE, async || {
                (db.count(&ok).await, db.count(&wrong).await) == (good, bad)
            })
            .await;
        };
        stored(&mesh.db, 1, 0).await;
        mesh.redis.kill();
        for _ in 0..3 {
            alice.visitor.elsewhere().login().await;
            alice.visitor.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
        }
        stored(&mesh.db, 4, 3).await;
        mesh.redis.resurrect().await;
        alice.visitor.elsewhere().login().await;
        stored(&mesh.db, 5, 3).await;
    });
}
