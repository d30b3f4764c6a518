//! What is good once is used once, however many claim it at once: second factors, recovery codes, invites, states, login
//! codes, reset tokens (A6, M8).

use coreloop_testkit::{Back, Rounds, TestMesh, Visitor, run, seed};
use jiff::SignedDuration;
use serde_json::json;

use super::{all_post, good, racers, replicas};

/// Claims of one thing that are made at once.
const CLAIMS: usize = 200;

/// Attempts of a sign-in by an administrator that lose a race; of so many some are not evaluated in time.
const NO_FACTOR: &[&str] = &["INVALID_CREDENTIALS", "ACCOUNT_LOCKED", "OVERLOADED"];

/// Signs in as the administrator from everywhere at once, with each code in turn, and counts the sessions.
async fn factors_work_once(name: &str, mesh: TestMesh, mut rounds: Rounds, by_recovery_code: bool) {
    let racers = racers(&mesh, CLAIMS, 3, seed(name));
    let mut admin = mesh.admin_account().await;
    for round in rounds.by_ref() {
        if by_recovery_code && admin.recovery_codes.is_empty() {
            admin = mesh.admin_account().await;
        }
        let code = match by_recovery_code {
            true => admin.recovery_codes.pop().unwrap(),
            false => admin.code_at(mesh.now()),
        };
        let before = mesh.db.count("select count(*) from auth.sessions where audience = 'admin'").await;
        let body = json!({"email": admin.visitor.email, "password": coreloop_testkit::PASSWORD, "code": code});
        let answers = all_post(&racers, "/api/auth/admin/login", |_| body.clone()).await;
        assert_eq!(good(&answers, NO_FACTOR), 1, "round {round}");
        let after = mesh.db.count("select count(*) from auth.sessions where audience = 'admin'").await;
        assert_eq!(after - before, 1, "round {round}: one session");
        // The account is locked by so many failures; the lock ends.
        mesh.clock.advance(SignedDuration::from_secs(631));
    }
    done(name, &rounds);
}

fn done(what: &str, rounds: &Rounds) {
    println!("M8 {what}: {} rounds of {CLAIMS} claims, 1 success each", rounds.begun());
}

#[test]
fn a_second_factor_works_once_on_three_replicas() {
    run(async {
        let mesh = replicas(3).setting("auth.lockout_failures", 100_i64).start().await;
        factors_work_once("second factor", mesh, Rounds::of(100), false).await;
    });
}

#[test]
fn a_recovery_code_works_once_on_three_replicas() {
    run(async {
        let mesh = replicas(3).setting("auth.lockout_failures", 100_i64).start().await;
        factors_work_once("recovery code", mesh, Rounds::of(100), true).await;
    });
}

#[test]
fn an_invite_for_one_admits_one() {
    run(async {
        let mesh = replicas(2).setting("auth.invite_required", true).start().await;
        let racers = racers(&mesh, CLAIMS, 2, seed("M8 invite"));
        let before = mesh.db.count("select count(*) from auth.users").await;
        let mut rounds = Rounds::of(100);
        for round in &mut rounds {
            let insert =
                format!("insert into auth.invites (code, max_uses, created_at) values ('once{round}', 1, now())");
            mesh.db.execute(&insert).await;
            let answers = all_post(&racers, "/api/v1/auth/signup", |racer| {
                let mut body = racer.sign_up_body();
                body["email"] = json!(format!("{round}.{}", racer.email));
                body["invite_code"] = json!(format!("once{round}"));
                body
            })
            .await;
            assert_eq!(good(&answers, &["INVITE_INVALID"]), 1, "round {round}");
        }
        let made = mesh.db.count("select count(*) from auth.users").await - before;
        assert_eq!(usize::try_from(made).unwrap(), rounds.begun());
        assert_eq!(mesh.db.count("select sum(used)::bigint from auth.invites where code like 'once%'").await, made);
        done("invite", &rounds);
    });
}

