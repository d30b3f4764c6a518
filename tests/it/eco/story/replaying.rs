//! All events into empty read models: what `my` counts, and what Redis has of characters, is the same as before.

use std::{collections::BTreeMap, fmt::Write as _};

use coreloop_testkit::{Persona, TestMesh, run, wait::wait_for, wait_until};
use serde_json::{Value, json};

use super::stage::mesh;
use crate::{
    eco::{
        character::stage::wait_for_view,
        saga_faults::truth::{Owed, once, open},
        stage::{LONG, Taken},
    },
    ops::cli::coreloop,
};

/// What `my` has come to, but for when a badge was earned, which is when its owner's figures were told.
const TABLES: &[(&str, &str, &str)] = &[
    ("people", "t::text", "user_id"),
    ("heard", "t::text", "source, event_id"),
    ("footprints", "t::text", "user_id, day"),
    ("categories", "t::text", "user_id, category"),
    ("streaks", "t::text", "user_id"),
    ("badges", "user_id || ' ' || code", "user_id, code"),
];

/// All rows of the tables, as text.
async fn tables(mesh: &TestMesh) -> String {
    let (mut connection, mut all) = (mesh.db.connect().await, String::new());
    for (table, row, order) in TABLES {
        let sql = format!("select coalesce(string_agg({row}, E'\\n' order by {order}), '') from my.{table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        write!(all, "{table}\n{rows}\n").unwrap();
    }
    all
}

/// What Redis has of people's characters and of rankings.
async fn views(mesh: &TestMesh) -> BTreeMap<String, Value> {
    let mut redis = mesh.redis.connect().await;
    let mut all = BTreeMap::new();
    for pattern in ["char:ownership:*", "char:ranking:*"] {
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.unwrap();
        for key in keys {
            let value = if pattern.starts_with("char:ownership") {
                let fields: BTreeMap<String, String> =
                    redis::cmd("HGETALL").arg(&key).query_async(&mut redis).await.unwrap();
                json!({"version": fields["version"], "view": fields["view"], "weeks": fields["weeks"]})
            } else {
                let mut range = redis::cmd("ZRANGE");
                let places: Vec<(String, i64)> =
                    range.arg(&key).arg(0).arg(-1).arg("WITHSCORES").query_async(&mut redis).await.unwrap();
                json!(places)
            };
            all.insert(key, value);
        }
    }
    all
}

/// Nothing is left of what events came to, nor of which were heard.
async fn emptied(mesh: &TestMesh) {
    for (table, ..) in TABLES {
        mesh.db.execute(&format!("delete from my.{table}")).await;
    }
    // Histories refuse to be forgotten.
    let fresh = "alter table my.events disable trigger all; delete from my.snapshots; delete from my.events;
                 alter table my.events enable trigger all; delete from my.processed_events";
    for statement in fresh.split(';') {
        mesh.db.execute(statement).await;
    }
    let mut redis = mesh.redis.connect().await;
    for key in views(mesh).await.into_keys() {
        let () = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
    }
}

/// What somebody is told of it, whenever that is.
async fn told(who: &Persona) -> Value {
    let mut told = who.get("/api/v1/my/summary").await.expect(200);
    told["as_of"] = Value::Null;
    json!({"summary": told, "characters": who.get("/api/v1/character/me").await.expect(200)["owned_count"]})
}

#[test]
fn all_events_heard_from_nothing_come_to_the_same_read_models() {
    run(async {
        let mesh = mesh().setting("character.max_owned", 3_i64).start().await;
        let people = [mesh.persona("alice").await, mesh.persona("bob").await];
        let albums = [&["bottle.jpg", "can.png", "jar.webp", "box.jpg"][..], &["can.png", "bottle.jpg"][..]];
        for (who, album) in people.iter().zip(albums) {
            for name in album {
                Taken::by(who, name).await;
            }
        }
        let owed = [Owed { characters: 3, refusals: 1 }, Owed { characters: 2, refusals: 0 }];
        let owed: Vec<_> = people.iter().map(|who| who.user_id.clone()).zip(owed).collect();
        wait_until("every photo has come to its end", LONG, async || mesh.db.count(&open(&owed)).await == 0).await;
        once(&mesh, &owed).await;
        for who in &people {
            wait_for_view(&mesh, who).await;
        }
        let before = (tables(&mesh).await, views(&mesh).await);
        let said = [told(&people[0]).await, told(&people[1]).await];
        assert!(before.1.len() >= 3, "two collections and a ranking: {:?}", before.1);

        emptied(&mesh).await;
        assert_ne!(tables(&mesh).await, before.0);
        assert_eq!(views(&mesh).await.len(), 0);
        for (consumer, topic) in [
            ("my.facts", "events.character.acquired"),
            ("my.facts", "events.scan.completed"),
            ("character.views", "events.character.acquired"),
        ] {
            coreloop(&mesh, &["events", "replay", consumer, topic, "--all"]).await.fine();
        }
        let mut now = (String::new(), BTreeMap::new());
        let same = wait_for("everything is as it was", LONG * 2, async || {
            now = (tables(&mesh).await, views(&mesh).await);
            (now == before).then_some(())
        });
        let found = tokio::time::timeout(LONG, same).await;
        assert!(found.is_ok(), "it was {before:#?} and is {now:#?}");
        assert_eq!([told(&people[0]).await, told(&people[1]).await], said);
    });
}
