//! Who has acquired most this week, in Korean time.

use coreloop_core::Clock as _;
use coreloop_testkit::{TestMesh, run, wait_until};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::stage::{LONG, given, mesh, wait_for_view};

const PATH: &str = "/api/v1/characters/ranking";

/// To the middle of the next week, wherever in one it is.
fn next_week(mesh: &TestMesh) {
    mesh.clock.advance(SignedDuration::from_hours(7 * 24));
}

#[test]
fn places_are_by_what_was_acquired_this_week() {
    run(async {
        let mesh = mesh().start().await;
        let empty = mesh.visitor("nobody").get(PATH).await.expect(200);
        assert_eq!((&empty["entries"], &empty["total"]), (&json!([]), &json!(0)));
        let people = [mesh.persona("alice").await, mesh.persona("bob").await, mesh.persona("carol").await];
        let gifts: [&[&str]; 3] = [&["CHR001", "CHR002", "CHR003"], &["CHR001"], &["CHR009"]];
        for (who, codes) in people.iter().zip(gifts) {
            for code in codes {
                given(&mesh, who, code).await;
            }
            wait_for_view(&mesh, who).await;
        }
        let [alice, bob, carol] = &people;
        // What went was acquired all the same.
        let admin = mesh.admin().await;
        let taken = json!({"user_id": alice.user_id, "reason": "by mistake"});
        admin.post("/admin/characters/CHR003/revoke", &taken).await.expect(200);
        wait_for_view(&mesh, alice).await;

        let ranking = bob.get(&format!("{PATH}?period=weekly&limit=100")).await.expect(200);
        assert_eq!(ranking["week"], coreloop_character::week::of(mesh.clock.now()));
        let place = |entry: &Value| (entry["rank"].as_i64().unwrap(), entry["characters"].as_i64().unwrap());
        let entries = ranking["entries"].as_array().unwrap();
        assert_eq!(entries.iter().map(place).collect::<Vec<_>>(), [(1, 3), (2, 1), (2, 1)]);
        assert_eq!(entries[0]["user_id"], json!(alice.user_id));
        assert_eq!((&ranking["total"], place(&ranking["me"])), (&json!(3), (2, 1)));
        assert_eq!(ranking["me"]["user_id"], json!(bob.user_id));
        let first = mesh.visitor("nobody").get(&format!("{PATH}?limit=1")).await.expect(200);
        assert_eq!((first["entries"].as_array().unwrap().len(), &first["total"]), (1, &json!(3)));
        assert!(first.get("me").is_none_or(Value::is_null), "{first}");
        for wrong in ["period=monthly", "limit=101", "limit=-1"] {
            carol.get(&format!("{PATH}?{wrong}")).await.refused(400, "VALIDATION_FAILED");
        }
        let week = ranking["week"].as_str().unwrap();
        let lasts: i64 = redis::cmd("TTL")
            .arg(format!("char:ranking:{week}"))
            .query_async(&mut mesh.redis.connect().await)
            .await
            .unwrap();
        assert!(lasts > 9 * 7 * 86_400, "{lasts}");
    });
}

#[test]
fn a_week_begins_anew() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        given(&mesh, &alice, "CHR001").await;
        wait_for_view(&mesh, &alice).await;
        let before = alice.get(PATH).await.expect(200);
        next_week(&mesh);
        let alice = alice.visitor.login().await;
        let after = alice.get(PATH).await.expect(200);
        assert_ne!(before["week"], after["week"]);
        assert_eq!((&before["total"], &after["total"]), (&json!(1), &json!(0)));
        given(&mesh, &alice, "CHR002").await;
        wait_until("she is in it", LONG, async || alice.get(PATH).await.expect(200)["me"]["characters"] == 1).await;
    });
}
