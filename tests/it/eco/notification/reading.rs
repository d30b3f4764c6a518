//! People read what they were told: page by page, once, and nothing of anybody else.

use coreloop_testkit::{Rest, run};
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, acquired, emitted, happened, inbox, tell, told, unread};

fn read_path(notification: &Value) -> String {
    format!("/api/v1/notifications/{}/read", notification["notification_id"].as_str().unwrap())
}

#[test]
fn the_inbox_is_paged_newest_first_and_can_be_that_of_what_is_not_read() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for number in 1..=5 {
            tell(mesh, &alice, &acquired(&alice, &format!("CHR00{number}"))).await;
            told(&alice, number).await;
        }
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = alice.get(&format!("/api/v1/notifications?page_size=2&page_token={token}")).await.expect(200);
            let rows = page["notifications"].as_array().unwrap();
            assert!(rows.len() <= 2);
            seen.extend(rows.iter().map(|row| row["data"]["code"].as_str().unwrap().to_owned()));
            token = page["next_page_token"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, ["CHR005", "CHR004", "CHR003", "CHR002", "CHR001"]);
        let rows = inbox(&alice).await;
        alice.post(&read_path(&rows[1]), &json!({})).await.expect(200);
        let rest = alice.get("/api/v1/notifications?unread=true&page_size=3").await.expect(200);
        let codes: Vec<_> =
            rest["notifications"].as_array().unwrap().iter().map(|row| row["data"]["code"].clone()).collect();
        assert_eq!(codes, ["CHR005", "CHR003", "CHR002"]);
        assert_eq!(unread(&alice).await, 4);
        alice.get("/api/v1/notifications?page_token=x").await.refused(400, "PAGE_TOKEN_INVALID");
    });
}

#[test]
fn of_many_who_read_one_at_once_it_is_read_once() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        tell(mesh, &alice, &acquired(&alice, "CHR001")).await;
        let row = told(&alice, 1).await.remove(0);
        let path = read_path(&row);
        // Somebody else's is none, and so is one that there is not.
        eve.post(&path, &json!({})).await.refused(404, "NOTIFICATION_NOT_FOUND");
        let none = format!("/api/v1/notifications/{}/read", Uuid::new_v4());
        alice.post(&none, &json!({})).await.refused(404, "NOTIFICATION_NOT_FOUND");
        assert_eq!((unread(&alice).await, inbox(&eve).await.len()), (json!(1), 0));
        let asked = (0..16).map(|number| {
            let rest = Rest::to(mesh.gateway_on(number % 2)).with_token(alice.access_token.as_str());
            let path = path.clone();
            async move { rest.post(&path, &json!({})).send().await.expect(200)["read_at"].clone() }
        });
        let times = join_all(asked).await;
        assert!(times.iter().all(|at| *at == times[0] && at.is_string()), "{times:?}");
        let read = inbox(&alice).await.remove(0);
        assert_eq!((&read["read_at"], unread(&alice).await), (&times[0], json!(0)));
        assert_eq!((happened(mesh, &row, "read").await, emitted(mesh, "read", &alice).await), (1, 1));
    });
}

#[test]
fn what_came_after_somebody_looked_is_not_read_with_the_rest() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        tell(mesh, &bob, &acquired(&bob, "CHR001")).await;
        told(&bob, 1).await;
        for number in 1..=3 {
            tell(mesh, &alice, &acquired(&alice, &format!("CHR00{number}"))).await;
            told(&alice, number).await;
        }
        let rows = inbox(&alice).await;
        let until = json!({"until": rows[1]["created_at"]});
        let path = "/api/v1/notifications/read-all";
        assert_eq!(alice.post(path, &until).await.expect(200)["marked"], 2);
        assert_eq!(alice.post(path, &until).await.expect(200)["marked"], 0);
        let left = alice.get("/api/v1/notifications?unread=true").await.expect(200);
        assert_eq!(left["notifications"][0]["notification_id"], rows[0]["notification_id"]);
        // A time that is to come is now.
        let later = json!({"until": "2999-01-01T00:00:00Z"});
        assert_eq!(alice.post(path, &later).await.expect(200)["marked"], 1);
        tell(mesh, &alice, &acquired(&alice, "CHR004")).await;
        told(&alice, 4).await;
        assert_eq!((unread(&alice).await, unread(&bob).await), (json!(1), json!(1)));
        let facts = format!(
            "select coalesce(sum(jsonb_array_length(payload -> 'notification_ids')), 0)::bigint from notification.outbox
              where type = 'read' and aggregateid = '{}'",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&facts).await, 3);
        for row in &rows {
            assert_eq!(happened(mesh, row, "read").await, 1, "{row}");
        }
        alice.post(path, &json!({"until": "yesterday"})).await.refused(400, "VALIDATION_FAILED");
    });
}

/// Histories say what the rows say: recomputed as ops has it done.
#[test]
fn the_inbox_is_what_happened_and_what_was_changed_past_us_is_found() {
    run(async {
        let mesh = super::stage::mesh().start().await;
        let alice = mesh.persona("alice").await;
        for code in ["CHR001", "CHR002"] {
            tell(&mesh, &alice, &acquired(&alice, code)).await;
        }
        let rows = told(&alice, 2).await;
        alice.post(&read_path(&rows[0]), &json!({})).await.expect(200);
        let db = sqlx::PgPool::connect(&mesh.db.url()).await.unwrap();
        let sound = coreloop_notification::integrity::verify(&db).await.unwrap();
        assert_eq!((sound.counts, sound.findings.len()), (vec![("notifications", 2)], 0));
        mesh.db.execute("update notification.inbox set read_at = now() where read_at is null").await;
        let found = coreloop_notification::integrity::verify(&db).await.unwrap().findings;
        assert_eq!((found.len(), found[0].subject.as_str()), (1, rows[1]["notification_id"].as_str().unwrap()));
    });
}
