//! Realtime is killed while a photo comes to its end: whoever looks is told all of it after all, once and in order.

use coreloop_testkit::{Persona, Socket, run, socket::SYNC_PATH, wait::wait_for, wait_until};
use serde_json::Value;

use crate::eco::{
    stage::{LONG, Taken},
    story::stage::{MODULES, all_said, listen, mesh},
};

/// What comes of a second photo of a day: the row of days is as long as it was.
const TYPES: [&str; 4] = ["scan_update", "reward_granted", "stats_delta", "notification"];

/// What somebody was told since a place.
async fn missed(who: &Persona, since: i64) -> Vec<Value> {
    let missed = who.get(&format!("/api/realtime/replay?since={since}")).await.expect(200);
    assert_eq!(missed["complete"], true, "{missed}");
    missed["messages"].as_array().unwrap().clone()
}

async fn resumed(who: &Persona, since: i64) -> Socket {
    let path = format!("{SYNC_PATH}?since={since}");
    let mut socket = wait_for("the socket is open again", LONG, async || who.ask_for_socket(&path).await.ok()).await;
    let connected = socket.message().await;
    assert_eq!((&connected["type"], &connected["data"]["resumed"]), (&"sync_connected".into(), &true.into()));
    socket
}

#[test]
fn a_realtime_that_is_killed_says_what_was_missed_once_and_in_order() {
    run(async {
        let mut mesh = mesh().modules(MODULES).split().setting("eventing.standby_ms", 100_i64).start().await;
        let alice = mesh.persona("alice").await;
        let mut socket = alice.socket().await;
        Taken::by(&alice, "can.png").await;
        let said = listen(&mut socket, all_said).await;
        let last = said.iter().map(|message| message["seq"].as_i64().unwrap()).max().unwrap();
        mesh.node_mut(0, "realtime").kill().await;
        socket.cut();
        Taken::by(&alice, "bottle.jpg").await;
        let told = format!("select count(*) from notification.inbox where user_id = '{}'", alice.user_id);
        wait_until("the notification is in the inbox", LONG, async || mesh.db.count(&told).await == 2).await;
        mesh.node_mut(0, "realtime").start().await;
        let mut socket = resumed(&alice, last).await;
        let wanted = |said: &[Value]| TYPES.iter().all(|name| said.iter().any(|message| message["type"] == *name));
        let said = listen(&mut socket, wanted).await;
        // What is kept is what was said: each of it once, in its order.
        let kept = missed(&alice, last).await;
        for name in TYPES {
            for told in [&said, &kept] {
                assert_eq!(told.iter().filter(|message| message["type"] == name).count(), 1, "{name}: {told:?}");
            }
        }
        let place = |message: &Value| message["seq"].as_i64().unwrap();
        assert!(place(&said[0]) > last && said.is_sorted_by(|one, next| place(one) < place(next)), "{said:?}");
    });
}
