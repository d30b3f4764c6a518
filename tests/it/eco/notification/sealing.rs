//! A change of the key that seals tokens: what the one before sealed is pushed to, is sealed anew, and needs it no more.

use coreloop_notification::{
    Options,
    vault::{Sealed, Vault},
};
use coreloop_service::Mode;
use coreloop_testkit::{TestMesh, run, wait_until};
use uuid::Uuid;

use super::stage::{LONG, acquired, mesh, phone, pushed, registered, tell};

/// What knows one key alone.
fn vault(name: &str, key: &str) -> Vault {
    let options = Options { master_key: Some(key.to_owned().into()), ..Options::default() };
    Vault::of(&Options { master_key_id: name.to_owned(), ..options }, Mode::Production).unwrap()
}

async fn kept(mesh: &TestMesh, device: Uuid) -> Sealed {
    let sql = "select token_sealed, token_key from notification.devices where id = $1";
    let (bytes, key) = sqlx::query_as(sql).bind(device).fetch_one(&mut mesh.db.connect().await).await.unwrap();
    Sealed { bytes, key }
}

#[test]
fn tokens_that_another_key_sealed_get_the_key_of_now() {
    run(async {
        let (before, now) = ("5a".repeat(32), "a5".repeat(32));
        let mesh = mesh()
            .setting("notification.master_key", now.clone())
            .setting("notification.master_key_id", "now")
            .setting("notification.old_master_key", before.clone())
            .setting("notification.old_master_key_id", "before")
            .start()
            .await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        let device: Uuid = registered(&alice, &token).await.parse().unwrap();
        let (old, new) = (vault("before", &before), vault("now", &now));
        // As a process of before sealed it, which knew the one key alone.
        let sealed = old.seal(device, &token).unwrap();
        sqlx::query("update notification.devices set token_sealed = $2, token_key = $3 where id = $1")
            .bind(device)
            .bind(&sealed.bytes)
            .bind(&sealed.key)
            .execute(&mut mesh.db.connect().await)
            .await
            .unwrap();
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        pushed(&mesh, &token, 1).await;
        // Everything is looked at once a day.
        mesh.db.execute("delete from notification.sweeps").await;
        wait_until("it is sealed anew", LONG, async || kept(&mesh, device).await.key == "now").await;
        let anew = kept(&mesh, device).await;
        assert!(new.open(device, &anew).is_ok() && old.open(device, &anew).is_err());
        assert!(new.open(Uuid::new_v4(), &anew).is_err(), "it is that device's");
        tell(&mesh, &alice, &acquired(&alice, "CHR002")).await;
        pushed(&mesh, &token, 2).await;
    });
}
