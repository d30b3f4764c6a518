//! What the README says of chat without a part of the mesh (O3): what works, what does not, and that what waited is done, once. The rows
//! of the model and the neighbours are in `failing.rs` and `around.rs`.

use coreloop_testkit::{Fault, mesh::Before, run, wait_until};
use serde_json::json;

use super::stage::{CONVERSATIONS, Talk, asked, fault, is_once, mesh, owed, text};
use crate::{
    eco::stage::LONG,
    shop::away::{AWAY, BLIND, blindly, refused_in_the_end},
};

#[test]
fn without_redis_what_is_said_waits_and_is_answered_later() {
    run(async {
        let blind = mesh().setting("chat.redis_timeout_ms", 300_i64).toml(BLIND);
        let mut mesh = blind.start().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        let before = talk.answered("Hello.").await;
        mesh.redis.kill();
        blindly(async || alice.get(CONVERSATIONS).await).await;
        assert_eq!(talk.message(&before).await, before);
        let pending = talk.said("Are you there?").await;
        // It can be followed, without a piece.
        let waiting = talk.follow(&pending).await;
        drop(waiting);
        refused_in_the_end(async || alice.get(CONVERSATIONS).await).await;
        mesh.redis.resurrect().await;
        wait_until("she is answered", LONG, async || alice.get(CONVERSATIONS).await.status == 200).await;
        let answer = talk.ended(&pending).await;
        assert!(text(&answer).ends_with("Are you there?"), "{answer}");
        is_once(&mesh, &answer, 1).await;
        assert_eq!(owed(&mesh, &alice).await, 0);
    });
}

#[test]
fn without_postgres_nothing_is_said_and_nothing_is_lost() {
    run(async {
        let mesh = mesh().proxy(Before::Postgres).start().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        fault(&mesh, json!({"kind": "latency", "ms": 5_000, "times": 1})).await;
        let pending = talk.said("Hello.").await;
        wait_until("the model is asked", LONG, async || asked(&mesh).await == 1).await;
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        talk.say(&json!({"text": "Hello?"})).await.refused(503, AWAY);
        alice.get(&talk.path("/messages")).await.refused(503, AWAY);
        alice.get(&talk.path("/stream")).await.refused(503, AWAY);
        talk.delete().await.refused(503, AWAY);
        proxy.heal();
        wait_until("it is told", LONG, async || alice.get(&talk.path("/messages")).await.status == 200).await;
        let answer = talk.ended(&pending).await;
        is_once(&mesh, &answer, 1).await;
        assert_eq!((talk.messages().await.len(), owed(&mesh, &alice).await), (2, 0));
    });
}

#[test]
fn without_auth_whoever_has_a_token_is_answered() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        talk.answered("Hello.").await;
        mesh.node_mut(0, "auth").kill().await;
        is_once(&mesh, &talk.answered("And now?").await, 1).await;
        assert_eq!(talk.messages().await.len(), 4);
        talk.delete().await.expect(200);
    });
}
