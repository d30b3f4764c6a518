//! Whoever closes their account leaves no image.

use coreloop_testkit::{PASSWORD, Persona, TestMesh, run, wait::PATIENCE, wait_until};
use futures::future::join;
use serde_json::json;

use super::stage::{LONG, MESH, Taken, load, mesh, photo, place, plain, registered, rows_of, sent, told};

async fn withdraw(who: &Persona) {
    who.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
}

async fn is_closed(mesh: &TestMesh, who: &Persona) {
    let closed =
        format!("select count(*) from image.owners where user_id = '{}' and withdrawn_at is not null", who.user_id);
    wait_until("image knows of it", LONG, async || mesh.db.count(&closed).await == 1).await;
}

#[test]
fn whoever_closes_their_account_leaves_no_image() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let theirs = Taken::by(&bob, "box.jpg").await;
        let mut all = Vec::new();
        for name in ["bottle.jpg", "can.png", "jar.webp"] {
            all.push(Taken::by(&alice, name).await);
        }
        alice.delete(&all[0].path()).await.expect(200);
        withdraw(&alice).await;
        is_closed(mesh, &alice).await;
        for taken in &all {
            taken.is_gone(mesh).await;
        }
        assert_eq!((rows_of(mesh, &alice).await, told(mesh, "deleted", &alice).await), (0, 3));
        assert_eq!(plain(&bob.get(&theirs.path()).await.expect(200)["image"]), theirs.image);
        assert_eq!(load(theirs.loadable()).await.status, 200);
    });
}

/// Statements that wait for the row of an owner.
const WAITING: &str = "select count(*) from pg_stat_activity where datname = current_database()
    and wait_event_type = 'Lock' and query like '%image.owners%'";

#[test]
fn a_registration_that_is_under_way_when_the_account_is_closed_leaves_none_either() {
    run(async {
        let slow = mesh().setting("database.lock_timeout_ms", 60_000_i64);
        let mesh = slow.setting("database.statement_timeout_ms", 60_000_i64).start().await;
        let (alice, can) = (mesh.persona("alice").await, photo("can.png"));
        let place = place(&alice, can).await;
        let etag = sent(&place, can).await;
        // Somebody holds her row, so that both come to wait for it.
        let mut holder = mesh.db.connect().await;
        sqlx::query("begin").execute(&mut holder).await.unwrap();
        let row = format!("insert into image.owners (user_id) values ('{}')", alice.user_id);
        sqlx::query(sqlx::AssertSqlSafe(row)).execute(&mut holder).await.unwrap();
        let closing = async {
            wait_until("it is registered but for the row", PATIENCE, async || mesh.db.count(WAITING).await == 1).await;
            withdraw(&alice).await;
            wait_until("the end waits, too", PATIENCE, async || mesh.db.count(WAITING).await >= 2).await;
            sqlx::query("rollback").execute(&mut holder).await.unwrap();
        };
        let (_first_or_second, ()) = join(registered(&alice, &place, &etag), closing).await;
        is_closed(&mesh, &alice).await;
        wait_until("nothing is left", LONG, async || rows_of(&mesh, &alice).await == 0).await;
    });
}
