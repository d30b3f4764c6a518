//! `shop.purchases`, the check that ops runs: it is sound, and says so when a row is bent behind the service's back.

use std::sync::Arc;

use coreloop_shop::integrity::{Books, verify};
use coreloop_testkit::{Persona, TestMesh, rpc, run, wait::wait_for};
use coreloop_wallet_api::v1::{FindPostingsRequest, FindPostingsResponse, KeyedPosting};
use prost::Message as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tokio::sync::{
    mpsc::{UnboundedReceiver, unbounded_channel},
    oneshot,
};

use super::{
    settling::decide,
    stage::{Buyer, RECOVERY, key, mesh, product},
};

/// Has a check run; answers its run once it has ended.
pub async fn checked(admin: &Persona, check: &str) -> Value {
    let asked = admin.post("/admin/maintenance/integrity-check", &json!({ "checks": [check] })).await.expect(202);
    let path = format!("/admin/maintenance/runs/{}", asked["runs"][0]["id"].as_str().unwrap());
    wait_for("the check has run", RECOVERY, async || {
        let run = admin.get(&path).await.expect(200)["run"].clone();
        ["RUN_STATE_DONE", "RUN_STATE_FAILED"].iter().any(|state| run["state"] == **state).then_some(run)
    })
    .await
}

/// The check finds nothing; answers what it counted.
pub async fn sound(admin: &Persona, check: &str) -> Value {
    let run = checked(admin, check).await;
    assert_eq!((&run["state"], &run["sound"]), (&json!("RUN_STATE_DONE"), &json!(true)), "{run}");
    run["counts"].clone()
}

/// Bends something, sees that it is found as `what` and nothing else is, and puts it right again.
pub async fn bent(mesh: &TestMesh, admin: &Persona, (check, what): (&str, &str), bend: &str, mend: &str) {
    let mut connection = mesh.db.connect().await;
    let changed = connection.execute(AssertSqlSafe(bend.to_owned())).await.unwrap().rows_affected();
    assert_eq!(changed, 1, "{bend}");
    let run = checked(admin, check).await;
    let found: Vec<_> = run["findings"].as_array().unwrap().iter().map(|finding| finding["what"].clone()).collect();
    assert_eq!(found, [json!(what)], "{bend}: {run}");
    connection.execute(AssertSqlSafe(mend.to_owned())).await.unwrap();
    sound(admin, check).await;
}

/// `RunCheck`, which asks the wallet by `FindPostings`.
#[test]
fn a_row_that_is_bent_is_found() {
    run(async {
        let mesh = mesh().setting("ops.runs_secs", 1_i64).start().await;
        let (admin, alice, poor) = (mesh.admin().await, Buyer::with(&mesh, 2_000).await, Buyer::new(&mesh));
        let package = json!({"product_id": "five", "category": "CATEGORY_ITEM", "name": "P", "price": 10, "active": true,
                             "stock": 5, "per_user_limit": 2, "effect": {"code": "PACKAGE", "amount": 1}});
        product(&mesh, &package).await;
        let promo = json!({"code": "HALF", "kind": "PROMO_KIND_PERCENT", "value": 50, "max_uses": 5, "per_user": 2});
        admin.post("/admin/shop/promos", &json!({ "promo": promo })).await.expect(200);
        let limited = json!({"package_id": "five", "idempotency_key": key(), "promo_code": "HALF"});
        alice.ask(0, "/api/shop/buy-limited", &limited).await.expect(200);
        poor.ask(0, "/api/shop/buy-limited", &limited).await.refused(400, "INSUFFICIENT_FUNDS");
        let item = alice.buy("spins-5", &key()).await.expect(200)["transaction_id"].as_str().unwrap().to_owned();
        let gold = alice.convert(&key(), "card").await.expect(200)["transaction_id"].as_str().unwrap().to_owned();
        alice.convert(&key(), "refused").await.refused(400, "PAYMENT_REFUSED");
        let counts = sound(&admin, "shop.purchases").await;
        assert_eq!(counts[0], json!({"name": "purchases", "value": 5}));
        assert_eq!(counts[1], json!({"name": "postings", "value": 3}));

        let set = |table: &str, change: &str, of: &str| format!("update shop.{table} set {change} where {of}");
        let one = |id: &str| format!("id = '{id}'");
        for (what, table, of, bend, mend) in [
            ("stock", "stock", "product_id = 'five'".to_owned(), "taken = taken - 1", "taken = taken + 1"),
            ("stock", "stock", "product_id = 'five'".to_owned(), "total = 0", "total = 5"),
            ("holding", "holdings", "product_id = 'five' and taken = 1".to_owned(), "taken = 2", "taken = 1 "),
            ("promo", "promos", "code = 'HALF'".to_owned(), "used = used + 1", "used = used - 1"),
            ("ledger", "purchases", one(&item), "price = price + 1", "price = price - 1"),
            ("ledger", "purchases", one(&gold), "bonus = bonus + 1", "bonus = bonus - 1"),
            ("effect", "effects", format!("purchase_{}", one(&item)), "amount = 500", "amount = 5"),
        ] {
            let mend = if table == "holdings" {
                "update shop.holdings set taken = 1 where taken = 2".to_owned()
            } else {
                set(table, mend, &of)
            };
            bent(&mesh, &admin, ("shop.purchases", what), &set(table, bend, &of), &mend).await;
        }
        // What was charged and says that it failed.
        let charged = set("purchases", "state = 5, signature = null", &one(&gold));
        let mut connection = mesh.db.connect().await;
        connection.execute(AssertSqlSafe(charged)).await.unwrap();
        let run = checked(&admin, "shop.purchases").await;
        assert_eq!(run["findings"][0]["subject"], json!(gold), "{run}");
    });
}

