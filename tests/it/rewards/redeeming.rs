//! What is had for points: taken and set aside at once, issued or given back, once; and who sees what.

use coreloop_testkit::{TestMesh, run, wait_until};
use futures::future::join_all;
use serde_json::json;
use sqlx::Executor as _;
use uuid::Uuid;

use super::stage::{LONG, MESH, Shelf, admin, audited, person_with, points_of, redeem, redeemed, settled, told};

#[test]
fn points_become_a_voucher_that_its_owner_alone_sees() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::with(mesh, 50, 3).await;
        let (alice, eve) = (person_with(mesh, "alice", 120).await, mesh.persona("eve").await);
        let asked = redeemed(&alice, &shelf.sku, "k1").await.expect(200)["redemption"].clone();
        assert_eq!(asked["price"], 50);
        assert_eq!(points_of(&alice).await, 70, "taken at once");
        assert_eq!(shelf.stock(mesh).await, 2, "set aside at once");
        let id = asked["redemption_id"].as_str().unwrap();
        let issued = settled(&alice, id).await;
        assert_eq!(issued["state"], "REDEMPTION_STATE_ISSUED", "{issued}");
        let code = issued["voucher_code"].as_str().unwrap();
        assert!(code.len() > 10);
        let listed = alice.get("/v1/rewards/redemptions").await.expect(200);
        assert_eq!(listed["redemptions"][0]["voucher_code"], code);

        // ListRedemptions and GetRedemption of somebody else.
        eve.get(&format!("/v1/rewards/redemptions/{id}")).await.refused(404, "REDEMPTION_NOT_FOUND");
        let nobody = format!("/v1/rewards/redemptions/{}", Uuid::new_v4());
        alice.get(&nobody).await.refused(404, "REDEMPTION_NOT_FOUND");
        assert_eq!(eve.get("/v1/rewards/redemptions").await.expect(200)["redemptions"], json!([]));

        // Nowhere in the database is it to be read, nor in what was told.
        for (table, what) in [("redemptions", "r"), ("reward_audit", "r"), ("outbox", "r"), ("processed_events", "r")] {
            let sql = format!("select count(*) from rewards.{table} {what} where {what}::text like '%{code}%'");
            assert_eq!(mesh.db.count(&sql).await, 0, "{table}");
        }
        let sealed = format!(
            "select count(*) from rewards.redemptions where id = '{id}' and code_key = 'k1' and length(code_sealed) > 28"
        );
        assert_eq!(mesh.db.count(&sealed).await, 1);
        assert_eq!(audited(mesh, id).await, 3);
        assert_eq!(told(mesh, "redemption_requested", "redemption_id", id).await, 1);
        assert_eq!(told(mesh, "redemption_issued", "redemption_id", id).await, 1);
    });
}

#[test]
fn what_the_vendor_refuses_comes_back() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::at_vendor(mesh, 50, 1, "refused-1").await;
        let alice = person_with(mesh, "alice", 50).await;
        let asked = redeemed(&alice, &shelf.sku, "k1").await.expect(200)["redemption"].clone();
        let id = asked["redemption_id"].as_str().unwrap();
        let failed = settled(&alice, id).await;
        assert_eq!(failed["state"], "REDEMPTION_STATE_FAILED", "{failed}");
        assert_eq!(failed["reason"], "VENDOR:product_unavailable");
        assert_eq!((points_of(&alice).await, shelf.stock(mesh).await), (50, 1));
        assert_eq!(audited(mesh, id).await, 4);
        assert_eq!(told(mesh, "redemption_failed", "redemption_id", id).await, 1);
        // The key has come to an end; another begins anew.
        let again = redeemed(&alice, &shelf.sku, "k1").await.expect(200)["redemption"].clone();
        assert_eq!((&again["redemption_id"], &again["state"]), (&json!(id), &json!("REDEMPTION_STATE_FAILED")));
    });
}

