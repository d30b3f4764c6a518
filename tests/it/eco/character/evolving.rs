//! A character rises by a level when enough was scanned, once a key.

use std::collections::BTreeSet;

use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Answer, Persona, TestMesh, run};
use futures::future::join_all;
use serde_json::{Value, json};

use super::stage::{MESH, happened, mine, of, scanned, told, wait_for_owned};

const PATH: &str = "/api/v1/character/evolve";

fn ask(code: &str, key: &str) -> Value {
    json!({"code": code, "idempotency_key": key})
}

/// As many eligible scans of plastic as that, whenever they were.
async fn counted(mesh: &TestMesh, who: &Persona, scans: i64) {
    let user = &who.user_id;
    mesh.db
        .execute(&format!(
            "update character.counters set value = {scans} where user_id = '{user}' and category = 'plastic'"
        ))
        .await;
}

async fn owner(mesh: &TestMesh) -> Persona {
    let alice = mesh.persona("alice").await;
    scanned(mesh, &alice, Category::Plastic, "2026-11-22").await;
    wait_for_owned(&alice, &["CHR004"]).await;
    alice
}

fn level(answer: &Answer) -> i64 {
    answer.expect(200)["character"]["level"].as_i64().unwrap()
}

#[test]
fn a_level_costs_what_the_catalogue_says() {
    run(async {
        let mesh = MESH.get().await;
        let alice = owner(mesh).await;
        let refused = alice.post(PATH, &ask("CHR004", "k1")).await;
        refused.refused(400, "EVOLUTION_NOT_READY");
        let far = &refused.detail("google.rpc.ErrorInfo").unwrap()["metadata"];
        assert_eq!((&far["value"], &far["threshold"]), (&json!("1"), &json!("10")));
        alice.post(PATH, &ask("CHR005", "k1")).await.refused(400, "NOT_OWNED");
        alice.post(PATH, &ask("CHR999", "k1")).await.refused(404, "CHARACTER_NOT_FOUND");
        alice.post(PATH, &json!({"code": "CHR004"})).await.refused(400, "VALIDATION_FAILED");
        counted(mesh, &alice, 10).await;
        // What was refused has left its key free.
        let first = alice.post(PATH, &ask("CHR004", "k1")).await;
        assert_eq!(level(&first), 2);
        assert_eq!(alice.post(PATH, &ask("CHR004", "k1")).await.expect(200), first.expect(200));
        alice.post(PATH, &ask("CHR005", "k1")).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        alice.post(PATH, &ask("CHR004", "k2")).await.refused(400, "EVOLUTION_NOT_READY");
        counted(mesh, &alice, 50).await;
        // The key as a header.
        let third = alice.call(http::Method::POST, "/api/v1/characters/evolve").header("idempotency-key", "k3");
        assert_eq!(level(&third.json(&json!({"code": "CHR004"})).send().await), 3);
        alice.post(PATH, &ask("CHR004", "k4")).await.refused(400, "FULLY_EVOLVED");
        assert_eq!(of(&mine(&alice).await, "CHR004")["owned"]["level"], 3);
        assert_eq!((happened(mesh, &alice).await, told(mesh, "evolved", &alice, ("code", "CHR004")).await), (3, 2));
    });
}

#[test]
fn a_key_is_one_level_whoever_asks_how_often() {
    run(async {
        let mesh = MESH.get().await;
        let alice = owner(mesh).await;
        counted(mesh, &alice, 1_000).await;
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let sent = ask("CHR004", "one");
        let answers = join_all((0..40).map(|number| fronts[number % 2].post(PATH, &sent))).await;
        let levels: BTreeSet<i64> = answers.iter().filter(|answer| answer.status == 200).map(level).collect();
        assert_eq!(levels, BTreeSet::from([2]));
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(409, "IN_PROGRESS");
        }
        assert_eq!(level(&alice.post(PATH, &sent).await), 2);
        assert_eq!(told(mesh, "evolved", &alice, ("code", "CHR004")).await, 1);
        // Keys apart are levels apart, and no more than there are.
        let keys: Vec<Value> = (0..8).map(|number| ask("CHR004", &format!("other-{number}"))).collect();
        let answers = join_all(keys.iter().enumerate().map(|(number, sent)| fronts[number % 2].post(PATH, sent))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).map(level).collect::<Vec<_>>(), [3]);
        assert_eq!(happened(mesh, &alice).await, 3);
    });
}
