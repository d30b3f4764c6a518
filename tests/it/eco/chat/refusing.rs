//! Each RPC refuses a message that breaks the rules of its fields, and names the field; what is too large is not read.

use coreloop_testkit::run;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{CONVERSATIONS, MESH, Talk};

/// RPC, how it is asked over REST below the conversation or the list, and the field that is wrong.
fn wrong(talk: &Talk) -> Vec<(&'static str, Method, String, Value, &'static str)> {
    let at = |rest: &str| talk.path(rest);
    let bad = |rest: &str| format!("{CONVERSATIONS}/none{rest}");
    let send = |body: Value, field| ("SendMessage", Method::POST, at("/messages"), body, field);
    let create = |body: Value, field| ("CreateConversation", Method::POST, CONVERSATIONS.to_owned(), body, field);
    let get = |rpc, path: String, field| (rpc, Method::GET, path, Value::Null, field);
    let id = Uuid::new_v4();
    vec![
        create(json!({"title": "x".repeat(101)}), "title"),
        create(json!({"title": "a\u{7}b"}), "title"),
        create(json!({"idempotency_key": "a b"}), "idempotency_key"),
        get("ListConversations", format!("{CONVERSATIONS}?page_size=201"), "page_size"),
        send(json!({}), "text"),
        send(json!({"text": " \n\t "}), "text"),
        send(json!({"text": "x".repeat(4_001)}), "text"),
        send(json!({"text": "a\u{0}b"}), "text"),
        send(json!({"text": "a\u{1b}b"}), "text"),
        send(json!({"image_id": "none"}), "image_id"),
        send(json!({"text": "a", "idempotency_key": "x".repeat(201)}), "idempotency_key"),
        ("SendMessage", Method::POST, bad("/messages"), json!({"text": "a"}), "conversation_id"),
        get("ListMessages", bad("/messages"), "conversation_id"),
        get("ListMessages", at("/messages?page_size=-1"), "page_size"),
        get("StreamAnswer", bad("/stream"), "conversation_id"),
        get("StreamAnswer", at("/stream?message_id=none"), "message_id"),
        get("StreamAnswer", at("/stream?after=1-0.x.1"), "after"),
        get("StreamAnswer", at(&format!("/stream?after=1-0.{}.1", id.simple())), "message_id"),
        ("RetryMessage", Method::POST, at("/messages/none/retry"), json!({}), "message_id"),
        ("DeleteConversation", Method::DELETE, bad(""), Value::Null, "conversation_id"),
    ]
}

#[test]
fn what_breaks_the_rules_of_its_fields_is_refused_by_every_rpc() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        for (rpc, method, path, body, field) in wrong(&talk) {
            let call = alice.call(method, &path);
            let refused = if body.is_null() { call.send().await } else { call.json(&body).send().await };
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(field), "{rpc}: {field}: {}", refused.text());
        }
        assert!(talk.messages().await.is_empty());
        // The most that may be: letters count, not bytes; lines and what stands in other languages are texts.
        let most = "가".repeat(3_998) + "\n\t";
        let said = talk.say(&json!({"text": most})).await.expect(202)["message"].clone();
        assert_eq!(said["text"], most);
    });
}

#[test]
fn what_is_too_large_or_no_json_is_refused() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        talk.say(&json!({"text": "x".repeat(65_536)})).await.refused(413, "BODY_TOO_LARGE");
        // What was refused unread may end its connection, of which the client may hear too late: on by another.
        let alice = alice.at(&mesh.front());
        let broken = alice.call(Method::POST, &talk.path("/messages")).header("content-type", "application/json");
        broken.body("{\"text\": ").send().await.refused(400, "MALFORMED_REQUEST");
        assert!(talk.by(&alice).messages().await.is_empty());
    });
}