#[test]
fn a_key_is_one_redemption_however_many_ask() {
    run(async {
        let mesh = MESH.get().await;
        let (shelf, other) = (Shelf::with(mesh, 10, 100).await, Shelf::with(mesh, 10, 100).await);
        let alice = person_with(mesh, "alice", 1_000).await;
        let (first, second) = (alice.at(&mesh.gateway_on(0)), alice.at(&mesh.gateway_on(1)));
        let answers = join_all((0..60).map(|number| {
            let from = if number % 2 == 0 { &first } else { &second };
            redeem(from, &shelf.sku, "once")
        }))
        .await;
        for answer in answers.iter().filter(|answer| ![200, 503, 504].contains(&answer.status.as_u16())) {
            answer.refused(409, "IN_PROGRESS");
        }
        redeemed(&alice, &shelf.sku, "once").await.expect(200);
        assert_eq!((points_of(&alice).await, shelf.stock(mesh).await), (990, 99));
        redeemed(&alice, &other.sku, "once").await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        // The same key of another user is another redemption.
        let bob = person_with(mesh, "bob", 10).await;
        redeemed(&bob, &shelf.sku, "once").await.expect(200);
        assert_eq!(points_of(&bob).await, 0);
    });
}

#[test]
fn the_last_pieces_are_had_once_and_who_comes_late_keeps_the_points() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::with(mesh, 10, 3).await;
        let mut people = Vec::new();
        for number in 0..10 {
            people.push(person_with(mesh, &format!("buyer{number}"), 10).await);
        }
        let answers = join_all(people.iter().map(|person| redeemed(person, &shelf.sku, "k"))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
        for (person, answer) in people.iter().zip(&answers).filter(|(_, answer)| answer.status != 200) {
            answer.refused(400, "SOLD_OUT");
            assert_eq!(points_of(person).await, 10);
        }
        assert_eq!(shelf.stock(mesh).await, 0);
    });
}

/// M3: what a key is told it is told again, and of the last piece as well.
#[test]
fn a_key_that_has_the_last_piece_is_never_told_that_none_is_left() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::with(mesh, 10, 1).await;
        let alice = person_with(mesh, "alice", 10).await;
        let (first, second) = (alice.at(&mesh.gateway_on(0)), alice.at(&mesh.gateway_on(1)));
        let mut busy = mesh.db.connect().await;
        busy.execute("begin").await.unwrap();
        let locked = format!("select from rewards.inventory where sku = '{}' for update", shelf.sku);
        busy.execute(sqlx::AssertSqlSafe(locked)).await.unwrap();
        let both_wait = async {
            let waiting = "select count(*) from pg_stat_activity where datname = current_database()
                              and wait_event_type = 'Lock' and query like 'update rewards.inventory set stock = stock - 1%'";
            wait_until("both wait for it", LONG, async || mesh.db.count(waiting).await >= 2).await;
            busy.execute("rollback").await.unwrap();
        };
        let (one, other, ()) =
            tokio::join!(redeem(&first, &shelf.sku, "k"), redeem(&second, &shelf.sku, "k"), both_wait);
        for answer in [one, other] {
            assert_ne!(answer.reason(), "SOLD_OUT", "{}", answer.text());
        }
        redeemed(&alice, &shelf.sku, "k").await.expect(200);
        assert_eq!((points_of(&alice).await, shelf.stock(mesh).await), (0, 0));
    });
}

#[test]
fn without_a_vendor_nothing_is_taken() {
    run(async {
        let mesh = TestMesh::start().await;
        let shelf = Shelf::with(&mesh, 10, 1).await;
        let alice = person_with(&mesh, "alice", 10).await;
        redeemed(&alice, &shelf.sku, "k").await.refused(400, "REWARD_UNAVAILABLE");
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (10, 1));
        assert_eq!(mesh.db.count("select count(*) from rewards.redemptions").await, 0);
    });
}

