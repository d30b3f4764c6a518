//! How long things are kept, by a clock that is moved; and what is told of what waits.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use coreloop_core::{Clock, SystemClock};
use coreloop_eventing::{DeadLetters, Filter, Parts};
use coreloop_testkit::{run, wait_until};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use super::{
    commanding::{Issuing, QUEUE, command},
    stage::{CONSUMER, Gated, Noting, Poisoned, Running, Stage, consumer},
};
use coreloop_eventing::CommandBus as _;

const PATIENCE: Duration = Duration::from_secs(30);

/// The machine's clock, some seconds later.
#[derive(Debug, Default)]
struct Later(AtomicI64);

impl Later {
    fn by(&self, time: SignedDuration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn a_dead_letter_that_nobody_touched_for_an_hour_is_archived_and_may_still_be_tried_again() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.retry_delays_secs = Vec::new();
        let (clock, poison) = (Arc::new(Later::default()), Poisoned::of([("a", 1), ("b", 1)]));
        let mended = Arc::clone(&poison.mended);
        let parts = Parts { clock: Arc::clone(&clock) as _, ..stage.parts().await };
        let (_relay, _consumer) = (stage.relay().await, Running::of(consumer(parts, poison)));
        let states = async || {
            let rows = "select coalesce(string_agg(key || ' ' || state, ', ' order by key), '') from auth.held_events";
            sqlx::query_scalar::<_, String>(rows).fetch_one(&stage.pool).await.unwrap()
        };
        stage.tell("a", &[1]).await;
        wait_until("the first is dead", PATIENCE, async || states().await == "a dead").await;
        clock.by(SignedDuration::from_mins(58));
        stage.tell("b", &[1]).await;
        wait_until("the second is dead, and the first is", PATIENCE, async || states().await == "a dead, b dead").await;
        clock.by(SignedDuration::from_mins(4));
        wait_until("an hour is over for the first", PATIENCE, async || states().await == "a archived, b dead").await;
        stage.wait_for_metric("events_archived{consumer=\"auth.test\"} 1").await;

        mended.store(true, Ordering::SeqCst);
        let (letters, mut connection) = (DeadLetters::new("auth").unwrap(), stage.pool.acquire().await.unwrap());
        let all = Filter { consumer: CONSUMER.into(), reason: Some("POISON".into()), id: None, after: 0, count: 10 };
        let archived = letters.list(&mut connection, &all).await.unwrap();
        assert_eq!(archived.iter().map(|one| one.archived).collect::<Vec<_>>(), [true, false]);
        let first = Filter { id: Some(archived[0].id), ..all };
        assert_eq!(letters.reprocess(&mut connection, &first, clock.now()).await.unwrap(), 1);
        stage.wait_for_effects(1).await;
        assert_eq!(stage.effects().await.into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(states().await, "b dead");
    });
}

#[test]
fn what_was_acted_on_is_forgotten_when_no_broker_can_deliver_it_again_and_not_before() {
    run(async {
        let stage = Stage::set().await;
        let clock = Arc::new(Later::default());
        let parts = async || Parts { clock: Arc::clone(&clock) as _, ..stage.parts().await };
        let _relay = stage.relay().await;
        let known = async || {
            let rows = "select count(*) from auth.processed_events where domain = 'auth'";
            stage.db.count(rows).await
        };
        let mut told = 0;
        // Kept for thirty days by the broker, and known for a day longer: each consumer sweeps when it begins.
        for (days, expected) in [(0, 2), (30, 4), (2, 4)] {
            clock.by(SignedDuration::from_hours(24 * days));
            let running = Running::of(consumer(parts().await, Noting));
            stage.tell("a", &[told + 1, told + 2]).await;
            told += 2;
            stage.wait_for_effects(told.try_into().unwrap()).await;
            wait_until(format!("{expected} are known"), PATIENCE, async || known().await == expected).await;
            running.stop().await;
        }
    });
}

#[test]
fn what_a_consumer_was_not_given_yet_is_its_lag_and_a_worker_that_ended_tells_none() {
    run(async {
        let mut stage = Stage::set().await;
        let (relay, now) = (stage.relay().await, SystemClock.now());
        stage.tell("a", &[1, 2, 3]).await;
        stage.wait_for_published(3).await;
        relay.stop().await;
        stage.bus().await.send(QUEUE, &[command(1, now), command(2, now)]).await.unwrap();
        (stage.options.queue, stage.options.concurrency) = (1, 1);
        let (permits, inside) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let heard = stage.consumer(Gated { permits: Arc::clone(&permits), inside }).await;
        let worker = stage.worker(&stuck).await;
        let lag = |consumer: &str, topic: &str| format!("events_lag{{consumer=\"{consumer}\",topic=\"{topic}\"}}");
        let (events, commands) = (lag(CONSUMER, "events.auth.user_logged_in"), lag(QUEUE.name(), "cmd:rewards.issue"));
        stage.wait_for_metric(&format!("{events} 3")).await;
        stage.wait_for_metric(&format!("{commands} 2")).await;
        permits.add_permits(3);
        stuck.answers.add_permits(2);
        stage.wait_for_metric(&format!("{events} 0")).await;
        stage.wait_for_metric(&format!("{commands} 0")).await;
        heard.stop().await;
        worker.stop().await;
        let told = stage.metrics.encode();
        assert!(!told.contains(&events) && !told.contains(&commands), "{told}");
    });
}
