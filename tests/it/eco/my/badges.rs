//! Badges: earned once, kept for good.

use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Persona, run, wait_until};
use serde_json::{Value, json};

use super::stage::{LONG, MESH, counted, day, mesh, owns, recycles, told};
use crate::eco::character::stage::given;

async fn badge(who: &Persona, code: &str) -> Value {
    let all = who.get("/api/v1/my/badges").await.expect(200);
    let badges = all["badges"].as_array().unwrap();
    badges.iter().find(|badge| badge["code"] == code).unwrap_or_else(|| panic!("no {code}: {all}")).clone()
}

fn is_had(badge: &Value) -> bool {
    badge["earned_at"].is_string()
}

#[test]
fn a_badge_is_earned_once_when_its_figure_is_reached() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, today) = (mesh.persona("alice").await, day(mesh, 0));
        let all = alice.get("/api/v1/my/badges").await.expect(200)["badges"].as_array().unwrap().clone();
        assert!(all.len() >= 11 && all.iter().all(|badge| !is_had(badge) && badge["progress"] == 0.0), "{all:?}");
        let kinds = [
            Category::Pet,
            Category::Glass,
            Category::Can,
            Category::Paper,
            Category::Pet,
            Category::Food,
            Category::Pet,
        ];
        for (number, category) in kinds.into_iter().enumerate() {
            recycles(mesh, &alice, category, &today).await;
            counted(mesh, &alice, i64::try_from(number).unwrap() + 1).await;
            let variety = badge(&alice, "VARIETY_5").await;
            let expected = [0.2, 0.4, 0.6, 0.8, 0.8, 1.0, 1.0][number];
            assert_eq!((&variety["progress"], is_had(&variety)), (&json!(expected), expected >= 1.0), "{variety}");
        }
        let first = badge(&alice, "FIRST_SCAN").await;
        assert!(is_had(&first) && first["name"]["ko"].as_str().unwrap().len() > 1, "{first}");
        assert_eq!(badge(&alice, "RECYCLED_10").await["progress"], 0.7);
        // Her scans bring characters, too, and they a badge.
        for (table, of) in [("events", "aggregate_id = "), ("outbox", "aggregateid = ")] {
            let earned = format!(
                "select count(*) from my.{table} where payload ->> 'code' in ('FIRST_SCAN', 'VARIETY_5') and {of}'{}'",
                alice.user_id
            );
            assert_eq!(mesh.db.count(&earned).await, 2, "{table}");
        }
    });
}

#[test]
fn what_was_earned_stays_when_a_character_goes() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        for code in ["CHR001", "CHR002", "CHR003", "CHR004", "CHR005"] {
            given(&mesh, &alice, code).await;
        }
        wait_until("she has five", LONG, async || is_had(&badge(&alice, "CHARACTERS_5").await)).await;
        let taken = json!({"user_id": alice.user_id, "reason": "by mistake"});
        admin.post("/admin/characters/CHR005/revoke", &taken).await.expect(200);
        owns(&mesh, &alice, 4).await;
        assert!(is_had(&badge(&alice, "CHARACTERS_5").await));
        given(&mesh, &alice, "CHR005").await;
        owns(&mesh, &alice, 5).await;
        assert_eq!(told(&mesh, "badge_earned", &alice).await, 1);
    });
}
