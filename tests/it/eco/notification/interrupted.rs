//! Parts are killed at any step, commands are lost: people are told once, and phones ring, twice at most and with one notification.

use coreloop_testkit::{TestMesh, mesh::Builder, run, wait_until};
use serde_json::json;
use sqlx::Executor as _;
use uuid::Uuid;

use super::stage::{
    LONG, TAKEN, acquired, emitted, ended, fault, happened, mended, mesh, phone, pushed, pushes, registered, sends,
    tell, told, wait_for_end,
};

/// Whoever dies is replaced soon.
fn split() -> Builder {
    mesh().split()
}

/// Somebody waits for a row that the test has locked.
fn waiting(query: &str) -> String {
    let here = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    format!("{here} and query like '%{query}%'")
}

/// Whoever writes down that the gateway has a push waits for the test.
async fn slow_to_write(mesh: &TestMesh) {
    let function = "create function notification.wait_for_test() returns trigger language plpgsql as $$
                    begin perform pg_advisory_xact_lock(42); return new; end $$";
    let trigger = "create trigger wait_for_test before update on notification.pushes for each row when (new.state = 3)
                   execute function notification.wait_for_test()";
    for sql in [function, trigger] {
        mesh.db.execute(sql).await;
    }
}

#[test]
fn killed_between_sending_and_the_note_of_it_the_phone_shows_one() {
    run(async {
        let mut mesh = split().start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        // What comes of it cannot be written down before whoever sent it is killed.
        slow_to_write(&mesh).await;
        let mut holder = mesh.db.connect().await;
        holder.execute("select pg_advisory_lock(42)").await.unwrap();
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        pushed(&mesh, &token, 1).await;
        wait_until("it is to be written", LONG, async || {
            mesh.db.count(&waiting("update notification.pushes")).await > 0
        })
        .await;
        mesh.node_mut(0, "notification").kill().await;
        holder.execute("select pg_advisory_unlock(42)").await.unwrap();
        assert_eq!(ended(&mesh, &alice, TAKEN, "").await, 0, "nothing of it is there");
        mesh.node_mut(0, "notification").start().await;
        wait_for_end(&mesh, &alice, TAKEN, "").await;
        let both = pushed(&mesh, &token, 2).await;
        assert_eq!(both.len(), 2);
        for shown_by in ["/android/notification/tag", "/android/collapse_key", "/apns/headers/apns-collapse-id"] {
            assert_eq!(both[0].pointer(shown_by), both[1].pointer(shown_by));
            assert!(both[0].pointer(shown_by).is_some(), "{shown_by}");
        }
        let row = told(&alice, 1).await;
        assert_eq!(
            (row.len(), happened(&mesh, &row[0], "created").await, emitted(&mesh, "created", &alice).await),
            (1, 1, 1)
        );
    });
}

#[test]
fn killed_while_the_gateway_thinks_another_replica_asks_again() {
    run(async {
        let mut mesh = split().replicas(2).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        fault(&mesh, &json!({"kind": "latency", "ms": 120_000})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_until("the gateway thinks", LONG, async || sends(&mesh).await > 0).await;
        mended(&mesh).await;
        // Whichever has the queue: each is killed once.
        for replica in 0..2 {
            mesh.node_mut(replica, "notification").kill().await;
            mesh.node_mut(replica, "notification").start().await;
        }
        pushed(&mesh, &token, 1).await;
        wait_for_end(&mesh, &alice, TAKEN, "").await;
        assert_eq!(told(&alice, 1).await.len(), 1);
    });
}

#[test]
fn killed_while_somebody_is_told_they_are_told_once() {
    run(async {
        let mut mesh = split().start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        let mut holder = mesh.db.connect().await;
        holder.execute(sqlx::raw_sql("begin; lock table notification.pushes in exclusive mode")).await.unwrap();
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        wait_until("it is half-way", LONG, async || {
            mesh.db.count(&waiting("insert into notification.pushes")).await > 0
        })
        .await;
        mesh.node_mut(0, "notification").kill().await;
        holder.execute("rollback").await.unwrap();
        let nothing = "select (select count(*) from notification.inbox) + (select count(*) from notification.events)
                            + (select count(*) from notification.outbox)";
        assert_eq!(mesh.db.count(nothing).await, 0);
        mesh.node_mut(0, "notification").start().await;
        let rows = told(&alice, 1).await;
        pushed(&mesh, &token, 1).await;
        wait_for_end(&mesh, &alice, TAKEN, "").await;
        assert_eq!((rows.len(), emitted(&mesh, "created", &alice).await, pushes(&mesh, &token).await.len()), (1, 1, 1));
    });
}

/// A command that every broker has forgotten is sent again under its key.
#[test]
fn a_push_that_was_lost_is_sent_again() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        let device = registered(&alice, &token).await;
        let (notification, user) = (Uuid::new_v4(), &alice.user_id);
        let row = format!(
            "with told as (insert into notification.inbox (id, user_id, kind, template, params, source_event_id, created_at)
                           values ('{notification}', '{user}', 2, 'character.acquired', '{{\"code\": \"CHR001\"}}',
                                   gen_random_uuid(), now()) returning id)
             insert into notification.pushes (id, notification_id, device_id, user_id, state, command_key, sent_at, created_at)
             select gen_random_uuid(), id, '{device}', '{user}', 2, gen_random_uuid(), now() - interval '2 hours', now()
               from told"
        );
        mesh.db.execute(&row).await;
        assert_eq!(pushed(&mesh, &token, 1).await[0]["data"]["code"], "CHR001");
        wait_for_end(&mesh, &alice, TAKEN, "").await;
        assert_eq!(sends(&mesh).await, 1);
    });
}
