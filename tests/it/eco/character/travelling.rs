//! What somebody had at any time, and all that happened.

use coreloop_testkit::run;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::stage::{given, mesh, mine, of, owned};

fn at(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn what_was_had_at_any_time_can_be_told() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let codes = ["CHR007", "CHR002", "CHR011"];
        for code in codes {
            given(&mesh, &alice, code).await;
            mesh.clock.advance(SignedDuration::from_secs(20));
        }
        let now = mine(&alice).await;
        assert_eq!((owned(&now), &now["version"]), (vec!["CHR002", "CHR007", "CHR011"], &json!(3)));
        let then = async |time: Timestamp| alice.get(&format!("/api/v1/characters/me?as_of={time}")).await.expect(200);
        for (number, code) in codes.into_iter().enumerate() {
            let came = at(&of(&now, code)["owned"]["acquired_at"]);
            let (before, after) = (then(came - SignedDuration::from_micros(1)).await, then(came).await);
            assert_eq!((owned(&before).len(), owned(&after).len()), (number, number + 1), "{code}");
            assert_eq!(of(&after, code)["owned"], of(&now, code)["owned"]);
            // What was counted then nobody knows.
            assert!(of(&before, code).get("progress").is_none_or(Value::is_null));
        }
        assert_eq!(owned(&then("2020-01-01T00:00:00Z".parse().unwrap()).await).len(), 0);
        assert_eq!(owned(&then("2999-01-01T00:00:00Z".parse().unwrap()).await).len(), 3);
        assert_eq!(alice.get("/api/v1/character/me?as_of=yesterday").await.status, 400);
    });
}

#[test]
fn the_history_is_told_from_its_end() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let path = "/api/v1/character/me/history";
        assert_eq!(alice.get(path).await.expect(200), json!({"entries": [], "next_page_token": ""}));
        for code in ["CHR001", "CHR002", "CHR003"] {
            given(&mesh, &alice, code).await;
        }
        let admin = mesh.admin().await;
        let taken = json!({"user_id": alice.user_id, "reason": "by mistake"});
        admin.post("/admin/characters/CHR002/revoke", &taken).await.expect(200);
        let said = |entry: &Value| {
            (entry["sequence"].as_i64().unwrap(), entry["kind"].clone(), entry["code"].clone(), entry["cause"].clone())
        };
        let all = alice.get("/api/v1/character/history").await.expect(200);
        let entries: Vec<_> = all["entries"].as_array().unwrap().iter().map(said).collect();
        let (came, went) = (json!("HISTORY_KIND_ACQUIRED"), json!("HISTORY_KIND_LOST"));
        assert_eq!(
            entries,
            [
                (4, went, json!("CHR002"), json!("deleted")),
                (3, came.clone(), json!("CHR003"), json!("campaign")),
                (2, came.clone(), json!("CHR002"), json!("campaign")),
                (1, came, json!("CHR001"), json!("campaign")),
            ]
        );
        let (mut token, mut paged) = (String::new(), Vec::new());
        for size in [3, 1] {
            let page = alice.get(&format!("{path}?page_size=3&page_token={token}")).await.expect(200);
            assert_eq!(page["entries"].as_array().unwrap().len(), size);
            paged.extend(page["entries"].as_array().unwrap().iter().map(said));
            token = page["next_page_token"].as_str().unwrap().to_owned();
        }
        assert_eq!((paged, token.as_str()), (entries, ""));
        alice.get(&format!("{path}?page_token=x")).await.refused(400, "PAGE_TOKEN_INVALID");
    });
}
