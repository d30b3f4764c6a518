//! What people see of their own, over REST; and what an administrator does by hand.

use coreloop_testkit::{Rest, run};
use coreloop_wallet_api::v1::{Currency, GrantRequest};
use http::Method;
use serde_json::{Value, json};

use super::stage::{Shop, grant};
use crate::meshes::TOGETHER;

fn points(user: &str, amount: i64) -> GrantRequest {
    GrantRequest { currency: Currency::Point.into(), ..grant(user, amount) }
}

in_both_topologies! {
    async fn people_see_their_own_wallet_and_nobody_elses(mesh) {
        let (shop, alice, bob) = (Shop::of(mesh).await, mesh.persona("alice").await, mesh.persona("bob").await);
        shop.grant_as(points(&alice.user_id, 70)).await.unwrap();
        shop.grant(&alice.user_id, 30).await.unwrap();
        shop.hold(&alice.user_id, 10).await.unwrap();
        let seen = alice.get("/v1/points/balance").await.expect(200);
        assert_eq!(seen["balance"], json!({"currency": "CURRENCY_POINT", "available": 70, "paid": 0, "held": 0}));
        let all = alice.get("/api/v1/wallet/balances").await.expect(200);
        assert_eq!(all["balances"][0], json!({"currency": "CURRENCY_GOLD", "available": 20, "paid": 0, "held": 10}));
        assert_eq!(all["balances"][1]["available"], 70);
        // Whatever Bob asks, he asks of himself.
        for path in ["/v1/points/balance", "/v1/points/ledger"] {
            let asked = bob.get(&format!("{path}?user_id={}&userId={}", alice.user_id, alice.user_id)).await;
            assert!(asked.status == 200 || asked.status == 400, "{}", asked.text());
            assert!(!asked.text().contains("70"), "{}", asked.text());
        }
        assert_eq!(bob.get("/v1/points/balance").await.expect(200)["balance"]["available"], 0);
        assert_eq!(bob.get("/v1/points/ledger").await.expect(200)["entries"], json!([]));
        Rest::to(mesh.front()).get("/v1/points/balance").send().await.refused(401, "TOKEN_MISSING");
    }
}

in_both_topologies! {
    async fn the_ledger_is_read_page_by_page(mesh) {
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        for amount in 1..=5 {
            shop.grant_as(points(&alice.user_id, amount)).await.unwrap();
        }
        let mut seen = Vec::new();
        let mut path = "/v1/points/ledger?page_size=2".to_owned();
        loop {
            let page = alice.get(&path).await.expect(200);
            let lines = page["entries"].as_array().unwrap();
            seen.extend(lines.iter().map(|line| (line["sequence"].as_i64().unwrap(), line["balance_after"].as_i64().unwrap())));
            let next = page["next_page_token"].as_str().unwrap_or_default();
            if next.is_empty() {
                break;
            }
            path = format!("/v1/points/ledger?page_size=2&page_token={next}");
            let gold = alice.get(&format!("{path}&currency=CURRENCY_GOLD")).await;
            gold.refused(400, "PAGE_TOKEN_INVALID");
        }
        assert_eq!(seen, [(5, 15), (4, 10), (3, 6), (2, 3), (1, 1)]);
        alice.get("/v1/points/ledger?page_token=nonsense").await.refused(400, "PAGE_TOKEN_INVALID");
        alice.get("/v1/points/ledger?currency=CURRENCY_UNSPECIFIED").await.refused(400, "VALIDATION_FAILED");
    }
}

