//! From a command to what was asked for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{
    Command, CommandBus, CommandHandler, Commands, Consumer, DeadLetters, Error, Failure, Filter, Parts, Queue,
};
use coreloop_testkit::{run, wait::wait_for, wait_until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::stage::{Running, Stage};

pub const QUEUE: Queue = Queue::REWARDS_ISSUE;

/// Asks a vendor, who remembers by which keys it was asked.
#[derive(Clone)]
pub struct Issuing {
    pub asked: Arc<Mutex<Vec<Uuid>>>,
    /// The vendor refuses these.
    pub refused: BTreeSet<i64>,
    pub mended: Arc<AtomicBool>,
    /// The vendor answers as many as there are permits.
    pub answers: Arc<Semaphore>,
    /// So many times what follows from a death cannot be written.
    pub grief: Arc<AtomicUsize>,
}

impl Issuing {
    pub fn new() -> Self {
        let answers = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { asked: Arc::default(), refused: BTreeSet::new(), mended: Arc::default(), answers, grief: Arc::default() }
    }

    pub fn asked(&self) -> Vec<Uuid> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl CommandHandler for Issuing {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        let number: i64 = command.decode()?;
        self.asked.lock().unwrap().push(command.idempotency_key);
        self.answers.acquire().await.unwrap().forget();
        if self.refused.contains(&number) && !self.mended.load(Ordering::SeqCst) {
            return Err(Failure::retryable("VENDOR", "as the test says"));
        }
        Ok(json!({ "voucher": number }))
    }

    async fn settle(&self, tx: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure> {
        sqlx::query("insert into auth.effects (key, number, event, late_ms) values ($1, $2, $3, 0)")
            .bind(&command.key)
            .bind(result["voucher"].as_i64())
            .bind(command.idempotency_key)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    async fn died(&self, tx: &mut Transaction, command: &Command, failure: &Failure) -> Result<(), Failure> {
        let key = format!("{} died of {}", command.key, failure.reason());
        sqlx::query("insert into auth.effects (key, number, event, late_ms) values ($1, $2, $3, 0)")
            .bind(key)
            .bind(command.decode::<i64>()?)
            .bind(command.idempotency_key)
            .execute(&mut **tx)
            .await?;
        // The effect comes first: what fails after it must leave nothing behind.
        let left = self.grief.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(Failure::permanent("GRIEF", "as the test says")) } else { Ok(()) }
    }
}

impl Stage {
    pub async fn worker(&self, handler: &Issuing) -> Running {
        let bus = Arc::new(self.bus().await);
        Running::of(Consumer::working(QUEUE, bus, self.parts().await, handler.clone()).unwrap().worker())
    }

    pub async fn commands(&self) -> Commands {
        Commands::new(Arc::new(self.bus().await), Arc::new(SystemClock), "rewards")
    }

    /// Commands that wait or are under way.
    pub async fn queued(&self) -> i64 {
        let mut redis = self.redis.connect().await;
        redis::cmd("XLEN").arg("cmd:rewards.issue").query_async(&mut redis).await.unwrap()
    }

    pub async fn wait_for_an_empty_queue(&self) {
        wait_until("the queue is empty", Duration::from_secs(30), async || self.queued().await == 0).await;
    }
}

pub fn command(number: i64, timestamp: Timestamp) -> Command {
    Command {
        queue: QUEUE,
        key: "a".into(),
        idempotency_key: SystemIds.uuid(),
        trace_id: String::new(),
        traceparent: String::new(),
        request_id: String::new(),
        timestamp,
        source: "rewards".into(),
        version: 1,
        payload: Bytes::from(number.to_string()),
    }
}

#[test]
fn a_command_is_done_once_and_in_order_per_key_however_often_it_is_sent() {
    run(async {
        let stage = Stage::set().await;
        let (commands, handler) = (stage.commands().await, Issuing::new());
        let ids: Vec<Uuid> = (0..12).map(|_| SystemIds.uuid()).collect();
        for _ in 0..2 {
            for (number, id) in ids.iter().enumerate() {
                commands.send(QUEUE, ["a", "b", "c"][number % 3], *id, &number).await.unwrap();
            }
        }
        let mut redis = stage.redis.connect().await;
        let entries: Vec<(String, Vec<(String, String)>)> =
            redis::cmd("XRANGE").arg("cmd:rewards.issue").arg("-").arg("+").query_async(&mut redis).await.unwrap();
        assert_eq!(entries.len(), 24);
        let wanted = ["trace_id", "request_id", "idempotency_key", "timestamp", "source", "version", "payload"];
        for (_, fields) in entries {
            assert!(wanted.iter().all(|name| fields.iter().any(|(field, _)| field == name)), "{fields:?}");
        }
        let _workers = (stage.worker(&handler).await, stage.worker(&handler).await);
        stage.wait_for_effects(12).await;
        stage.wait_for_an_empty_queue().await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 12);
        assert!(effects.values().all(|numbers| numbers.len() == 4 && numbers.is_sorted()), "{effects:?}");
        let mut asked = handler.asked();
        asked.sort_unstable();
        let mut ids = ids;
        ids.sort_unstable();
        assert_eq!(asked, ids, "the vendor was asked twice");
        let kept = "select count(*) from auth.processed_events where domain = 'rewards' and result ? 'voucher'";
        assert_eq!(stage.db.count(kept).await, 12);
    });
}

#[test]
fn a_worker_killed_before_its_record_is_followed_by_another_with_the_same_key() {
    run(async {
        let stage = Stage::set().await;
        let (commands, id) = (stage.commands().await, SystemIds.uuid());
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let first = stage.worker(&stuck).await;
        commands.send(QUEUE, "a", id, &1).await.unwrap();
        wait_until("the vendor is asked", Duration::from_secs(30), async || !stuck.asked().is_empty()).await;
        assert_eq!(stage.queued().await, 1, "acknowledged before it was done");
        first.kill().await;
        let handler = Issuing { asked: Arc::clone(&stuck.asked), ..Issuing::new() };
        let _second = stage.worker(&handler).await;
        stage.wait_for_effects(1).await;
        stage.wait_for_an_empty_queue().await;
        assert_eq!(handler.asked(), [id, id]);
        assert_eq!(stage.effects().await["a"], [1]);
    });
}

/// A time that stands still.
#[derive(Debug)]
struct At(Timestamp);

impl coreloop_core::Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The vendor may have been asked: only its answer says what has come of that, however late.
#[test]
fn what_was_begun_in_time_is_seen_through_after_it() {
    run(async {
        let stage = Stage::set().await;
        let old = SystemClock.now().checked_sub(SignedDuration::from_secs(i64::from(QUEUE.ttl_secs()) + 60)).unwrap();
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let parts = Parts { clock: Arc::new(At(old)), ..stage.parts().await };
        let bus = Arc::new(stage.bus().await);
        let first =
            Running::of(Consumer::working(QUEUE, Arc::clone(&bus) as _, parts, stuck.clone()).unwrap().worker());
        let begun = command(1, old);
        bus.send(QUEUE, std::slice::from_ref(&begun)).await.unwrap();
        wait_until("the vendor is asked", Duration::from_secs(30), async || !stuck.asked().is_empty()).await;
        first.kill().await;
        let handler = Issuing { asked: Arc::clone(&stuck.asked), ..Issuing::new() };
        let _second = stage.worker(&handler).await;
        stage.wait_for_effects(1).await;
        assert_eq!(handler.asked(), [begun.idempotency_key; 2]);
    });
}

/// Nothing more is read: what waits is told all the same.
#[test]
fn a_worker_that_is_stuck_and_full_tells_what_waits_for_it() {
    run(async {
        let stage = Stage::set().await;
        let (bus, now) = (Arc::new(stage.bus().await), SystemClock.now());
        bus.send(QUEUE, &(1..=10).map(|number| command(number, now)).collect::<Vec<_>>()).await.unwrap();
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let worker = Consumer::working(QUEUE, Arc::clone(&bus) as _, stage.parts().await, stuck).unwrap().at_once(1);
        let _worker = Running::of(worker.within(Duration::from_secs(600)).worker());
        // One is done, one has its turn next, and one waits for a place.
        let mut redis = stage.redis.connect().await;
        let mut ask = redis::cmd("XPENDING");
        ask.arg("cmd:rewards.issue").arg(QUEUE.name());
        wait_for("it is full", Duration::from_secs(30), async || {
            // Nobody reads the queue before the worker has begun.
            let open: redis::RedisResult<redis::streams::StreamPendingReply> = ask.query_async(&mut redis).await;
            open.is_ok_and(|open| open.count() == 3).then_some(())
        })
        .await;
        bus.send(QUEUE, &(11..=15).map(|number| command(number, now)).collect::<Vec<_>>()).await.unwrap();
        stage.wait_for_metric("events_lag{consumer=\"rewards.issue\",topic=\"cmd:rewards.issue\"} 12").await;
    });
}

#[test]
fn what_fails_is_tried_again_and_then_a_dead_letter_behind_which_its_key_goes_on() {
    run(async {
        let stage = Stage::set().await;
        let (commands, handler) = (stage.commands().await, Issuing { refused: BTreeSet::from([2]), ..Issuing::new() });
        let _worker = stage.worker(&handler).await;
        for number in 1..=3 {
            commands.send(QUEUE, "a", SystemIds.uuid(), &number).await.unwrap();
        }
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await["a"], [1, 3]);
        assert_eq!(stage.effects().await["a died of VENDOR"], [2]);
        assert_eq!(handler.asked().len(), 1 + 4 + 1, "once, and three times more");
        let letters = DeadLetters::new("auth").unwrap();
        let all =
            Filter { consumer: QUEUE.name().into(), reason: Some("VENDOR".into()), id: None, after: 0, count: 10 };
        let mut connection = stage.pool.acquire().await.unwrap();
        let dead = letters.list(&mut connection, &all).await.unwrap();
        assert_eq!((dead.len(), dead[0].topic.as_str()), (1, "cmd:rewards.issue"));
        handler.mended.store(true, Ordering::SeqCst);
        assert_eq!(letters.reprocess(&mut connection, &all, SystemClock.now()).await.unwrap(), 1);
        stage.wait_for_effects(4).await;
        assert_eq!(stage.effects().await["a"], [1, 3, 2]);
    });
}

