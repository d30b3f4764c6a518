//! Facts that come twice, backwards and late, by the broker's own streams.

use std::collections::HashMap;

use coreloop_testkit::{Persona, TestMesh, run, wait_until};
use futures::future::join_all;
use redis::{
    Value as Field,
    aio::MultiplexedConnection,
    streams::{StreamInfoGroupsReply, StreamRangeReply},
};
use serde_json::json;
use uuid::Uuid;

use super::truth::{Owed, once, open};
use crate::eco::{
    stage::{LONG, Taken},
    story::stage::{MODULES, mesh},
};

const REGISTERED: &str = "events.image.registered";
const COMPLETED: &str = "events.scan.completed";
const ACQUIRED: &str = "events.character.acquired";
const REFUSED: &str = "events.character.acquire_failed";

const TOLD: &str = "events.notification.created";
const MOVED: &str = "events.my.footprint_moved";

/// An entry of a stream.
type Entry = HashMap<String, Field>;

/// The streams of a broker, as somebody who can do anything with them.
struct Broker(MultiplexedConnection);

impl Broker {
    async fn of(mesh: &TestMesh) -> Self {
        Self(mesh.redis.connect().await)
    }

    async fn entries(&mut self, topic: &str) -> Vec<Entry> {
        let mut command = redis::cmd("XRANGE");
        let all: StreamRangeReply = command.arg(topic).arg("-").arg("+").query_async(&mut self.0).await.unwrap();
        all.ids.into_iter().map(|entry| entry.map).collect()
    }

    /// Takes everything out of a topic, as if nobody had told it yet.
    async fn take(&mut self, topic: &str) -> Vec<Entry> {
        let entries = self.entries(topic).await;
        let () = redis::cmd("XTRIM").arg(topic).arg("MAXLEN").arg(0).query_async(&mut self.0).await.unwrap();
        entries
    }

    /// Tells `entries` backwards, each twice.
    async fn tell_backwards(&mut self, topic: &str, entries: &[Entry]) {
        for entry in entries.iter().rev().flat_map(|entry| [entry, entry]) {
            let mut command = redis::cmd("XADD");
            command.arg(topic).arg("*");
            for (name, value) in entry {
                let Field::BulkString(bytes) = value else { panic!("{topic}: {name}: {value:?}") };
                command.arg(name).arg(bytes.as_slice());
            }
            let () = command.query_async(&mut self.0).await.unwrap();
        }
    }

    /// What is in a topic comes backwards, each twice, instead of once and in order.
    async fn turn(&mut self, topic: &str) {
        let entries = self.take(topic).await;
        assert!(!entries.is_empty(), "{topic}");
        self.tell_backwards(topic, &entries).await;
    }

    /// What was told is told again as other events.
    async fn tell_as_others(&mut self, topic: &str) {
        let mut entries = self.entries(topic).await;
        for entry in &mut entries {
            entry.insert("id".to_owned(), Field::BulkString(Uuid::new_v4().to_string().into_bytes()));
        }
        self.tell_backwards(topic, &entries).await;
    }

    async fn topics(&mut self) -> Vec<String> {
        redis::cmd("KEYS").arg("events.*.*").query_async(&mut self.0).await.unwrap()
    }

    /// Every group has read what there is, and is done with it.
    async fn is_quiet(&mut self) -> bool {
        for topic in self.topics().await {
            let mut info = redis::cmd("XINFO");
            let groups: StreamInfoGroupsReply = info.arg("GROUPS").arg(&topic).query_async(&mut self.0).await.unwrap();
            for group in groups.groups {
                let mut range = redis::cmd("XRANGE");
                range.arg(&topic).arg(format!("({}", group.last_delivered_id)).arg("+").arg("COUNT").arg(1);
                let unread: StreamRangeReply = range.query_async(&mut self.0).await.unwrap();
                if group.pending > 0 || !unread.ids.is_empty() {
                    return false;
                }
            }
        }
        true
    }
}

/// Photos that show four different things, and what their owner is owed where three characters are as many as one may have.
const PHOTOS: [&str; 4] = ["bottle.jpg", "can.png", "jar.webp", "box.jpg"];
const OWED: Owed = Owed { characters: 3, refusals: 1 };

async fn count_is(mesh: &TestMesh, what: &str, of: &str, wanted: i64) {
    let sql = format!("select count(*) from {of}");
    wait_until(format!("{wanted} {what}"), LONG, async || mesh.db.count(&sql).await == wanted).await;
}

/// Waits until a topic has so many entries.
async fn has_been_told(mesh: &TestMesh, topic: &str, wanted: usize) {
    let what = format!("{topic} is told {wanted} times");
    wait_until(what, LONG, async || Broker::of(mesh).await.entries(topic).await.len() >= wanted).await;
}

/// Messages of a type that somebody was told since they signed up.
async fn said(who: &Persona, name: &str) -> usize {
    let all = who.get("/api/realtime/replay?since=0").await.expect(200);
    all["messages"].as_array().unwrap().iter().filter(|message| message["type"] == name).count()
}

