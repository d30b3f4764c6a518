//! Each RPC refuses a message that breaks the rules of its fields, names the field, and changes nothing.

use coreloop_testkit::run;
use http::Method;
use serde_json::{Value, json};

use super::stage::MESH;

const PATH: &str = "/api/v1/notifications";

/// RPC, how it is asked over REST, and the field that is wrong.
fn wrong() -> Vec<(&'static str, Method, String, Value, &'static str)> {
    let device = |change: Value| {
        let mut body = json!({"token": "a-token-of-a-phone", "platform": "PLATFORM_WEB"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ("RegisterDevice", Method::POST, format!("{PATH}/devices"), body)
    };
    let with = |(rpc, method, path, body), field| (rpc, method, path, body, field);
    let list = |query: &str| ("ListNotifications", Method::GET, format!("{PATH}?{query}"), Value::Null);
    vec![
        with(list("page_size=201"), "page_size"),
        with(list("page_size=-1"), "page_size"),
        with(list("language=fr"), "language"),
        with(list(&format!("page_token={}", "x".repeat(513))), "page_token"),
        with(("MarkRead", Method::POST, format!("{PATH}/none/read"), json!({})), "notification_id"),
        with(("MarkAllRead", Method::POST, format!("{PATH}/read-all"), json!({"until": 7})), "until"),
        with(device(json!({"token": ""})), "token"),
        with(device(json!({"token": "short"})), "token"),
        with(device(json!({"token": "x".repeat(4_097)})), "token"),
        with(device(json!({"token": "a token with blanks in it"})), "token"),
        with(device(json!({"platform": "PLATFORM_UNSPECIFIED"})), "platform"),
        with(device(json!({"platform": 99})), "platform"),
        with(device(json!({"device_id": "mine"})), "device_id"),
        with(("DeleteDevice", Method::DELETE, format!("{PATH}/devices/none"), Value::Null), "device_id"),
        with(
            ("UpdatePreferences", Method::PATCH, format!("{PATH}/preferences"), json!({"quiet_hours": {"start": "9"}})),
            "quiet_hours.start",
        ),
        with(
            (
                "UpdatePreferences",
                Method::PATCH,
                format!("{PATH}/preferences?update_mask=user_id"),
                json!({"language": "en"}),
            ),
            "update_mask",
        ),
    ]
}

#[test]
fn what_breaks_the_rules_of_its_fields_is_refused_by_every_rpc() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for (rpc, method, path, body, field) in wrong() {
            let call = alice.call(method, &path);
            let refused = if body.is_null() { call.send().await } else { call.json(&body).send().await };
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(field), "{rpc}: {field}: {}", refused.text());
            assert!(!refused.text().contains("blanks"), "{rpc}: a token is shown");
        }
        for table in ["devices", "inbox", "people"] {
            let rows = format!("select count(*) from notification.{table} where user_id = '{}'", alice.user_id);
            assert_eq!(mesh.db.count(&rows).await, 0, "{table}");
        }
        for path in
            [PATH.to_owned(), format!("{PATH}/unread-count"), format!("{PATH}/devices"), format!("{PATH}/preferences")]
        {
            mesh.rest().get(&path).send().await.refused(401, "TOKEN_MISSING");
        }
    });
}
