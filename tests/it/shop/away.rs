//! What the README says of a shop without a part of the mesh (O3): what works, what does not, and that what waited is done, once.
//! The row of the bus is in `rewards/brokers.rs`, with those of its neighbours.

use coreloop_testkit::{
    Answer, Fault, FaultProxy, Persona, StandIns, TestMesh,
    mesh::{Before, Builder},
    run,
    wait::{PATIENCE, wait_for, wait_until},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::stage::{RECOVERY, give, gold, hasty, key, nothing_is_amiss};

/// The ten seconds and five minutes of the settings, shortened.
pub const BLIND: &str =
    "[access]\nblind_after_secs = 10\nblind_limit_secs = 30\nask_timeout_ms = 50\n[limit]\nredis_timeout_ms = 50\n";

/// What a call is told that needs what is away.
pub const AWAY: &str = "DEPENDENCY_UNAVAILABLE";

/// What a call is told when nobody knows whose token was revoked.
pub const UNKNOWN: &str = "REVOCATION_UNKNOWN";

fn one() -> Builder {
    hasty().replicas(1)
}

async fn buy(who: &Persona, product: &str, key: &str) -> Answer {
    // A handle says how a conversion is paid; items have none.
    let mut body = json!({"product_id": product, "idempotency_key": key});
    if product.starts_with("gold") {
        body["payment_handle"] = json!("card");
    }
    who.post("/api/shop/purchase", &body).await
}

/// Where the transaction of an answer is.
fn transaction(bought: &Value) -> String {
    format!("/api/shop/transactions/{}", bought["transaction_id"].as_str().unwrap())
}

/// The catalogue, for anybody, and what somebody has.
async fn read(mesh: &TestMesh, who: &Persona, bought: &Value) {
    let catalog = mesh.rest().get("/api/shop/catalog").send().await.expect(200);
    assert!(catalog["products"].as_array().is_some_and(|products| products.len() >= 9), "{catalog}");
    assert_eq!(who.get(&transaction(bought)).await.expect(200)["transaction"]["state"], "PURCHASE_STATE_CONFIRMED");
    assert_eq!(who.get("/api/shop/effects").await.expect(200)["effects"][0]["code"], "SPINS");
}

/// Waits until `ask` is let through though nobody knows whose token was revoked.
pub async fn blindly(ask: impl AsyncFn() -> Answer) {
    wait_for("it is let through blindly", PATIENCE, async || {
        let answer = ask().await;
        answer.expect(200);
        answer.headers.contains_key("x-auth-degraded").then_some(())
    })
    .await;
}

/// Waits until `ask` is refused for that, half a minute after Redis is gone.
pub async fn refused_in_the_end(ask: impl AsyncFn() -> Answer) {
    let refused = wait_for("it is refused", PATIENCE * 2, async || {
        let answer = ask().await;
        (answer.status == 503).then_some(answer)
    });
    let refused = refused.await;
    refused.refused(503, UNKNOWN);
    assert!(!refused.header("retry-after").is_empty());
}

/// Rows of a service's outbox that nobody was told yet.
pub async fn untold(mesh: &TestMesh, schema: &str) -> i64 {
    let behind =
        format!("select count(*) from {schema}.outbox where seq > (select read_to from {schema}.outbox_relay)");
    mesh.db.count(&behind).await
}

/// Waits until everything is told.
pub async fn all_told(mesh: &TestMesh, schema: &str) {
    wait_until("everything is told", PATIENCE, async || untold(mesh, schema).await == 0).await;
}

/// Ids of the events of a type in Redis, and of those that were written.
pub async fn streamed(mesh: &TestMesh, schema: &str, event: &str) -> [Vec<String>; 2] {
    let topic = format!("events.{schema}.{event}");
    let mut redis = mesh.redis.connect().await;
    let read: redis::streams::StreamRangeReply =
        redis::cmd("XRANGE").arg(topic).arg("-").arg("+").query_async(&mut redis).await.unwrap();
    let mut told: Vec<String> = read.ids.iter().map(|entry| entry.get("id").expect("an id")).collect();
    told.sort();
    [told, written(mesh, schema, event).await]
}

/// Ids of the events of a type in a service's outbox.
pub async fn written(mesh: &TestMesh, schema: &str, event: &str) -> Vec<String> {
    let sql = format!("select id::text from {schema}.outbox where type = '{event}' order by 1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut mesh.db.connect().await).await.unwrap()
}

/// Purchases that are written down and not over.
async fn open(mesh: &TestMesh) -> i64 {
    mesh.db.count("select count(*) from shop.purchases where next_at is not null").await
}

async fn over(mesh: &TestMesh) {
    wait_until("every purchase is over", RECOVERY, async || open(mesh).await == 0).await;
}

#[test]
fn without_redis_people_buy_until_nobody_can_be_believed() {
    run(async {
        let mut mesh = one().toml(BLIND).start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        give(&mesh, &alice.user_id, 400).await;
        let (first, last) = (key(), key());
        let before = buy(&alice, "spins-5", &key()).await.expect(200);
        let rules = async || admin.get("/admin/shop/fraud/rules").await;
        mesh.redis.kill();
        blindly(&rules).await;
        let bought = buy(&alice, "spins-5", &first).await.expect(200);
        buy(&alice, "gold-500", &key()).await.expect(200);
        read(&mesh, &alice, &before).await;
        assert!(untold(&mesh, "shop").await > 0, "what is to be told waits");
        // Administrators are refused first; people buy on, and a key is one purchase all the same.
        refused_in_the_end(&rules).await;
        assert_eq!(buy(&alice, "spins-5", &first).await.expect(200), bought);
        buy(&alice, "spins-5", &key()).await.expect(200);
        read(&mesh, &alice, &before).await;
        // Then everybody who has to show a token.
        refused_in_the_end(async || alice.get("/api/shop/effects").await).await;
        for product in ["spins-5", "gold-500"] {
            buy(&alice, product, &last).await.refused(503, UNKNOWN);
        }
        alice.get(&transaction(&before)).await.refused(503, UNKNOWN);
        mesh.rest().get("/api/shop/catalog").send().await.expect(200);
        assert_eq!(mesh.db.count("select count(*) from shop.purchases").await, 4, "what was refused did not happen");
        mesh.redis.resurrect().await;
        wait_until("she can buy again", PATIENCE, async || buy(&alice, "spins-5", &last).await.status == 200).await;
        assert_eq!(buy(&alice, "spins-5", &first).await.expect(200), bought);
        wait_until("so can administrators", PATIENCE, async || rules().await.status == 200).await;
        all_told(&mesh, "shop").await;
        let [told, written] = streamed(&mesh, "shop", "purchase_completed").await;
        assert_eq!((told.len(), &told), (5, &written), "each is told once");
        assert_eq!(gold(&mesh, &alice.user_id).await, 400 + 525 - 4 * 80);
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn without_postgres_nothing_is_answered_and_what_was_open_is_finished_after() {
    run(async {
        let mesh = one().proxy(Before::Postgres).start().await;
        let (alice, k) = (mesh.persona("alice").await, key());
        give(&mesh, &alice.user_id, 160).await;
        let bought = buy(&alice, "spins-5", &key()).await.expect(200);
        let body = json!({"product_id": "gold-500", "idempotency_key": key(), "payment_handle": "pending"});
        let pending = alice.post("/api/shop/purchase", &body).await.expect(200);
        let payment = alice.get(&transaction(&pending)).await.expect(200)["transaction"]["payment_id"].clone();
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        mesh.rest().get("/api/shop/catalog").send().await.refused(503, AWAY);
        for path in [transaction(&bought), "/api/shop/effects".to_owned()] {
            alice.get(&path).await.refused(503, AWAY);
        }
        let refused = buy(&alice, "spins-5", &k).await;
        refused.refused(503, AWAY);
        assert!(!refused.header("retry-after").is_empty());
        let decided = json!({"status": "confirmed", "silent": true});
        let path = format!("/_sandbox/payments/{}", payment.as_str().unwrap());
        mesh.stand_ins.as_ref().unwrap().rest().post(&path, &decided).send().await.expect(200);
        proxy.heal();
        let done = wait_for("the shop is back", PATIENCE, async || {
            let answer = buy(&alice, "spins-5", &k).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(buy(&alice, "spins-5", &k).await.expect(200), done);
        over(&mesh).await;
        let settled = alice.get(&transaction(&pending)).await.expect(200);
        assert_eq!(settled["transaction"]["state"], "PURCHASE_STATE_CONFIRMED");
        assert_eq!(gold(&mesh, &alice.user_id).await, 525);
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn without_the_wallet_nothing_is_sold_and_what_was_begun_is_finished_after() {
    run(async {
        let mut mesh = one().start().await;
        let (alice, item, conversion) = (mesh.persona("alice").await, key(), key());
        give(&mesh, &alice.user_id, 160).await;
        let bought = buy(&alice, "spins-5", &key()).await.expect(200);
        mesh.node_mut(0, "wallet").kill().await;
        read(&mesh, &alice, &bought).await;
        for (product, key) in [("spins-5", &item), ("gold-500", &conversion)] {
            let refused = buy(&alice, product, key).await;
            refused.refused(503, AWAY);
            assert!(!refused.header("retry-after").is_empty());
            buy(&alice, product, key).await.refused(409, "IN_PROGRESS");
        }
        assert_eq!((open(&mesh).await, mesh.db.count("select count(*) from shop.effects").await), (2, 1));
        mesh.node_mut(0, "wallet").start().await;
        over(&mesh).await;
        for (product, key) in [("spins-5", &item), ("gold-500", &conversion)] {
            assert_eq!(buy(&alice, product, key).await.expect(200)["status"], "PURCHASE_STATE_CONFIRMED");
        }
        assert_eq!(gold(&mesh, &alice.user_id).await, 525);
        nothing_is_amiss(&mesh, "true").await;
    });
}

/// In how many seconds a purchase is looked after again, once it has been `tries` times.
async fn pause(mesh: &TestMesh, tries: i64) -> i64 {
    wait_for(format!("it was asked after {tries} times"), PATIENCE, async || {
        let at = mesh.db.count("select tries::bigint from shop.purchases where next_at is not null").await;
        let sql = "select floor(extract(epoch from next_at))::bigint from shop.purchases where next_at is not null";
        let pause = mesh.db.count(sql).await - mesh.now();
        // Not while its lease runs, which is shorter than any pause.
        (at == tries && pause > 10).then_some(pause)
    })
    .await
}

#[test]
fn without_the_payment_service_items_are_sold_and_conversions_are_asked_after_less_and_less_often() {
    run(async {
        let payments = StandIns::start().await;
        let proxy = FaultProxy::before(payments.base().trim_start_matches("http://")).await;
        let mesh = one()
            .setting("shop.payment.endpoint", format!("http://{}/payment", proxy.address()))
            .setting("shop.payment.poll_secs", 10_i64)
            .setting("shop.payment.poll_most_secs", 60_i64)
            .start()
            .await;
        let (alice, k) = (mesh.persona("alice").await, key());
        give(&mesh, &alice.user_id, 80).await;
        proxy.set(Fault::Cut);
        let bought = buy(&alice, "spins-5", &key()).await.expect(200);
        read(&mesh, &alice, &bought).await;
        let refused = buy(&alice, "gold-500", &k).await;
        refused.refused(503, AWAY);
        assert!(!refused.header("retry-after").is_empty());
        buy(&alice, "gold-500", &k).await.refused(409, "IN_PROGRESS");
        let mut pauses = Vec::new();
        for tries in 1..=4 {
            pauses.push(pause(&mesh, tries).await);
            mesh.clock.advance(SignedDuration::from_secs(pauses[pauses.len() - 1]));
        }
        let most = [20, 40, 60, 60];
        assert!(pauses.iter().zip(most).all(|(pause, most)| (most - 9..=most).contains(pause)), "{pauses:?}");
        assert_eq!(gold(&mesh, &alice.user_id).await, 0);
        proxy.heal();
        mesh.clock.advance(SignedDuration::from_secs(60));
        over(&mesh).await;
        let done = buy(&alice, "gold-500", &k).await.expect(200);
        assert_eq!((&done["status"], gold(&mesh, &alice.user_id).await), (&json!("PURCHASE_STATE_CONFIRMED"), 525));
        let path = format!("/_sandbox/payments?reference={}", done["transaction_id"].as_str().unwrap());
        let asked = payments.rest().get(&path).send().await.expect(200);
        assert_eq!(asked["payments"].as_array().unwrap().len(), 1, "{asked}");
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn without_auth_people_buy_as_long_as_the_shop_has_a_token() {
    run(async {
        let mut mesh = one().start().await;
        let (alice, k) = (mesh.persona("alice").await, key());
        give(&mesh, &alice.user_id, 4 * 80).await;
        // The wallet is called, which takes a token.
        let bought = buy(&alice, "spins-5", &key()).await.expect(200);
        mesh.node_mut(0, "auth").kill().await;
        read(&mesh, &alice, &bought).await;
        buy(&alice, "spins-5", &key()).await.expect(200);
        // Past the half of its life another is asked for in vain.
        mesh.clock.advance(SignedDuration::from_secs(200));
        buy(&alice, "spins-5", &key()).await.expect(200);
        mesh.clock.advance(SignedDuration::from_secs(95));
        let refused = buy(&alice, "spins-5", &k).await;
        refused.refused(503, AWAY);
        assert!(!refused.header("retry-after").is_empty());
        buy(&alice, "spins-5", &k).await.refused(409, "IN_PROGRESS");
        read(&mesh, &alice, &bought).await;
        assert_eq!((open(&mesh).await, gold(&mesh, &alice.user_id).await), (1, 80));
        mesh.node_mut(0, "auth").start().await;
        over(&mesh).await;
        assert_eq!(buy(&alice, "spins-5", &k).await.expect(200)["status"], "PURCHASE_STATE_CONFIRMED");
        assert_eq!(gold(&mesh, &alice.user_id).await, 0);
        nothing_is_amiss(&mesh, "true").await;
    });
}
