//! An answer is heard as the model gives it, on any replica, again from where it broke off; and whole in the end, whatever was missed.

use coreloop_testkit::{run, wait_until};
use serde_json::{Value, json};

use super::stage::{FOREVER_MS, MESH, Talk, fault, id, kind, mesh, text};
use crate::eco::stage::LONG;

const QUESTION: &str = "Where do bottles, cans, jars, boxes, bags, caps and cups go, one by one?";

#[test]
fn an_answer_is_heard_as_it_is_given() {
    run(async {
        let mesh = mesh().start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        fault(&mesh, json!({"kind": "trickle", "ms": 500, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let rest = talk.follow(&pending).await.rest().await;
        assert!(rest.pieces > 1, "{rest:?}");
        assert!(!rest.text.is_empty() && text(&rest.message).starts_with(&rest.text), "{rest:?}");
        assert_eq!((rest.restarted, &rest.message), (0, &talk.message(&pending).await));
        // Who comes late hears the whole at once; also a line a message, and without saying which.
        let rest = talk.open("").await.rest().await;
        assert_eq!((rest.pieces, &rest.message["message_id"]), (0, &pending["message_id"]));
        let lines = talk.who.get(&talk.path("/stream")).await.text();
        let line: Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!((kind(&line["result"]), &line["result"]["message"]), ("DONE", &rest.message));
    });
}

#[test]
fn nothing_is_listened_to_while_nobody_follows() {
    run(async {
        let mesh = mesh().start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        let redis = mesh.redis.connect().await;
        let listeners = async || {
            let mut command = redis::cmd("PUBSUB");
            command.arg("NUMSUB").arg("chat:changed");
            let (_channel, listeners): (String, i64) = command.query_async(&mut redis.clone()).await.unwrap();
            listeners
        };
        assert_eq!(listeners().await, 0);
        fault(&mesh, json!({"kind": "stall", "ms": FOREVER_MS, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        for _ in 0..2 {
            let listener = talk.follow(&pending).await;
            wait_until("it is listened to", LONG, async || listeners().await == 1).await;
            drop(listener);
            wait_until("it is left", LONG, async || listeners().await == 0).await;
        }
    });
}

#[test]
fn a_stream_goes_on_where_it_broke_off_on_another_replica() {
    run(async {
        let mesh = mesh().replicas(2).split().start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        let fronts: Vec<_> = (0..2).map(|replica| talk.by(&talk.who.at(&mesh.gateway_on(replica)))).collect();
        // It says some of it, and the rest a while later.
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let mut first = fronts[0].follow(&pending).await;
        let (begun, position) = first.piece().await;
        drop(first);
        let again = format!("message_id={}&after={position}", id(&pending));
        let mut second = fronts[1].open(&again).await;
        assert_eq!(kind(&second.next().await), "OPENED");
        let rest = second.rest().await;
        let heard = format!("{begun}{}", rest.text);
        assert_eq!((rest.restarted, text(&rest.message).starts_with(&heard)), (0, true), "{heard}: {rest:?}");
        assert!(rest.pieces > 0 || heard.len() < text(&rest.message).len(), "what was heard is not told again");
        // Who begins anew hears all of it, if they come in time; else the end.
        let fresh = fronts[1].open(&format!("message_id={}", id(&pending))).await.rest().await;
        assert_eq!(fresh.message, rest.message);
    });
}

/// Redis forgets every piece while the model speaks: what was heard stays heard, and the end is whole.
#[test]
fn pieces_that_were_lost_cost_nothing_in_the_end() {
    run(async {
        let mesh = mesh().start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let mut listener = talk.follow(&pending).await;
        let (begun, _) = listener.piece().await;
        let mut redis = mesh.redis.connect().await;
        let () = redis::cmd("DEL").arg(format!("chat:pieces:{}", id(&pending))).query_async(&mut redis).await.unwrap();
        let rest = listener.rest().await;
        assert!(text(&rest.message).starts_with(&begun) && text(&rest.message).ends_with(QUESTION), "{rest:?}");
    });
}

#[test]
fn pieces_are_kept_for_some_minutes() {
    run(async {
        let mesh = MESH.get().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        let answer = talk.answered("Hello.").await;
        let mut redis = mesh.redis.connect().await;
        let key = format!("chat:pieces:{}", id(&answer));
        let life: i64 = redis::cmd("TTL").arg(&key).query_async(&mut redis).await.unwrap();
        assert!((400..=600).contains(&life), "{life}");
    });
}

#[test]
fn a_failure_is_heard_and_so_is_what_comes_of_trying_again() {
    run(async {
        let mesh = mesh().setting("chat.model_tries", 1_i64).start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        // What it says breaks off in the middle.
        fault(&mesh, json!({"kind": "cut", "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let mut heard = talk.open(&format!("message_id={}", id(&pending))).await;
        let failed = talk.ended(&pending).await;
        assert_eq!(failed["failure"], "MODEL_UNAVAILABLE");
        let mut last = heard.next().await;
        while !["FAILED", "DONE"].contains(&kind(&last)) {
            last = heard.next().await;
        }
        assert_eq!((kind(&last), &last["message"]), ("FAILED", &failed));
        // Given again it is heard again, by a stream of its own.
        fault(&mesh, json!({"kind": "trickle", "ms": 500, "times": 1})).await;
        talk.again(&failed).await.expect(202);
        let rest = talk.follow(&pending).await.rest().await;
        assert_eq!((&rest.message["state"], &rest.message["attempt"]), (&json!("MESSAGE_STATE_DONE"), &json!(2)));
        assert!(text(&rest.message).starts_with(&rest.text), "what broke off is no part of it: {rest:?}");
    });
}

#[test]
fn somebody_follows_so_many_at_once() {
    run(async {
        let mesh = mesh().setting("chat.streams_per_user", 2_i64).start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        fault(&mesh, json!({"kind": "stall", "ms": FOREVER_MS, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let (first, _second) = (talk.follow(&pending).await, talk.follow(&pending).await);
        talk.who.get(&talk.path("/stream")).await.refused(429, "TOO_MANY_STREAMS");
        let bob = mesh.persona("bob").await;
        let theirs = Talk::of(&bob).await;
        theirs.open(&format!("message_id={}", id(&theirs.answered("Hello.").await))).await.rest().await;
        drop(first);
        wait_until("there is room again", LONG, async || {
            talk.open(&format!("message_id={}", id(&pending))).await.next().await["message"]["message_id"]
                == pending["message_id"]
        })
        .await;
    });
}

#[test]
fn a_stream_of_what_is_deleted_ends() {
    run(async {
        let mesh = mesh().start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        fault(&mesh, json!({"kind": "stall", "ms": FOREVER_MS, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let mut listener = talk.follow(&pending).await;
        listener.piece().await;
        talk.delete().await.expect(200);
        let mut heard = listener.next().await;
        while kind(&heard) == "PIECE" {
            heard = listener.next().await;
        }
        assert!(heard.to_string().contains("CONVERSATION_NOT_FOUND"), "{heard}");
        assert_eq!(listener.next().await, Value::Null);
    });
}
