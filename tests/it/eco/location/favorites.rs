//! Favourites: of their owner, each once, no more than one may have.

use coreloop_testkit::{Persona, run};
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, SHOPS, mesh};

const PATH: &str = "/api/v1/location/favorites";

async fn add(who: &Persona, shop: &str) -> coreloop_testkit::Answer {
    who.post(PATH, &json!({"shop_id": shop})).await
}

async fn list(who: &Persona, query: &str) -> (Vec<String>, String) {
    let page = who.get(&format!("{PATH}?{query}")).await.expect(200);
    let ids =
        page["favorites"].as_array().unwrap().iter().map(|one| one["shop"]["shop_id"].as_str().unwrap().to_owned());
    (ids.collect(), page["next_page_token"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_favourite_is_kept_once_and_stays_as_it_is() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let first = add(&alice, &SHOPS[0].id).await.expect(200);
        assert_eq!(first["favorite"]["shop"]["name"], SHOPS[0].name);
        let at: Vec<Persona> = (0..2).map(|n| alice.at(&mesh.gateway_on(n))).collect();
        let again = join_all((0..10).map(|n| add(&at[n % 2], &SHOPS[0].id))).await;
        assert!(again.iter().all(|again| again.expect(200) == first));
        add(&alice, &SHOPS[1].id).await.expect(200);
        assert_eq!(list(&alice, "").await.0, [SHOPS[1].id.clone(), SHOPS[0].id.clone()], "the newest first");
        // They are hers.
        assert_eq!(list(&bob, "").await.0, Vec::<String>::new());
        bob.delete(&format!("{PATH}/{}", SHOPS[0].id)).await.expect(200);
        assert_eq!(list(&alice, "").await.0.len(), 2);
        for _ in 0..2 {
            alice.delete(&format!("{PATH}/{}", SHOPS[0].id)).await.expect(200);
        }
        assert_eq!(list(&alice, "").await.0, [SHOPS[1].id.clone()]);
    });
}

#[test]
fn pages_follow_each_other_whatever_comes_between() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for shop in &SHOPS[..5] {
            add(&alice, &shop.id).await.expect(200);
        }
        let (first, token) = list(&alice, "page_size=2").await;
        add(&alice, &SHOPS[9].id).await.expect(200);
        let (second, next) = list(&alice, &format!("page_size=2&page_token={token}")).await;
        let (third, last) = list(&alice, &format!("page_size=2&page_token={next}")).await;
        let wanted: Vec<String> = SHOPS[..5].iter().rev().map(|shop| shop.id.clone()).collect();
        assert_eq!(([first, second, third].concat(), last.as_str()), (wanted, ""));
        alice.get(&format!("{PATH}?page_token=x")).await.refused(400, "PAGE_TOKEN_INVALID");
    });
}

#[test]
fn no_more_than_one_may_have_also_at_once() {
    run(async {
        let mesh = mesh().setting("location.favorites_per_user", 3_i64).split().replicas(2).start().await;
        let alice = mesh.persona("alice").await;
        let at: Vec<Persona> = (0..2).map(|n| alice.at(&mesh.gateway_on(n))).collect();
        let said = join_all((0..12).map(|n| add(&at[n % 2], &SHOPS[n].id))).await;
        let (kept, refused): (Vec<_>, Vec<_>) = said.iter().partition(|answer| answer.status == 200);
        assert_eq!((kept.len(), refused.len()), (3, 9));
        refused.iter().for_each(|answer| answer.refused(400, "TOO_MANY_FAVORITES"));
        // One that is kept is no other.
        let mine = list(&alice, "").await.0;
        add(&alice, &mine[0]).await.expect(200);
        alice.delete(&format!("{PATH}/{}", mine[0])).await.expect(200);
        add(&alice, &SHOPS[20].id).await.expect(200);
    });
}

#[test]
fn what_is_no_shop_is_no_favourite() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        add(&alice, &Uuid::new_v4().to_string()).await.refused(404, "SHOP_NOT_FOUND");
        add(&alice, "none").await.refused(400, "VALIDATION_FAILED");
        alice.post(PATH, &Value::Null).await.refused(400, "VALIDATION_FAILED");
        mesh.rest().post(PATH, &json!({"shop_id": SHOPS[0].id})).send().await.refused(401, "TOKEN_MISSING");
    });
}
