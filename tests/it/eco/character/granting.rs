//! What others tell gives a character, once, or says why not.

use coreloop_rewards_api::v1::RewardKind;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{run, wait_until};
use futures::future::join_all;
use uuid::Uuid;

use super::stage::{
    LONG, MESH, gift, give, given, happened, mesh, mine, of, owned, reward, scan, scanned, tell, told, wait_for_owned,
    wait_for_refusal,
};

const DAY: &str = "2026-11-22";

#[test]
fn a_scan_gives_the_character_of_its_category_once() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        assert_eq!(of(&mine(&alice).await, "CHR004")["progress"], 0.0);
        let first = scanned(mesh, &alice, Category::Plastic, DAY).await;
        wait_for_owned(&alice, &["CHR004"]).await;
        let piece = of(&mine(&alice).await, "CHR004").clone();
        assert_eq!((&piece["owned"]["source"], &piece["owned"]["level"]), (&"scan".into(), &1.into()));
        assert!(piece.get("progress").is_none_or(serde_json::Value::is_null), "{piece}");
        assert_eq!(told(mesh, "acquired", &alice, ("source_event_id", &first)).await, 1);

        // The same task told again, as another event; and one that earns nothing. What comes behind them has seen them pass.
        tell(mesh, &alice.user_id, &scan(&first, &alice, Category::Glass, DAY)).await;
        let mut poor = scan(&Uuid::new_v4().to_string(), &alice, Category::Glass, DAY);
        poor.reward_eligible = false;
        tell(mesh, &alice.user_id, &poor).await;
        let again = scanned(mesh, &alice, Category::Plastic, DAY).await;
        wait_for_refusal(mesh, &alice, &again, "already_owned").await;
        assert_eq!(owned(&mine(&alice).await), ["CHR004"]);
        assert_eq!(happened(mesh, &alice).await, 1);
        let counted = format!("select sum(value)::bigint from character.counters where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&counted).await, 2);
        assert_eq!(told(mesh, "acquire_failed", &alice, ("user_id", &alice.user_id)).await, 1);
    });
}

#[test]
fn who_has_as_many_as_they_may_gets_no_more_and_it_is_told() {
    run(async {
        let mesh = mesh().setting("character.max_owned", 2_i64).start().await;
        let alice = mesh.persona("alice").await;
        let steps: [(Category, &[&str]); 3] =
            [(Category::Pet, &["CHR005"]), (Category::Can, &["CHR005", "CHR009"]), (Category::Paper, &[])];
        for (category, codes) in steps {
            let task = scanned(&mesh, &alice, category, DAY).await;
            match codes {
                [] => wait_for_refusal(&mesh, &alice, &task, "max_characters_reached").await,
                codes => wait_for_owned(&alice, codes).await,
            }
        }
        assert_eq!(mine(&alice).await["max_owned"], 2);
        let refused = give(&mesh, "campaigns", &gift("1", &alice.user_id, "CHR001")).await;
        refused.refused(400, "MAX_CHARACTERS_REACHED");
        alice
            .post("/api/v1/character/unlock", &serde_json::json!({"code": "CHR002"}))
            .await
            .refused(400, "MAX_CHARACTERS_REACHED");
        assert_eq!(happened(&mesh, &alice).await, 2);
    });
}

#[test]
fn seven_days_in_a_row_are_a_character_in_whatever_order_they_are_heard() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for day in ["2026-11-03", "2026-11-01", "2026-11-07", "2026-11-02", "2026-11-05", "2026-11-06", "2026-11-06"] {
            scanned(mesh, &alice, Category::Food, day).await;
        }
        wait_until("three days in a row are known, of six", LONG, async || {
            (of(&mine(&alice).await, "CHR014")["progress"].as_f64().unwrap_or_default() - 3.0 / 7.0).abs() < 1e-9
        })
        .await;
        assert_eq!(owned(&mine(&alice).await), ["CHR013"]);
        scanned(mesh, &alice, Category::Food, "2026-11-04").await;
        wait_for_owned(&alice, &["CHR013", "CHR014"]).await;
    });
}