/// The wallet, asked by a check; before its first answer a payment is charged back.
async fn answer(mesh: &TestMesh, (buyer, id): (&Buyer, &str), mut asked: UnboundedReceiver<Asked>) {
    let payment = buyer.transaction(id).await["payment_id"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {}", mesh.machine_token("shop", "wallet").await);
    while let Some((idempotency_keys, answer)) = asked.recv().await {
        if buyer.transaction(id).await["state"] == "PURCHASE_STATE_CONFIRMED" {
            decide(mesh, &payment, &json!({"status": "voided"})).await;
            buyer.settled(id, "VOIDED").await;
        }
        let asked = FindPostingsRequest { idempotency_keys }.encode_to_vec();
        let path = "/coreloop.wallet.v1.WalletInternalService/FindPostings";
        let metadata = [("authorization", bearer.as_str())];
        let found = rpc::call(&mesh.grpc("wallet"), path, &asked, &metadata).await.unwrap();
        answer.send(FindPostingsResponse::decode(found).unwrap().postings).unwrap();
    }
}

/// Keys, and who waits for what was posted under them.
type Asked = (Vec<String>, oneshot::Sender<Vec<KeyedPosting>>);

/// The rows are read, then the payment is charged back, and only then the wallet answers.
#[test]
fn what_is_charged_back_while_it_is_looked_at_is_no_finding() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (Buyer::new(&mesh), Buyer::new(&mesh));
        let id = alice.convert(&key(), "card").await.expect(200)["transaction_id"].as_str().unwrap().to_owned();
        let bobs = bob.convert(&key(), "card").await.expect(200)["transaction_id"].as_str().unwrap().to_owned();
        let (db, (asks, asked)) = (PgPool::connect(&mesh.db.url()).await.unwrap(), unbounded_channel::<Asked>());
        let books: Books = Arc::new(move |keys| {
            let (answer, answered) = oneshot::channel();
            asks.send((keys, answer)).unwrap();
            Box::pin(async move { Ok(answered.await.unwrap()) })
        });
        let looks = async {
            let report = verify(&db, &books).await.unwrap();
            assert!(report.findings.is_empty(), "{:?}", report.findings);
            assert_eq!(alice.transaction(&id).await["state"], "PURCHASE_STATE_VOIDED");
            // What does not fit however often it is looked at is said all the same.
            mesh.db.execute(&format!("update shop.purchases set bonus = bonus + 1 where id = '{bobs}'")).await;
            verify(&db, &books).await.unwrap().findings
        };
        let findings = tokio::select! {
            findings = looks => findings,
            () = answer(&mesh, (&alice, &id), asked) => panic!("nobody asks"),
        };
        assert_eq!(findings.into_iter().map(|it| it.subject).collect::<Vec<_>>(), [bobs]);
    });
}
