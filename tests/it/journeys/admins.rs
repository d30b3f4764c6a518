//! Administrators: second factor, recovery codes, what only they may do (A6, A12).

use coreloop_testkit::{PASSWORD, Persona, TestMesh, run, wait::PATIENCE, wait_until};
use http::Method;
use jiff::SignedDuration;
use serde_json::json;
use sqlx::Executor as _;

in_both_topologies! {
    async fn an_administrator_signs_in_with_a_code_that_works_once(mesh) {
        let admin = mesh.admin_account().await;
        let code = admin.code_at(mesh.now());
        let tries = (0..50).map(|_| {
            let (device, code, admin) = (admin.visitor.elsewhere(), code.clone(), admin.clone());
            async move { admin.try_login_from(&device, &code).await.status.as_u16() }
        });
        let statuses = futures::future::join_all(tries).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    }

    async fn a_recovery_code_works_once(mesh) {
        let admin = mesh.admin_account().await;
        let code = &admin.recovery_codes[0];
        let tries = (0..20).map(|_| {
            let device = admin.visitor.elsewhere();
            let admin = admin.clone();
            async move { admin.try_login_from(&device, code).await }
        });
        let answers = futures::future::join_all(tries).await;
        let good: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(good.len(), 1, "{:?}", answers.iter().map(|a| (a.status.as_u16(), a.reason())).collect::<Vec<_>>());
        assert_eq!(good[0].json()["recovery_codes_left"], 7);
        assert_eq!(good[0].json()["expires_in"], 600);
        assert!(good[0].json().get("refresh_token").is_none());
    }

    async fn wrong_factors_are_not_told_apart(mesh) {
        let admin = mesh.admin_account().await;
        let wrong_code = admin.try_login_from(&admin.visitor.elsewhere(), "000000").await;
        wrong_code.refused(401, "INVALID_CREDENTIALS");
        let alice = mesh.persona("alice").await.visitor;
        let body = json!({"email": alice.email, "password": PASSWORD, "code": "123456"});
        let no_admin = alice.elsewhere().post("/api/auth/admin/login", &body).await;
        no_admin.refused(401, "INVALID_CREDENTIALS");
        assert_eq!(wrong_code.body, no_admin.body);
    }

    async fn an_administrator_by_password_alone_is_none(mesh) {
        let admin = mesh.admin_account().await;
        let person = admin.visitor.elsewhere().login().await;
        person.get("/api/v1/auth/admin/invites").await.refused(403, "ROLE_REQUIRED");
        person.get("/metrics").await.refused(403, "ROLE_REQUIRED");
    }

    async fn an_administrator_signs_out_and_a_user_does_not_there(mesh) {
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        alice.post("/api/auth/admin/logout", &json!({})).await.refused(403, "ROLE_REQUIRED");
        admin.post("/api/auth/admin/logout", &json!({})).await.expect(200);
        admin.get("/api/v1/auth/admin/invites").await.refused(401, "TOKEN_REVOKED");
        admin.post("/api/v1/auth/admin/logout", &json!({})).await.refused(401, "TOKEN_REVOKED");
    }

    async fn a_role_change_ends_the_tokens_and_counts_at_the_next_sign_in(mesh) {
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        let path = format!("/api/v1/auth/admin/users/{}/roles", alice.user_id);
        let set = admin.call(Method::PUT, &path).json(&json!({"roles": ["ROLE_VIP"]})).send().await.expect(200);
        assert_eq!(set["user"]["roles"], json!(["ROLE_STANDARD", "ROLE_VIP"]));
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        let alice = alice.visitor.elsewhere().login().await;
        assert_eq!(alice.me().await["roles"], json!(["ROLE_STANDARD", "ROLE_VIP"]));
        let nobody = "/api/v1/auth/admin/users/0192f0c4-7f5e-7000-8000-000000000000/roles";
        admin.call(Method::PUT, nobody).json(&json!({"roles": ["ROLE_VIP"]})).send().await.refused(404, "USER_NOT_FOUND");
    }

    async fn a_locked_person_is_out_until_unlocked(mesh) {
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        let path = |what: &str| format!("/api/v1/auth/admin/users/{}/{what}", alice.user_id);
        let lock = admin.post(&path("lock"), &json!({"reason": "abuse"})).await.expect(200);
        assert_eq!(lock["user"]["status"], "USER_STATUS_LOCKED");
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        alice.visitor.elsewhere().try_login(PASSWORD).await.refused(403, "ACCOUNT_LOCKED");
        // Only who proves to own the account is told.
        alice.visitor.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
        alice.try_refresh().await.refused(401, "REFRESH_TOKEN_INVALID");
        let unlocked = admin.post(&path("unlock"), &json!({})).await.expect(200);
        assert_eq!(unlocked["user"]["status"], "USER_STATUS_ACTIVE");
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        alice.visitor.elsewhere().login().await;
        assert_eq!(admin.get(&format!("/api/v1/auth/admin/users/{}", alice.user_id)).await.expect(200)["user"]["id"], alice.user_id);
    }

    async fn strangers_cannot_lock_out_the_device_of_an_administrator(mesh) {
        let admin = mesh.admin_account().await;
        let device = |of: &str| format!("{of}-{}-0123456789abcdef", admin.user_id);
        let (own, persons) = (device("administrators"), device("persons"));
        let sign_in = async |device: &str, code: &str| {
            let body = json!({"email": admin.visitor.email, "password": PASSWORD, "code": code, "device_id": device});
            admin.visitor.elsewhere().post("/api/auth/admin/login", &body).await
        };
        sign_in(&own, &admin.recovery_codes[0]).await.expect(200);
        // A sign-in without the second factor earns nothing here.
        let login = json!({"email": admin.visitor.email, "password": PASSWORD, "device_id": persons});
        admin.visitor.elsewhere().post("/api/v1/auth/login", &login).await.expect(200);
        // The sessions are over long before the next working day, and swept.
        mesh.db.execute(&format!("delete from auth.sessions where user_id = '{}'", admin.user_id)).await;
        for _ in 0..5 {
            sign_in("", "000000").await.refused(401, "INVALID_CREDENTIALS");
        }
        for stranger in ["", &persons] {
            sign_in(stranger, &admin.recovery_codes[1]).await.refused(429, "ACCOUNT_LOCKED");
        }
        sign_in(&own, &admin.recovery_codes[1]).await.expect(200);
        for _ in 0..5 {
            sign_in(&own, "000000").await.refused(401, "INVALID_CREDENTIALS");
        }
        sign_in(&own, &admin.recovery_codes[2]).await.refused(429, "ACCOUNT_LOCKED");
    }

    async fn invites_are_made_once_and_listed(mesh) {
        let admin = mesh.admin().await;
        let code = format!("spring-{}", &admin.user_id[24..]);
        let invite = json!({"code": code, "max_uses": 3});
        let made = admin.post("/api/v1/auth/admin/invites", &invite).await.expect(201);
        assert_eq!((made["invite"]["code"].as_str(), made["invite"]["used"].as_u64()), (Some(code.as_str()), Some(0)));
        admin.post("/api/v1/auth/admin/invites", &invite).await.refused(409, "INVITE_EXISTS");
        admin.post("/api/v1/auth/admin/invites", &json!({"max_uses": 0})).await.refused(400, "VALIDATION_FAILED");
        let listed = admin.get("/api/v1/auth/admin/invites?page_size=200").await.expect(200);
        assert!(listed["invites"].as_array().unwrap().iter().any(|invite| invite["code"] == code.as_str()));
    }
}

