//! A change of the key that seals codes: what the one before sealed opens, is sealed anew, and needs it no more.

use coreloop_rewards::{
    Options,
    vault::{Sealed, Vault},
};
use coreloop_service::Mode;
use coreloop_testkit::{TestMesh, run, wait_until};
use uuid::Uuid;

use super::stage::{LONG, Shelf, person_with, redeemed, settled};

/// What knows one key alone.
fn vault(name: &str, key: &str) -> Vault {
    let options = Options { master_key: Some(key.to_owned().into()), ..Options::default() };
    Vault::of(&Options { master_key_id: name.to_owned(), ..options }, Mode::Production).unwrap()
}

async fn kept(mesh: &TestMesh, id: Uuid) -> Sealed {
    let sql = "select code_sealed, code_key from rewards.redemptions where id = $1";
    let (bytes, key) = sqlx::query_as(sql).bind(id).fetch_one(&mut mesh.db.connect().await).await.unwrap();
    Sealed { bytes, key }
}

#[test]
fn codes_that_another_key_sealed_get_the_key_of_now() {
    run(async {
        let (before, now) = ("5a".repeat(32), "a5".repeat(32));
        let mesh = TestMesh::builder()
            .stand_ins()
            .setting("rewards.audit_secs", 1_i64)
            .setting("rewards.master_key", now.clone())
            .setting("rewards.master_key_id", "now")
            .setting("rewards.old_master_key", before.clone())
            .setting("rewards.old_master_key_id", "before")
            .start()
            .await;
        let (shelf, alice) = (Shelf::with(&mesh, 10, 1).await, person_with(&mesh, "alice", 10).await);
        let begun = redeemed(&alice, &shelf.sku, "k").await.expect(200);
        let text = begun["redemption"]["redemption_id"].as_str().unwrap();
        let code = settled(&alice, text).await["voucher_code"].clone();
        let (id, plain): (Uuid, _) = (text.parse().unwrap(), code.as_str().unwrap());
        // As a process of before sealed it, which knew the one key alone.
        let (old, new) = (vault("before", &before), vault("now", &now));
        let sealed = old.seal(id, plain).unwrap();
        assert!(new.open(id, &Sealed { key: "now".to_owned(), ..sealed.clone() }).is_err(), "they are two keys");
        sqlx::query("update rewards.redemptions set code_sealed = $2, code_key = $3 where id = $1")
            .bind(id)
            .bind(&sealed.bytes)
            .bind(&sealed.key)
            .execute(&mut mesh.db.connect().await)
            .await
            .unwrap();
        assert_eq!(settled(&alice, text).await["voucher_code"], code, "the key of before opens it");
        // Everything is looked at once a day.
        mesh.db.execute("delete from rewards.sweeps").await;
        let anew = "select count(*) from rewards.redemptions where state = 3 and code_key = 'now'";
        wait_until("it is sealed anew", LONG, async || mesh.db.count(anew).await == 1).await;
        assert_eq!(settled(&alice, text).await["voucher_code"], code);
        let sealed = kept(&mesh, id).await;
        assert_eq!(new.open(id, &sealed).unwrap(), plain);
        assert!(old.open(id, &Sealed { key: "before".to_owned(), ..sealed }).is_err(), "it opens it no more");
    });
}
