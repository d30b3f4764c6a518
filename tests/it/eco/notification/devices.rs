//! Phones: one is one device, whoever is signed in on it; their tokens are the gateway's and nobody else's.

use coreloop_testkit::{Persona, Rest, run, wait_until};
use futures::future::{join, join_all};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{LONG, MESH, acquired, devices, mesh, phone, pushed, pushes, registered, tell, told};

const PATH: &str = "/api/v1/notifications/devices";

fn body(token: &str, device_id: &str) -> Value {
    json!({"token": token, "platform": "PLATFORM_IOS", "device_id": device_id})
}

#[test]
fn a_phone_is_one_device_however_often_it_is_registered() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        let device = registered(&alice, &token).await;
        let again = alice.post(PATH, &body(&token, "")).await.expect(200)["device"].clone();
        assert_eq!((&again["device_id"], &again["platform"]), (&json!(device), &json!("PLATFORM_IOS")));
        // The app was given another token, and says for which device.
        let renewed = phone("own");
        let named = alice.post(PATH, &body(&renewed, &device)).await.expect(200)["device"].clone();
        assert_eq!((&named["device_id"], &named["registered_at"]), (&json!(device), &again["registered_at"]));
        assert_eq!(devices(&alice).await, [device.as_str()]);
        tell(mesh, &alice, &acquired(&alice, "CHR001")).await;
        pushed(mesh, &renewed, 1).await;
        assert_eq!(pushes(mesh, &token).await.len(), 0, "the token of before is nobody's");
        // No answer shows a token, nor does the database.
        assert!(!alice.get(PATH).await.text().contains(&renewed));
        let open = format!(
            "select (select count(*) from notification.devices d where d::text like '%{renewed}%')
                  + (select count(*) from notification.outbox o where o::text like '%{renewed}%')
                  + (select count(*) from notification.processed_events p where p::text like '%{renewed}%')"
        );
        assert_eq!(mesh.db.count(&open).await, 0);
        let hidden = format!(
            "select count(*) from notification.devices where id = '{device}' and token_hash = sha256('{renewed}'::bytea)
                and position('{renewed}'::bytea in token_sealed) = 0 and octet_length(token_sealed) = {}",
            renewed.len() + 28
        );
        assert_eq!(mesh.db.count(&hidden).await, 1);
    });
}

#[test]
fn a_phone_that_changes_hands_rings_for_the_new_ones_alone() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let token = phone("shared");
        let hers = registered(&alice, &token).await;
        let his = registered(&bob, &token).await;
        assert_ne!(hers, his);
        assert_eq!((devices(&alice).await.len(), devices(&bob).await), (0, vec![his.clone()]));
        tell(mesh, &alice, &acquired(&alice, "CHR001")).await;
        told(&alice, 1).await;
        tell(mesh, &bob, &acquired(&bob, "CHR002")).await;
        let all = pushed(mesh, &token, 1).await;
        assert_eq!((all.len(), &all[0]["data"]["code"]), (1, &json!("CHR002")));
        // Nobody takes a device by its id.
        alice.post(PATH, &body(&phone("own"), &his)).await.refused(404, "DEVICE_NOT_FOUND");
        alice.delete(&format!("{PATH}/{his}")).await.refused(404, "DEVICE_NOT_FOUND");
        alice.post(PATH, &body(&phone("own"), &Uuid::new_v4().to_string())).await.refused(404, "DEVICE_NOT_FOUND");
        assert_eq!(devices(&bob).await, [his.as_str()]);
        bob.delete(&format!("{PATH}/{his}")).await.expect(200);
        bob.delete(&format!("{PATH}/{his}")).await.refused(404, "DEVICE_NOT_FOUND");
        tell(mesh, &bob, &acquired(&bob, "CHR003")).await;
        told(&bob, 2).await;
        assert_eq!(pushes(mesh, &token).await.len(), 1);
    });
}

#[test]
fn of_many_who_register_one_phone_at_once_one_has_it() {
    run(async {
        let mesh = MESH.get().await;
        let people: Vec<Persona> = join_all(["alice", "bob", "eve"].map(|name| mesh.persona(name))).await;
        let token = phone("shared");
        let asked = (0..18).map(|number| {
            let rest = Rest::to(mesh.gateway_on(number % 2)).with_token(people[number % 3].access_token.as_str());
            let body = body(&token, "");
            async move { rest.post(PATH, &body).send().await.expect(200) }
        });
        join_all(asked).await;
        let rows = format!("select count(*) from notification.devices where token_hash = sha256('{token}'::bytea)");
        assert_eq!(mesh.db.count(&rows).await, 1);
        let mut owned = 0;
        for person in &people {
            owned += devices(person).await.len();
        }
        assert_eq!(owned, 1);
    });
}

#[test]
fn the_phone_that_was_not_seen_for_longest_gives_way() {
    run(async {
        let mesh = mesh().setting("notification.max_devices", 2_i64).start().await;
        let alice = mesh.persona("alice").await;
        let tokens = [phone("first"), phone("second"), phone("third")];
        let first = registered(&alice, &tokens[0]).await;
        registered(&alice, &tokens[1]).await;
        assert_eq!(registered(&alice, &tokens[0]).await, first, "it is seen again");
        let third = registered(&alice, &tokens[2]).await;
        assert_eq!(devices(&alice).await, [third, first]);
        tell(&mesh, &alice, &acquired(&alice, "CHR001")).await;
        for token in [&tokens[0], &tokens[2]] {
            pushed(&mesh, token, 1).await;
        }
        assert_eq!(pushes(&mesh, &tokens[1]).await.len(), 0);
    });
}

/// Two phones that change hands crosswise: one of both was first, and nobody waits for each other.
#[test]
fn of_two_who_take_each_others_phone_at_once_one_does() {
    run(async {
        let slow = mesh().setting("database.lock_timeout_ms", 60_000_i64);
        let mesh = slow.setting("database.statement_timeout_ms", 60_000_i64).start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (hers, his) = (phone("hers"), phone("his"));
        let (first, second) = (registered(&alice, &hers).await, registered(&bob, &his).await);
        // Whoever has taken a device out stands still there, until both have come as far as they do.
        mesh.db
            .execute(
                "create function notification.stand() returns trigger language plpgsql as
                     $$ begin perform pg_advisory_xact_lock_shared(77); return null; end $$;
                 create trigger stand after delete on notification.devices
                     for each row execute function notification.stand()",
            )
            .await;
        let mut gate = mesh.db.connect().await;
        sqlx::query("select pg_advisory_lock(77)").execute(&mut gate).await.unwrap();
        let (taking, giving) = (body(&his, &first), body(&hers, &second));
        let both = join(alice.post(PATH, &taking), bob.post(PATH, &giving));
        let waits = "select count(*) from pg_stat_activity where datname = current_database()
                        and wait_event_type = 'Lock' and query like '%notification.devices%'";
        let open = async {
            wait_until("both have begun", LONG, async || mesh.db.count(waits).await == 2).await;
            sqlx::query("select pg_advisory_unlock(77)").execute(&mut gate).await.unwrap();
        };
        let ((one, other), ()) = join(both, open).await;
        let (done, late) = if one.status == 200 { (&one, &other) } else { (&other, &one) };
        done.expect(200);
        late.refused(404, "DEVICE_NOT_FOUND");
        let left = devices(&alice).await.len() + devices(&bob).await.len();
        assert_eq!(left, 1, "the phone of who was first, with the other's token");
    });
}
