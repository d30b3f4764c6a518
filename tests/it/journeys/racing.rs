//! Acts that meet another act on the same account half-way: the later one sees what the earlier one did.

use coreloop_testkit::{Back, Persona, StandIns, TestMesh, Visitor, run, wait::PATIENCE, wait_until};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

/// The row of an account, locked as an act on it that is not finished locks it.
struct Held {
    connection: PgConnection,
    pid: i32,
    user: String,
}

impl Held {
    async fn account(mesh: &TestMesh, user: &str) -> Self {
        let mut connection = mesh.db.connect().await;
        let lock = format!("begin; select from auth.users where id = '{user}' for update");
        connection.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await.unwrap();
        let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        Self { connection, pid, user: user.to_owned() }
    }

    /// Waits until somebody waits for the account, does `sql` (`{user}` is the account) and lets go.
    async fn until_awaited(mut self, mesh: &TestMesh, sql: &str) {
        let waiting = format!("select count(*) from pg_stat_activity where {} = any(pg_blocking_pids(pid))", self.pid);
        wait_until("somebody waits", PATIENCE, async || mesh.db.count(&waiting).await > 0).await;
        let act = format!("{}; commit", sql.replace("{user}", &self.user));
        self.connection.execute(sqlx::raw_sql(AssertSqlSafe(act))).await.unwrap();
    }
}

fn stand_ins(mesh: &TestMesh) -> &StandIns {
    mesh.stand_ins.as_ref().unwrap()
}

async fn authorize(mesh: &TestMesh, visitor: &Visitor, provider: &str) -> Back {
    let path = format!("/api/v1/auth/authorize/{provider}?device_id={}", visitor.device_id);
    stand_ins(mesh).consent(&visitor.get(&path).await.expect(200), &visitor.handle()).await
}

/// Signs in at the provider through the browser; answers what the app trades the login code with.
async fn login_code(mesh: &TestMesh, visitor: &Visitor, provider: &str) -> Value {
    let back = authorize(mesh, visitor, provider).await;
    let redirect = visitor.get(&format!("/api/v1/auth/callback/{provider}?{}", back.query())).await;
    json!({"code": Back::by(&redirect).param("code"), "device_id": visitor.device_id})
}

