//! Shops that were found once: kept while somebody has a use for them, and found again as the same.

use coreloop_testkit::{run, wait::wait_until};
use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

use super::stage::{HALL, LONG, NOWON, SHOPS, Shop, around, ids, mesh, there, visit};

/// Who waits for somebody else's lock.
const WAITING: &str =
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";

/// Shops around which nobody searches here.
fn elsewhere() -> impl Iterator<Item = &'static Shop> {
    SHOPS.iter().filter(|shop| [HALL, NOWON].iter().all(|place| place.distance_m(shop.place) > 5_000.0))
}

#[test]
fn what_no_search_finds_and_nobody_keeps_is_forgotten_until_it_is_found_again() {
    run(async {
        let mut mesh = mesh().start().await;
        let few: Vec<&Shop> = elsewhere().take(4).collect();
        let [favourite, visited, known, seeded] = few[..] else { panic!("the file has few shops") };
        let begun = mesh.now();
        // All but one are as if a search had found them today.
        let found = format!(
            "update location.shops set seeded = (id = '{}'), hours = '', tags = '{{}}', updated_at = to_timestamp({begun})",
            seeded.id
        );
        mesh.db.execute(&found).await;
        let hours = format!("update location.shops set hours = '1-7 00:00-24:00' where id = '{}'", known.id);
        mesh.db.execute(&hours).await;
        let alice = mesh.persona("alice").await;
        alice.post("/api/v1/location/favorites", &json!({"shop_id": favourite.id})).await.expect(200);
        visit(&alice, &visited.id, visited.place).await.expect(200);

        mesh.clock.advance(SignedDuration::from_hours(24 * 50));
        let answer = around(&mesh.rest(), HALL, 2_000).await;
        let near = ids(&answer);
        let later = format!("select count(*) from location.shops where updated_at > to_timestamp({begun})");
        let met = mesh.db.count(&later).await;
        assert!(!near.is_empty() && met >= i64::try_from(near.len()).unwrap(), "{met} were met, {near:?} told");

        mesh.clock.advance(SignedDuration::from_hours(24 * 45));
        let node = mesh.node_mut(0, "location");
        node.stop().await;
        node.start().await;
        let swept =
            format!("select count(*) from location.sweeps where done_at > to_timestamp({begun}) + interval '94 days'");
        wait_until("they are looked at", LONG, async || mesh.db.count(&swept).await == 1).await;
        let rows = mesh.db.count("select count(*) from location.shops").await;
        assert_eq!(rows, met + 4, "those that were met, and the four");
        let status = async |id: &str| {
            let shop = mesh.rest().get(&format!("/api/v1/location/shops/{id}")).send().await;
            shop.status.as_u16()
        };
        for shop in near.iter().copied().chain(few.iter().map(|shop| shop.id.as_str())) {
            assert_eq!(status(shop).await, 200, "{shop}");
        }
        let far = there(NOWON, 2_000.0, Shop::is_searched);
        assert_eq!(status(far[0]).await, 404);
        assert_eq!(ids(&around(&mesh.rest(), NOWON, 2_000).await), far);
        assert_eq!(status(far[0]).await, 200, "the same as before");
    });
}

#[test]
fn what_is_forgotten_while_somebody_begins_to_keep_it_is_no_shop() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, first, second) = (mesh.persona("alice").await, &SHOPS[0], &SHOPS[1]);
        let there = json!({"shop_id": second.id, "lat": second.place.lat, "lng": second.place.lng});
        for (path, body, shop) in [("favorites", json!({"shop_id": first.id}), first), ("visits", there, second)] {
            let (path, id) = (format!("/api/v1/location/{path}"), shop.id.parse::<Uuid>().unwrap());
            let mut forgets = mesh.db.connect().await;
            sqlx::query("begin").execute(&mut forgets).await.unwrap();
            sqlx::query("delete from location.shops where id = $1").bind(id).execute(&mut forgets).await.unwrap();
            let forget = async {
                wait_until("it waits", LONG, async || mesh.db.count(WAITING).await > 0).await;
                sqlx::query("commit").execute(&mut forgets).await.unwrap();
            };
            let (said, ()) = tokio::join!(alice.post(&path, &body), forget);
            said.refused(404, "SHOP_NOT_FOUND");
        }
    });
}
