//! The gateway fails in every way: a push arrives in the end, or is given up and can be tried again; the inbox knows nothing of it.

use coreloop_testkit::{Persona, StandIns, TestMesh, mesh::Builder, run, wait_until};
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::stage::{
    GIVEN_UP, LONG, TAKEN, acquired, devices, ended, fault, held, mended, mesh, paused, phone, pushed, pushes,
    registered, sends, tell, told, wait_for_end,
};

async fn begun(builder: Builder) -> (TestMesh, Persona, String) {
    let mesh = builder.start().await;
    let (alice, token) = (mesh.persona("alice").await, phone("own"));
    registered(&alice, &token).await;
    (mesh, alice, token)
}

#[test]
fn a_gateway_that_stumbles_is_asked_again() {
    run(async {
        let (mesh, alice, token) = begun(mesh()).await;
        let mut pushed_before = 0;
        for (number, change) in [
            json!({"kind": "error", "status": 429, "times": 1}),
            json!({"kind": "error", "status": 500, "times": 1}),
            json!({"kind": "error", "status": 503, "times": 2}),
            json!({"kind": "garbage", "times": 1}),
            json!({"kind": "cut", "times": 1}),
            json!({"kind": "reset", "times": 1}),
            json!({"kind": "lost", "times": 1}),
            json!({"kind": "error", "status": 429, "times": 1, "endpoint": "token"}),
            json!({"kind": "garbage", "times": 1, "endpoint": "token"}),
        ]
        .into_iter()
        .enumerate()
        {
            if change["endpoint"] == "token" {
                // Its token is spent: it asks for another.
                fault(&mesh, &json!({"kind": "error", "status": 401, "times": 1})).await;
            }
            fault(&mesh, &change).await;
            tell(&mesh, &alice, &acquired(&alice, &format!("CHR{number:03}"))).await;
            let wanted = i64::try_from(number).unwrap() + 1;
            wait_until(format!("after {change}"), LONG, async || ended(&mesh, &alice, TAKEN, "").await == wanted).await;
            let code = json!(format!("CHR{number:03}"));
            let all = pushes(&mesh, &token).await;
            let of = all.iter().filter(|push| push["data"]["code"] == code).collect::<Vec<_>>();
            // Whose reply was cut or lost had it, and the phone shows one of the two by their tag.
            assert!(!of.is_empty() && of.len() <= 2, "{change}: {}", of.len());
            assert!(
                of.iter().all(|push| push["android"]["notification"]["tag"] == of[0]["android"]["notification"]["tag"])
            );
            assert!(all.len() > pushed_before);
            pushed_before = all.len();
        }
        assert_eq!((held(&mesh, "dead").await, told(&alice, 9).await.len()), (0, 9));
    });
}

#[test]
fn a_quota_that_is_used_up_is_waited_for() {
    run(async {
        let (mesh, alice, token) = begun(paused("[2, 10, 60]")).await;
        fault(&mesh, &json!({"kind": "quota"})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_until("it is refused", LONG, async || sends(&mesh).await > 0).await;
        assert_eq!(told(&alice, 1).await.len(), 1, "the inbox does not wait");
        mended(&mesh).await;
        pushed(&mesh, &token, 1).await;
    });
}

#[test]
fn a_gateway_that_says_nothing_is_given_up_in_time_and_asked_again() {
    run(async {
        let (mesh, alice, token) = begun(mesh().setting("notification.push_timeout_ms", 5_000_i64)).await;
        fault(&mesh, &json!({"kind": "timeout", "ms": 120_000, "times": 1})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        pushed(&mesh, &token, 1).await;
        wait_for_end(&mesh, &alice, TAKEN, "").await;
        assert!(sends(&mesh).await >= 2);
    });
}

#[test]
fn an_access_token_is_asked_for_once_and_anew_when_it_is_spent() {
    run(async {
        let (mesh, alice, token) = begun(mesh()).await;
        let asked = async || mesh.stand_ins.as_ref().unwrap().requests("fcm/token").await;
        for number in 1..=3 {
            tell(&mesh, &alice, &acquired(&alice, &format!("CHR00{number}"))).await;
        }
        pushed(&mesh, &token, 3).await;
        assert_eq!(asked().await, 1);
        fault(&mesh, &json!({"kind": "error", "status": 401, "times": 1})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR004")).await;
        pushed(&mesh, &token, 4).await;
        assert_eq!((asked().await, held(&mesh, "retry").await), (2, 0), "within the same try");
    });
}

#[test]
fn a_phone_that_is_no_more_is_forgotten_and_the_others_ring() {
    run(async {
        let (mesh, alice, token) = begun(mesh()).await;
        for name in ["unregistered", "stranger", "malformed"] {
            registered(&alice, &phone(name)).await;
        }
        let known = devices(&alice).await;
        assert_eq!(known.len(), 4);
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        for outcome in ["UNREGISTERED", "SENDER_ID_MISMATCH", "INVALID_TOKEN"] {
            wait_for_end(&mesh, &alice, GIVEN_UP, outcome).await;
        }
        pushed(&mesh, &token, 1).await;
        assert_eq!(devices(&alice).await, known[3..].to_vec(), "the first that was registered");
        // It is nobody's to mend, and asking again would not help.
        assert_eq!((held(&mesh, "dead").await, sends(&mesh).await), (0, 4));
    });
}

/// The gateway says that a token is dead which the phone has left behind by the time that is written down.
#[test]
fn a_phone_with_another_token_by_then_stays() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let device = registered(&alice, &phone("unregistered")).await;
        let mut app = mesh.db.connect().await;
        let held = format!("begin; select from notification.devices where id = '{device}' for update");
        app.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(held))).await.unwrap();
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        let waits = "select count(*) from pg_stat_activity where datname = current_database()
                        and wait_event_type = 'Lock' and query like '%delete from notification.devices%'";
        wait_until("it is to be forgotten", LONG, async || mesh.db.count(waits).await == 1).await;
        let renewed =
            format!("update notification.devices set token_hash = sha256('another') where id = '{device}'; commit");
        app.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(renewed))).await.unwrap();
        wait_for_end(&mesh, &alice, GIVEN_UP, "UNREGISTERED").await;
        assert_eq!(devices(&alice).await, [device]);
    });
}

