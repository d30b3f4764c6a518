//! Reset mails: kept until they are sent, through kills and a provider that is away.

use coreloop_testkit::{TestMesh, run, wait::PATIENCE, wait_until};
use jiff::SignedDuration;
use serde_json::{Value, json};

async fn ask(mesh: &TestMesh, email: &str) {
    mesh.visitor("somebody").post("/api/v1/auth/password/reset-request", &json!({"email": email})).await.expect(202);
}

async fn tried(mesh: &TestMesh, times: i64) {
    let tries = "select coalesce(max(tries), 0)::bigint from auth.reset_mails";
    wait_until(format!("it was tried {times} times"), PATIENCE, async || mesh.db.count(tries).await >= times).await;
}

async fn none_waits(mesh: &TestMesh) {
    let waiting = "select count(*) from auth.reset_mails";
    wait_until("no mail waits", PATIENCE, async || mesh.db.count(waiting).await == 0).await;
}

fn text(mail: &Value) -> &str {
    mail["content"][0]["value"].as_str().unwrap()
}

async fn away(mesh: &TestMesh) {
    let fault = json!({"provider": "sendgrid", "kind": "error", "status": 503});
    mesh.stand_ins.as_ref().unwrap().fault(&fault).await;
}

async fn back(mesh: &TestMesh) {
    mesh.stand_ins.as_ref().unwrap().rest().delete("/_sandbox/faults").send().await;
}

#[test]
fn a_mail_that_was_asked_for_is_sent_once_although_its_process_is_killed() {
    run(async {
        let mut mesh = TestMesh::builder().stand_ins().start().await;
        let alice = mesh.persona("alice").await.visitor;
        away(&mesh).await;
        ask(&mesh, &alice.email).await;
        tried(&mesh, 1).await;
        mesh.node_mut(0, "auth").kill().await;
        back(&mesh).await;
        mesh.clock.advance(SignedDuration::from_secs(61));
        mesh.node_mut(0, "auth").start().await;
        none_waits(&mesh).await;
        let mails = mesh.stand_ins.as_ref().unwrap().mail_to(&alice.email).await;
        assert_eq!(mails.len(), 1, "{mails:?}");
        let token = text(&mails[0]).split_once("token=").unwrap().1.split_whitespace().next().unwrap().to_owned();
        let reset = json!({"token": token, "new_password": "another fine passphrase 77"});
        alice.post("/api/v1/auth/password/reset", &reset).await.expect(200);
    });
}

#[test]
fn of_two_replicas_one_sends_and_a_provider_that_is_away_is_tried_again() {
    run(async {
        let mesh = TestMesh::builder().replicas(2).stand_ins().start().await;
        let people = [mesh.persona("alice").await.visitor, mesh.persona("bob").await.visitor];
        away(&mesh).await;
        for person in &people {
            ask(&mesh, &person.email).await;
        }
        ask(&mesh, "nobody.at.all@example.com").await;
        let unknown = "select count(*) from auth.reset_mails where email like 'nobody%'";
        wait_until("nobody is forgotten", PATIENCE, async || mesh.db.count(unknown).await == 0).await;
        // Each try is three requests; a pause by the clock follows.
        let given_up = "select count(*) from auth.reset_mails where token is not null";
        wait_until("both have a token", PATIENCE, async || mesh.db.count(given_up).await == 2).await;
        for round in 2..=3 {
            wait_until("the pauses are set", PATIENCE, async || {
                mesh.stand_ins.as_ref().unwrap().requests("sendgrid/send").await >= (round - 1) * 6
            })
            .await;
            mesh.clock.advance(SignedDuration::from_secs(61));
            tried(&mesh, i64::try_from(round).unwrap()).await;
        }
        back(&mesh).await;
        mesh.clock.advance(SignedDuration::from_secs(61));
        none_waits(&mesh).await;
        for person in &people {
            let mails = mesh.stand_ins.as_ref().unwrap().mail_to(&person.email).await;
            assert_eq!(mails.len(), 1, "{mails:?}");
        }
        assert_eq!(mesh.db.count("select count(*) from auth.password_resets").await, 2, "a mail has one token");
    });
}

#[test]
fn a_token_that_was_not_given_is_never_sent() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().start().await;
        let alice = mesh.persona("alice").await;
        let given = format!(
            "insert into auth.password_resets (token_hash, user_id, created_at, expires_at)
             select decode(md5(n::text), 'hex'), '{}', now(), now() + interval '1 hour' from generate_series(1, 5) n",
            alice.user_id
        );
        mesh.db.execute(&given).await;
        // As if its process were killed each time before it could forget the mail.
        let killed = "create function auth.keep() returns trigger language plpgsql as $$ begin raise 'killed'; end $$;
             create trigger keep before delete on auth.reset_mails for each row execute function auth.keep();";
        mesh.db.execute(killed).await;
        ask(&mesh, &alice.visitor.email).await;
        for times in 1..=3 {
            tried(&mesh, times).await;
            mesh.clock.advance(SignedDuration::from_secs(61));
        }
        assert_eq!(mesh.stand_ins.as_ref().unwrap().requests("sendgrid/send").await, 0);
        assert_eq!(mesh.db.count("select count(*) from auth.reset_mails where token is null").await, 1);
    });
}

#[test]
fn a_mail_whose_time_is_over_is_not_sent() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().start().await;
        let alice = mesh.persona("alice").await.visitor;
        away(&mesh).await;
        ask(&mesh, &alice.email).await;
        tried(&mesh, 1).await;
        mesh.clock.advance(SignedDuration::from_secs(1_801));
        none_waits(&mesh).await;
        let waiting = mesh.stand_ins.as_ref().unwrap().rest();
        let mails = waiting.get(&format!("/_sandbox/mail?to={}", alice.email)).send().await.expect(200);
        assert_eq!(mails["mails"].as_array().map_or(0, Vec::len), 0);
    });
}
