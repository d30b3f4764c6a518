//! What the wallet tells arrives: in order, once, as it was written.

use std::time::Duration;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Failure, Handler, Options, Parts};
use coreloop_facts::v1::WalletPosted;
use coreloop_testkit::{TestMesh, run, wait_until};
use sqlx::PgPool;

use super::stage::{Shop, somebody};
use crate::eventing::stage::{Running, parts};

/// Notes what it is told.
struct Witness;

#[async_trait]
impl Handler for Witness {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: WalletPosted = event.decode()?;
        sqlx::query("insert into wallet.told (owner, seq, delta, balance_after) values ($1::uuid, $2, $3, $4)")
            .bind(&fact.user_id)
            .bind(fact.sequence)
            .bind(fact.delta)
            .bind(fact.balance_after)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

#[test]
fn every_change_of_a_user_arrives_once_and_in_order() {
    run(async {
        let mesh = TestMesh::builder().split().start().await;
        mesh.db
            .execute(
                "create table wallet.told (n bigint generated always as identity, owner uuid, seq bigint, delta bigint,
                                           balance_after bigint, primary key (owner, seq))",
            )
            .await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let options = Options { poll_ms: 100, standby_ms: 100, ..Options::default() };
        let parts = Parts { schema: "wallet".into(), ..parts(&pool, &mesh.redis.url(), &options).await };
        let witness = Consumer::new("wallet.witness", parts, Witness).unwrap().hears::<WalletPosted>().unwrap();
        let running = Running::of(witness.worker());
        let (shop, alice, bob) = (Shop::of(&mesh).await, somebody(), somebody());
        shop.grant(&alice, 1_000).await.unwrap();
        let moves = (1..=40).map(|amount| shop.transfer(&alice, &bob, amount));
        for moved in futures::future::join_all(moves).await {
            moved.unwrap();
        }
        let told = "select count(*) from wallet.told";
        wait_until("all of it is told", Duration::from_secs(60), async || mesh.db.count(told).await == 81).await;
        let other = "select count(*) from wallet.entries e full join wallet.told t using (owner, seq)
                      where (e.owner > '00000000-0000-0000-0000-000000010000' or e.owner is null)
                        and (t.delta, t.balance_after) is distinct from (e.delta, e.balance_after)";
        assert_eq!(mesh.db.count(other).await, 0, "what was told is what the books say");
        let order =
            "select count(*) from wallet.told a join wallet.told b using (owner) where a.seq < b.seq and a.n > b.n";
        assert_eq!(mesh.db.count(order).await, 0, "in the order of a user's changes");
        running.stop().await;
        pool.close().await;
    });
}
