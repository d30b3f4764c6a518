//! `rewards.ended`, the check that ops runs: it is sound, and says so when a row is bent behind the service's back.

use coreloop_testkit::{TestMesh, run};
use serde_json::json;

use super::stage::{Shelf, person_with, redeemed, settled};
use crate::shop::integrity::{bent, sound};

#[test]
fn a_row_that_is_bent_is_found() {
    run(async {
        let mesh = TestMesh::builder().split().stand_ins().setting("ops.runs_secs", 1_i64).start().await;
        let admin = mesh.admin().await;
        let (good, bad) = (Shelf::with(&mesh, 10, 3).await, Shelf::at_vendor(&mesh, 10, 3, "refused-2").await);
        let alice = person_with(&mesh, "alice", 100).await;
        let mut ids = Vec::new();
        for (shelf, state) in [(&good, "ISSUED"), (&bad, "FAILED")] {
            let begun = redeemed(&alice, &shelf.sku, &shelf.sku).await.expect(200);
            let id = begun["redemption"]["redemption_id"].as_str().unwrap().to_owned();
            assert_eq!(settled(&alice, &id).await["state"], format!("REDEMPTION_STATE_{state}"));
            ids.push(id);
        }
        let keep = "create table public.kept as select * from rewards.redemptions";
        sqlx::query(keep).execute(&mut mesh.db.connect().await).await.unwrap();
        let counts = sound(&admin, "rewards.ended").await;
        assert_eq!((&counts[0], &counts[1]["name"]), (&json!({"name": "redemptions", "value": 2}), &json!("grants")));
        for (id, change) in [
            (&ids[0], "price = price + 1"),
            (&ids[0], "spent = gen_random_uuid()"),
            (&ids[1], "returned = gen_random_uuid()"),
        ] {
            let what = change.split(' ').next().unwrap();
            let bend = format!("update rewards.redemptions set {change} where id = '{id}'");
            let mend = format!(
                "update rewards.redemptions r set {what} = k.{what} from public.kept k where k.id = r.id and r.id = '{id}'"
            );
            bent(&mesh, &admin, ("rewards.ended", "redemption"), &bend, &mend).await;
        }
        let bend = "update rewards.grants set amount = amount + 1 where kind = 2";
        bent(
            &mesh,
            &admin,
            ("rewards.ended", "grant"),
            bend,
            "update rewards.grants set amount = amount - 1 where kind = 2",
        )
        .await;
    });
}
