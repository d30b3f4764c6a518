//! What the README says of location without a part of the mesh (O3): what works, what does not, and what comes back.

use coreloop_testkit::{Fault, mesh::Before, run, wait::wait_for, wait_until};
use serde_json::json;

use super::stage::{HALL, LONG, SHOPS, Shop, around, asked, ids, mesh, open, path, there, visit};
use crate::shop::away::{AWAY, BLIND, all_told, blindly, untold};

#[test]
fn without_postgres_the_provider_answers_with_less() {
    run(async {
        // What is cut off says so at once: nobody need be hasty, and before the cut everything has the time that it needs.
        let mesh = mesh().proxy(Before::Postgres).start().await;
        let (alice, shop) = (mesh.persona("alice").await, open("1-7 00:00-24:00"));
        // Calls of the day are granted.
        around(&mesh.rest(), HALL, 1_000).await;
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        let answer = around(&mesh.rest(), shop.place, 500).await;
        assert_eq!(answer["source"], "KAKAO");
        let one = answer["shops"].as_array().unwrap().iter().find(|one| one["shop"]["shop_id"] == *shop.id).unwrap();
        assert_eq!((&one["open_state"], &one["crowd"]), (&json!("OPEN_STATE_UNKNOWN"), &json!("CROWD_LEVEL_UNKNOWN")));
        assert_eq!(mesh.rest().get("/api/v1/location/search?q=a").send().await.expect(200)["source"], "KAKAO");
        assert_eq!(alice.get("/api/v1/location/geocode?query=zzzz").await.expect(200)["addresses"], json!([]));
        visit(&alice, &shop.id, shop.place).await.refused(503, AWAY);
        alice.get("/api/v1/location/favorites").await.refused(503, AWAY);
        mesh.rest().get(&format!("/api/v1/location/shops/{}", shop.id)).send().await.refused(503, AWAY);
        mesh.rest()
            .get(&format!("/api/v1/location/sites?lat={}&lng={}", HALL.lat, HALL.lng))
            .send()
            .await
            .refused(503, AWAY);
        mesh.postgres_proxy.as_ref().unwrap().heal();
        wait_for("visits are noted again", LONG, async || {
            (visit(&alice, &shop.id, shop.place).await.status == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn without_postgres_and_the_provider_nobody_answers() {
    run(async {
        let mesh = mesh().proxy(Before::Postgres).start().await;
        let kept = around(&mesh.rest(), HALL, 1_000).await;
        super::stage::fault(&mesh, json!({"kind": "error", "status": 500})).await;
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        mesh.rest().get(&path(HALL, 3_000)).send().await.refused(503, AWAY);
        // What is kept is told as long as it is kept.
        let still = mesh.rest().get(&path(HALL, 1_000)).send().await;
        assert!(still.status == 503 || still.json() == kept, "{}", still.text());
    });
}

#[test]
fn without_redis_each_replica_remembers_by_itself_and_visits_are_told_later() {
    run(async {
        let mut mesh = mesh().toml(BLIND).setting("location.redis_timeout_ms", 300_i64).start().await;
        let alice = mesh.persona("alice").await;
        mesh.redis.kill();
        for _ in 0..5 {
            assert_eq!(ids(&around(&mesh.rest(), HALL, 2_000).await), there(HALL, 2_000.0, Shop::is_searched));
        }
        assert_eq!(asked(&mesh).await, [("category", 1), ("keyword", 1)].into(), "one search, remembered");
        blindly(async || alice.get("/api/v1/location/favorites").await).await;
        visit(&alice, &SHOPS[0].id, SHOPS[0].place).await.expect(200);
        assert_eq!(untold(&mesh, "location").await, 1, "what is to be told waits");
        mesh.redis.resurrect().await;
        all_told(&mesh, "location").await;
        wait_until("what is found is kept again", LONG, async || {
            around(&mesh.rest(), HALL, 3_000).await;
            let mut command = redis::cmd("EXISTS");
            command.arg(HALL.cell().key(3_000));
            let kept: i64 = command.query_async(&mut mesh.redis.connect().await).await.unwrap();
            kept == 1
        })
        .await;
    });
}

#[test]
fn without_auth_whoever_has_a_token_is_served() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let (alice, shop) = (mesh.persona("alice").await, &SHOPS[0]);
        mesh.node_mut(0, "auth").kill().await;
        assert_eq!(around(&mesh.rest(), HALL, 2_000).await["source"], "KAKAO");
        alice.get("/api/v1/location/geocode?query=zzzz").await.expect(200);
        let favorite = json!({"shop_id": shop.id});
        alice.post("/api/v1/location/favorites", &favorite).await.expect(200);
        assert_eq!(visit(&alice, &shop.id, shop.place).await.expect(200)["counted"], true);
        let kept = alice.get("/api/v1/location/favorites").await.expect(200);
        assert_eq!(kept["favorites"][0]["shop"]["shop_id"], shop.id.as_str());
    });
}
