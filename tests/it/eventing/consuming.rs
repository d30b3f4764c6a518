//! From the broker to the effect.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{
    Consumer, DeadLetters, Error, Event, Failure, Filter, Handler, Parts, Topic,
    bus::{Bus as _, Start},
};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_testkit::{run, wait::within, wait_until};
use jiff::Timestamp;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    buses::{Mute, SlowAcks},
    stage::{CONSUMER, Gated, Noting, Poisoned, Running, Stage, consumer},
};

pub const TOPIC: &str = "events.auth.user_logged_in";
/// The fields of an event as the relay writes them.
pub fn entry(key: &str, id: Uuid) -> Vec<(&'static str, String)> {
    let payload = format!("{{\"user_id\": \"{}\", \"session_id\": \"9\"}}", key.len());
    let fixed = [("sequence", "1"), ("version", "1"), ("trace_id", ""), ("traceparent", ""), ("request_id", "")];
    let mut fields: Vec<_> = fixed.map(|(name, value)| (name, value.to_owned())).into();
    fields.extend([("created_at", SystemClock.now().to_string()), ("encoding", "json".into()), ("payload", payload)]);
    fields.extend([("id", id.to_string()), ("key", key.to_owned())]);
    fields
}

/// As [`Noting`], but wants to try again whatever has a long key.
struct Refusing;

#[async_trait]
impl Handler for Refusing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        if event.key.len() > 100 {
            return Err(Failure::retryable("LONG", "as the test says, with a \0"));
        }
        Noting.handle(tx, event).await
    }
}

#[test]
fn a_consumer_killed_before_its_commit_has_had_no_effect_and_another_takes_over() {
    run(async {
        let stage = Stage::set().await;
        let _relay = stage.relay().await;
        let (permits, inside) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let first = stage.consumer(Gated { permits: Arc::clone(&permits), inside: Arc::clone(&inside) }).await;
        stage.tell("a", &[1, 2]).await;
        inside.acquire().await.unwrap().forget();
        let second = stage.consumer(Noting).await;
        first.kill().await;
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await["a"], [1, 2]);
        second.stop().await;
    });
}

#[test]
fn a_consumer_killed_after_its_commit_has_no_second_effect() {
    run(async {
        let stage = Stage::set().await;
        let _relay = stage.relay().await;
        let bus = Mute { bus: stage.bus().await, mute_publish: false, mute_ack: true };
        let parts = Parts { bus: Arc::new(bus), ..stage.parts().await };
        let first = Running::of(consumer(parts, Noting));
        stage.tell("a", &[1]).await;
        stage.tell("b", &[1]).await;
        stage.wait_for_effects(2).await;
        first.kill().await;
        let _second = stage.consumer(Noting).await;
        stage.tell("a", &[2]).await;
        stage.wait_for_effects(3).await;
        wait_until("all are acknowledged", Duration::from_secs(30), async || stage.pending().await == 0).await;
        assert_eq!(stage.effects().await, BTreeMap::from([("a".into(), vec![1, 2]), ("b".into(), vec![1])]));
    });
}

