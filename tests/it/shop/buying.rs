//! One purchase: what it does, what it answers, and what is refused.

use coreloop_testkit::run;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{Buyer, MESH, gold, key, mesh, nothing_is_amiss, own, product};

#[test]
fn the_catalogue_has_four_conversions_and_five_items() {
    run(async {
        let mesh = MESH.get().await;
        let catalog = mesh.rest().get("/api/shop/catalog").send().await.expect(200);
        let seeded = |category: &str| {
            let products = catalog["products"].as_array().unwrap();
            let names = ["gold-", "xp-boost-", "streak-shield", "spins-5", "battle-pass"];
            let of = products.iter().filter(|it| it["category"] == category);
            of.filter(|it| names.iter().any(|name| it["product_id"].as_str().unwrap().starts_with(name))).count()
        };
        assert_eq!((seeded("CATEGORY_CONVERSION"), seeded("CATEGORY_ITEM")), (4, 5));
        let items = mesh.rest().get("/api/shop/catalog?category=CATEGORY_ITEM").send().await.expect(200);
        assert!(items["products"].as_array().unwrap().iter().all(|it| it["category"] == "CATEGORY_ITEM"));
    });
}

#[test]
fn an_item_is_paid_for_given_and_told_of() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::with(mesh, 500).await;
        let bought = alice.buy("xp-boost-1d", &key()).await.expect(200);
        assert_eq!((&bought["success"], &bought["status"]), (&json!(true), &json!("PURCHASE_STATE_CONFIRMED")));
        assert_eq!((&bought["gold_delta"], &bought["balance"]), (&json!(-100), &json!(400)));
        assert_eq!(bought["reward"]["effect"], json!({"code": "XP_BOOST", "amount": 2, "duration_secs": 86_400}));
        assert_eq!(gold(mesh, &alice.id).await, 400);
        let id = bought["transaction_id"].as_str().unwrap();
        let seen = alice.transaction(id).await;
        assert_eq!((&seen["state"], &seen["receipt"]), (&bought["status"], &bought["receipt"]));
        let sql = format!(
            "select count(*) from shop.effects where user_id = '{}' and code = 'XP_BOOST' and amount = 2",
            alice.id
        );
        assert_eq!(mesh.db.count(&sql).await, 1);
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
        // Nobody else's business.
        let bob = Buyer::new(mesh);
        bob.rest(0).get(&format!("/api/shop/transactions/{id}")).send().await.refused(404, "TRANSACTION_NOT_FOUND");
    });
}

#[test]
fn its_events_are_what_the_contract_says() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::with(mesh, 100).await;
        alice.buy("spins-5", &key()).await.expect(200);
        alice.buy("spins-5", &key()).await.refused(400, "INSUFFICIENT_FUNDS");
        alice.convert(&key(), "card").await.expect(200);
        let rows: Vec<(String, Value, String)> =
            sqlx::query_as("select type, payload, traceparent from shop.outbox where aggregateid = $1 order by seq")
                .bind(&alice.id)
                .fetch_all(&mut mesh.db.connect().await)
                .await
                .unwrap();
        let types: Vec<&str> = rows.iter().map(|(event, ..)| event.as_str()).collect();
        assert_eq!(
            types,
            [
                "purchase_requested",
                "purchase_completed",
                "purchase_requested",
                "purchase_failed",
                "purchase_requested",
                "settlement_confirmed",
                "purchase_completed"
            ]
        );
        for (event, payload, traceparent) in &rows {
            let words: String =
                event.split('_').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
            let name = format!("coreloop.event.v1.Shop{words}");
            let pool = coreloop_transcode::descriptor::pool();
            let described = pool.get_message_by_name(&name).unwrap_or_else(|| panic!("{name}"));
            // Nothing that the contract does not know, and nothing of another type.
            let read = prost_reflect::DynamicMessage::deserialize(described, payload).unwrap();
            let user = read.get_field_by_name("user_id").unwrap();
            assert_eq!(user.as_str(), Some(alice.id.as_str()), "{event}");
            assert!(!traceparent.is_empty(), "{event} is of the trace of its purchase");
        }
        assert_eq!(rows[1].1["profile_update"]["gold"], "20");
        assert_eq!(rows[3].1["purchase_update"]["reason"], "INSUFFICIENT_FUNDS");
    });
}

