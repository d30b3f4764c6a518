//! What is said is kept and answered, in order, once by its key, and for nobody else.

use coreloop_testkit::run;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{CONVERSATIONS, MESH, Talk, id, is_once, leaked, owed, read, text, told_of};

#[test]
fn what_is_said_is_answered() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        let word = format!("ask{}", Uuid::new_v4().simple());
        let asked = format!("Where do bottles go, {word}?");
        let sent = talk.say(&json!({"text": asked})).await.expect(202);
        let (said, pending) = (&sent["message"], &sent["answer"]);
        assert_eq!(
            (&said["role"], &said["state"], &said["sequence"]),
            (&json!("ROLE_USER"), &json!("MESSAGE_STATE_DONE"), &json!(1))
        );
        assert_eq!((&pending["role"], &pending["sequence"]), (&json!("ROLE_ASSISTANT"), &json!(2)), "{pending}");
        assert_eq!((&pending["question_id"], &pending["text"]), (&said["message_id"], &json!("")));
        let answer = talk.ended(pending).await;
        assert!(text(&answer).ends_with(&format!("You wrote: {asked}")), "{answer}");
        is_once(mesh, &answer, 1).await;
        // It is told of what was said before.
        let next = talk.answered("And caps?").await;
        assert_eq!(read(&next), read(&answer) + 2);
        assert_eq!((next["sequence"].as_i64(), owed(mesh, &alice).await), (Some(4), 0));

        let all = talk.messages().await;
        assert_eq!(all.iter().map(|one| one["sequence"].as_i64().unwrap()).collect::<Vec<_>>(), [4, 3, 2, 1]);
        assert_eq!((&all[2], &all[3]), (&answer, said));
        let (mut paged, mut token) = (Vec::new(), String::new());
        loop {
            let page = alice.get(&talk.path(&format!("/messages?page_size=3&page_token={token}"))).await.expect(200);
            paged.extend(page["messages"].as_array().unwrap().clone());
            token = page["next_page_token"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, all);
        alice.get(&talk.path("/messages?page_token=x")).await.refused(400, "PAGE_TOKEN_INVALID");
        // No word of it is anywhere else.
        assert_eq!(leaked(mesh, &word).await, 0);
    });
}

#[test]
fn conversations_are_listed_by_what_was_asked_last() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (first, second) = (Talk::of(&alice).await, Talk::of(&alice).await);
        first.answered("Hello.").await;
        let page = alice.get(&format!("{CONVERSATIONS}?page_size=1")).await.expect(200);
        let listed = &page["conversations"][0];
        assert_eq!((&listed["conversation_id"], &listed["messages"]), (&json!(first.id), &json!(2)), "{page}");
        let token = page["next_page_token"].as_str().unwrap();
        let next = alice.get(&format!("{CONVERSATIONS}?page_size=1&page_token={token}")).await.expect(200);
        assert_eq!(
            (&next["conversations"][0]["conversation_id"], &next["next_page_token"]),
            (&json!(second.id), &json!(""))
        );
        alice.get(&format!("{CONVERSATIONS}?page_token=x")).await.refused(400, "PAGE_TOKEN_INVALID");
    });
}

/// Said at once, over two replicas: each has its number, and is answered behind those before it.
#[test]
fn what_is_said_at_once_is_answered_one_after_another() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let talk = Talk::of(&alice).await;
        let fronts: Vec<_> = (0..2).map(|replica| talk.by(&alice.at(&mesh.gateway_on(replica)))).collect();
        let texts = ["one", "two", "three"];
        let sent = join_all(texts.iter().enumerate().map(|(number, text)| fronts[number % 2].said(text))).await;
        let mut answers = join_all(sent.iter().map(|answer| talk.ended(answer))).await;
        answers.sort_by_key(|answer| answer["sequence"].as_i64());
        assert_eq!(answers.iter().map(|one| one["sequence"].as_i64().unwrap()).collect::<Vec<_>>(), [2, 4, 6]);
        let first = read(&answers[0]);
        assert_eq!(answers.iter().map(read).collect::<Vec<_>>(), [first, first + 2, first + 4]);
        for answer in &answers {
            is_once(mesh, answer, 1).await;
        }
        assert_eq!(owed(mesh, &alice).await, 0);
    });
}

#[test]
fn a_request_that_comes_again_is_one() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let talk = Talk::of(&alice).await;
        let key = Uuid::new_v4().to_string();
        let said = json!({"text": "Where do cans go?", "idempotency_key": key});
        let fronts: Vec<_> = (0..2).map(|replica| talk.by(&alice.at(&mesh.gateway_on(replica)))).collect();
        let sent = join_all((0..12).map(|number| fronts[number % 2].say(&said))).await;
        let ids = |answer: &Value| (answer["message"]["message_id"].clone(), answer["answer"]["message_id"].clone());
        let first = ids(&sent[0].expect(202));
        assert!(sent.iter().all(|answer| ids(&answer.expect(202)) == first));
        let answer = talk.ended(&sent[0].json()["answer"]).await;
        is_once(mesh, &answer, 1).await;
        assert_eq!((talk.messages().await.len(), told_of(mesh, "message_asked", &talk).await), (2, 1));
        // Later, too, as it is then; another text is another request.
        assert_eq!(talk.say(&said).await.expect(202)["answer"], answer);
        let other = json!({"text": "Where do jars go?", "idempotency_key": key});
        talk.say(&other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        // A key is its conversation's.
        let others = Talk::of(&bob).await;
        let theirs = others.ended(&others.say(&other).await.expect(202)["answer"]).await;
        assert_ne!(id(&theirs), id(&answer));

        let begin = json!({"title": "Cans", "idempotency_key": key});
        let begun = join_all((0..8).map(|_| alice.post(CONVERSATIONS, &begin))).await;
        let one = begun[0].expect(200);
        assert!(begun.iter().all(|answer| answer.expect(200) == one), "{one}");
        let another = json!({"title": "Jars", "idempotency_key": key});
        alice.post(CONVERSATIONS, &another).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        let mine = format!("select count(*) from chat.conversations where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&mine).await, 2);
    });
}

#[test]
fn a_conversation_is_its_owners() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let talk = Talk::of(&alice).await;
        let answer = talk.answered("Hello.").await;
        let theirs = talk.by(&eve);
        let none = "CONVERSATION_NOT_FOUND";
        theirs.say(&json!({"text": "Hello?"})).await.refused(404, none);
        theirs.again(&answer).await.refused(404, none);
        theirs.delete().await.refused(404, none);
        for rest in ["/messages", "/stream", &format!("/stream?message_id={}", id(&answer))] {
            eve.get(&talk.path(rest)).await.refused(404, none);
        }
        // Alice's answer is none of eve's conversation.
        let own = Talk::of(&eve).await;
        own.again(&answer).await.refused(404, "MESSAGE_NOT_FOUND");
        let followed = own.path(&format!("/stream?message_id={}", id(&answer)));
        eve.get(&followed).await.refused(404, "MESSAGE_NOT_FOUND");
        eve.get(&own.path("/stream")).await.refused(404, "MESSAGE_NOT_FOUND");
        let page = eve.get(CONVERSATIONS).await.expect(200);
        assert_eq!(page["conversations"].as_array().unwrap().len(), 1);
        assert_eq!((talk.messages().await.len(), told_of(mesh, "conversation_deleted", &talk).await), (2, 0));
    });
}
