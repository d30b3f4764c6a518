//! How people want to be told: kinds, language, quiet hours; what they do not want they are not told.

use coreloop_core::Clock as _;
use coreloop_testkit::{run, wait_until};
use http::Method;
use serde_json::{Value, json};

use super::stage::{
    LONG, MESH, acquired, facts, inbox, phone, prefers, pushed, pushes, registered, say, tell, told, unseen,
};

const PATH: &str = "/api/v1/notifications/preferences";

#[test]
fn preferences_change_by_the_fields_that_are_sent() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let first = alice.get(PATH).await.expect(200)["preferences"].clone();
        assert_eq!(
            (&first["push_off"], &first["inbox_off"]),
            (&json!(["NOTIFICATION_KIND_PROFILE_UPDATED"]), &json!([]))
        );
        assert!(first["quiet_hours"].is_null(), "{first}");
        prefers(&alice, &json!({"language": "en"})).await;
        prefers(&alice, &json!({"quiet_hours": {"start": "22:00", "end": "07:30"}})).await;
        let later = prefers(&alice, &json!({"quiet_hours": {"end": "08:00"}})).await;
        assert_eq!(later["quiet_hours"], json!({"start": "22:00", "end": "08:00", "time_zone": "Asia/Seoul"}));
        assert_eq!((&later["language"], &later["push_off"]), (&json!("en"), &first["push_off"]));
        assert_eq!(prefers(&alice, &json!({})).await, later, "nothing was sent");
        let open = prefers(&alice, &json!({"push_off": [], "quiet_hours": null})).await;
        assert_eq!(
            (&open["push_off"], &open["language"], &open["quiet_hours"]),
            (&json!([]), &json!("en"), &Value::Null)
        );
        assert_eq!(alice.get(PATH).await.expect(200)["preferences"], open);
        assert_eq!(bob.get(PATH).await.expect(200)["preferences"], first);
    });
}

#[test]
fn preferences_that_are_none_are_refused_by_name_and_change_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let before = alice.get(PATH).await.expect(200);
        for (change, field) in [
            (json!({"quiet_hours": {"start": "22:00", "end": "22:00"}}), "quiet_hours.end"),
            (json!({"quiet_hours": {"start": "25:00", "end": "07:00"}}), "quiet_hours.start"),
            (json!({"quiet_hours": {"start": "22:00"}}), "quiet_hours.end"),
            (
                json!({"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Mars/Olympus"}}),
                "quiet_hours.time_zone",
            ),
            (
                json!({"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "../etc/passwd"}}),
                "quiet_hours.time_zone",
            ),
            (json!({"language": "fr"}), "language"),
            (json!({"push_off": ["NOTIFICATION_KIND_UNSPECIFIED"]}), "push_off"),
            (json!({"inbox_off": [2, 2]}), "inbox_off"),
            (json!({"inbox_off": [999]}), "inbox_off"),
        ] {
            let refused = alice.call(Method::PATCH, PATH).json(&change).send().await;
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(field), "{field}: {}", refused.text());
        }
        assert_eq!(alice.get(PATH).await.expect(200), before);
    });
}

#[test]
fn what_somebody_does_not_want_is_not_told_and_what_is_told_is_in_their_language() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        prefers(&alice, &json!({"language": "en", "inbox_off": ["NOTIFICATION_KIND_SCAN_FAILED"]})).await;
        let unwanted = facts(&alice, &unseen(&alice));
        say(mesh, &unwanted, mesh.clock.now()).await;
        tell(mesh, &alice, &acquired(&alice, "CHR001")).await;
        let rows = told(&alice, 1).await;
        let english = json!("You have a new character");
        assert_eq!((rows.len(), &rows[0]["title"]), (1, &english));
        let korean = alice.get("/api/v1/notifications?language=ko").await.expect(200);
        assert_eq!(korean["notifications"][0]["title"], "새 캐릭터를 얻었어요");
        assert_eq!(pushed(mesh, &token, 1).await[0]["notification"]["title"], english);
        let fact = format!(
            "select count(*) from notification.outbox where aggregateid = '{}' and payload ->> 'title' = 'You have a new character'",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&fact).await, 1);
        // In the inbox without a sound.
        prefers(&alice, &json!({"inbox_off": [], "push_off": ["NOTIFICATION_KIND_SCAN_FAILED"]})).await;
        tell(mesh, &alice, &unseen(&alice)).await;
        told(&alice, 2).await;
        tell(mesh, &alice, &acquired(&alice, "CHR002")).await;
        pushed(mesh, &token, 2).await;
        wait_until("all three are there", LONG, async || inbox(&alice).await.len() == 3).await;
        assert_eq!(pushes(mesh, &token).await.len(), 2);
    });
}
