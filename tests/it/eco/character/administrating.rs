//! What administrators change: the catalogue, held to its schema; and what they take.

use coreloop_testkit::run;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{gift, give, given, mesh, mine, of, owned, told, wait_for_owned};

const PATH: &str = "/admin/characters";

fn character(code: &str) -> Value {
    json!({
        "code": code, "name": {"en": "Nova", "ko": "노바"}, "lore": {"en": "A star that fell.", "ko": "떨어진 별."},
        "type_label": {"en": "Star", "ko": "별"}, "categories": ["glass"], "evolves_at": [2, 5], "position": 900, "active": true,
        "unlock": {"condition_type": "scan_count", "threshold": 1, "metadata": {}},
    })
}

#[test]
fn the_catalogue_is_changed_by_administrators_and_nobody_loses_by_it() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        alice.post(PATH, &character("CHR900")).await.refused(403, "ROLE_REQUIRED");
        let put = admin.post(PATH, &character("CHR900")).await.expect(200)["character"].clone();
        assert_eq!((&put["code"], &put["asset_url"]), (&json!("CHR900"), &json!("characters/CHR900/sprite.png")));
        let shown = alice.get("/api/v1/character/catalog").await.expect(200);
        assert_eq!(shown["characters"].as_array().unwrap().last(), Some(&put));
        given(&mesh, &alice, "CHR900").await;

        // The same body is no change that anybody is told of; another is, with what was there before.
        admin.post(PATH, &character("CHR900")).await.expect(200);
        let mut retired = character("CHR900");
        retired["active"] = json!(false);
        admin.post(PATH, &retired).await.expect(200);
        let acted = "select count(*) from character.outbox where aggregatetype = 'admin' and type = 'acted'
                        and payload ->> 'subject' = 'CHR900'";
        assert_eq!(mesh.db.count(acted).await, 2);
        let changes = "select count(*) from character.changes where subject = 'CHR900'
                          and actor = 'user:' || (select max(split_part(actor, ':', 2)) from character.changes where actor <> 'seed')";
        assert_eq!(mesh.db.count(changes).await, 3);
        let shown = alice.get("/api/v1/character/catalog").await.expect(200);
        assert_eq!(shown["characters"].as_array().unwrap().len(), 15);
        // Who has it keeps it and sees it; nobody else gets it.
        assert_eq!(owned(&mine(&alice).await), ["CHR900"]);
        let bob = mesh.persona("bob").await;
        give(&mesh, "campaigns", &gift("1", &bob.user_id, "CHR900")).await.refused(404, "CHARACTER_NOT_FOUND");
    });
}

#[test]
fn a_condition_that_breaks_its_schema_is_refused_and_says_where() {
    run(async {
        let mesh = mesh().start().await;
        let admin = mesh.admin().await;
        for (change, field) in [
            (json!({"condition_type": "moon_phase", "threshold": 1}), "unlock.condition_type"),
            (json!({"condition_type": "scan_count", "threshold": 0}), "unlock.threshold"),
            (json!({"condition_type": "category_count", "threshold": 1}), "unlock.metadata.categories"),
            (
                json!({"condition_type": "category_count", "threshold": 1, "metadata": {"categories": ["moon"]}}),
                "unlock.metadata.categories[0]",
            ),
            (json!({"condition_type": "variety", "threshold": 14}), "unlock.threshold"),
            (json!({"condition_type": "campaign", "threshold": 3}), "unlock.threshold"),
            (
                json!({"condition_type": "streak_days", "threshold": 7, "metadata": {"categories": ["pet"]}}),
                "unlock.metadata",
            ),
        ] {
            let mut body = character("CHR900");
            body["unlock"] = change;
            let refused = admin.post(PATH, &body).await;
            refused.refused(400, "VALIDATION_FAILED");
            let fields = &refused.detail("google.rpc.BadRequest").unwrap()["field_violations"];
            assert!(fields.as_array().unwrap().iter().any(|one| one["field"] == field), "{field}: {fields}");
        }
        for (name, value) in [
            ("code", json!("chr900")),
            ("categories", json!(["moon"])),
            ("evolves_at", json!([5, 2])),
            ("evolves_at", json!([0])),
            ("name", json!({"en": "Nova", "ko": ""})),
            ("position", json!(-1)),
        ] {
            let mut body = character("CHR900");
            body[name] = value;
            let refused = admin.post(PATH, &body).await;
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(name), "{name}: {}", refused.text());
        }
        assert_eq!(mesh.db.count("select count(*) from character.catalogue").await, 15);
    });
}

#[test]
fn what_an_administrator_takes_is_not_earned_again() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        super::stage::scanned(&mesh, &alice, coreloop_scan_api::v1::Category::Pet, "2026-11-22").await;
        wait_for_owned(&alice, &["CHR005"]).await;
        let taken = json!({"user_id": alice.user_id, "reason": "by mistake"});
        let path = format!("{PATH}/CHR005/revoke");
        alice.post(&path, &taken).await.refused(403, "ROLE_REQUIRED");
        admin.post(&path, &json!({"user_id": alice.user_id, "reason": ""})).await.refused(400, "VALIDATION_FAILED");
        admin.post(&path, &taken).await.expect(200);
        admin.post(&path, &taken).await.refused(400, "NOT_OWNED");
        assert_eq!(told(&mesh, "lost", &alice, ("by", &format!("admin:{}", admin.user_id))).await, 1);
        let acted = format!(
            "select count(*) from character.outbox where aggregatetype = 'admin' and payload ->> 'subject' = '{}'
                and payload ->> 'reason' = 'by mistake' and payload ->> 'before' like '%CHR005%'",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&acted).await, 1);
        alice.post("/api/v1/character/unlock", &json!({"code": "CHR005"})).await.refused(400, "CHARACTER_REVOKED");
        assert_eq!(of(&mine(&alice).await, "CHR005")["progress"], 1.0);
        given(&mesh, &alice, "CHR005").await;
        wait_for_owned(&alice, &["CHR005"]).await;
        let nobody = json!({"user_id": Uuid::new_v4(), "reason": "by mistake"});
        admin.post(&path, &nobody).await.refused(400, "NOT_OWNED");
    });
}
