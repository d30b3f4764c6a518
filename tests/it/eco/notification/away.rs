//! What the README says of notifications without a part of the mesh (O3): what works, what does not, and that what waited is done, once.
//! The gateway's own failures: `failing.rs`.

use coreloop_testkit::{Fault, Persona, mesh::Before, run, wait::wait_for, wait_until};
use serde_json::json;

use super::stage::{LONG, TAKEN, acquired, emitted, ended, mesh, phone, pushed, pushes, registered, tell, told};
use crate::shop::away::{AWAY, BLIND, blindly, refused_in_the_end};

const PATH: &str = "/api/v1/notifications";

/// What somebody was told, as soon as it is answered and so much.
async fn told_in_the_end(who: &Persona, count: usize) {
    wait_for(format!("{count} notifications"), LONG, async || {
        let answer = who.get(PATH).await;
        let told = (answer.status == 200).then(|| answer.json()["notifications"].as_array().map(Vec::len))??;
        (told == count).then_some(())
    })
    .await;
}

#[test]
fn without_postgres_nothing_is_told_and_all_of_it_later_once() {
    run(async {
        let mesh = mesh().split().proxy(Before::Postgres).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        told(&alice, 1).await;
        pushed(&mesh, &token, 1).await;
        wait_until("it is taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 1).await;
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        alice.get(PATH).await.refused(503, AWAY);
        alice.get("/api/v1/notifications/unread-count").await.refused(503, AWAY);
        alice.post("/api/v1/notifications/read-all", &json!({})).await.refused(503, AWAY);
        let body = json!({"token": phone("own"), "platform": "PLATFORM_WEB"});
        alice.post("/api/v1/notifications/devices", &body).await.refused(503, AWAY);
        // Written past the cut, as by a service whose database is another.
        tell(&mesh, &alice, &acquired(&alice, "CHR002")).await;
        mesh.postgres_proxy.as_ref().unwrap().heal();
        told_in_the_end(&alice, 2).await;
        pushed(&mesh, &token, 2).await;
        wait_until("both are taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 2).await;
        assert_eq!((emitted(&mesh, "created", &alice).await, pushes(&mesh, &token).await.len()), (2, 2));
    });
}

#[test]
fn without_redis_the_inbox_is_read_for_a_while_and_what_happens_is_told_later_once() {
    run(async {
        let mut mesh = mesh().toml(BLIND).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        told(&alice, 1).await;
        pushed(&mesh, &token, 1).await;
        wait_until("it is taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 1).await;
        mesh.redis.kill();
        tell(&mesh, &alice, &acquired(&alice, "CHR002")).await;
        blindly(async || alice.get(PATH).await).await;
        refused_in_the_end(async || alice.get(PATH).await).await;
        mesh.redis.resurrect().await;
        told_in_the_end(&alice, 2).await;
        pushed(&mesh, &token, 2).await;
        wait_until("both are taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 2).await;
        assert_eq!((emitted(&mesh, "created", &alice).await, pushes(&mesh, &token).await.len()), (2, 2));
    });
}