#[test]
fn a_key_is_one_purchase_and_its_answer_stays() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob, k) = (Buyer::with(mesh, 1_000).await, Buyer::with(mesh, 1_000).await, key());
        let first = alice.buy("spins-5", &k).await.expect(200);
        let body = json!({"product_id": "spins-5", "idempotency_key": k});
        for replica in 0..4 {
            assert_eq!(alice.ask(replica, "/api/shop/purchase", &body).await.expect(200), first);
        }
        let other = json!({"product_id": "spins-5", "idempotency_key": k, "type": "CATEGORY_ITEM"});
        alice.ask(1, "/api/shop/purchase", &other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(gold(mesh, &alice.id).await, 920);
        // Of another user or another product it is another.
        bob.buy("spins-5", &k).await.expect(200);
        alice.buy("streak-shield", &k).await.expect(200);
        assert_eq!((gold(mesh, &alice.id).await, gold(mesh, &bob.id).await), (770, 920));
        // The header does as the field.
        let call = alice.rest(0).post("/api/shop/purchase", &json!({"product_id": "spins-5"}));
        assert_eq!(call.header("idempotency-key", &k).send().await.expect(200), first);
    });
}

#[test]
fn a_key_is_the_same_purchase_after_a_day() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, k) = (Buyer::with(&mesh, 1_000).await, key());
        let first = alice.buy("spins-5", &k).await.expect(200);
        mesh.clock.advance(jiff::SignedDuration::from_hours(25));
        let later = Buyer::again(&mesh, alice.id.parse::<Uuid>().unwrap());
        assert_eq!(later.buy("spins-5", &k).await.expect(200), first);
        assert_eq!(gold(&mesh, &alice.id).await, 920);
    });
}

#[test]
fn who_has_too_little_is_told_and_told_again_and_nothing_moves() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::with(mesh, 79).await, key());
        for _ in 0..2 {
            let refused = alice.buy("spins-5", &k).await;
            refused.refused(400, "INSUFFICIENT_FUNDS");
            let info = refused.detail("google.rpc.ErrorInfo").unwrap();
            assert_eq!((&info["domain"], &info["metadata"]["available"]), (&json!("shop"), &json!("79")));
        }
        assert_eq!(gold(mesh, &alice.id).await, 79);
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

#[test]
fn what_is_sold_once_is_sold_once() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::with(mesh, 5_000).await;
        alice.buy("battle-pass", &key()).await.expect(200);
        let again = alice.buy("battle-pass", &key()).await;
        again.refused(400, "ALREADY_PURCHASED");
        assert_eq!(again.json()["message"], "already purchased");
        assert_eq!(gold(mesh, &alice.id).await, 4_020);
        // Who could not pay has not bought it.
        let bob = Buyer::new(mesh);
        bob.buy("battle-pass", &key()).await.refused(400, "INSUFFICIENT_FUNDS");
        super::stage::give(mesh, &bob.id, 980).await;
        bob.buy("battle-pass", &key()).await.expect(200);
    });
}

/// `ListEffects`.
#[test]
fn what_items_do_lasts_one_after_the_other_or_adds_up() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (Buyer::with(mesh, 2_000).await, Buyer::new(mesh));
        for item in ["xp-boost-1d", "spins-5", "xp-boost-7d", "spins-5", "streak-shield", "battle-pass"] {
            alice.buy(item, &key()).await.expect(200);
        }
        let effects =
            async |buyer: &Buyer| buyer.rest(1).get("/api/shop/effects").send().await.expect(200)["effects"].clone();
        let have = effects(&alice).await;
        let of = |code: &str| have.as_array().unwrap().iter().find(|it| it["code"] == code).cloned().unwrap();
        assert_eq!((&of("SPINS")["amount"], &of("SPINS")["ends_at"]), (&json!(10), &Value::Null));
        assert_eq!((&of("STREAK_SHIELD")["amount"], &of("BATTLE_PASS_PREMIUM")["amount"]), (&json!(1), &json!(1)));
        let boost = of("XP_BOOST");
        let ends: jiff::Timestamp = boost["ends_at"].as_str().unwrap().parse().unwrap();
        // A day and then a week, from when the first was bought.
        let left = ends.as_second() - mesh.now() - 8 * 86_400;
        assert!((-300..=1).contains(&left), "{boost}: {left}");
        assert_eq!((&boost["amount"], have.as_array().unwrap().len()), (&json!(2), 4));
        assert_eq!(effects(&bob).await, json!([]));
        // What was over before another began is no part of it.
        let of_alice = format!("where user_id = '{}' and code = 'XP_BOOST'", alice.id);
        let long_ago = format!(
            "update shop.effects set applied_at = applied_at - interval '2 days' {of_alice} and duration_secs = 86400"
        );
        mesh.db.execute(&long_ago).await;
        let ends = effects(&alice).await[3]["ends_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let left = ends.as_second() - mesh.now() - 7 * 86_400;
        assert!((-300..=1).contains(&left), "{left}");
        mesh.db
            .execute(&format!("update shop.effects set applied_at = applied_at - interval '9 days' {of_alice}"))
            .await;
        assert_eq!(effects(&alice).await.as_array().unwrap().len(), 3, "it is over");
    });
}

