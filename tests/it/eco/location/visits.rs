//! Visits: of who is there, once a day, told once.

use coreloop_location::globe::Point;
use coreloop_testkit::{Persona, run};
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, SHOPS, mesh, north, told, visit};

#[test]
fn who_is_within_a_hundred_metres_is_there() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, shop) = (mesh.persona("alice").await, &SHOPS[30]);
        let refused = visit(&alice, &shop.id, north(shop.place, 101.0)).await;
        refused.refused(400, "TOO_FAR");
        assert_eq!(refused.detail("google.rpc.ErrorInfo").unwrap()["metadata"]["distance_m"], "101");
        let other_side = Point { lat: -shop.place.lat, lng: shop.place.lng - 180.0 };
        visit(&alice, &shop.id, other_side).await.refused(400, "TOO_FAR");
        assert_eq!(told(mesh, &alice).await, 0);
        let noted = visit(&alice, &shop.id, north(shop.place, 99.0)).await.expect(200);
        assert_eq!(noted["counted"], true);
        assert_eq!(told(mesh, &alice).await, 1);
        let fact = format!(
            "select count(*) from location.outbox where aggregateid = '{}' and payload ->> 'visit_id' = '{}'
                and payload ->> 'shop_id' = '{}' and payload ->> 'day' = '{}' and not payload ?| array['lat', 'lng']",
            alice.user_id,
            noted["visit_id"].as_str().unwrap(),
            shop.id,
            noted["day"].as_str().unwrap(),
        );
        assert_eq!(mesh.db.count(&fact).await, 1, "where they stood is no part of it");
    });
}

#[test]
fn the_first_of_a_day_counts_also_at_once_on_two_replicas() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob, shop) = (mesh.persona("alice").await, mesh.persona("bob").await, &SHOPS[31]);
        let at: Vec<Persona> = (0..2).map(|n| alice.at(&mesh.gateway_on(n))).collect();
        let said = join_all((0..10).map(|n| visit(&at[n % 2], &shop.id, shop.place))).await;
        let said: Vec<_> = said.iter().map(|answer| answer.expect(200)).collect();
        assert_eq!(said.iter().filter(|visit| visit["counted"] == true).count(), 1, "{said:?}");
        let one = &said[0];
        let same = |name: &str| said.iter().all(|visit| visit[name] == one[name]);
        assert!(same("visit_id") && same("visited_at") && same("day"), "{said:?}");
        assert_eq!(told(mesh, &alice).await, 1);
        // Another shop and another user are others.
        assert_eq!(visit(&alice, &SHOPS[32].id, SHOPS[32].place).await.expect(200)["counted"], true);
        assert_eq!(visit(&bob, &shop.id, shop.place).await.expect(200)["counted"], true);
        assert_eq!((told(mesh, &alice).await, told(mesh, &bob).await), (2, 1));
    });
}

#[test]
fn a_new_day_is_another_visit() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, shop) = (mesh.persona("alice").await, &SHOPS[0]);
        let first = visit(&alice, &shop.id, shop.place).await.expect(200);
        let of = async |visit: &Value| {
            let id = visit["visit_id"].as_str().unwrap();
            mesh.db.count(&format!("select count(*) from location.outbox where payload ->> 'visit_id' = '{id}'")).await
        };
        // Before the day is over: what was sent is then removed at some time.
        assert_eq!(of(&first).await, 1);
        mesh.clock.advance(SignedDuration::from_hours(24));
        // A token does not last a day.
        let alice = alice.visitor.clone().login().await;
        let second = visit(&alice, &shop.id, shop.place).await.expect(200);
        assert_eq!((&second["counted"], of(&second).await), (&json!(true), 1));
        assert_ne!((&first["day"], &first["visit_id"]), (&second["day"], &second["visit_id"]));
    });
}

#[test]
fn what_is_no_place_or_no_shop_is_refused_and_nothing_is_told() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, shop) = (mesh.persona("alice").await, &SHOPS[33]);
        visit(&alice, &Uuid::new_v4().to_string(), shop.place).await.refused(404, "SHOP_NOT_FOUND");
        let path = "/api/v1/location/visits";
        for bad in [
            json!({"shop_id": shop.id}),
            json!({"shop_id": shop.id, "lat": 91, "lng": 0}),
            json!({"shop_id": shop.id, "lat": 0, "lng": -181}),
            json!({"shop_id": shop.id, "lat": "NaN", "lng": 0}),
            json!({"shop_id": shop.id, "lat": 0, "lng": "Infinity"}),
            json!({"shop_id": "x", "lat": 0, "lng": 0}),
        ] {
            let refused = alice.post(path, &bad).await;
            refused.refused(400, "VALIDATION_FAILED");
        }
        mesh.rest()
            .post(path, &json!({"shop_id": shop.id, "lat": 0, "lng": 0}))
            .send()
            .await
            .refused(401, "TOKEN_MISSING");
        assert_eq!(told(mesh, &alice).await, 0);
    });
}
