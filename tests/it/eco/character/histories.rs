//! M9 on the real parts: whatever happened to a collection, a replay, its snapshots, the tables and Redis say the same.

use coreloop_eventstore::EventStore;
use coreloop_testkit::{Persona, Rounds, TestMesh, run, seed};
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::stage::{MESH, gift, give, wait_for_view};
use crate::rewards::stage::admin;

/// People who live at the same time.
const ABREAST: u64 = 4;

/// Things happen to somebody: gifts and what is taken again, some of it refused.
async fn live(mesh: &TestMesh, admin: &Persona, who: &Persona, mut chance: StdRng, acts: usize) {
    for _ in 0..acts {
        let code = format!("CHR{:03}", chance.random_range(1..6));
        if chance.random_bool(0.6) {
            let event = Uuid::from_u128(chance.random()).to_string();
            let answer = give(mesh, "campaigns", &gift(&event, &who.user_id, &code)).await;
            assert!(answer.status == 200 || answer.reason() == "ALREADY_OWNED", "{}", answer.text());
        } else {
            let body = json!({"user_id": who.user_id, "reason": "chance"});
            let answer = admin.post(&format!("/admin/characters/{code}/revoke"), &body).await;
            assert!(answer.status == 200 || answer.reason() == "NOT_OWNED", "{}", answer.text());
        }
    }
}

#[test]
fn every_way_to_a_collection_leads_there() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, seed) = (admin(mesh).await, seed("collections"));
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let history = EventStore::new("character").unwrap();
        let mut rounds = Rounds::of(50);
        for round in rounds.by_ref() {
            let mut people = Vec::new();
            for _ in 0..ABREAST {
                people.push(mesh.persona("somebody").await);
            }
            let lives = people.iter().enumerate().map(|(number, who)| {
                let chance = StdRng::seed_from_u64(seed.wrapping_add(round as u64 * ABREAST + number as u64));
                // One long enough for a snapshot, now and then.
                let acts = if round == 0 && number == 0 { 320 } else { 20 };
                live(mesh, &admin, who, chance, acts)
            });
            join_all(lives).await;
            for who in &people {
                tell(mesh, &pool, &history, who).await;
            }
        }
        let snapshots = mesh.db.count("select count(*) from character.snapshots").await;
        assert!(snapshots > 0, "a history is long enough to have a snapshot");
        let report = coreloop_character::integrity::verify(&pool).await.unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        println!("{} collections, {snapshots} snapshots: 0 violations", rounds.begun() as u64 * ABREAST);
        pool.close().await;
    });
}

async fn tell(mesh: &TestMesh, pool: &PgPool, history: &EventStore, who: &Persona) {
    type Collection = coreloop_character::collection::Collection;
    let (mut connection, id) = (pool.acquire().await.unwrap(), who.user_id.parse().unwrap());
    let replayed = history.replay::<Collection>(&mut connection, id).await.unwrap();
    let verified = history.verify::<Collection>(&mut connection, id).await.unwrap();
    let loaded = history.load::<Collection>(&mut connection, id).await.unwrap();
    assert_eq!((replayed.state(), replayed.version()), (verified.state(), verified.version()));
    assert_eq!((replayed.state(), replayed.version()), (loaded.state(), loaded.version()));
    if replayed.version() == 0 {
        return;
    }
    let view = wait_for_view(mesh, who).await;
    let truth: Value = json!({"version": replayed.version(), "owned": replayed.state().owned});
    assert_eq!(view, truth);
}

#[test]
fn a_row_that_is_bent_is_found() {
    run(async {
        let mesh = super::stage::mesh().start().await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let alice = mesh.persona("alice").await;
        super::stage::given(&mesh, &alice, "CHR001").await;
        let sound = coreloop_character::integrity::verify(&pool).await.unwrap();
        assert_eq!((sound.counts, sound.findings.len()), (vec![("collections", 1)], 0));
        for (bend, mend) in [
            ("update character.ownership set level = 2", "update character.ownership set level = 1"),
            ("update character.collections set owned = 2", "update character.collections set owned = 1"),
            ("update character.collections set version = 2", "update character.collections set version = 1"),
            ("update character.collections set closed = true", "update character.collections set closed = false"),
        ] {
            mesh.db.execute(bend).await;
            let found = coreloop_character::integrity::verify(&pool).await.unwrap().findings;
            assert_eq!(found.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), ["collection"], "{bend}");
            assert_eq!(found[0].subject, alice.user_id);
            mesh.db.execute(mend).await;
        }
        assert!(coreloop_character::integrity::verify(&pool).await.unwrap().findings.is_empty());
        pool.close().await;
    });
}
