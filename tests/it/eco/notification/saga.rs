//! With characters: what a scan gives, or cannot give any more, its user is told (chapter 06, item 6).

use coreloop_facts::v1::ScanCompleted;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Persona, run};
use serde_json::json;
use uuid::Uuid;

use super::stage::{emitted, mesh, phone, pushed, registered, tell, told};

fn scanned(who: &Persona, category: Category) -> ScanCompleted {
    ScanCompleted {
        task_id: Uuid::new_v4().to_string(),
        user_id: who.user_id.clone(),
        category: category.into(),
        confidence: 0.9,
        reward_eligible: true,
        day: "2026-11-22".to_owned(),
        ..ScanCompleted::default()
    }
}

#[test]
fn a_character_that_comes_and_one_that_has_no_room_are_told_to_their_user() {
    run(async {
        let mesh =
            mesh().modules(&["character", "notification"]).split().setting("character.max_owned", 1_i64).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        let first = scanned(&alice, Category::Pet);
        // Told twice, as another event each time: it is one scan.
        tell(&mesh, &alice, &first).await;
        tell(&mesh, &alice, &first).await;
        told(&alice, 1).await;
        let second = scanned(&alice, Category::Can);
        tell(&mesh, &alice, &second).await;
        let rows = told(&alice, 2).await;
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[1]["data"]["code"], &rows[1]["data"]["owned_count"]), (&json!("CHR005"), &json!("1")));
        assert_eq!(rows[0]["kind"], "NOTIFICATION_KIND_CHARACTER_ACQUIRE_FAILED");
        assert_eq!(rows[0]["data"]["reason"], "max_characters_reached");
        assert_eq!(pushed(&mesh, &token, 2).await.len(), 2);
        assert_eq!(emitted(&mesh, "created", &alice).await, 2);
    });
}