#[test]
fn a_character_that_rewards_promises_is_kept_here() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for other in [RewardKind::Gold, RewardKind::Item] {
            tell(mesh, &alice.user_id, &reward(&alice, other, "chr010")).await;
        }
        let unknown = reward(&alice, RewardKind::Character, "fox.gold");
        tell(mesh, &alice.user_id, &unknown).await;
        wait_for_refusal(mesh, &alice, &unknown.grant_id, "character_not_found").await;
        assert_eq!(happened(mesh, &alice).await, 0);
        let promised = reward(&alice, RewardKind::Character, "chr010");
        for _ in 0..3 {
            tell(mesh, &alice.user_id, &promised).await;
        }
        wait_for_owned(&alice, &["CHR010"]).await;
        assert_eq!(of(&mine(&alice).await, "CHR010")["owned"]["source"], "reward");
        let twice = reward(&alice, RewardKind::Character, "chr010");
        tell(mesh, &alice.user_id, &twice).await;
        wait_for_refusal(mesh, &alice, &twice.grant_id, "already_owned").await;
        assert_eq!(told(mesh, "acquired", &alice, ("source_event_id", &promised.grant_id)).await, 1);
    });
}

#[test]
fn an_event_of_a_campaign_is_one_gift_for_ever() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, event) = (mesh.persona("alice").await, Uuid::new_v4().to_string());
        let sent = gift(&event, &alice.user_id, "CHR001");
        assert_eq!(alice.post("/api/v1/character/webhook", &sent).await.status, 403);
        mesh.rest().post("/api/v1/character/webhook", &sent).send().await.refused(401, "TOKEN_MISSING");
        for _ in 0..2 {
            assert_eq!(give(mesh, "campaigns", &sent).await.expect(200)["code"], "CHR001");
        }
        let other = gift(&event, &alice.user_id, "CHR002");
        give(mesh, "campaigns", &other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        // The same id of another machine is another event.
        give(mesh, "partners", &sent).await.refused(400, "ALREADY_OWNED");
        give(mesh, "partners", &sent).await.refused(400, "ALREADY_OWNED");
        wait_for_refusal(mesh, &alice, &event, "already_owned").await;
        give(mesh, "partners", &gift("none", &alice.user_id, "CHR999")).await.refused(404, "CHARACTER_NOT_FOUND");
        for body in [
            gift(&event, "alice", "CHR001"),
            gift("", &alice.user_id, "CHR001"),
            gift(&event, &alice.user_id, "chr001"),
        ] {
            give(mesh, "campaigns", &body).await.refused(400, "VALIDATION_FAILED");
        }
        assert_eq!(happened(mesh, &alice).await, 1);
    });
}

#[test]
fn of_many_who_give_at_once_one_does() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let token = mesh.machine_token("campaigns", "character").await;
        let (same, other) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let answers = join_all((0..24).map(|number| {
            let rest = coreloop_testkit::Rest::to(mesh.gateway_on(number % 2)).with_token(token.as_str());
            let event = if number < 12 { same.clone() } else { format!("{other}-{number}") };
            let sent = gift(&event, &alice.user_id, "CHR003");
            async move { rest.post("/api/v1/character/webhook", &sent).send().await }
        }))
        .await;
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(400, "ALREADY_OWNED");
        }
        let given = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(given == 12 || given == 1, "{given} were told that it was theirs");
        assert_eq!(owned(&mine(&alice).await), ["CHR003"]);
        assert_eq!(happened(mesh, &alice).await, 1);
        assert_eq!(told(mesh, "acquired", &alice, ("code", "CHR003")).await, 1);
    });
}

#[test]
fn what_is_given_for_a_time_goes_when_it_is_over() {
    run(async {
        let mesh = mesh().setting("character.expire_secs", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        let until = jiff::Timestamp::from_second(mesh.now() + 60).unwrap().to_string();
        let mut sent = gift("1", &alice.user_id, "CHR008");
        sent["expires_at"] = until.clone().into();
        give(&mesh, "campaigns", &sent).await.expect(200);
        given(&mesh, &alice, "CHR009").await;
        let seen = mine(&alice).await;
        assert_eq!(owned(&seen), ["CHR008", "CHR009"]);
        let shown: jiff::Timestamp = of(&seen, "CHR008")["owned"]["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(shown, until.parse().unwrap());
        mesh.clock.advance(jiff::SignedDuration::from_secs(61));
        // It is not theirs any more, whoever has looked.
        assert_eq!(owned(&mine(&alice).await), ["CHR009"]);
        wait_until("it is told", LONG, async || told(&mesh, "lost", &alice, ("cause", "expired")).await == 1).await;
        assert_eq!(happened(&mesh, &alice).await, 3);
        // It may come again.
        given(&mesh, &alice, "CHR008").await;
        wait_for_owned(&alice, &["CHR008", "CHR009"]).await;
    });
}