in_both_topologies! {
    async fn a_link_removed_while_its_sign_in_waits_signs_nobody_in(mesh) {
        let alice = mesh.persona("alice").await;
        stand_ins(mesh).link(&alice, "google").await;
        let answer = authorize(mesh, &alice.visitor, "google").await.answer();
        let held = Held::account(mesh, &alice.user_id).await;
        let (signed_in, ()) = tokio::join!(
            alice.visitor.post("/api/v1/auth/login/google", &answer),
            held.until_awaited(mesh, "delete from auth.social_accounts where user_id = '{user}'"),
        );
        signed_in.refused(409, "EMAIL_BELONGS_TO_ACCOUNT");
    }

    async fn a_login_code_ends_with_its_link_also_when_that_is_made_again(mesh) {
        let alice = mesh.persona("alice").await;
        stand_ins(mesh).link(&alice, "google").await;
        let exchange = "/api/v1/auth/login/exchange";
        let (before, between) =
            (login_code(mesh, &alice.visitor, "google").await, login_code(mesh, &alice.visitor, "google").await);
        alice.delete("/api/v1/auth/links/google").await.expect(200);
        alice.visitor.post(exchange, &before).await.refused(400, "LOGIN_CODE_INVALID");
        stand_ins(mesh).link(&alice, "google").await;
        alice.visitor.post(exchange, &between).await.refused(400, "LOGIN_CODE_INVALID");
        let after = login_code(mesh, &alice.visitor, "google").await;
        assert_eq!(alice.visitor.post(exchange, &after).await.expect(200)["user"]["id"], alice.user_id);
    }

    async fn a_login_code_ends_with_a_new_password(mesh) {
        let alice = mesh.persona("alice").await;
        stand_ins(mesh).link(&alice, "kakao").await;
        let before = login_code(mesh, &alice.visitor, "kakao").await;
        let change = json!({"current_password": coreloop_testkit::PASSWORD, "new_password": "lamp orchid gravel tune"});
        alice.post("/api/v1/auth/password/change", &change).await.expect(200);
        alice.visitor.post("/api/v1/auth/login/exchange", &before).await.refused(400, "LOGIN_CODE_INVALID");
        let after = login_code(mesh, &alice.visitor, "kakao").await;
        alice.visitor.post("/api/v1/auth/login/exchange", &after).await.expect(200);
    }

    async fn a_link_removed_while_its_login_code_waits_signs_nobody_in(mesh) {
        let alice = mesh.persona("alice").await;
        stand_ins(mesh).link(&alice, "naver").await;
        let code = login_code(mesh, &alice.visitor, "naver").await;
        let held = Held::account(mesh, &alice.user_id).await;
        let (exchanged, ()) = tokio::join!(
            alice.visitor.post("/api/v1/auth/login/exchange", &code),
            held.until_awaited(mesh, "delete from auth.social_accounts where user_id = '{user}'"),
        );
        exchanged.refused(400, "LOGIN_CODE_INVALID");
    }

    async fn a_login_code_of_an_account_locked_meanwhile_is_refused_and_audited(mesh) {
        let (admin, visitor) = (mesh.admin().await, mesh.visitor("bob"));
        let answer = authorize(mesh, &visitor, "google").await.answer();
        let session = visitor.post("/api/v1/auth/login/google", &answer).await.expect(200);
        let bob = Persona::signed_in(visitor.clone(), &session).user_id;
        let code = login_code(mesh, &visitor, "google").await;
        admin.post(&format!("/api/v1/auth/admin/users/{bob}/lock"), &json!({"reason": "abuse"})).await.expect(200);
        visitor.post("/api/v1/auth/login/exchange", &code).await.refused(403, "ACCOUNT_LOCKED");
        let audited = format!(
            "select count(*) from auth.login_audits where user_id = '{bob}' and method = 'exchange'
                and provider = 'google' and outcome = 'ACCOUNT_LOCKED'"
        );
        wait_until("it is audited", PATIENCE, async || mesh.db.count(&audited).await == 1).await;
    }

    async fn nothing_is_linked_by_a_session_that_ended_meanwhile(mesh) {
        let alice = mesh.persona("alice").await;
        let other = alice.visitor.elsewhere().login().await;
        let answer = stand_ins(mesh).consent_to_link(&alice, "kakao").await;
        let held = Held::account(mesh, &alice.user_id).await;
        let newest = "(select max(id::text)::uuid from auth.sessions where user_id = '{user}')";
        let ended = format!(
            "update auth.sessions set ended_at = now(), end_reason = 'logout'
              where user_id = '{{user}}' and id <> {newest}"
        );
        let (linked, ()) =
            tokio::join!(alice.post("/api/v1/auth/links/kakao", &answer), held.until_awaited(mesh, &ended));
        linked.refused(401, "TOKEN_REVOKED");
        let links = other.get("/api/v1/auth/links").await.expect(200);
        assert_eq!(links["links"].as_array().map_or(0, Vec::len), 0, "{links}");
        stand_ins(mesh).link(&other, "kakao").await;
    }
}

/// Two mails to one account that has been given four tokens: there is one more for it.
#[test]
fn tokens_to_reset_a_password_are_counted_one_after_the_other() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().start().await;
        let alice = mesh.persona("alice").await;
        let (user, email, now) = (&alice.user_id, &alice.visitor.email, format!("to_timestamp({})", mesh.now()));
        let given = format!(
            "insert into auth.password_resets (token_hash, user_id, created_at, expires_at)
             select sha256(n::text::bytea), '{user}', {now}, {now} + interval '20 minutes' from generate_series(1, 4) n"
        );
        mesh.db.execute(&given).await;
        let held = Held::account(&mesh, user).await;
        // In one statement, so that one sender takes both.
        let asked = format!(
            "insert into auth.reset_mails (id, email, asked_at, next_try_at)
             select gen_random_uuid(), '{email}', {now}, {now} from generate_series(1, 2)"
        );
        mesh.db.execute(&asked).await;
        let waiting = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";
        wait_until("both wait", PATIENCE, async || mesh.db.count(waiting).await == 2).await;
        held.until_awaited(&mesh, "select").await;
        let left = "select count(*) from auth.reset_mails";
        wait_until("both are settled", PATIENCE, async || mesh.db.count(left).await == 0).await;
        assert_eq!(mesh.db.count("select count(*) from auth.password_resets").await, 5);
    });
}
