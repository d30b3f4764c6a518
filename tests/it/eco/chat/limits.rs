//! What a user may say, keep and cost: the database decides, also for those who come at once.

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, run};
use futures::future::join_all;
use serde_json::json;

use super::stage::{CONVERSATIONS, Talk, asked, fault, mesh, owed};
use crate::eco::stage::Taken;

async fn begun(builder: Builder) -> (TestMesh, Persona) {
    let mesh = builder.start().await;
    let alice = mesh.persona("alice").await;
    (mesh, alice)
}

#[test]
fn a_user_has_so_many_conversations_and_a_conversation_so_many_messages() {
    run(async {
        let limited = mesh().setting("chat.max_conversations", 2_i64).setting("chat.max_messages", 4_i64);
        let (mesh, alice) = begun(limited.replicas(2).split()).await;
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let all = join_all((0..8).map(|number| {
            let front = fronts[number % 2].clone();
            async move { front.post(CONVERSATIONS, &json!({})).await }
        }))
        .await;
        assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 2);
        for refused in all.iter().filter(|answer| answer.status != 200) {
            refused.refused(400, "TOO_MANY_CONVERSATIONS");
        }
        let begun = all.iter().find(|answer| answer.status == 200).unwrap().json();
        let id = begun["conversation"]["conversation_id"].as_str().unwrap().to_owned();
        let talk = Talk { who: alice.clone(), id };
        let keyed = json!({"text": "one", "idempotency_key": "1"});
        let first = talk.say(&keyed).await.expect(202)["answer"].clone();
        talk.ended(&first).await;
        talk.answered("two").await;
        talk.say(&json!({"text": "three"})).await.refused(400, "CONVERSATION_FULL");
        // What is there is answered all the same.
        assert_eq!(talk.say(&keyed).await.expect(202)["answer"]["message_id"], first["message_id"]);
        // Who deletes one may begin another.
        talk.delete().await.expect(200);
        Talk::of(&alice).await.answered("four").await;
    });
}

#[test]
fn only_so_many_answers_are_open_and_each_is_reckoned_before_it_is_given() {
    run(async {
        let (mesh, alice) = begun(mesh().replicas(2).split()).await;
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 3})).await;
        let talks = join_all((0..8).map(|_| Talk::of(&alice))).await;
        let all = join_all(talks.iter().enumerate().map(|(number, talk)| {
            let talk = talk.by(&alice.at(&mesh.gateway_on(number % 2)));
            async move { talk.say(&json!({"text": "Hello."})).await }
        }))
        .await;
        let sent: Vec<_> = all.iter().zip(&talks).filter(|(answer, _)| answer.status == 202).collect();
        assert_eq!(sent.len(), 3, "as many as may be open");
        for refused in all.iter().filter(|answer| answer.status != 202) {
            refused.refused(429, "TOO_MANY_OPEN_ANSWERS");
            assert_eq!(refused.header("retry-after"), "1");
        }
        let reckoned = format!("select tokens from chat.usage where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&reckoned).await, 12_000);
        for (answer, talk) in sent {
            talk.ended(&answer.json()["answer"]).await;
        }
        assert_eq!(owed(&mesh, &alice).await, 0, "and what it took stands in its place");
        talks[0].answered("Hello again.").await;
    });
}

#[test]
fn a_day_has_so_many_tokens() {
    run(async {
        let (mesh, alice) = begun(mesh().setting("chat.daily_tokens", 4_100_i64)).await;
        let talk = Talk::of(&alice).await;
        // What is said takes some of what is left; a whole answer must fit into it.
        let mut said = 0;
        let refused = loop {
            let answer = talk.say(&json!({"text": "Hello."})).await;
            if answer.status != 202 {
                break answer;
            }
            said += 1;
            assert!(said < 10, "it has no end");
            talk.ended(&answer.json()["answer"]).await;
        };
        refused.refused(429, "DAILY_LIMIT_REACHED");
        assert!(said > 0, "the first fits");
        let before = asked(&mesh).await;
        assert_eq!((talk.messages().await.len(), before, owed(&mesh, &alice).await), (said * 2, said as u64, 0));
        // Each has a day of their own, and another tomorrow.
        let bob = mesh.persona("bob").await;
        Talk::of(&bob).await.answered("Hello.").await;
        let yesterday = format!("update chat.usage set day = day - 1 where user_id = '{}'", alice.user_id);
        mesh.db.execute(&yesterday).await;
        talk.answered("Hello.").await;
    });
}

#[test]
fn whoever_comes_when_too_much_is_open_is_told_to_come_later() {
    run(async {
        let (mesh, alice) = begun(mesh().setting("chat.max_open", 1_i64)).await;
        let bob = mesh.persona("bob").await;
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 1})).await;
        let talk = Talk::of(&alice).await;
        let pending = talk.said("Hello.").await;
        let theirs = Talk::of(&bob).await;
        let refused = theirs.say(&json!({"text": "Hello."})).await;
        refused.refused(503, "OVERLOADED");
        assert_eq!(refused.header("retry-after"), "5");
        assert!(theirs.messages().await.is_empty());
        talk.ended(&pending).await;
        theirs.answered("Hello.").await;
    });
}

/// What nobody could answer is not taken.
#[test]
fn without_a_model_nothing_is_said() {
    run(async {
        let (mesh, alice) = begun(mesh().setting("chat.model_url", "")).await;
        let talk = Talk::of(&alice).await;
        talk.say(&json!({"text": "Hello."})).await.refused(503, "DEPENDENCY_UNAVAILABLE");
        let photo = Taken::by(&alice, "can.png").await;
        talk.say(&json!({"image_id": photo.id()})).await.refused(503, "DEPENDENCY_UNAVAILABLE");
        assert!(talk.messages().await.is_empty());
        assert_eq!((asked(&mesh).await, owed(&mesh, &alice).await), (0, 0));
    });
}
