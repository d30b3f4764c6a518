//! Events over a real Kafka.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{
    Consumer, Encoding, Error, Event, Parts, Topic,
    bus::{Batch, Bus, Mark, Reader, Start, Subscription},
};
use coreloop_eventing_kafka::{KafkaBus, Options};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_testkit::{TestKafka, run, wait::wait_for, wait_until};
use uuid::Uuid;

use super::stage::{CONSUMER, Gated, Noting, Poisoned, Running, Stage};

const PATIENCE: Duration = Duration::from_secs(40);

/// A corner of a broker.
struct Corner(Options);

impl Corner {
    fn of(kafka: &TestKafka) -> Self {
        let prefix = format!("{}.", SystemIds.uuid().simple());
        let options = Options { servers: kafka.servers(), prefix, partitions: 3, ..Options::default() };
        Self(Options { timeout_ms: 30_000, ..options })
    }

    async fn shared() -> Self {
        Self::of(TestKafka::shared().await)
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(&self.0, Duration::from_secs(30 * 86_400))
    }

    async fn parts(&self, stage: &Stage) -> Parts {
        Parts { bus: Arc::new(self.bus()), ..stage.parts().await }
    }

    async fn relay(&self, stage: &Stage) -> Running {
        stage.relay_over(self.bus()).await
    }

    async fn consumer(&self, stage: &Stage, handler: impl coreloop_eventing::Handler) -> Running {
        Running::of(super::stage::consumer(self.parts(stage).await, handler))
    }

    async fn reader(&self, start: Start) -> Box<dyn Reader> {
        self.reader_of("test", start).await
    }

    async fn reader_of(&self, group: &str, start: Start) -> Box<dyn Reader> {
        let (group, topics, token) = (group.to_owned(), vec![topic()], SystemIds.uuid());
        self.bus().subscribe(Subscription { group, topics, start, token }).await.unwrap()
    }
}

fn topic() -> Topic {
    Topic::of::<AuthUserLoggedIn>().unwrap()
}

fn event(key: &str, sequence: i64) -> Event {
    Event {
        topic: topic(),
        key: key.into(),
        id: Uuid::from_u128(sequence.unsigned_abs().into()),
        sequence,
        version: 1,
        source: "auth".into(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        request_id: "asked".into(),
        created_at: SystemClock.now(),
        encoding: Encoding::Json,
        payload: format!("{{\"session_id\":\"{sequence}\"}}").into(),
    }
}

async fn publish(bus: &KafkaBus, token: Uuid, events: &[Event]) -> Result<(), Error> {
    bus.publish(Batch { source: "auth", token, mark: Mark::default(), now: SystemClock.now(), events }).await
}

/// The numbers of the next events, as many as asked for, which are acknowledged.
async fn numbers(reader: &dyn Reader, count: usize) -> Vec<i64> {
    let mut numbers = Vec::new();
    wait_for(format!("{count} events"), PATIENCE, async || {
        let given = reader.next(100).await.unwrap();
        numbers.extend(given.iter().map(|one| one.event.as_ref().unwrap().sequence));
        let receipts: Vec<_> = given.into_iter().map(|one| one.receipt).collect();
        if !receipts.is_empty() {
            reader.ack(&receipts).await.unwrap();
        }
        (numbers.len() >= count).then_some(())
    })
    .await;
    numbers
}

#[test]
fn events_over_kafka_have_their_effect_once_and_in_order_per_key_whoever_is_killed() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let (relay, consumer) = (corner.relay(&stage).await, corner.consumer(&stage, Noting).await);
        for number in 0..30 {
            stage.tell(&format!("key{}", number % 5), &[number]).await;
        }
        stage.wait_for_effects(20).await;
        relay.kill().await;
        consumer.kill().await;
        for number in 30..60 {
            stage.tell(&format!("key{}", number % 5), &[number]).await;
        }
        let (_relay, _consumer) = (corner.relay(&stage).await, corner.consumer(&stage, Noting).await);
        stage.wait_for_effects(60).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 60);
        assert!(effects.values().all(|numbers| numbers.len() == 12 && numbers.is_sorted()), "{effects:?}");
        stage.wait_for_metric("events_lag{consumer=\"auth.test\",topic=\"events.auth.user_logged_in\"} 0").await;
    });
}