#[test]
fn an_administrators_session_is_listed_and_ended_as_long_as_its_token_is_believed() {
    run(async {
        let mesh = TestMesh::start().await;
        let account = mesh.admin_account().await;
        let answer = account.try_login(&account.code_at(mesh.now())).await.expect(200);
        let admin = Persona::signed_in(account.visitor.clone(), &answer);
        let person = account.visitor.elsewhere().login().await;
        let ends = admin.claims()["exp"].as_i64().unwrap();
        mesh.clock.advance(SignedDuration::from_secs(ends + 1 - mesh.now()));
        admin.get("/api/v1/auth/admin/invites").await.expect(200);
        let listed = person.get("/api/v1/auth/tokens").await.expect(200);
        // Only the administrator's sign-in named no device.
        let nameless = |token: &&serde_json::Value| token["device_name"].as_str().unwrap_or_default().is_empty();
        let jti = listed["tokens"].as_array().unwrap().iter().find(nameless).unwrap()["jti"].as_str().unwrap();
        person.delete(&format!("/api/v1/auth/tokens/{jti}")).await.expect(200);
        admin.get("/api/v1/auth/admin/invites").await.refused(401, "TOKEN_REVOKED");
    });
}

#[test]
fn keys_rotate_without_a_good_token_refused() {
    run(async {
        let mesh = TestMesh::builder().split().replicas(2).setting("auth.keys_reload_secs", 1).start().await;
        let admin = mesh.admin().await;
        let mut people = vec![mesh.persona("alice").await];
        let front = [mesh.gateway_on(0), mesh.gateway_on(1)];
        for round in 0..3 {
            mesh.clock.advance(SignedDuration::from_secs(120));
            let rotated =
                admin.at(&front[round % 2]).post("/api/v1/auth/admin/keys/rotate", &json!({})).await.expect(200);
            for base in &front {
                wait_until("every replica publishes both keys", PATIENCE, async || {
                    let jwks =
                        mesh.visitor("verifier").at(base).get("/.well-known/jwks.json").await.expect(200).to_string();
                    ["active_kid", "next_kid"].iter().all(|kid| jwks.contains(rotated[kid].as_str().unwrap()))
                })
                .await;
            }
            people.push(mesh.visitor("alice").at(&front[(round + 1) % 2]).sign_up().await);
            for person in &people {
                for base in &front {
                    let answer = person.at(base).get("/api/v1/auth/me").await;
                    assert_eq!(answer.status, 200, "round {round} at {base}: {}", answer.text());
                }
            }
            let refreshed = people[0].try_refresh().await.expect(200);
            people[0] = Persona::signed_in(people[0].visitor.clone(), &refreshed);
        }
        let soon = admin.post("/api/v1/auth/admin/keys/rotate", &json!({})).await;
        soon.refused(400, "ROTATION_TOO_SOON");
    });
}