#[test]
fn what_is_no_request_is_refused() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::with(mesh, 1_000).await;
        let asked = |change: Value| {
            let mut body = json!({"product_id": "spins-5", "idempotency_key": key()});
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            body
        };
        for (change, status, reason) in [
            (json!({"product_id": "nothing"}), 404, "PRODUCT_NOT_FOUND"),
            (json!({"product_id": ""}), 400, "VALIDATION_FAILED"),
            (json!({"product_id": "p".repeat(65)}), 400, "VALIDATION_FAILED"),
            (json!({"idempotency_key": ""}), 400, "VALIDATION_FAILED"),
            (json!({"idempotency_key": "k".repeat(129)}), 400, "VALIDATION_FAILED"),
            (json!({"type": "CATEGORY_CONVERSION"}), 400, "VALIDATION_FAILED"),
            (json!({"promo_code": "NOSUCH"}), 400, "PROMO_INVALID"),
            // What the database would refuse together with all that it is asked beside it.
            (json!({"product_id": "spins-5\0"}), 400, "VALIDATION_FAILED"),
            (json!({"idempotency_key": "k\0"}), 400, "VALIDATION_FAILED"),
            (json!({"promo_code": "\0"}), 400, "VALIDATION_FAILED"),
            (json!({"payment_handle": "\0"}), 400, "VALIDATION_FAILED"),
            (json!({"device_id": "\0"}), 400, "VALIDATION_FAILED"),
        ] {
            let answer = alice.ask(0, "/api/shop/purchase", &asked(change.clone())).await;
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (status, reason), "{change}");
        }
        assert_eq!(gold(mesh, &alice.id).await, 1_000);
        let window = own("window");
        let of = |starts: i64, ends: i64| {
            let at = |secs: i64| jiff::Timestamp::from_second(mesh.now() + secs).unwrap().to_string();
            json!({"product_id": window, "category": "CATEGORY_ITEM", "name": "W", "price": 1, "active": true,
                   "effect": {"code": "W", "amount": 1}, "starts_at": at(starts), "ends_at": at(ends)})
        };
        for (starts, ends, sold) in [(60, 120, false), (-120, -60, false), (-60, 60, true)] {
            product(mesh, &of(starts, ends)).await;
            let answer = alice.buy(&window, &key()).await;
            assert_eq!(answer.status == 200, sold, "{}", answer.text());
            assert!(sold || answer.reason() == "NOT_ON_SALE");
        }
    });
}

#[test]
fn products_that_are_none_are_refused() {
    run(async {
        let mesh = MESH.get().await;
        let admin = mesh.admin().await;
        let good = json!({"product_id": own("thing"), "category": "CATEGORY_ITEM", "name": "T", "price": 1,
                          "effect": {"code": "THING", "amount": 1}});
        for (field, value) in [
            ("price", json!(0)),
            ("price", json!(-1)),
            ("price", json!(i64::MAX)),
            ("gold", json!(1)),
            ("bonus", json!(1)),
            ("stock", json!(-1)),
            ("per_user_limit", json!(-1)),
            ("product_id", json!("Über")),
            ("name", json!("")),
            ("name", json!("T\0")),
            ("category", json!("CATEGORY_UNSPECIFIED")),
            // GOLD for nothing.
            ("effect", json!(null)),
            ("effect", json!({"code": "", "amount": 1})),
        ] {
            let mut wrong = good.clone();
            wrong[field] = value.clone();
            let answer = admin.post("/admin/shop/products", &json!({ "product": wrong })).await;
            assert_eq!(answer.status, 400, "{field} {value}: {}", answer.text());
        }
        let alice = Buyer::new(mesh);
        assert_ne!(alice.ask(0, "/admin/shop/products", &json!({ "product": good })).await.status, 200);
        // Whoever put it in, and changed it, is known; what changes nothing is no change.
        for price in [1, 2, 2] {
            let mut right = good.clone();
            right["price"] = json!(price);
            admin.post("/admin/shop/products", &json!({ "product": right })).await.expect(200);
        }
        let of = format!(
            "from shop.changes where what = 'product' and subject = {} and changed_by = '{}'",
            good["product_id"].as_str().map(|id| format!("'{id}'")).unwrap(),
            admin.user_id
        );
        assert_eq!(mesh.db.count(&format!("select count(*) {of}")).await, 2);
        let changed = "before ->> 'price' = '1' and after ->> 'price' = '2'";
        assert_eq!(mesh.db.count(&format!("select count(*) {of} and {changed}")).await, 1);
    });
}

#[test]
fn the_old_path_buys_and_says_that_it_is_old() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::with(mesh, 100).await;
        let answer = alice.ask(0, "/api/shop/buy", &json!({"product_id": "spins-5", "idempotency_key": key()})).await;
        answer.expect(200);
        assert!(!answer.header("deprecation").is_empty());
        assert!(answer.header("link").contains("/api/shop/purchase"), "{}", answer.header("link"));
        assert_eq!(gold(mesh, &alice.id).await, 20);
    });
}