#[test]
fn poison_holds_back_its_own_key_only_until_it_is_a_dead_letter_and_can_come_back() {
    run(async {
        let mut stage = Stage::set().await;
        // Longer than this test.
        stage.options.retry_delays_secs = vec![600];
        let _relay = stage.relay().await;
        let poison = Poisoned::of([("bad", 2)]);
        let (mended, tries) = (Arc::clone(&poison.mended), Arc::clone(&poison.tries));
        let first = stage.consumer(poison.clone()).await;
        for number in 1..=4 {
            stage.tell("bad", &[number]).await;
            stage.tell("good", &[number]).await;
        }
        wait_until("the good key is done", Duration::from_secs(30), async || {
            stage.effects().await.get("good").is_some_and(|numbers| numbers.len() == 4)
        })
        .await;
        assert_eq!(stage.effects().await["bad"], [1], "what comes after the poison waits");
        let held = "select count(*) from auth.held_events where state = 'retry' or state = 'waiting'";
        wait_until("the bad key waits", Duration::from_secs(30), async || stage.db.count(held).await == 3).await;
        // What waits is not in a process's memory.
        first.kill().await;
        stage.db.execute("update auth.held_events set due_at = now()").await;
        stage.options.retry_delays_secs = vec![0, 0, 0];
        let _second = stage.consumer(poison).await;
        stage.wait_for_effects(7).await;
        assert_eq!(stage.effects().await["bad"], [1, 3, 4]);
        assert_eq!(tries.load(Ordering::SeqCst), 4, "once and three times more");

        let letters = DeadLetters::new("auth").unwrap();
        let all = Filter { consumer: CONSUMER.into(), reason: Some("POISON".into()), id: None, after: 0, count: 10 };
        let mut connection = stage.pool.acquire().await.unwrap();
        let dead = letters.list(&mut connection, &all).await.unwrap();
        assert_eq!((dead.len(), dead[0].key.as_str(), dead[0].failures), (1, "bad", 4));
        let none = Filter { reason: Some("ANOTHER".into()), ..all.clone() };
        assert_eq!(letters.reprocess(&mut connection, &none, SystemClock.now()).await.unwrap(), 0);
        mended.store(true, Ordering::SeqCst);
        assert_eq!(letters.reprocess(&mut connection, &all, SystemClock.now()).await.unwrap(), 1);
        stage.wait_for_effects(8).await;
        assert_eq!(stage.effects().await["bad"], [1, 3, 4, 2]);
        assert_eq!(stage.db.count("select count(*) from auth.held_events").await, 0);
    });
}

