//! An event is one grant: whoever asks again, wherever, gets the first one.

use coreloop_rewards_api::v1::{GrantRequest, GrantState, RewardKind};
use coreloop_testkit::{TestMesh, rpc, run, wait_until};
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::Executor as _;
use uuid::Uuid;

use super::stage::{
    Giver, LONG, MESH, Shelf, admin, audited, campaign, event, given, person_with, points, points_of, redeemed,
    settled, told,
};

#[test]
fn an_event_is_one_grant_however_often_it_is_asked_for() {
    run(async {
        let mesh = MESH.get().await;
        let (scan, chat, alice) =
            (Giver::of(mesh, "scan").await, Giver::of(mesh, "chat").await, mesh.persona("alice").await);
        let asked = points(&alice.user_id, 50);
        let first = scan.give(0, &asked).await.unwrap();
        assert_eq!((first.state(), first.amount, first.kind()), (GrantState::Granted, 50, RewardKind::Point));
        assert_eq!(scan.give(1, &asked).await.unwrap(), first);
        let other = GrantRequest { amount: 51, ..asked.clone() };
        assert_eq!(rpc::reason(&scan.give(0, &other).await.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
        let bob = GrantRequest { user_id: Uuid::new_v4().to_string(), ..asked.clone() };
        assert_eq!(rpc::reason(&scan.give(0, &bob).await.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(points_of(&alice).await, 50);
        assert_eq!(audited(mesh, &first.grant_id).await, 2);
        assert_eq!(told(mesh, "granted", "grant_id", &first.grant_id).await, 1);
        // The events of another service are others.
        assert_ne!(chat.give(0, &asked).await.unwrap().grant_id, first.grant_id);
        assert_eq!(points_of(&alice).await, 100);
    });
}

/// Keys do not end: who asks again tomorrow gets what was given, and what was had, the first time.
#[test]
fn an_event_and_a_key_are_the_same_after_a_day() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().start().await;
        let alice = person_with(&mesh, "alice", 120).await;
        let (asked, shelf) = (points(&alice.user_id, 7), Shelf::with(&mesh, 50, 3).await);
        let first = Giver::of(&mesh, "scan").await.give(0, &asked).await.unwrap();
        let redemption = redeemed(&alice, &shelf.sku, "k1").await.expect(200)["redemption"].clone();
        let id = redemption["redemption_id"].as_str().unwrap();
        settled(&alice, id).await;
        mesh.clock.advance(SignedDuration::from_hours(25));
        let (alice, scan) = (alice.visitor.login().await, Giver::of(&mesh, "scan").await);
        assert_eq!(scan.give(0, &asked).await.unwrap(), first);
        let other = GrantRequest { amount: 8, ..asked.clone() };
        assert_eq!(rpc::reason(&scan.give(0, &other).await.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(redeemed(&alice, &shelf.sku, "k1").await.expect(200)["redemption"]["redemption_id"], id);
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (77, 2));
    });
}

#[test]
fn two_hundred_who_ask_for_one_event_get_one_grant() {
    run(async {
        let mesh = MESH.get().await;
        let (scan, alice) = (Giver::of(mesh, "scan").await, mesh.persona("alice").await);
        let asked = points(&alice.user_id, 7);
        let answers = join_all((0..200).map(|number| given(&scan, number, &asked))).await;
        let ids: std::collections::BTreeSet<_> = answers.into_iter().map(|grant| grant.grant_id).collect();
        assert_eq!(ids.len(), 1);
        wait_until("the points are there", LONG, async || points_of(&alice).await == 7).await;
        let id = ids.first().unwrap();
        wait_until("it is known", LONG, async || audited(mesh, id).await == 2).await;
        assert_eq!((audited(mesh, id).await, told(mesh, "granted", "grant_id", id).await), (2, 1));
    });
}

#[test]
fn what_no_service_keeps_yet_is_granted_and_told() {
    run(async {
        let mesh = MESH.get().await;
        let (scan, user) = (Giver::of(mesh, "scan").await, Uuid::new_v4().to_string());
        for (kind, item) in [
            (RewardKind::Xp, ""),
            (RewardKind::Item, "streak-shield"),
            (RewardKind::Character, "fox.gold"),
            (RewardKind::Premium, ""),
        ] {
            let asked = GrantRequest { kind: kind.into(), item: item.into(), ..points(&user, 3) };
            let grant = scan.give(0, &asked).await.unwrap();
            assert_eq!(
                (grant.state(), grant.posting_id.as_str(), grant.item.as_str()),
                (GrantState::Granted, "", item)
            );
            assert_eq!(told(mesh, "granted", "grant_id", &grant.grant_id).await, 1);
        }
    });
}

#[test]
fn a_campaign_gives_to_premium_users_each_once_and_not_more_than_it_has() {
    run(async {
        let mesh = MESH.get().await;
        let admin = admin(mesh).await;
        let name = format!("spring-{}", Uuid::new_v4());
        let put = admin.post("/admin/rewards/campaigns", &campaign(&name, 30, 3)).await.expect(200);
        assert_eq!(put["campaign"]["campaign_id"], json!(name));
        let ask = |event: &str| json!({"campaign_id": name, "external_event_id": event});
        let standard = mesh.persona("stan").await;
        standard.post("/api/rewards/distribute", &ask("1")).await.refused(403, "ROLE_REQUIRED");

        let alice = mesh.persona_with_role("alice", "PREMIUM").await;
        let first = alice.post("/api/rewards/distribute", &ask("1")).await.expect(200);
        assert_eq!(alice.post("/api/rewards/distribute", &ask("1")).await.expect(200), first);
        alice.post("/api/rewards/distribute", &ask("2")).await.refused(400, "CAMPAIGN_CLAIMED");
        assert_eq!(points_of(&alice).await, 30);
        let other = json!({"campaign_id": "another", "external_event_id": "1"});
        alice.post("/api/rewards/distribute", &other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");

        let mut people = Vec::new();
        for number in 0..6 {
            people.push(mesh.persona_with_role(&format!("vip{number}"), "VIP").await);
        }
        let answers = join_all(people.iter().map(|person| async {
            // The same event of another user is another event.
            person.post("/api/rewards/distribute", &ask("1")).await
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(400, "CAMPAIGN_EXHAUSTED");
        }
        let unknown = json!({"campaign_id": "nothing-there", "external_event_id": event()});
        alice.post("/api/rewards/distribute", &unknown).await.refused(404, "CAMPAIGN_NOT_FOUND");
    });
}

#[test]
fn an_event_that_has_the_last_of_a_campaign_is_never_told_that_nothing_is_left() {
    run(async {
        let mesh = MESH.get().await;
        let name = format!("last-{}", Uuid::new_v4());
        admin(mesh).await.post("/admin/rewards/campaigns", &campaign(&name, 30, 1)).await.expect(200);
        let alice = mesh.persona_with_role("alice", "PREMIUM").await;
        let mut busy = mesh.db.connect().await;
        busy.execute("begin").await.unwrap();
        let locked = format!("select from rewards.campaigns where id = '{name}' for update");
        busy.execute(sqlx::AssertSqlSafe(locked)).await.unwrap();
        let both_wait = async {
            let waiting = "select count(*) from pg_stat_activity where datname = current_database()
                              and wait_event_type = 'Lock' and query like 'update rewards.campaigns set granted = granted + 1%'";
            wait_until("both wait for it", LONG, async || mesh.db.count(waiting).await >= 2).await;
            busy.execute("rollback").await.unwrap();
        };
        let ask = json!({"campaign_id": name, "external_event_id": "1"});
        let (first, second) = (alice.at(&mesh.gateway_on(0)), alice.at(&mesh.gateway_on(1)));
        let path = "/api/rewards/distribute";
        let (one, other, ()) = tokio::join!(first.post(path, &ask), second.post(path, &ask), both_wait);
        let (one, other) = (one.expect(200), other.expect(200));
        assert_eq!(one["grant"]["grant_id"], other["grant"]["grant_id"]);
        wait_until("the points are there", LONG, async || points_of(&alice).await == 30).await;
    });
}

/// Who changed what, from what to what, is kept of `PutCampaign`, `PutInventory`, `SetInventoryState` and `PutAd`.
#[test]
fn what_administrators_change_is_written_down() {
    run(async {
        let mesh = MESH.get().await;
        let admin = admin(mesh).await;
        let name = format!("kept-{}", Uuid::new_v4());
        for amount in [30, 31] {
            admin.post("/admin/rewards/campaigns", &campaign(&name, amount, 0)).await.expect(200);
        }
        let article = json!({"sku": name, "title": "Coffee", "vendor_sku": "c", "price": 5, "stock": 1,
                             "state": "OFFER_STATE_ACTIVE"});
        admin.post("/admin/rewards/inventory", &article).await.expect(200);
        let state = format!("/admin/rewards/inventory/{name}/state");
        admin.post(&state, &json!({"state": "OFFER_STATE_PAUSED"})).await.expect(200);
        let ad = json!({"ad_id": name, "title": "Tea", "url": "https://tea.example/", "points": 1, "slots": 0,
                        "state": "OFFER_STATE_PAUSED"});
        admin.post("/admin/rewards/ads", &ad).await.expect(200);
        let of = format!("from rewards.changes where subject = '{name}' and actor = 'user:{}'", admin.user_id);
        for (what, new, kept) in [
            ("campaigns", 1, "before ->> 'amount' = '30' and after ->> 'amount' = '31'"),
            ("inventory", 1, "before ->> 'state' = '1' and after ->> 'state' = '2'"),
            ("ads", 1, "false"),
        ] {
            let begun = format!("select count(*) {of} and what = '{what}' and before is null");
            assert_eq!(mesh.db.count(&begun).await, new, "{what}");
            let changed = format!("select count(*) {of} and what = '{what}' and {kept}");
            assert_eq!(mesh.db.count(&changed).await, i64::from(what != "ads"), "{what}");
        }
        let mut connection = mesh.db.connect().await;
        let gone = format!("delete {of}");
        assert!(connection.execute(sqlx::AssertSqlSafe(gone)).await.is_err(), "append-only");
        // What is given changes nothing that an administrator put in.
        let ask = json!({"campaign_id": name, "external_event_id": "1"});
        let alice = mesh.persona_with_role("alice", "PREMIUM").await;
        alice.post("/api/rewards/distribute", &ask).await.expect(200);
        assert_eq!(mesh.db.count(&format!("select count(*) {of}")).await, 5);
    });
}

#[test]
fn a_campaign_gives_in_its_time_alone() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (admin(mesh).await, mesh.persona_with_role("alice", "PREMIUM").await);
        let name = format!("week-{}", Uuid::new_v4());
        let at = |seconds: i64| jiff::Timestamp::from_second(mesh.now() + seconds).unwrap().to_string();
        for (starts, ends, state) in [(60, 600, "ACTIVE"), (-600, -60, "ACTIVE"), (-600, 600, "PAUSED")] {
            let mut body = campaign(&name, 5, 0);
            body["starts_at"] = json!(at(starts));
            body["ends_at"] = json!(at(ends));
            body["state"] = json!(format!("OFFER_STATE_{state}"));
            admin.post("/admin/rewards/campaigns", &body).await.expect(200);
            let ask = json!({"campaign_id": name, "external_event_id": event()});
            alice.post("/api/rewards/distribute", &ask).await.refused(400, "CAMPAIGN_CLOSED");
        }
        let mut backwards = campaign(&name, 5, 0);
        backwards["starts_at"] = json!(at(60));
        backwards["ends_at"] = json!(at(60));
        admin.post("/admin/rewards/campaigns", &backwards).await.refused(400, "VALIDATION_FAILED");
        assert_eq!(points_of(&alice).await, 0);
    });
}

#[test]
fn an_administrator_gives_by_hand_and_nobody_else_does() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (admin(mesh).await, mesh.persona("alice").await);
        let body = json!({"user_id": alice.user_id, "kind": "REWARD_KIND_GOLD", "amount": 12, "reason": "sorry",
                          "external_event_id": event()});
        alice.post("/admin/rewards/distribute", &body).await.refused(403, "ROLE_REQUIRED");
        let first = admin.post("/admin/rewards/distribute", &body).await.expect(200);
        assert_eq!(admin.post("/admin/rewards/distribute", &body).await.expect(200), first);
        let balances = alice.get("/api/v1/wallet/balances").await.expect(200);
        assert_eq!(balances["balances"][0]["available"], 12, "{balances}");
        let id = first["grant"]["grant_id"].as_str().unwrap();
        let by = format!("user:{}", admin.user_id);
        let sql = format!("select count(*) from rewards.reward_audit where subject = '{id}' and actor = '{by}'");
        assert_eq!(mesh.db.count(&sql).await, 1);
    });
}

