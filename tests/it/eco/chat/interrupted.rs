//! Parts are killed at any step, commands are lost or come too late: each answer is given once, or stands as failed.

use coreloop_testkit::{mesh::Builder, run, wait_until};
use jiff::SignedDuration;
use serde_json::json;
use sqlx::Executor as _;
use uuid::Uuid;

use super::stage::{
    FOREVER_MS, Talk, asked, came_to_nothing, fault, held, id, is_once, kind, mended, mesh, owed, text,
};
use crate::{eco::stage::LONG, shop::away::all_told};

/// Whoever dies is replaced soon.
fn hasty() -> Builder {
    mesh().split().setting("eventing.standby_ms", 100_i64)
}

const QUESTION: &str = "Where do bottles, cans, jars, boxes, bags, caps and cups go, one by one?";

#[test]
fn killed_while_the_model_speaks_another_replica_begins_anew() {
    run(async {
        let mut mesh = hasty().replicas(2).start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        fault(&mesh, json!({"kind": "stall", "ms": FOREVER_MS, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        let mut listener = talk.follow(&pending).await;
        let (_begun, position) = listener.piece().await;
        drop(listener);
        // Whichever speaks: each is killed once.
        for replica in 0..2 {
            mesh.node_mut(replica, "chat").kill().await;
            mesh.node_mut(replica, "chat").start().await;
            talk.there().await;
        }
        let answer = talk.ended(&pending).await;
        assert!(text(&answer).ends_with(QUESTION), "{answer}");
        is_once(&mesh, &answer, 1).await;
        assert!(asked(&mesh).await >= 2);
        assert_eq!(owed(&mesh, &talk.who).await, 0);
        // Who had heard some of the first is given the whole.
        let again = format!("message_id={}&after={position}", id(&pending));
        assert_eq!(talk.open(&again).await.rest().await.message, answer);
    });
}

/// The same, by somebody who listens on: the answer begins anew, and is told so.
#[test]
fn who_listens_is_told_that_the_answer_begins_anew() {
    run(async {
        let mut mesh = hasty().start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        for _ in 0..2 {
            fault(&mesh, json!({"kind": "stall", "ms": 40_000, "times": 1})).await;
        }
        let pending = talk.said(QUESTION).await;
        let mut listener = talk.follow(&pending).await;
        let (_begun, position) = listener.piece().await;
        drop(listener);
        mesh.node_mut(0, "chat").kill().await;
        mesh.node_mut(0, "chat").start().await;
        talk.there().await;
        wait_until("it is asked again", LONG, async || asked(&mesh).await == 2).await;
        let mut listener = talk.open(&format!("message_id={}&after={position}", id(&pending))).await;
        assert_eq!(kind(&listener.next().await), "OPENED");
        assert_eq!(kind(&listener.next().await), "RESTARTED");
        let rest = listener.rest().await;
        assert!(rest.text.starts_with("I have read ") && text(&rest.message).starts_with(&rest.text), "{rest:?}");
    });
}

#[test]
fn killed_between_the_models_word_and_the_note_of_it_it_is_there_once() {
    run(async {
        let patient = hasty().setting("database.lock_timeout_ms", 60_000_i64);
        let mut mesh = patient.setting("database.statement_timeout_ms", 60_000_i64).start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        fault(&mesh, json!({"kind": "latency", "ms": 15_000, "times": 1})).await;
        let pending = talk.said(QUESTION).await;
        wait_until("the model is asked", LONG, async || asked(&mesh).await == 1).await;
        // What it says cannot be written down before whoever asked is killed.
        let mut holder = mesh.db.connect().await;
        let locked = format!("begin; select from chat.conversations where id = '{}' for update", talk.id);
        holder.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(locked))).await.unwrap();
        let waiting =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%chat.conversations%'
            and datname = current_database()";
        wait_until("it is to be written", LONG, async || mesh.db.count(waiting).await > 0).await;
        mesh.node_mut(0, "chat").kill().await;
        holder.execute("rollback").await.unwrap();
        let written = format!("select count(*) from chat.messages where id = '{}' and state <> 1", id(&pending));
        assert_eq!(mesh.db.count(&written).await, 0, "nothing of it is there");
        mesh.node_mut(0, "chat").start().await;
        talk.there().await;
        is_once(&mesh, &talk.ended(&pending).await, 1).await;
        assert_eq!((asked(&mesh).await, owed(&mesh, &talk.who).await), (2, 0), "it was asked again, and is paid once");
    });
}

/// A command that every broker has forgotten.
#[test]
fn an_answer_that_was_lost_stands_as_failed_and_can_be_asked_for_again() {
    run(async {
        let mesh = mesh().setting("chat.sweep_secs", 1_i64).start().await;
        let talk = Talk::of(&mesh.persona("alice").await).await;
        talk.answered("Hello.").await;
        let (conversation, user) = (&talk.id, &talk.who.user_id);
        let (question, answer) = (Uuid::new_v4(), Uuid::new_v4());
        let rows = format!(
            "with told as (update chat.conversations set messages = 4 where id = '{conversation}' returning id),
                  said as (insert into chat.messages (id, conversation_id, user_id, seq, role, text, state, created_at, done_at)
                           select '{question}', id, '{user}', 3, 1, 'Are you there?', 2, now(), now() from told)
             insert into chat.messages (id, conversation_id, user_id, seq, role, state, created_at, question_id, attempt,
                                        command_id, sent_at, reserved, reserved_on)
             select '{answer}', id, '{user}', 4, 2, 1, now(), '{question}', 1, '{}', now() - interval '1 hour', 0, current_date from told",
            Uuid::new_v4()
        );
        mesh.db.execute(&rows).await;
        let lost = talk.ended(&json!({"message_id": answer.to_string()})).await;
        came_to_nothing(&lost, "LOST");
        talk.again(&lost).await.expect(202);
        let there = talk.ended(&lost).await;
        assert!(text(&there).ends_with("You wrote: Are you there?"), "{there}");
    });
}

/// Nobody began it in time, for whoever answers was at another.
#[test]
fn what_waited_too_long_stands_as_failed() {
    run(async {
        let mesh = mesh().setting("chat.workers", 1_i64).start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (first, second) = (Talk::of(&alice).await, Talk::of(&bob).await);
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 1})).await;
        let long = first.said(QUESTION).await;
        wait_until("the model is asked", LONG, async || asked(&mesh).await == 1).await;
        let waits = second.said("And I?").await;
        all_told(&mesh, "chat").await;
        mesh.clock.advance(SignedDuration::from_secs(301));
        is_once(&mesh, &first.ended(&long).await, 1).await;
        let failed = second.ended(&waits).await;
        came_to_nothing(&failed, "EXPIRED");
        assert_eq!((held(&mesh, "dead").await, owed(&mesh, &bob).await), (1, 0));
        second.again(&failed).await.expect(202);
        is_once(&mesh, &second.ended(&failed).await, 2).await;
        mended(&mesh).await;
    });
}