#[test]
fn what_is_no_event_is_set_aside_and_nothing_stops() {
    run(async {
        let stage = Stage::set().await;
        let mut redis = stage.redis.connect().await;
        let () = redis::cmd("XADD")
            .arg("events.auth.user_logged_in")
            .arg("*")
            .arg("rubbish")
            .arg("as it comes")
            .query_async(&mut redis)
            .await
            .unwrap();
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Noting).await);
        stage.tell("a", &[1]).await;
        let insert = |version: i32, payload: &str| {
            format!(
                "insert into auth.outbox (id, aggregatetype, aggregateid, type, payload, version, created_at)
                 values (gen_random_uuid(), 'auth', 'a', 'user_logged_in', '{payload}', {version}, now())"
            )
        };
        stage.db.execute(&insert(1, r#"{"user_id": {}}"#)).await;
        stage.db.execute(&insert(9, r#"{"user_id": "a", "session_id": "1"}"#)).await;
        // A newer producer of the same version, and an older one.
        stage.db.execute(&insert(1, r#"{"user_id": "a", "session_id": "2", "added_since": [1]}"#)).await;
        stage.db.execute(&insert(1, r#"{"session_id": "3", "user_id": "a"}"#)).await;
        stage.tell("a", &[4]).await;
        stage.wait_for_effects(4).await;
        for reason in ["UNREADABLE", "MALFORMED_EVENT", "UNKNOWN_VERSION"] {
            let dead = format!("select count(*) from auth.held_events where state = 'dead' and reason = '{reason}'");
            wait_until(reason, Duration::from_secs(30), async || stage.db.count(&dead).await == 1).await;
        }
        assert_eq!(stage.effects().await["a"], [1, 2, 3, 4]);
    });
}

/// More of them than have a place, so that one that is not given up would stop all.
#[test]
fn what_no_database_keeps_is_set_aside_as_what_it_looks_like() {
    const BAD: i64 = 40;
    run(async {
        let stage = Stage::set().await;
        let mut redis = stage.redis.connect().await;
        for number in 0..BAD {
            let key = match number % 2 {
                // No index takes so long a key, and it is not to be compressed.
                0 => (0..200).map(|_| format!("{:032x}", rand::random::<u128>())).collect(),
                _ => format!("{number}\0"),
            };
            let fields = entry(&key, SystemIds.uuid());
            let () = redis::cmd("XADD").arg(TOPIC).arg("*").arg(&fields).query_async(&mut redis).await.unwrap();
        }
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Refusing).await);
        stage.tell("good", &[1]).await;
        stage.wait_for_effects(1).await;
        let dead = "select count(*) from auth.held_events where state = 'dead' and reason = 'UNREADABLE' and key = ''";
        wait_until("all are dead letters", Duration::from_secs(30), async || stage.db.count(dead).await == BAD).await;
        wait_until("all are acknowledged", Duration::from_secs(30), async || stage.pending().await == 0).await;
    });
}

#[test]
fn a_group_reads_again_what_it_is_told_to_without_a_second_effect() {
    run(async {
        let stage = Stage::set().await;
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Noting).await);
        stage.tell("a", &[1, 2, 3]).await;
        stage.wait_for_effects(3).await;
        let topic = Topic::of::<AuthUserLoggedIn>().unwrap();
        stage.bus().await.rewind(CONSUMER, &topic, Start::Earliest).await.unwrap();
        stage.wait_for_metric("events_handled_total{consumer=\"auth.test\",outcome=\"known\"} 3").await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
    });
}

/// A time or a place ahead of it would leave out what lies between.
#[test]
fn a_group_that_lags_is_never_moved_past_what_it_has_not_read() {
    run(async {
        let stage = Stage::set().await;
        let (_relay, first) = (stage.relay().await, stage.consumer(Noting).await);
        stage.tell("a", &[1]).await;
        stage.wait_for_effects(1).await;
        first.stop().await;
        let read = stage.newest().await;
        wait_until("the next is published in another millisecond", Duration::from_secs(30), async || {
            SystemClock.now().as_millisecond() > read
        })
        .await;
        stage.tell("a", &[2, 3]).await;
        stage.wait_for_published(3).await;
        let (bus, topic, newest) = (stage.bus().await, Topic::of::<AuthUserLoggedIn>().unwrap(), stage.newest().await);
        let at = Start::At(Timestamp::from_millisecond(newest).unwrap());
        for refused in [
            bus.rewind(CONSUMER, &topic, at).await,
            bus.rewind(CONSUMER, &topic, Start::Latest).await,
            bus.rewind_to(CONSUMER, &topic, &format!("{newest}-1")).await,
        ] {
            assert!(matches!(refused, Err(Error::Ahead)), "{refused:?}");
        }
        let _second = stage.consumer(Noting).await;
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
    });
}

#[test]
fn a_new_group_begins_where_it_is_told_to() {
    run(async {
        let stage = Stage::set().await;
        let _relay = stage.relay().await;
        stage.tell("a", &[1]).await;
        stage.wait_for_published(1).await;
        let first = stage.newest().await;
        wait_until("the next is published in another millisecond", Duration::from_secs(30), async || {
            SystemClock.now().as_millisecond() > first
        })
        .await;
        stage.tell("a", &[2]).await;
        stage.wait_for_published(2).await;
        let at = Timestamp::from_millisecond(stage.newest().await).unwrap();
        let consumer =
            Consumer::new(CONSUMER, stage.parts().await, Noting).unwrap().hears::<AuthUserLoggedIn>().unwrap();
        let _consumer = Running::of(consumer.starting(Start::At(at)).worker());
        stage.wait_for_effects(1).await;
        assert_eq!(stage.effects().await["a"], [2]);
    });
}

/// Notes how many turns of a key run at once, at most.
#[derive(Clone)]
struct Counting {
    gated: Gated,
    turns: Arc<Mutex<BTreeMap<String, (usize, usize)>>>,
}

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let turn = |by: isize| {
            let mut turns = self.turns.lock().unwrap();
            let (now, most) = turns.entry(event.key.clone()).or_default();
            *now = now.checked_add_signed(by).unwrap();
            *most = (*most).max(*now);
        };
        turn(1);
        let outcome = self.gated.handle(tx, event).await;
        turn(-1);
        outcome
    }
}

#[test]
fn keys_are_handled_at_the_same_time_and_each_in_order() {
    run(async {
        let stage = Stage::set().await;
        let _relay = stage.relay().await;
        let (permits, inside) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gated = Gated { permits: Arc::clone(&permits), inside: Arc::clone(&inside) };
        let counting = Counting { gated, turns: Arc::default() };
        let _consumer = stage.consumer(counting.clone()).await;
        for key in ["a", "b", "c", "d"] {
            stage.tell(key, &[1, 2, 3]).await;
        }
        // Four are in their handlers, one a key; none of them has been let out.
        inside.acquire_many(4).await.unwrap().forget();
        permits.add_permits(12);
        stage.wait_for_effects(12).await;
        assert!(stage.effects().await.values().all(|numbers| *numbers == [1, 2, 3]));
        let turns = counting.turns.lock().unwrap().clone();
        assert!(turns.len() == 4 && turns.values().all(|(_, most)| *most == 1), "{turns:?}");
    });
}