#[test]
fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, scan) = (admin(mesh).await, Giver::of(mesh, "scan").await);
        let user = Uuid::new_v4().to_string();
        let wrong = |change: fn(&mut GrantRequest)| {
            let mut asked = points(&user, 1);
            change(&mut asked);
            asked
        };
        for asked in [
            wrong(|it| it.amount = 0),
            wrong(|it| it.amount = -1),
            wrong(|it| it.amount = (1 << 53) + 1),
            wrong(|it| it.kind = 0),
            wrong(|it| it.kind = 7),
            wrong(|it| it.item = "sword".into()),
            wrong(|it| it.kind = RewardKind::Item.into()),
            wrong(|it| it.external_event_id = String::new()),
            wrong(|it| it.external_event_id = "e".repeat(201)),
            wrong(|it| it.user_id = "alice".into()),
            wrong(|it| it.user_id = Uuid::from_u128(0x0100).to_string()),
        ] {
            let refused = scan.give(0, &asked).await.expect_err("a refusal");
            assert_eq!(rpc::reason(&refused), "VALIDATION_FAILED", "{asked:?}");
        }
        let body = |amount: Value| {
            json!({"user_id": user, "kind": "REWARD_KIND_POINT", "amount": amount, "reason": "r",
                   "external_event_id": event()})
        };
        for amount in [json!(0), json!(-5), json!(9_007_199_254_740_992_i64)] {
            admin.post("/admin/rewards/distribute", &body(amount)).await.refused(400, "VALIDATION_FAILED");
        }
        let sql = format!("select count(*) from rewards.grants where user_id = '{user}'");
        assert_eq!(mesh.db.count(&sql).await, 0);

        // What the wallet cannot hold is refused, whenever it is asked for again.
        scan.give(0, &points(&user, (1 << 53) - 1)).await.unwrap();
        let too_much = points(&user, 1);
        for replica in 0..2 {
            assert_eq!(rpc::reason(&scan.give(replica, &too_much).await.unwrap_err()), "BALANCE_LIMIT");
        }
        let sql = format!("select count(*) from rewards.grants where user_id = '{user}' and state = 3");
        assert_eq!(mesh.db.count(&sql).await, 1);
    });
}