/// `GetBalances`, for services.
#[test]
fn a_service_reads_what_anybody_has_and_people_do_not() {
    run(async {
        let mesh = TOGETHER.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        shop.grant(&alice.user_id, 30).await.unwrap();
        shop.hold(&alice.user_id, 10).await.unwrap();
        let has = shop.balances(&alice.user_id).await.unwrap();
        let has: Vec<_> = has.iter().map(|one| (one.currency(), one.available, one.held)).collect();
        assert_eq!(has, [(Currency::Gold, 20, 10), (Currency::Point, 0, 0)]);
        let nobody = shop.balances(&super::stage::somebody()).await.unwrap();
        assert!(nobody.iter().all(|one| (one.available, one.paid, one.held) == (0, 0, 0)));
        assert_eq!(super::stage::reason(shop.balances("alice").await), "VALIDATION_FAILED");
        let path = "/coreloop.wallet.v1.WalletInternalService/GetBalances";
        let bearer = format!("Bearer {}", alice.access_token);
        let refused = coreloop_testkit::rpc::call(&mesh.grpc("wallet"), path, &[], &[("authorization", &bearer)]).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
    });
}

#[test]
fn the_balance_of_any_time_can_be_asked() {
    run(async {
        let mesh = TOGETHER.get().await;
        let (shop, alice) = (Shop::of(mesh).await, mesh.persona("alice").await);
        let mut then = Vec::new();
        for amount in 1..=9 {
            let posting = shop.grant_as(points(&alice.user_id, amount)).await.unwrap();
            then.push(posting.posted_at.unwrap());
        }
        let at = async |time: &prost_types::Timestamp| -> Value {
            let time = jiff::Timestamp::new(time.seconds, time.nanos).unwrap();
            alice.get(&format!("/v1/points/balance?at={time}")).await.expect(200)["balance"]["available"].clone()
        };
        let before = prost_types::Timestamp { seconds: then[0].seconds - 1, ..then[0] };
        assert_eq!(at(&before).await, json!(0));
        for (count, time) in (1..).zip(&then) {
            assert_eq!(at(time).await, json!(count * (count + 1) / 2), "after {count}");
        }
        let after = prost_types::Timestamp { seconds: then[8].seconds + 60, ..then[8] };
        assert_eq!(at(&after).await, json!(45));
    });
}

#[test]
fn an_administrator_gives_and_takes_by_hand_and_it_is_kept() {
    run(async {
        let mesh = TOGETHER.get().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        let path = "/admin/users/adjust-points";
        let body = |delta: i64, key: &str| json!({"user_id": alice.user_id, "delta": delta, "reason": "a ticket", "idempotency_key": key});
        let given = admin.post(path, &body(50, "a")).await.expect(200);
        assert_eq!(admin.post(path, &body(50, "a")).await.expect(200), given);
        admin.post(path, &body(51, "a")).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        admin.post(path, &body(-51, "b")).await.refused(400, "INSUFFICIENT_FUNDS");
        let taken = admin.post(path, &body(-20, "c")).await.expect(200);
        assert_eq!(taken["posting"]["kind"], "POSTING_KIND_ADJUSTMENT");
        let legs = taken["posting"]["legs"].as_array().unwrap();
        let own = legs.iter().find(|leg| leg["account"]["user_id"] == json!(alice.user_id)).unwrap();
        assert_eq!((&own["delta"], &own["balance_after"]), (&json!(-20), &json!(30)));
        for (delta, reason) in [(0, "a ticket"), (5, "")] {
            let body = json!({"user_id": alice.user_id, "delta": delta, "reason": reason, "idempotency_key": "d"});
            admin.post(path, &body).await.refused(400, "VALIDATION_FAILED");
        }
        // The key may stand in the header.
        let header = admin.call(Method::POST, path).header("idempotency-key", "e").json(&json!({
            "user_id": alice.user_id, "delta": 1, "reason": "a ticket"
        }));
        header.send().await.expect(200);
        alice.post(path, &body(5, "f")).await.refused(403, "ROLE_REQUIRED");
        let who = format!(
            "select count(*) from wallet.postings where actor = 'user:{}' and reason = 'a ticket' and kind <> 11",
            admin.user_id
        );
        assert_eq!(mesh.db.count(&who).await, 3);
        assert_eq!(alice.get("/v1/points/balance").await.expect(200)["balance"]["available"], 31);
    });
}
