//! Who deletes a conversation, or closes their account, leaves nothing of what was said.

use coreloop_testkit::{PASSWORD, run, wait_until};
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::stage::{
    CONVERSATIONS, FOREVER_MS, MESH, Talk, asked, fault, held, id, leaked, mended, mesh, owed, told_of,
};
use crate::eco::stage::LONG;

#[test]
fn a_conversation_that_is_deleted_leaves_nothing_of_what_was_said() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (talk, other) = (Talk::of(&alice).await, Talk::of(&alice).await);
        let word = format!("bye{}", Uuid::new_v4().simple());
        let answer = talk.answered(&format!("Do you know {word}?")).await;
        let kept = other.answered("Hello.").await;
        // At once: one does, and the others find nothing.
        let all = join_all((0..6).map(|_| talk.delete())).await;
        assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
        for refused in all.iter().filter(|answer| answer.status != 200) {
            refused.refused(404, "CONVERSATION_NOT_FOUND");
        }
        for rest in ["/messages", "/stream"] {
            alice.get(&talk.path(rest)).await.refused(404, "CONVERSATION_NOT_FOUND");
        }
        talk.say(&json!({"text": "Hello?"})).await.refused(404, "CONVERSATION_NOT_FOUND");
        let rows = format!("select count(*) from chat.messages where conversation_id = '{}'", talk.id);
        assert_eq!((mesh.db.count(&rows).await, leaked(mesh, &word).await), (0, 0));
        let mut redis = mesh.redis.connect().await;
        let pieces: i64 =
            redis::cmd("EXISTS").arg(format!("chat:pieces:{}", id(&answer))).query_async(&mut redis).await.unwrap();
        assert_eq!((pieces, told_of(mesh, "conversation_deleted", &talk).await), (0, 1));
        let history = format!("select count(*) from chat.events where aggregate_id = '{}'", talk.id);
        assert_eq!(mesh.db.count(&history).await, 4, "begun, asked, answered, deleted");
        assert_eq!(other.messages().await[0], kept);
    });
}

/// What the model says meanwhile comes to nothing, and what it was reckoned to take is taken.
#[test]
fn one_that_is_deleted_while_it_is_answered_is_gone() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        fault(&mesh, json!({"kind": "latency", "ms": 30_000, "times": 1})).await;
        talk.said("Hello.").await;
        wait_until("the model is asked", LONG, async || asked(&mesh).await == 1).await;
        talk.delete().await.expect(200);
        let done = "select count(*) from chat.processed_events where idempotency_key like 'chat.pipeline:%'";
        wait_until("the command is done", LONG, async || mesh.db.count(done).await == 1).await;
        assert_eq!((told_of(&mesh, "message_answered", &talk).await, held(&mesh, "dead").await), (0, 0));
        assert_eq!((owed(&mesh, &alice).await, mesh.db.count("select count(*) from chat.messages").await), (4_000, 0));
    });
}

#[test]
fn whoever_closes_their_account_leaves_nothing() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (mine, theirs) = (Talk::of(&alice).await, Talk::of(&bob).await);
        let word = format!("bye{}", Uuid::new_v4().simple());
        mine.answered(&format!("Do you know {word}?")).await;
        theirs.answered("Hello.").await;
        for _ in 0..24 {
            Talk::of(&alice).await;
        }
        // One is being answered when she goes.
        fault(&mesh, json!({"kind": "stall", "ms": FOREVER_MS, "times": 1})).await;
        mine.said("And now?").await;
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        let left = format!(
            "select (select count(*) from chat.conversations where user_id = '{0}')
                  + (select count(*) from chat.messages where user_id = '{0}')
                  + (select count(*) from chat.usage where user_id = '{0}')
                  + (select count(*) from chat.users where user_id = '{0}' and withdrawn_at is null)",
            alice.user_id
        );
        wait_until("nothing is left", LONG, async || mesh.db.count(&left).await == 0).await;
        assert_eq!((leaked(&mesh, &word).await, told_of(&mesh, "conversation_deleted", &mine).await), (0, 1));
        let told = format!(
            "select count(*) from chat.outbox where type = 'conversation_deleted' and payload ->> 'user_id' = '{}'",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&told).await, 25);
        assert_eq!(theirs.messages().await.len(), 2);
        alice.get(CONVERSATIONS).await.refused(401, "TOKEN_REVOKED");
        mended(&mesh).await;
    });
}