#[test]
fn a_consumer_ends_when_it_is_told_to_although_its_database_is_away() {
    run(async {
        let stage = Stage::set().await;
        let _relay = stage.relay().await;
        let own = PgPoolOptions::new().max_connections(4).connect(&stage.db.url()).await.unwrap();
        let parts = Parts { db: own.clone(), ..stage.parts().await };
        let running = Running::of(consumer(parts, Noting));
        stage.tell("a", &[1]).await;
        stage.wait_for_effects(1).await;
        own.close().await;
        stage.tell("a", &[2]).await;
        stage.tell("a", &[3]).await;
        wait_until("it has them in its hands", Duration::from_secs(30), async || stage.pending().await == 2).await;
        within("its end", Duration::from_secs(30), running.stop()).await;
        let _second = stage.consumer(Noting).await;
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
    });
}

#[test]
fn many_are_acknowledged_together_and_none_before_its_commit() {
    const EVENTS: i64 = 60;
    run(async {
        let stage = Stage::set().await;
        let _relay = stage.relay().await;
        let (permits, calls) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let bus = SlowAcks { bus: stage.bus().await, permits: Arc::clone(&permits), calls: Arc::clone(&calls) };
        let parts = Parts { bus: Arc::new(bus), ..stage.parts().await };
        let (let_go, inside) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let _consumer =
            Running::of(consumer(parts, Gated { permits: Arc::clone(&let_go), inside: Arc::clone(&inside) }));
        for number in 0..EVENTS {
            stage.tell(&format!("key{}", number % 12), &[number]).await;
        }
        inside.acquire_many(12).await.unwrap().forget();
        assert_eq!((stage.effects().await.len(), calls.load(Ordering::SeqCst)), (0, 0), "nothing is committed yet");
        let_go.add_permits(EVENTS as usize);
        // The first acknowledgement is under way and gets no answer; the work goes on.
        stage.wait_for_effects(EVENTS as usize).await;
        assert_eq!((stage.pending().await, calls.load(Ordering::SeqCst)), (EVENTS, 1));
        permits.add_permits(EVENTS as usize);
        wait_until("all are acknowledged", Duration::from_secs(30), async || stage.pending().await == 0).await;
        assert!(calls.load(Ordering::SeqCst) <= 10, "{calls:?} round trips");
    });
}

/// An outbox holds JSON; what travels may be the wire form, and people are shown JSON again.
#[test]
fn a_payload_may_travel_as_protobuf_and_is_shown_as_json_when_it_dies() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.payload = coreloop_eventing::Encoding::Protobuf;
        stage.options.retry_delays_secs = Vec::new();
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Poisoned::of([("bad", 1)])).await);
        stage.tell("good", &[1, 2]).await;
        stage.tell("bad", &[1]).await;
        stage.wait_for_effects(2).await;
        let mut redis = stage.redis.connect().await;
        let mut ask = redis::cmd("XRANGE");
        ask.arg("events.auth.user_logged_in").arg("-").arg("+");
        let entries: redis::streams::StreamRangeReply = ask.query_async(&mut redis).await.unwrap();
        let encodings: Vec<String> = entries.ids.iter().map(|entry| entry.get("encoding").unwrap()).collect();
        assert!(encodings.iter().all(|encoding| encoding == "protobuf"), "{encodings:?}");
        let dead = "select count(*) from auth.held_events where state = 'dead'";
        wait_until("it is dead", Duration::from_secs(30), async || stage.db.count(dead).await == 1).await;
        let letters = DeadLetters::new("auth").unwrap();
        let all = Filter { consumer: CONSUMER.into(), reason: None, id: None, after: 0, count: 10 };
        let shown = letters.list(&mut stage.pool.acquire().await.unwrap(), &all).await.unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&shown[0].payload).unwrap();
        assert_eq!((&shown["user_id"], &shown["session_id"]), (&"bad".into(), &"1".into()));
    });
}
