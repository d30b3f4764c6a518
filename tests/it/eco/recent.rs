//! The newest images of somebody in Redis: they answer while nothing has changed, and nobody is shown what is not so.

use coreloop_testkit::{Persona, Shared, TestMesh, run, wait_until};
use serde_json::{Value, json};

use super::stage::{self, LONG, Taken, listed};

/// Two replicas: each test has people of its own.
static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(stage::mesh().replicas(2).start()));

fn name(who: &Persona) -> String {
    format!("image:recent:{}", who.user_id)
}

/// What Redis has of somebody.
async fn kept(mesh: &TestMesh, who: &Persona) -> Vec<u8> {
    redis::cmd("GET").arg(name(who)).query_async(&mut mesh.redis.connect().await).await.unwrap()
}

/// Redis has that of somebody, as one that missed what happened since.
async fn missed(mesh: &TestMesh, who: &Persona, old: &[u8]) {
    let () = redis::cmd("SET").arg(name(who)).arg(old).query_async(&mut mesh.redis.connect().await).await.unwrap();
}

/// Nothing more happens to it by itself.
async fn settled(mesh: &TestMesh, taken: &Taken) {
    let done = format!("select count(*) from image.images where id = '{}' and thumbnails = 2", taken.id());
    wait_until("its copies are there", LONG, async || mesh.db.count(&done).await == 1).await;
}

#[test]
fn the_newest_are_answered_from_redis_while_nothing_has_changed() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        settled(mesh, &taken).await;
        assert_eq!(listed(&alice).await, std::slice::from_ref(&taken.image));
        let life: i64 = redis::cmd("TTL").arg(name(&alice)).query_async(&mut mesh.redis.connect().await).await.unwrap();
        assert!((1..=900).contains(&life), "{life}");
        // Something of which nobody was told.
        let id = taken.id();
        mesh.db.execute(&format!("update image.images set content_length = 7 where id = '{id}'")).await;
        assert_eq!(listed(&alice).await, std::slice::from_ref(&taken.image));
        let user = &alice.user_id;
        mesh.db.execute(&format!("update image.owners set version = version + 1 where user_id = '{user}'")).await;
        assert_eq!(listed(&alice).await[0]["content_length"], 7);
    });
}

#[test]
fn a_redis_that_missed_what_happened_shows_nobody_what_is_not_so() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (first, second) = (Taken::by(&alice, "can.png").await, Taken::by(&alice, "box.jpg").await);
        settled(mesh, &first).await;
        settled(mesh, &second).await;
        assert_eq!(listed(&alice).await, [second.image.clone(), first.image.clone()]);
        let old = kept(mesh, &alice).await;
        alice.delete(&second.path()).await.expect(200);
        missed(mesh, &alice, &old).await;
        assert_eq!(listed(&alice).await, std::slice::from_ref(&first.image));
        let third = Taken::by(&alice, "jar.webp").await;
        missed(mesh, &alice, &old).await;
        assert_eq!(listed(&alice).await, [third.image.clone(), first.image.clone()]);
        // What is no list is none.
        missed(mesh, &alice, b"nonsense").await;
        assert_eq!(listed(&alice).await, [third.image, first.image]);
    });
}

#[test]
fn pages_are_the_same_wherever_they_come_from() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let user = &alice.user_id;
        mesh.db.execute(&format!("insert into image.owners (user_id) values ('{user}')")).await;
        let many = format!(
            "insert into image.images (id, user_id, object_key, etag, mime_type, content_length, state, created_at, thumbnails)
             select gen_random_uuid(), '{user}', 'uploads/{user}/' || n, n, 'image/heic', n, 1, now() - n * interval '1 minute', 3
               from generate_series(1, 25) n"
        );
        mesh.db.execute(&many).await;
        let of = |page: &Value| -> Vec<i64> {
            page["images"].as_array().unwrap().iter().map(|image| image["content_length"].as_i64().unwrap()).collect()
        };
        // The first round is the database's, the second that of Redis where it can be.
        for round in 1..=2 {
            for size in [7, 20, 24, 25, 50] {
                let first = alice.get(&format!("/api/v1/image?page_size={size}")).await.expect(200);
                assert_eq!(of(&first), (1..=size.min(25)).collect::<Vec<i64>>(), "round {round}");
                let token = first["next_page_token"].as_str().unwrap();
                assert_eq!(token.is_empty(), size >= 25, "round {round}, {size}");
                if !token.is_empty() {
                    let path = format!("/api/v1/image?page_size=200&page_token={token}");
                    let rest = alice.get(&path).await.expect(200);
                    assert_eq!((of(&rest), &rest["next_page_token"]), ((size + 1..=25).collect(), &json!("")));
                }
            }
        }
    });
}
