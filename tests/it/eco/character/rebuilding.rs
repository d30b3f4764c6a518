//! What Redis has is made anew of the histories, while it serves: the same as before, whatever it had become.

use std::collections::BTreeMap;

use coreloop_character::{
    rebuilding::{Rebuilt, rebuild},
    views::Views,
};
use coreloop_core::{Clock as _, Ids as _, id::SystemIds};
use coreloop_db::lease::Lease;
use coreloop_testkit::{Persona, TestMesh, run};
use redis::aio::ConnectionManager;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::stage::{given, mesh, view, wait_for_view};

/// Everything that Redis has of characters, but for the number of the generation.
async fn everything(mesh: &TestMesh) -> BTreeMap<String, Value> {
    let mut redis = mesh.redis.connect().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("char:*").query_async(&mut redis).await.unwrap();
    let mut all = BTreeMap::new();
    for key in keys {
        let value = if key.starts_with("char:ownership:") {
            let fields: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg(&key).query_async(&mut redis).await.unwrap();
            json!({"version": fields["version"], "view": fields["view"], "weeks": fields["weeks"]})
        } else if key.starts_with("char:ranking:") {
            let places: Vec<(String, i64)> =
                redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES").query_async(&mut redis).await.unwrap();
            json!(places)
        } else if key.starts_with("char:detail:") {
            json!(redis::cmd("GET").arg(&key).query_async::<String>(&mut redis).await.unwrap())
        } else {
            continue;
        };
        all.insert(key, value);
    }
    all
}

async fn run_rebuild(mesh: &TestMesh, pool: &PgPool) -> Rebuilt {
    let redis = ConnectionManager::new(redis::Client::open(mesh.redis.url()).unwrap()).await.unwrap();
    rebuild(pool, &Views::new(Some(redis), 10_000), (SystemIds.uuid(), mesh.clock.now())).await.unwrap()
}

async fn command(mesh: &TestMesh, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query_async::<redis::Value>(&mut mesh.redis.connect().await).await.unwrap();
}

/// People with something, of whom one has lost some of it.
async fn people(mesh: &TestMesh) -> Vec<Persona> {
    let mut people = Vec::new();
    for (name, codes) in
        [("alice", &["CHR001", "CHR002", "CHR003"][..]), ("bob", &["CHR001"][..]), ("carol", &["CHR004"][..])]
    {
        let who = mesh.persona(name).await;
        for code in codes {
            given(mesh, &who, code).await;
        }
        people.push(who);
    }
    let taken = json!({"user_id": people[0].user_id, "reason": "by mistake"});
    mesh.admin().await.post("/admin/characters/CHR002/revoke", &taken).await.expect(200);
    for who in &people {
        wait_for_view(mesh, who).await;
    }
    people
}

#[test]
fn what_redis_has_is_made_anew_whatever_it_had_become() {
    run(async {
        let mesh = mesh().start().await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let people = people(&mesh).await;
        let rebuilt = run_rebuild(&mesh, &pool).await;
        assert_eq!((rebuilt.collections, rebuilt.events, rebuilt.dropped), (3, 6, 0));
        let before = everything(&mesh).await;
        assert_eq!(before.len(), 3 + 1 + 15, "{before:?}");

        // Emptied; bent, ahead of the books, and of people who are not there: as after a backup of the database came back.
        let own = format!("char:ownership:{}", people[0].user_id);
        let ranking = before.keys().find(|key| key.starts_with("char:ranking:")).unwrap().clone();
        let (ghost, bob) = (Uuid::new_v4().to_string(), people[1].user_id.as_str());
        let (theirs, next) = (format!("char:ownership:{ghost}"), format!("{ranking}:next"));
        let (own, ranking, ghost) = (own.as_str(), ranking.as_str(), ghost.as_str());
        let ahead = r#"{"version":999,"owned":{}}"#;
        let bent: [&[&[&str]]; 3] = [
            &[&["DEL", own, ranking, "char:detail:CHR001", "char:generation"]],
            &[&["HSET", own, "version", "999", "view", ahead], &["ZADD", ranking, "50", bob]],
            &[
                &["HSET", &theirs, "generation", "1", "version", "3", "view", ahead, "weeks", ""],
                &["ZADD", ranking, "70", ghost],
                &["ZADD", &next, "70", ghost],
            ],
        ];
        for commands in bent {
            for words in commands {
                command(&mesh, words).await;
            }
            assert_ne!(everything(&mesh).await, before);
            run_rebuild(&mesh, &pool).await;
            assert_eq!(everything(&mesh).await, before);
        }
        pool.close().await;
    });
}

#[test]
fn it_serves_and_is_written_meanwhile_and_one_rebuilds_at_a_time() {
    run(async {
        let mesh = mesh().start().await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let people = people(&mesh).await;
        // Gifts while it runs, again and again.
        let codes = ["CHR005", "CHR006", "CHR007", "CHR008", "CHR009", "CHR010"];
        let gifts = async {
            for code in codes {
                for who in &people {
                    given(&mesh, who, code).await;
                    assert!(view(&mesh, &who.user_id).await.0 > 0, "a view is always there");
                    let seen = who.get("/api/v1/character/me").await.expect(200);
                    assert!(super::stage::owned(&seen).contains(&code), "{seen}");
                }
            }
        };
        let rebuilds = async {
            for _ in 0..10 {
                run_rebuild(&mesh, &pool).await;
            }
        };
        futures::join!(gifts, rebuilds);
        for who in &people {
            wait_for_view(&mesh, who).await;
        }
        let after = everything(&mesh).await;
        run_rebuild(&mesh, &pool).await;
        assert_eq!(everything(&mesh).await, after);

        let lease = Lease::try_take(&pool, "character.rebuild").await.unwrap().unwrap();
        let redis = ConnectionManager::new(redis::Client::open(mesh.redis.url()).unwrap()).await.unwrap();
        let second = rebuild(&pool, &Views::new(Some(redis), 10_000), (SystemIds.uuid(), mesh.clock.now())).await;
        assert!(matches!(second, Err(coreloop_character::Error::Rebuilding)), "{second:?}");
        lease.give_up().await;
        pool.close().await;
    });
}