#[test]
fn facts_that_come_late_backwards_and_twice_have_their_effect_once() {
    run(async {
        let mut mesh = mesh().modules(MODULES).split().setting("character.max_owned", 3_i64).start().await;
        let people = [mesh.persona("alice").await, mesh.persona("bob").await];
        let owed: Vec<_> = people.iter().map(|who| (who.user_id.clone(), OWED)).collect();
        for module in ["character", "my", "notification"] {
            mesh.node_mut(0, module).kill().await;
        }
        // Eight photos are classified while nobody hears of it.
        join_all(people.iter().flat_map(|who| PHOTOS.map(|name| Taken::by(who, name)))).await;
        count_is(&mesh, "results", "scan.tasks where state = 2", 8).await;
        let mut broker = Broker::of(&mesh).await;
        has_been_told(&mesh, COMPLETED, 8).await;
        broker.turn(COMPLETED).await;
        mesh.node_mut(0, "character").start().await;
        count_is(&mesh, "decisions", "character.grants where code <> '' or refusal <> ''", 8).await;
        wait_until("they are told", LONG, async || {
            let mut broker = Broker::of(&mesh).await;
            broker.entries(ACQUIRED).await.len() == 6 && broker.entries(REFUSED).await.len() == 2
        })
        .await;

        // Those who count and tell hear of the characters first, and of the scans after all of them.
        let scans = broker.take(COMPLETED).await;
        broker.turn(ACQUIRED).await;
        broker.turn(REFUSED).await;
        for module in ["my", "notification"] {
            mesh.node_mut(0, module).start().await;
        }
        count_is(&mesh, "characters that count", "my.heard where source = 'character'", 6).await;
        count_is(&mesh, "scans that count", "my.heard where source = 'scan'", 0).await;
        broker.tell_backwards(COMPLETED, &scans).await;
        wait_until("every photo has come to its end", LONG, async || mesh.db.count(&open(&owed)).await == 0).await;
        once(&mesh, &owed).await;

        // All of it once more, backwards and twice; photos and scans as other events, too.
        for topic in broker.topics().await {
            let entries = broker.entries(&topic).await;
            broker.tell_backwards(&topic, &entries).await;
        }
        for topic in [REGISTERED, COMPLETED] {
            broker.tell_as_others(topic).await;
        }
        wait_until("all of it was heard", LONG, async || Broker::of(&mesh).await.is_quiet().await).await;
        once(&mesh, &owed).await;
        for who in &people {
            let told =
                [said(who, "reward_granted").await, said(who, "notification").await, said(who, "stats_delta").await];
            assert_eq!(told, [3, 4, 4], "{}", who.user_id);
            let inbox = who.get("/api/v1/notifications/unread-count").await.expect(200);
            assert_eq!(inbox, json!({"unread": 4}));
        }
    });
}

/// Those who hear of photos first, of what they earned last, and who say it all to whoever looks.
#[test]
fn photos_and_their_rewards_that_come_late_backwards_and_twice_have_their_effect_once() {
    run(async {
        let mut mesh = mesh().modules(MODULES).split().setting("character.max_owned", 3_i64).start().await;
        let people = [mesh.persona("alice").await, mesh.persona("bob").await];
        let owed: Vec<_> = people.iter().map(|who| (who.user_id.clone(), OWED)).collect();
        for module in ["scan", "character", "realtime"] {
            mesh.node_mut(0, module).kill().await;
        }
        join_all(people.iter().flat_map(|who| PHOTOS.map(|name| Taken::by(who, name)))).await;
        let mut broker = Broker::of(&mesh).await;
        has_been_told(&mesh, REGISTERED, 8).await;
        broker.turn(REGISTERED).await;
        mesh.node_mut(0, "scan").start().await;
        count_is(&mesh, "results", "scan.tasks where state = 2", 8).await;
        has_been_told(&mesh, COMPLETED, 8).await;

        // What the photos earned is decided while scan is away again.
        mesh.node_mut(0, "scan").kill().await;
        broker.turn(COMPLETED).await;
        mesh.node_mut(0, "character").start().await;
        has_been_told(&mesh, ACQUIRED, 6).await;
        has_been_told(&mesh, REFUSED, 2).await;
        count_is(&mesh, "rewards that are pending", "scan.tasks where reward_status = 2", 8).await;
        broker.turn(ACQUIRED).await;
        broker.turn(REFUSED).await;
        mesh.node_mut(0, "scan").start().await;
        wait_until("every photo has come to its end", LONG, async || mesh.db.count(&open(&owed)).await == 0).await;
        once(&mesh, &owed).await;

        // Who looks hears of all of it when it is over.
        has_been_told(&mesh, TOLD, 8).await;
        has_been_told(&mesh, MOVED, 8).await;
        broker.turn(TOLD).await;
        broker.turn(MOVED).await;
        mesh.node_mut(0, "realtime").start().await;
        let wanted = [("scan_update", 4), ("reward_granted", 3), ("notification", 4), ("stats_delta", 4)];
        for who in &people {
            for (name, times) in wanted {
                wait_until(format!("{name} is said"), LONG, async || said(who, name).await >= times).await;
            }
        }
        // What was told twice has been heard twice by then.
        wait_until("all of it was heard", LONG, async || Broker::of(&mesh).await.is_quiet().await).await;
        for who in &people {
            for (name, times) in wanted {
                assert_eq!(said(who, name).await, times, "{name} of {}", who.user_id);
            }
        }
        once(&mesh, &owed).await;
    });
}