#[test]
fn a_reset_token_resets_once() {
    run(async {
        let mesh = replicas(2).start().await;
        let alice = mesh.persona("alice").await;
        let racers = racers(&mesh, CLAIMS, 2, seed("M8 reset token"));
        let mut rounds = Rounds::of(100);
        for round in &mut rounds {
            let token = format!("token-of-round-{round:08}-0123456789abcdef");
            let sql = format!(
                "insert into auth.password_resets (token_hash, user_id, created_at, expires_at)
                 values (sha256('{token}'), '{}', now(), now() + interval '1 day')",
                alice.user_id
            );
            mesh.db.execute(&sql).await;
            let reset =
                |racer: &Visitor| json!({"token": token, "new_password": format!("kettle wharf {}", racer.device_id)});
            let answers = all_post(&racers, "/api/v1/auth/password/reset", reset).await;
            assert_eq!(good(&answers, &["RESET_TOKEN_INVALID"]), 1, "round {round}");
            let winner = answers.iter().position(|answer| answer.status.is_success()).unwrap();
            let password = format!("kettle wharf {}", racers[winner].device_id);
            assert_eq!(
                alice.visitor.try_login(&password).await.status,
                200,
                "round {round}: the winner's password holds"
            );
        }
        let used = mesh.db.count("select count(*) from auth.password_resets where used_at is not null").await;
        assert!(used >= 1 && usize::try_from(used).unwrap() <= rounds.begun());
        done("reset token", &rounds);
    });
}

/// What a provider sends back to the app.
async fn consent(mesh: &TestMesh, visitor: &Visitor, name: &str) -> (String, String) {
    let authorization = visitor.get("/api/v1/auth/authorize/kakao").await.expect(200);
    let back = mesh.stand_ins.as_ref().unwrap().consent(&authorization, name).await;
    (back.param("code"), back.param("state"))
}

async fn sessions(mesh: &TestMesh) -> usize {
    usize::try_from(mesh.db.count("select count(*) from auth.sessions").await).unwrap()
}

#[test]
fn a_state_of_a_social_sign_in_works_once() {
    run(async {
        let mesh = replicas(2).stand_ins().start().await;
        let visitor = mesh.visitor("carol");
        let racers = racers(&mesh, CLAIMS, 2, seed("M8 state"));
        let (before, mut rounds) = (sessions(&mesh).await, Rounds::of(100));
        for round in &mut rounds {
            let (code, state) = consent(&mesh, &visitor, &format!("state.{round}")).await;
            let body = json!({"code": code, "state": state});
            let answers = all_post(&racers, "/api/v1/auth/login/kakao", |_| body.clone()).await;
            assert_eq!(good(&answers, &["OAUTH_STATE_INVALID"]), 1, "round {round}");
        }
        assert_eq!(sessions(&mesh).await - before, rounds.begun());
        done("state", &rounds);
    });
}

#[test]
fn a_login_code_works_once() {
    run(async {
        let mesh = replicas(2).stand_ins().start().await;
        let visitor = mesh.visitor("carol");
        let racers = racers(&mesh, CLAIMS, 2, seed("M8 login code"));
        let (before, mut rounds) = (sessions(&mesh).await, Rounds::of(100));
        for round in &mut rounds {
            let (code, state) = consent(&mesh, &visitor, &format!("code.{round}")).await;
            let redirect = visitor.get(&format!("/api/v1/auth/callback/kakao?code={code}&state={state}")).await;
            let login_code = Back::by(&redirect).param("code");
            let answers = all_post(&racers, "/api/v1/auth/login/exchange", |_| json!({"code": login_code})).await;
            assert_eq!(good(&answers, &["LOGIN_CODE_INVALID"]), 1, "round {round}");
        }
        assert_eq!(sessions(&mesh).await - before, rounds.begun());
        done("login code", &rounds);
    });
}