#[test]
fn an_account_that_may_not_push_is_a_dead_letter_that_can_be_tried_again() {
    run(async {
        let (mesh, alice, token) = begun(mesh().modules(&["notification", "ops"])).await;
        fault(&mesh, &json!({"kind": "error", "status": 403})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_for_end(&mesh, &alice, GIVEN_UP, "PUSH_REFUSED").await;
        assert_eq!((sends(&mesh).await, held(&mesh, "dead").await), (1, 1), "asking again would not help");
        let admin = mesh.admin().await;
        let letters = admin.get("/admin/dlq/notification.push").await.expect(200)["dead_letters"].clone();
        assert_eq!(letters[0]["reason"], "PUSH_REFUSED", "{letters}");
        assert!(!letters.to_string().contains(&token), "{letters}");
        mended(&mesh).await;
        let again = json!({"queue": "notification.push", "count": 10, "filter_reason": "PUSH_REFUSED"});
        assert_eq!(admin.post("/admin/dlq/reprocess", &again).await.expect(200)["reprocessed"], 1);
        pushed(&mesh, &token, 1).await;
        wait_for_end(&mesh, &alice, TAKEN, "").await;
        wait_until("no letter is left", LONG, async || held(&mesh, "dead").await == 0).await;
    });
}

#[test]
fn tries_that_are_used_up_are_noted_and_other_phones_ring_meanwhile() {
    run(async {
        let (mesh, alice, _token) = begun(mesh()).await;
        fault(&mesh, &json!({"kind": "error", "status": 500})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_for_end(&mesh, &alice, GIVEN_UP, "PUSH_UNAVAILABLE").await;
        assert_eq!((sends(&mesh).await, held(&mesh, "dead").await), (4, 1));
        mended(&mesh).await;
        let (bob, his) = (mesh.persona("bob").await, phone("own"));
        registered(&bob, &his).await;
        tell(&mesh, &bob, &acquired(&bob, "CHR001")).await;
        pushed(&mesh, &his, 1).await;
        wait_for_end(&mesh, &bob, TAKEN, "").await;
        let metrics = mesh.node(0, "notification").running().metrics.encode();
        let counted = |name: &str| metrics.lines().any(|line| line.starts_with(name));
        assert!(counted("notification_push_total{outcome=\"taken\"} 1"), "{metrics}");
        assert!(counted("notification_created_total{kind=\"character_acquired\"} 2"), "{metrics}");
    });
}

/// Whoever signs with another account is refused before anything is sent.
#[test]
fn an_account_that_the_gateway_does_not_know_pushes_nothing() {
    run(async {
        let others = StandIns::start().await;
        let mut account: Value =
            serde_json::from_str(&coreloop_sandbox::Options::default().fcm_service_account(others.base())).unwrap();
        account["client_email"] = json!("eve@stranger.example");
        let builder = mesh()
            .setting("notification.fcm_url", format!("{}/fcm", others.base()))
            .setting("notification.service_account", account.to_string());
        let (mesh, alice, _token) = begun(builder).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_for_end(&mesh, &alice, GIVEN_UP, "PUSH_REFUSED").await;
        assert_eq!((others.requests("fcm/token").await, others.requests("fcm/send").await), (1, 0));
    });
}

/// Whoever gives tokens and says nothing is asked by one: those who wait for it do not ask again, one after the other.
#[test]
fn pushes_that_wait_for_a_token_in_vain_ask_for_none_of_their_own() {
    run(async {
        let builder = paused("[10, 10, 10]").setting("notification.push_timeout_ms", 20_000_i64);
        let (mesh, alice, first) = begun(builder).await;
        let mut tokens = vec![first];
        for _ in 0..5 {
            tokens.push(phone("own"));
            registered(&alice, &tokens[tokens.len() - 1]).await;
        }
        fault(&mesh, &json!({"kind": "timeout", "ms": 120_000, "times": 1, "endpoint": "token"})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_until("each has failed once", LONG, async || held(&mesh, "retry").await == 6).await;
        assert_eq!(mesh.stand_ins.as_ref().unwrap().requests("fcm/token").await, 1);
        for token in &tokens {
            pushed(&mesh, token, 1).await;
        }
        assert_eq!(mesh.stand_ins.as_ref().unwrap().requests("fcm/token").await, 2);
    });
}