#[test]
fn who_has_too_little_gets_nothing_and_blocks_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::with(mesh, 50, 1).await;
        let (alice, bob) = (person_with(mesh, "alice", 49).await, person_with(mesh, "bob", 50).await);
        for _ in 0..2 {
            redeemed(&alice, &shelf.sku, "k").await.refused(400, "INSUFFICIENT_POINTS");
        }
        assert_eq!((points_of(&alice).await, shelf.stock(mesh).await), (49, 1));
        redeemed(&bob, &shelf.sku, "k").await.expect(200);
        let listed = alice.get("/v1/rewards/redemptions").await.expect(200);
        assert_eq!(listed["redemptions"][0]["state"], "REDEMPTION_STATE_CANCELLED");
    });
}

#[test]
fn what_is_not_offered_cannot_be_had() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::with(mesh, 5, 1).await;
        let (admin, alice) = (admin(mesh).await, person_with(mesh, "alice", 50).await);
        let listed = async || {
            // ListRewards, by both its paths.
            let both =
                [alice.get("/v1/rewards?page_size=200").await, alice.get("/v1/rewards/catalog?page_size=200").await];
            let has = both.map(|answer| {
                let rewards = answer.expect(200)["rewards"].as_array().cloned().unwrap_or_default();
                rewards.iter().any(|reward| reward["sku"] == shelf.sku.as_str())
            });
            assert_eq!(has[0], has[1]);
            has[0]
        };
        assert!(listed().await);
        for (state, stays) in [("PAUSED", false), ("RETIRED", false), ("ACTIVE", true)] {
            let path = format!("/admin/rewards/inventory/{}/state", shelf.sku);
            let body = json!({"state": format!("OFFER_STATE_{state}")});
            alice.post(&path, &body).await.refused(403, "ROLE_REQUIRED");
            admin.post(&path, &body).await.expect(200);
            assert_eq!(listed().await, stays);
            if !stays {
                redeemed(&alice, &shelf.sku, state).await.refused(400, "REWARD_UNAVAILABLE");
            }
        }
        let at = |seconds: i64| jiff::Timestamp::from_second(mesh.now() + seconds).unwrap().to_string();
        for (starts, ends) in [(60, 600), (-600, -60)] {
            shelf.put(mesh, json!({"starts_at": at(starts), "ends_at": at(ends)})).await.expect(200);
            redeemed(&alice, &shelf.sku, "window").await.refused(400, "REWARD_UNAVAILABLE");
        }
        redeemed(&alice, "nothing-there", "k").await.refused(404, "REWARD_NOT_FOUND");
        let unknown = "/admin/rewards/inventory/nothing-there/state";
        admin.post(unknown, &json!({"state": "OFFER_STATE_PAUSED"})).await.refused(404, "REWARD_NOT_FOUND");
        assert_eq!(points_of(&alice).await, 50);
    });
}

#[test]
fn a_shelf_is_filled_with_sense_alone() {
    run(async {
        let mesh = MESH.get().await;
        let shelf = Shelf::with(mesh, 5, 1).await;
        for wrong in [
            json!({"price": 0}),
            json!({"price": -1}),
            json!({"price": 9_007_199_254_740_992_i64}),
            json!({"stock": -1}),
            json!({"state": "OFFER_STATE_UNSPECIFIED"}),
            json!({"title": ""}),
            json!({"vendor_sku": ""}),
            json!({"sku": "Not A Name"}),
            json!({"starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}),
        ] {
            shelf.put(mesh, wrong).await.refused(400, "VALIDATION_FAILED");
        }
        let alice = person_with(mesh, "alice", 50).await;
        for key in ["", "a b", "k\u{0}", &"k".repeat(201)] {
            redeemed(&alice, &shelf.sku, key).await.refused(400, "VALIDATION_FAILED");
        }
        // Without `stock` what is there stays; `POST /v1/rewards/redeem` and the header do as well.
        shelf.put(mesh, json!({"stock": null, "price": 7})).await.expect(200);
        assert_eq!(shelf.stock(mesh).await, 1);
        let call = alice.call(http::Method::POST, "/v1/rewards/redeem").json(&json!({"sku": shelf.sku}));
        let answer = call.header("idempotency-key", "from-the-header").send().await.expect(200);
        assert_eq!(answer["redemption"]["price"], 7);
    });
}
