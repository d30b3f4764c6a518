//! A notification reaches every phone of somebody, as FCM wants it; what was read meanwhile, or is of a phone that is gone, does not.

use coreloop_core::Clock as _;
use coreloop_testkit::{run, wait_until};
use serde_json::json;

use super::stage::{
    DROPPED, LONG, MESH, TAKEN, acquired, ended, inbox, mesh, phone, prefers, pushed, pushes, quiet_for, registered,
    sends, tell, told, unseen, waiting,
};

#[test]
fn every_phone_is_pushed_to_once_with_what_an_app_needs() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (first, second) = (phone("first"), phone("second"));
        for token in [&first, &second] {
            registered(&alice, token).await;
        }
        tell(mesh, &alice, &acquired(&alice, "CHR004")).await;
        let row = told(&alice, 1).await.remove(0);
        for token in [&first, &second] {
            let push = pushed(mesh, token, 1).await.remove(0);
            assert_eq!(push["notification"], json!({"title": row["title"], "body": row["body"]}));
            assert_eq!(push["data"]["notification_id"], row["notification_id"]);
            assert_eq!(
                (&push["data"]["kind"], &push["data"]["code"]),
                (&json!("CHARACTER_ACQUIRED"), &json!("CHR004"))
            );
            assert_eq!(push["android"]["notification"]["tag"], row["notification_id"]);
            assert_eq!(
                (&push["android"]["ttl"], &push["webpush"]["headers"]["TTL"]),
                (&json!("86400s"), &json!("86400"))
            );
            assert_eq!(push["apns"]["headers"]["apns-collapse-id"], row["notification_id"]);
        }
        wait_until("both are taken", LONG, async || ended(mesh, &alice, TAKEN, "").await == 2).await;
        assert_eq!((pushes(mesh, &first).await.len(), pushes(mesh, &second).await.len()), (1, 1));
        let named = format!(
            "select count(*) from notification.pushes where user_id = '{}'
                and message_name like 'projects/coreloop-sandbox/messages/%'",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&named).await, 2);
    });
}

/// What is to be pushed is looked at again when its time comes.
#[test]
fn what_was_read_or_switched_off_or_is_of_a_phone_that_is_gone_is_not_pushed() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (kept, sold) = (phone("kept"), phone("sold"));
        registered(&alice, &kept).await;
        let gone = registered(&alice, &sold).await;
        quiet_for(&alice, mesh.clock.now(), 180).await;
        tell(mesh, &alice, &acquired(&alice, "CHR001")).await;
        let first = told(&alice, 1).await.remove(0);
        tell(mesh, &alice, &unseen(&alice)).await;
        tell(mesh, &alice, &acquired(&alice, "CHR002")).await;
        assert_eq!((told(&alice, 3).await.len(), waiting(mesh, &alice).await), (3, 6));
        let path = format!("/api/v1/notifications/{}/read", first["notification_id"].as_str().unwrap());
        alice.post(&path, &json!({})).await.expect(200);
        alice.delete(&format!("/api/v1/notifications/devices/{gone}")).await.expect(200);
        prefers(&alice, &json!({"push_off": ["NOTIFICATION_KIND_SCAN_FAILED"], "quiet_hours": null})).await;
        for (state, outcome, count) in
            [(DROPPED, "READ", 2), (DROPPED, "DEVICE_GONE", 2), (DROPPED, "SWITCHED_OFF", 1), (TAKEN, "", 1)]
        {
            let what = format!("{count} are {state} {outcome}");
            wait_until(what, LONG, async || ended(mesh, &alice, state, outcome).await == count).await;
        }
        let all = pushes(mesh, &kept).await;
        assert_eq!((all.len(), &all[0]["data"]["code"]), (1, &json!("CHR002")));
        assert_eq!(pushes(mesh, &sold).await.len(), 0);
        assert_eq!(inbox(&alice).await.len(), 3);
    });
}

#[test]
fn where_there_is_no_gateway_people_are_told_all_the_same() {
    run(async {
        let mesh = mesh().setting("notification.fcm_url", "").start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        assert_eq!(told(&alice, 1).await.len(), 1);
        assert_eq!((mesh.db.count("select count(*) from notification.pushes").await, sends(&mesh).await), (0, 0));
    });
}
