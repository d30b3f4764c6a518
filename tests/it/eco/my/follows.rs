//! Who follows whom: a pair once, nobody themselves, as many as one may.

use coreloop_testkit::run;
use futures::future::{join, join_all};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, changed, follow, mesh, public, told, unfollow};

async fn names(who: &coreloop_testkit::Persona, list: &str) -> Vec<String> {
    let page = who.get(&format!("/api/v1/my/{list}")).await.expect(200);
    let follows = page[list].as_array().unwrap().iter();
    follows.map(|one| one["nickname"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_pair_is_one_however_often_it_is_asked_for() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let first = follow(&alice, &bob.user_id).await.expect(200)["follow"].clone();
        assert_eq!((&first["user_id"], &first["nickname"]), (&json!(bob.user_id), &json!("bob")));
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let again = join_all((0..10).map(|number| follow(&fronts[number % 2], &bob.user_id))).await;
        assert!(again.iter().all(|answer| answer.expect(200)["follow"] == first), "since when stays");
        assert_eq!(told(mesh, "followed", &alice).await, 1);
        assert_eq!(
            (names(&alice, "following").await, names(&bob, "followers").await),
            (vec!["bob".into()], vec!["alice".into()])
        );
        assert_eq!((names(&alice, "followers").await.len(), names(&bob, "following").await.len()), (0, 0));
        // A list shows the name of now.
        changed(&bob, &json!({"nickname": "robert"})).await;
        assert_eq!(names(&alice, "following").await, ["robert"]);
        let profile = bob.get("/api/v1/my/profile").await.expect(200)["profile"].clone();
        assert_eq!((&profile["followers"], &profile["following"]), (&json!(1), &json!(0)));
        for _ in 0..2 {
            unfollow(&alice, &bob.user_id).await.expect(200);
        }
        assert_eq!((told(mesh, "unfollowed", &alice).await, names(&bob, "followers").await.len()), (1, 0));
        unfollow(&alice, &Uuid::new_v4().to_string()).await.expect(200);
    });
}

#[test]
fn nobody_follows_themselves_or_nobody() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        follow(&alice, &alice.user_id).await.refused(400, "SELF_FOLLOW");
        follow(&alice, &Uuid::new_v4().to_string()).await.refused(404, "USER_NOT_FOUND");
        follow(&alice, "bob").await.refused(400, "VALIDATION_FAILED");
        // In whose name a client asks is not heard.
        let bob = mesh.persona("bob").await;
        let path = format!("/api/v1/my/follows/{}", bob.user_id);
        alice.post(&path, &json!({"follower": Uuid::new_v4(), "user_id": alice.user_id})).await.expect(200);
        assert_eq!(names(&bob, "followers").await, ["alice"]);
        mesh.visitor("nobody").post(&path, &json!({})).await.refused(401, "TOKEN_MISSING");
        assert_eq!(told(mesh, "followed", &alice).await, 1);
    });
}

#[test]
fn two_who_follow_each_other_at_once_both_do() {
    run(async {
        let mesh = MESH.get().await;
        for _ in 0..8 {
            let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
            let (bobs, alices) = (bob.at(&mesh.gateway_on(1)), alice.at(&mesh.gateway_on(0)));
            let (one, other) = join(follow(&alices, &bob.user_id), follow(&bobs, &alice.user_id)).await;
            assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200), "{} {}", one.text(), other.text());
            let seen = public(mesh, &alice.user_id).await.expect(200)["user"].clone();
            assert_eq!((&seen["followers"], &seen["following"]), (&json!(1), &json!(1)));
        }
    });
}

#[test]
fn nobody_follows_more_than_they_may() {
    run(async {
        let mesh = mesh().setting("my.max_follows", 3_i64).replicas(2).start().await;
        let alice = mesh.persona("alice").await;
        let mut others = Vec::new();
        for _ in 0..6 {
            others.push(mesh.persona("other").await);
        }
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let asked = others.iter().enumerate().map(|(number, other)| follow(&fronts[number % 2], &other.user_id));
        let answers = join_all(asked).await;
        let done = answers.iter().filter(|answer| answer.status == 200).count();
        answers.iter().filter(|answer| answer.status != 200).for_each(|full| full.refused(400, "FOLLOWS_FULL"));
        assert_eq!((done, told(&mesh, "followed", &alice).await), (3, 3));
        // Whom she follows she still follows; one less, and there is room.
        let followed = alice.get("/api/v1/my/follows").await.expect(200)["following"][0]["user_id"].clone();
        follow(&alice, followed.as_str().unwrap()).await.expect(200);
        unfollow(&alice, followed.as_str().unwrap()).await.expect(200);
        let free = others.iter().zip(&answers).find(|(_, answer)| answer.status != 200).unwrap().0;
        follow(&alice, &free.user_id).await.expect(200);
    });
}

#[test]
fn lists_come_in_pages_newest_first() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut all = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            let other = mesh.persona(name).await;
            follow(&alice, &other.user_id).await.expect(200);
            follow(&other, &alice.user_id).await.expect(200);
            all.insert(0, name);
        }
        for list in ["following", "followers"] {
            let (mut token, mut seen) = (String::new(), Vec::new());
            for size in [2, 2, 1] {
                let page = alice.get(&format!("/api/v1/my/{list}?page_size=2&page_token={token}")).await.expect(200);
                let rows = page[list].as_array().unwrap();
                assert_eq!(rows.len(), size);
                seen.extend(rows.iter().map(|row| row["nickname"].clone()));
                token = page["next_page_token"].as_str().unwrap().to_owned();
            }
            assert_eq!((Value::from(seen), token.as_str()), (json!(all), ""), "{list}");
            let other = if list == "following" { "followers" } else { "following" };
            let page = alice.get(&format!("/api/v1/my/{list}?page_size=1")).await.expect(200);
            let foreign = page["next_page_token"].as_str().unwrap().to_owned();
            for wrong in ["x", foreign.as_str()] {
                alice.get(&format!("/api/v1/my/{other}?page_token={wrong}")).await.refused(400, "PAGE_TOKEN_INVALID");
            }
        }
    });
}

/// Whom many follow is not kept by them, nor one of them by another: their row is looked at, and stays as it is.
#[test]
fn who_follows_waits_for_nobody_else_who_does() {
    run(async {
        let mesh = MESH.get().await;
        let mut people = [mesh.persona("alice").await, mesh.persona("bob").await];
        // The one who is followed has the lower id in one round, and the higher in the other.
        for _ in 0..2 {
            people.swap(0, 1);
            let [alice, bob] = &people;
            changed(bob, &json!({"bio": "known"})).await;
            let row = format!("from my.people where user_id = '{}'", bob.user_id);
            let mut another = mesh.db.connect().await;
            sqlx::query("begin").execute(&mut another).await.unwrap();
            let looked = format!("select ctid::text {row} for share");
            let before: String = sqlx::query_scalar(sqlx::AssertSqlSafe(looked)).fetch_one(&mut another).await.unwrap();
            follow(alice, &bob.user_id).await.expect(200);
            sqlx::query("commit").execute(&mut another).await.unwrap();
            let same = format!("select count(*) {row} and ctid = '{before}'");
            assert_eq!(mesh.db.count(&same).await, 1, "it was not written");
        }
    });
}
