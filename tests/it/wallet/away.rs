//! What the README says of a wallet without a part of the mesh (O3): what works, what does not, and that nothing is lost.

use coreloop_testkit::{
    Fault, TestMesh,
    mesh::Before,
    rpc, run,
    wait::{PATIENCE, wait_for, wait_until},
};
use serde_json::json;
use tonic::Code;

use super::stage::{Shop, balance, reason, spend};
use crate::faults::redis_away::follows;

/// The ten seconds and five minutes of the settings, shortened; what is done between is done in time on a busy machine, too.
const BLIND: &str =
    "[access]\nblind_after_secs = 5\nblind_limit_secs = 30\nask_timeout_ms = 50\n[limit]\nredis_timeout_ms = 50\n";

#[test]
fn without_redis_money_moves_until_nobody_can_be_believed() {
    run(async {
        let mut mesh = TestMesh::builder().toml(BLIND).start().await;
        let (admin, alice, shop) = (mesh.admin().await, mesh.persona("alice").await, Shop::of(&mesh).await);
        shop.grant(&alice.user_id, 100).await.unwrap();
        follows(&mesh, &alice).await;
        mesh.redis.kill();
        wait_until("it is noticed", PATIENCE, async || {
            alice.get("/v1/points/balance").await.headers.contains_key("x-auth-degraded")
        })
        .await;
        let spent = spend(&alice.user_id, 10);
        let first = shop.spend_as(0, &spent).await.unwrap();
        let held = shop.hold(&alice.user_id, 5).await.unwrap();
        alice.get("/v1/points/ledger").await.expect(200);
        assert!(mesh.db.count("select count(*) from wallet.outbox").await > 0, "what is to be told waits");
        // What must be fresh is refused first.
        let body = json!({"user_id": alice.user_id, "delta": 1, "reason": "a ticket", "idempotency_key": "a"});
        let fresh = wait_for("an adjustment is refused", PATIENCE, async || {
            let answer = admin.post("/admin/users/adjust-points", &body).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        fresh.refused(503, "REVOCATION_UNKNOWN");
        shop.release(&held.hold_id).await.unwrap();
        assert_eq!(shop.spend_as(0, &spent).await.unwrap(), first);
        // Then everybody is, services too.
        let refused = wait_for("nobody is believed", PATIENCE, async || shop.spend_as(0, &spent).await.err()).await;
        assert_eq!((refused.code(), rpc::reason(&refused).as_str()), (Code::Unavailable, "REVOCATION_UNKNOWN"));
        alice.get("/v1/points/balance").await.refused(503, "REVOCATION_UNKNOWN");
        let has = balance(&mesh, &alice.user_id).await;
        assert_eq!(reason(shop.spend(&alice.user_id, 1).await), "REVOCATION_UNKNOWN");
        assert_eq!(balance(&mesh, &alice.user_id).await, has, "what was refused did not happen");
        mesh.redis.resurrect().await;
        wait_until("all is well again", PATIENCE, async || shop.spend_as(0, &spent).await.is_ok_and(|it| it == first))
            .await;
        wait_until("everything is told", PATIENCE, async || {
            mesh.db
                .count("select count(*) from wallet.outbox o where seq > (select read_to from wallet.outbox_relay)")
                .await
                == 0
        })
        .await;
        assert_eq!(balance(&mesh, &alice.user_id).await, has);
        assert!(shop.verify_integrity().await.sound);
    });
}

#[test]
fn without_postgres_nothing_is_answered_and_the_key_tells_later() {
    run(async {
        let mesh = TestMesh::builder().split().proxy(Before::Postgres).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, super::stage::somebody());
        shop.grant(&alice, 100).await.unwrap();
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        let asked = spend(&alice, 10);
        let away = |code| [Code::Unavailable, Code::DeadlineExceeded].contains(&code);
        assert!(away(shop.spend_as(0, &asked).await.unwrap_err().code()));
        assert!(away(shop.balances(&alice).await.unwrap_err().code()));
        proxy.heal();
        let done = wait_for("the wallet is back", PATIENCE, async || shop.spend_as(0, &asked).await.ok()).await;
        assert_eq!(shop.spend_as(0, &asked).await.unwrap(), done);
        assert_eq!(balance(&mesh, &alice).await, 90);
    });
}

#[test]
fn without_auth_whoever_has_a_token_is_served() {
    run(async {
        let mut mesh = TestMesh::builder().split().start().await;
        let (shop, alice) = (Shop::of(&mesh).await, super::stage::somebody());
        shop.grant(&alice, 100).await.unwrap();
        mesh.node_mut(0, "auth").kill().await;
        shop.spend(&alice, 10).await.unwrap();
        let held = shop.hold(&alice, 10).await.unwrap();
        shop.release(&held.hold_id).await.unwrap();
        assert_eq!(shop.balances(&alice).await.unwrap()[0].available, 90);
    });
}
