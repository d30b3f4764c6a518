//! What the wallet refused stays refused: a purchase that failed is never charged, and what is left of a voided conversion is
//! taken back once, whatever was asked for first.

use coreloop_testkit::{TestMesh, rpc, run};
use coreloop_wallet_api::v1::{Currency, House, SpendRequest};
use serde_json::json;

use super::{
    integrity::sound,
    settling::{decide, pending},
    stage::{Buyer, MESH, ask_wallet, give, gold, key, mesh, spend},
};

/// As the shop asks.
fn of_shop(user: &str, amount: i64, key: String) -> SpendRequest {
    let (name, id) = key.split_once(':').expect("a key of a purchase");
    let back = name == "claw";
    SpendRequest {
        user_id: user.into(),
        currency: Currency::Gold.into(),
        amount,
        destination: back.then_some(House::Mint.into()),
        reason: if back { "shop.voided" } else { "shop.purchase" }.into(),
        reference: id.into(),
        idempotency_key: key.clone(),
    }
}

/// Who stood still while another was refused and wrote that, and asks when the money is there.
#[test]
fn a_purchase_that_failed_stays_so_and_is_not_charged() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::new(mesh), key());
        alice.buy("spins-5", &k).await.refused(400, "INSUFFICIENT_FUNDS");
        give(mesh, &alice.id, 1_000).await;
        let body = json!({"product_id": "spins-5", "idempotency_key": k});
        for replica in [0, 1] {
            alice.ask(replica, "/api/shop/purchase", &body).await.refused(400, "INSUFFICIENT_FUNDS");
        }
        let sql = format!("select id::text from shop.purchases where user_id = '{}'", alice.id);
        let id: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut mesh.db.connect().await).await.unwrap();
        assert_eq!(alice.transaction(&id).await["state"], "PURCHASE_STATE_FAILED");
        let refused = ask_wallet(mesh, "shop", "Spend", &of_shop(&alice.id, 80, format!("charge:{id}"))).await;
        assert_eq!(rpc::reason(&refused.unwrap_err()), "INSUFFICIENT_FUNDS");
        assert_eq!(gold(mesh, &alice.id).await, 1_000);
        alice.buy("spins-5", &key()).await.expect(200);
        assert_eq!(gold(mesh, &alice.id).await, 920);
    });
}

async fn clawed(mesh: &TestMesh, id: &str) -> (i64, i64) {
    let row = format!("select owed from shop.purchases where id = '{id}'");
    let taken = format!(
        "select -sum(e.delta)::bigint from wallet.postings p join wallet.entries e on e.posting = p.id
          where p.key like 'claw:{id}%' and e.owner = (select user_id from shop.purchases where id = '{id}')"
    );
    (mesh.db.count(&row).await, mesh.db.count(&taken).await)
}

#[test]
fn what_is_left_is_taken_back_once_though_the_first_amount_was_another() {
    run(async {
        let mesh = mesh().setting("shop.settle_first", false).setting("ops.runs_secs", 1_i64).start().await;
        let admin = mesh.admin().await;
        // More was asked for at first, and refused.
        let alice = Buyer::new(&mesh);
        let (id, payment) = pending(&alice).await;
        spend(&mesh, &alice.id, 400).await;
        let refused = ask_wallet(&mesh, "shop", "Spend", &of_shop(&alice.id, 200, format!("claw:{id}"))).await;
        assert_eq!(rpc::reason(&refused.unwrap_err()), "INSUFFICIENT_FUNDS");
        decide(&mesh, &payment, &json!({"status": "voided"})).await;
        alice.settled(&id, "VOIDED").await;
        assert_eq!((gold(&mesh, &alice.id).await, clawed(&mesh, &id).await), (0, (400, 125)));
        // Another amount was taken, and the row did not come to say so.
        let bob = Buyer::new(&mesh);
        let (id, payment) = pending(&bob).await;
        spend(&mesh, &bob.id, 400).await;
        ask_wallet(&mesh, "shop", "Spend", &of_shop(&bob.id, 25, format!("claw:{id}"))).await.unwrap();
        decide(&mesh, &payment, &json!({"status": "voided"})).await;
        bob.settled(&id, "VOIDED").await;
        assert_eq!((gold(&mesh, &bob.id).await, clawed(&mesh, &id).await), (100, (500, 25)));
        sound(&admin, "shop.purchases").await;
    });
}
