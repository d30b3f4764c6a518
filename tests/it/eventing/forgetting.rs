//! What a broker forgets and what it still has: nothing is missed, nothing has a second effect.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{
    Consumer, DeadLetters, Filter, Topic,
    bus::{Bus as _, Start},
};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_testkit::{run, wait_until};

use super::{
    consuming::{TOPIC, entry},
    stage::{CONSUMER, Noting, Poisoned, Running, Stage},
};

/// How long what was acted on is still known.
const KNOWN_FOR: &str = "select extract(epoch from min(expires_at) - now())::bigint from auth.processed_events";

/// Deliveries of what was known.
fn known_by(stage: &Stage) -> usize {
    let metrics = stage.metrics.encode();
    let line = metrics.lines().find(|line| line.starts_with("events_handled_total{") && line.contains("\"known\""));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Whoever acted on it may have forgotten it.
#[test]
fn what_is_past_its_retention_is_not_read_again() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.retention_secs = 3_600;
        let mut redis = stage.redis.connect().await;
        let old = SystemClock.now().as_millisecond() - 2 * 3_600_000;
        let () = redis::cmd("XADD")
            .arg(TOPIC)
            .arg(format!("{old}-0"))
            .arg(entry("old", SystemIds.uuid()))
            .query_async(&mut redis)
            .await
            .unwrap();
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Noting).await);
        stage.tell("a", &[1]).await;
        stage.wait_for_effects(1).await;
        let topic = Topic::of::<AuthUserLoggedIn>().unwrap();
        stage.bus().await.rewind(CONSUMER, &topic, Start::Earliest).await.unwrap();
        stage.wait_for_metric("events_handled_total{consumer=\"auth.test\",outcome=\"known\"} 1").await;
        assert_eq!(stage.effects().await, BTreeMap::from([("a".into(), vec![1])]));
        let (kept, day) = (stage.db.count(KNOWN_FOR).await, 86_400);
        assert!(kept > 7 * day - 60, "acted on and known for {kept} s");
    });
}

/// The broker forgets its groups, and is told again before they are made anew.
#[test]
fn a_group_that_began_with_what_was_new_misses_nothing_when_the_broker_forgets_it() {
    run(async {
        let mut stage = Stage::set().await;
        let _relay = stage.relay().await;
        let latest = async |stage: &Stage| {
            let consumer = Consumer::new(CONSUMER, stage.parts().await, Noting).unwrap();
            let consumer = consumer.hears::<AuthUserLoggedIn>().unwrap();
            Running::of(consumer.starting(Start::Latest).worker())
        };
        let first = latest(&stage).await;
        let began = "select count(*) from auth.processed_events where idempotency_key = 'auth.test:began'";
        wait_until("it has begun", Duration::from_secs(30), async || stage.db.count(began).await == 1).await;
        first.stop().await;
        stage.tell("a", &[1]).await;
        stage.wait_for_published(1).await;
        stage.redis.kill();
        stage.redis.resurrect().await;
        stage.wait_for_published(1).await;
        let _second = latest(&stage).await;
        stage.wait_for_effects(1).await;
        assert_eq!(stage.effects().await["a"], [1]);
    });
}

/// Only who looks after dead letters decides about them, however often the broker is told of the event.
#[test]
fn a_dead_letter_is_not_handled_because_it_is_delivered_again() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.retry_delays_secs = Vec::new();
        let _relay = stage.relay().await;
        let poison = Poisoned::of([("a", 1)]);
        let mended = Arc::clone(&poison.mended);
        let _consumer = stage.consumer(poison).await;
        stage.tell("a", &[1, 2]).await;
        stage.wait_for_effects(1).await;
        mended.store(true, Ordering::SeqCst);
        let letters = DeadLetters::new("auth").unwrap();
        let all = Filter { consumer: CONSUMER.into(), reason: None, id: None, after: 0, count: 10 };
        for (known, discarded) in [(2, 1), (4, 0)] {
            stage.redis.kill();
            stage.redis.resurrect().await;
            wait_until("it is delivered again", Duration::from_secs(30), async || known_by(&stage) >= known).await;
            assert_eq!(stage.effects().await["a"], [2]);
            let mut connection = stage.pool.acquire().await.unwrap();
            assert_eq!(letters.discard(&mut connection, &all, SystemClock.now()).await.unwrap(), discarded);
        }
    });
}