#[test]
fn a_queue_refuses_what_does_not_fit_and_buries_what_is_too_old() {
    run(async {
        let mut stage = Stage::set().await;
        // Ten thousand at once.
        stage.options.broker_timeout_ms = 30_000;
        let bus = stage.bus().await;
        let now = SystemClock.now();
        let many = |queue: Queue, count: u32| {
            (0..count).map(|number| Command { queue, ..command(number.into(), now) }).collect::<Vec<_>>()
        };
        let small = Queue::CHAT_PIPELINE;
        let refused = bus.send(small, &many(small, small.most() + 1)).await.map_err(Error::from);
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
        bus.send(small, &many(small, small.most())).await.unwrap();
        let refused = bus.send(small, &many(small, 1)).await.map_err(Error::from);
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");

        let old = now.checked_sub(SignedDuration::from_secs(i64::from(QUEUE.ttl_secs()) + 60)).unwrap();
        bus.send(QUEUE, &[command(1, old), command(2, now)]).await.unwrap();
        let handler = Issuing::new();
        let _worker = stage.worker(&handler).await;
        stage.wait_for_effects(2).await;
        stage.wait_for_an_empty_queue().await;
        assert_eq!(stage.effects().await["a"], [2]);
        assert_eq!(stage.effects().await["a died of EXPIRED"], [1]);
        let dead = "select count(*) from auth.held_events where consumer = 'rewards.issue' and state = 'dead' and reason = 'EXPIRED'";
        assert_eq!(stage.db.count(dead).await, 1);
    });
}
