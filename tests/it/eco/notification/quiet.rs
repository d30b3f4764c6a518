//! Quiet hours: the inbox does not wait, phones do.

use coreloop_core::Clock as _;
use coreloop_testkit::{mesh::Builder, run, wait_until};
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{
    LONG, TAKEN, acquired, ended, facts, fault, mended, mesh, paused, phone, prefers, pushed, pushes, quiet_for,
    registered, say, sends, tell, told, waiting,
};

/// Whoever dies is replaced soon.
fn split() -> Builder {
    mesh().split().replicas(2)
}

/// The gateway's clock is the machine's, and five minutes of difference are what it takes: the quiet hours end in four.
#[test]
fn what_comes_in_quiet_hours_rings_once_when_they_are_over() {
    run(async {
        let mesh = split().start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        quiet_for(&alice, mesh.clock.now(), 4).await;
        for code in ["CHR001", "CHR002"] {
            tell(&mesh, &alice, &acquired(&alice, code)).await;
        }
        assert_eq!(told(&alice, 2).await.len(), 2, "the inbox does not wait");
        assert_eq!((waiting(&mesh, &alice).await, sends(&mesh).await), (2, 0));
        mesh.clock.advance(SignedDuration::from_mins(4));
        let all = pushed(&mesh, &token, 2).await;
        wait_until("both are taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 2).await;
        assert_eq!((all.len(), waiting(&mesh, &alice).await, sends(&mesh).await), (2, 0, 2));
        // Now it is not quiet: the next rings at once.
        tell(&mesh, &alice, &acquired(&alice, "CHR003")).await;
        pushed(&mesh, &token, 3).await;
    });
}

#[test]
fn what_waits_for_quiet_hours_that_are_taken_back_rings_and_for_others_waits_on() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        quiet_for(&alice, mesh.clock.now(), 180).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        told(&alice, 1).await;
        assert_eq!(waiting(&mesh, &alice).await, 1);
        // Others, in which it is quiet as well: it is looked at, and waits for their end.
        quiet_for(&alice, mesh.clock.now(), 240).await;
        let longer = format!(
            "select count(*) from notification.pushes where user_id = '{}' and state = 1 and due_at > to_timestamp({})",
            alice.user_id,
            mesh.clock.now().as_second() + 181 * 60
        );
        wait_until("it waits for the other end", LONG, async || mesh.db.count(&longer).await == 1).await;
        assert_eq!(pushes(&mesh, &token).await.len(), 0);
        assert!(prefers(&alice, &json!({"quiet_hours": null})).await["quiet_hours"].is_null());
        pushed(&mesh, &token, 1).await;
        wait_until("it is taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 1).await;
        assert_eq!(sends(&mesh).await, 1);
    });
}

/// All whose night ends at eight: they go as commands a few at a time, and every one goes.
#[test]
fn what_is_due_all_at_once_goes_a_few_at_a_time() {
    run(async {
        let mesh = mesh().setting("notification.ahead", 2_i64).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        quiet_for(&alice, mesh.clock.now(), 180).await;
        for number in 0..12 {
            let one = facts(&alice, &acquired(&alice, &format!("CHR{number:03}")));
            say(&mesh, &one, mesh.clock.now()).await;
        }
        told(&alice, 12).await;
        assert_eq!(waiting(&mesh, &alice).await, 12);
        prefers(&alice, &json!({"quiet_hours": null})).await;
        let all = pushed(&mesh, &token, 12).await;
        let mut codes: Vec<_> = all.iter().map(|push| push["data"]["code"].to_string()).collect();
        codes.sort();
        codes.dedup();
        assert_eq!((all.len(), codes.len()), (12, 12));
        wait_until("all are taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 12).await;
    });
}

/// A gateway that is down does not fill the queue, at which the facts of the inbox would wait as well.
#[test]
fn what_comes_while_as_many_are_on_their_way_as_may_be_waits_and_goes() {
    run(async {
        let mesh = paused("[20, 20, 20]").setting("notification.ahead", 1_i64).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        fault(&mesh, &json!({"kind": "error", "status": 500})).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        told(&alice, 1).await;
        for code in ["CHR002", "CHR003"] {
            tell(&mesh, &alice, &acquired(&alice, code)).await;
        }
        assert_eq!(told(&alice, 3).await.len(), 3, "the inbox does not wait");
        assert_eq!(waiting(&mesh, &alice).await, 2);
        mended(&mesh).await;
        pushed(&mesh, &token, 3).await;
        wait_until("all are taken", LONG, async || ended(&mesh, &alice, TAKEN, "").await == 3).await;
        assert_eq!(pushes(&mesh, &token).await.len(), 3);
    });
}