#[test]
fn what_a_killed_consumer_had_of_kafka_is_read_again() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let _relay = corner.relay(&stage).await;
        let gated = Gated::shut();
        let stuck = corner.consumer(&stage, gated.clone()).await;
        stage.tell("a", &[1, 2]).await;
        stage.tell("b", &[1, 2]).await;
        gated.inside.acquire_many(2).await.unwrap().forget();
        stuck.kill().await;
        assert!(stage.effects().await.is_empty());
        let _next = corner.consumer(&stage, Noting).await;
        stage.wait_for_effects(4).await;
        assert!(stage.effects().await.values().all(|numbers| *numbers == [1, 2]));
    });
}

#[test]
fn poison_over_kafka_holds_back_its_own_key() {
    run(async {
        let (mut stage, corner) = (Stage::set().await, Corner::shared().await);
        stage.options.retry_delays_secs = vec![600];
        let _relay = corner.relay(&stage).await;
        let _consumer = corner.consumer(&stage, Poisoned::of([("bad", 1)])).await;
        stage.tell("bad", &[1, 2]).await;
        stage.tell("good", &[1, 2]).await;
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await.keys().collect::<Vec<_>>(), ["good"]);
        let waits = "select count(*) from auth.held_events where state in ('retry', 'waiting')";
        wait_until("both are held", PATIENCE, async || stage.db.count(waits).await == 2).await;
    });
}

#[test]
fn a_publisher_of_kafka_that_was_replaced_publishes_nothing() {
    run(async {
        let corner = Corner::shared().await;
        let (one, other) = (corner.bus(), corner.bus());
        let (first, second) = (SystemIds.uuid(), SystemIds.uuid());
        assert_eq!(one.lead("auth", first).await.unwrap(), None);
        publish(&one, first, &[event("a", 1), event("b", 2)]).await.unwrap();
        other.lead("auth", second).await.unwrap();
        let refused = publish(&one, first, &[event("a", 3)]).await;
        assert!(matches!(refused, Err(Error::Fenced)), "{refused:?}");
        publish(&other, second, &[event("a", 4)]).await.unwrap();
        let refused = publish(&one, first, &[event("a", 5)]).await;
        assert!(matches!(refused, Err(Error::Fenced)), "{refused:?}");
        let reader = corner.reader(Start::Earliest).await;
        let mut seen = numbers(&*reader, 3).await;
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 4]);
    });
}

#[test]
fn a_reader_of_kafka_that_was_replaced_learns_it_and_what_it_left_comes_again() {
    run(async {
        let (corner, token) = (Corner::shared().await, SystemIds.uuid());
        let bus = corner.bus();
        bus.lead("auth", token).await.unwrap();
        publish(&bus, token, &[event("a", 1), event("a", 2), event("a", 3)]).await.unwrap();
        let first = corner.reader(Start::Earliest).await;
        let given = wait_for("all are given", PATIENCE, async || {
            let given = first.next(10).await.unwrap();
            (given.len() == 3).then_some(given)
        })
        .await;
        let told = given[0].event.as_ref().unwrap();
        assert_eq!((told, told.context().sampled), (&Event { created_at: told.created_at, ..event("a", 1) }, true));
        // The second is done before the first: nothing is past the first.
        first.ack(&[given[1].receipt.clone()]).await.unwrap();
        let second = corner.reader(Start::Earliest).await;
        assert_eq!(numbers(&*second, 3).await, [1, 2, 3]);
        let fenced = wait_for("the first learns it", PATIENCE, async || {
            match (first.next(1).await, first.ack(&[given[0].receipt.clone()]).await) {
                (Err(error), _) | (_, Err(error)) => Some(error),
                _ => None,
            }
        })
        .await;
        assert!(matches!(fenced, Error::Fenced), "{fenced:?}");
    });
}