/// Whoever comes to the account's row waits for it in vain, so who is answered went another way.
#[test]
fn a_right_password_with_a_wrong_code_takes_the_steps_of_a_wrong_password() {
    run(async {
        let mesh = TestMesh::builder().setting("database.lock_timeout_ms", 2_000).start().await;
        let admin = mesh.admin_account().await;
        let sign_in = async |password: &str, code: &str| {
            let body = json!({"email": admin.visitor.email, "password": password, "code": code});
            admin.visitor.elsewhere().post("/api/auth/admin/login", &body).await
        };
        let tries = [
            (PASSWORD, "000000"),
            (PASSWORD, "recover-nothing"),
            ("not the password", "000000"),
            ("not the password", admin.recovery_codes[0].as_str()),
        ];
        let mut holder = mesh.db.connect().await;
        holder.execute("begin").await.unwrap();
        let row = format!("select from auth.users where id = '{}' for update", admin.user_id);
        holder.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(row.as_str()))).await.unwrap();
        for (password, code) in tries {
            sign_in(password, code).await.refused(503, "DEPENDENCY_UNAVAILABLE");
        }
        holder.execute("rollback").await.unwrap();
        for (password, code) in tries {
            sign_in(password, code).await.refused(401, "INVALID_CREDENTIALS");
        }
        sign_in(PASSWORD, &admin.recovery_codes[0]).await.expect(200);
    });
}

#[test]
fn an_administrators_token_lives_ten_minutes() {
    run(async {
        let mesh = TestMesh::start().await;
        let admin = mesh.admin().await;
        admin.get("/api/v1/auth/admin/invites").await.expect(200);
        mesh.clock.advance(SignedDuration::from_secs(600 + 31));
        admin.get("/api/v1/auth/admin/invites").await.refused(401, "TOKEN_EXPIRED");
    });
}
