//! Two replicas of realtime: what one hears reaches sockets on the other, and goes on reaching them when that one is killed.

use coreloop_testkit::{TestMesh, run, wait_until};
use serde_json::Value;

use super::stage::{MODULES, all_said, listen, mesh, of_type};
use crate::eco::stage::{LONG, Taken};

/// What comes of a second photo of a day: the row of days is as long as it was.
fn second_said(said: &[Value]) -> bool {
    ["scan_update", "reward_granted", "stats_delta", "notification"].iter().all(|name| of_type(said, name).is_some())
}

/// How many facts a replica of realtime has heard.
fn heard(mesh: &TestMesh, replica: usize) -> u64 {
    let metrics = mesh.node(replica, "realtime").running().metrics.encode();
    let ours = |line: &&str| line.contains("events_handled_total{") && line.contains("\"realtime.writer\"");
    let count = |line: &str| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
    metrics.lines().filter(ours).filter_map(count).sum()
}

fn place(message: &Value) -> i64 {
    message["seq"].as_i64().unwrap_or_else(|| panic!("no place in {message}"))
}

#[test]
fn a_socket_hears_what_another_replica_was_told_and_goes_on_when_that_is_killed() {
    run(async {
        let mesh = mesh().modules(MODULES).split().replicas(2).setting("eventing.standby_ms", 100_i64);
        let mut mesh = mesh.start().await;
        let alice = mesh.persona("alice").await;
        let mut sockets = Vec::new();
        for replica in 0..2 {
            sockets.push(alice.at(&mesh.gateway_on(replica)).socket().await);
        }
        Taken::by(&alice, "can.png").await;
        let first = listen(&mut sockets[0], all_said).await;
        assert_eq!(listen(&mut sockets[1], all_said).await, first);
        // One of them has heard all of it from the others, and the other nothing.
        wait_until("it is counted", LONG, async || heard(&mesh, 0) + heard(&mesh, 1) > 0).await;
        let told = [heard(&mesh, 0), heard(&mesh, 1)];
        let writer = usize::from(told[0] == 0);
        assert!(told[writer] > 0 && told[1 - writer] == 0, "{told:?}");

        let (mut staying, last) = (sockets.swap_remove(1 - writer), first.last().map(place).unwrap());
        mesh.node_mut(writer, "realtime").kill().await;
        Taken::by(&alice, "bottle.jpg").await;
        let said = listen(&mut staying, second_said).await;
        assert!(said.iter().all(|message| place(message) > last) && said.is_sorted_by(|a, b| place(a) < place(b)));
        wait_until("another has told it", LONG, async || heard(&mesh, 1 - writer) > 0).await;
        // Who looked at the one that was killed comes back to the other, and has missed nothing.
        let (connected, mut back) = alice.at(&mesh.gateway_on(1 - writer)).socket_since(last).await;
        assert_eq!(connected["data"]["resumed"], true);
        assert_eq!(listen(&mut back, second_said).await, said);
        let summary = alice.at(&mesh.gateway_on(1 - writer)).get("/api/v1/my/summary").await.expect(200);
        assert_eq!(summary["recycling"]["recycled"], 2, "{summary}");
    });
}