#[test]
fn a_group_of_kafka_begins_where_it_is_told_to_and_reads_again_from_a_time() {
    run(async {
        let (corner, token) = (Corner::shared().await, SystemIds.uuid());
        let bus = corner.bus();
        bus.lead("auth", token).await.unwrap();
        publish(&bus, token, &[event("a", 1)]).await.unwrap();
        let first = SystemClock.now();
        wait_until("another millisecond", PATIENCE, async || {
            SystemClock.now().as_millisecond() > first.as_millisecond() + 1
        })
        .await;
        let between = SystemClock.now();
        publish(&bus, token, &[event("a", 2), event("a", 3)]).await.unwrap();
        let (reader, lagging) =
            (corner.reader(Start::At(between)).await, corner.reader_of("lags", Start::At(between)).await);
        assert_eq!((numbers(&*reader, 2).await, numbers(&*lagging, 2).await), (vec![2, 3], vec![2, 3]));
        drop((reader, lagging));
        // Kafka lets go of a reader when its session is over.
        wait_for("the group can be moved", PATIENCE, async || {
            bus.rewind("test", &topic(), Start::At(between)).await.ok()
        })
        .await;
        let reader = corner.reader(Start::Latest).await;
        assert_eq!(numbers(&*reader, 2).await, [2, 3]);
        // What it has not read is never left out, and what is past the retention not read again.
        publish(&bus, token, &[event("a", 4)]).await.unwrap();
        let (short, ahead) = (KafkaBus::new(&corner.0, Duration::ZERO), Start::At(SystemClock.now()));
        wait_for("the other can be moved", PATIENCE, async || bus.rewind("lags", &topic(), ahead).await.ok()).await;
        short.rewind("lags", &topic(), Start::Earliest).await.unwrap();
        short.rewind("lags", &topic(), Start::At(first)).await.unwrap();
        let lagging = corner.reader_of("lags", Start::Latest).await;
        assert_eq!(numbers(&*lagging, 1).await, [4]);
        // Nobody is moved who is not there, nor is a topic made.
        for _ in 0..2 {
            bus.rewind("test", &Topic::named("auth", "misspelt"), Start::Earliest).await.unwrap_err();
            bus.rewind("misspelt", &topic(), Start::Earliest).await.unwrap_err();
        }
    });
}

#[test]
fn what_a_group_of_kafka_was_not_given_yet_is_its_lag_until_it_is_given() {
    run(async {
        let (mut stage, corner) = (Stage::set().await, Corner::shared().await);
        let _relay = corner.relay(&stage).await;
        stage.tell("a", &[1, 2, 3]).await;
        let reader = corner.reader(Start::Earliest).await;
        numbers(&*reader, 3).await;
        // Of a consumer that was never given anything, and can take one at a time.
        (stage.options.queue, stage.options.concurrency) = (1, 1);
        let gated = Gated::shut();
        let _consumer = corner.consumer(&stage, gated.clone()).await;
        let told = || {
            let metrics = stage.metrics.encode();
            let line = "events_lag{consumer=\"auth.test\",topic=\"events.auth.user_logged_in\"} ";
            metrics.lines().find_map(|one| one.strip_prefix(line)?.parse::<u64>().ok())
        };
        wait_until("three wait", PATIENCE, async || told() >= Some(3)).await;
        gated.permits.add_permits(3);
        wait_until("nothing waits", PATIENCE, async || told() == Some(0)).await;
        // Of a reader that has read, and stands still.
        let lag = async || reader.lag().await.unwrap()[0].1;
        wait_until("all was given", PATIENCE, async || {
            assert!(reader.next(1).await.unwrap().is_empty(), "it was given before");
            lag().await == 0
        })
        .await;
        stage.tell("a", &[4, 5]).await;
        wait_until("two wait", PATIENCE, async || lag().await >= 2).await;
        numbers(&*reader, 2).await;
        wait_until("all was given again", PATIENCE, async || {
            assert!(reader.next(1).await.unwrap().is_empty(), "there were two");
            lag().await == 0
        })
        .await;
    });
}

#[test]
fn kafka_killed_loses_nothing_and_doubles_nothing() {
    run(async {
        let mut kafka = TestKafka::start().await;
        let (stage, mut corner) = (Stage::set().await, Corner::of(&kafka));
        corner.0.timeout_ms = 5_000;
        let (_relay, consumer) = (corner.relay(&stage).await, corner.parts(&stage).await);
        let consumer = Consumer::new(CONSUMER, consumer, Noting).unwrap().hears::<AuthUserLoggedIn>().unwrap();
        let _consumer = Running::of(consumer.worker());
        for number in 0..10 {
            stage.tell(&format!("key{}", number % 3), &[number]).await;
        }
        stage.wait_for_effects(10).await;
        kafka.kill();
        for number in 10..20 {
            stage.tell(&format!("key{}", number % 3), &[number]).await;
        }
        kafka.resurrect().await;
        for number in 20..30 {
            stage.tell(&format!("key{}", number % 3), &[number]).await;
        }
        stage.wait_for_effects_within(30, Duration::from_secs(120)).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 30);
        assert!(effects.values().all(|numbers| numbers.is_sorted()), "{effects:?}");
    });
}
