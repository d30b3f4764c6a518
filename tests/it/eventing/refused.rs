//! What is refused: by a broker for the moment, by every broker for ever, and at writing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coreloop_core::{Clock as _, Ids as _, Kind, Problem, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{
    Command, CommandBus, DeadLetters, Error, Event, EventBroker, Facts, Failure, Filter, Handler, MAX_COMMAND_BYTES,
    MAX_PAYLOAD_BYTES, Outbox, Parts, Queue, RedisBus, Relay, SendError, Topic,
    bus::{Batch, Bus, Mark, Reader, Start, Subscription},
};
use coreloop_facts::v1::{AuthUserLoggedIn, AuthUserRegistered};
use coreloop_testkit::{run, wait_until};
use serde_json::json;
use uuid::Uuid;

use super::{
    commanding::{Issuing, QUEUE, command},
    stage::{Noting, Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(30);
const OTHER: Queue = Queue::NOTIFICATION_PUSH;

/// A broker of events, and one of commands, that refuses some of what it is given until it is mended.
#[derive(Debug)]
struct Picky {
    bus: RedisBus,
    refusals: Arc<AtomicUsize>,
    mended: Arc<AtomicBool>,
}

impl Picky {
    async fn of(stage: &Stage) -> Self {
        Self { bus: stage.bus().await, refusals: Arc::default(), mended: Arc::default() }
    }

    fn refuses(&self) -> bool {
        let refuses = !self.mended.load(Ordering::SeqCst);
        self.refusals.fetch_add(usize::from(refuses), Ordering::SeqCst);
        refuses
    }
}

#[async_trait]
impl Bus for Picky {
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error> {
        self.bus.lead(source, token).await
    }

    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error> {
        if self.refuses() { Err(Error::Broker("as the test says".into())) } else { self.bus.publish(batch).await }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error> {
        self.bus.subscribe(subscription).await
    }

    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
        self.bus.rewind(group, topic, start).await
    }
}

/// One queue of it is full, and what says more than a hundred bytes is too large.
#[async_trait]
impl CommandBus for Picky {
    async fn send(&self, queue: Queue, commands: &[Command]) -> Result<(), SendError> {
        if queue == OTHER && self.refuses() {
            return Err(Error::Full.into());
        }
        match commands.iter().map(|command| command.payload.len()).max() {
            Some(bytes) if bytes > 100 && self.refuses() => Err(Error::TooLarge(bytes).into()),
            _ => self.bus.send(queue, commands).await,
        }
    }

    async fn work(&self, queue: Queue, token: Uuid) -> Result<Box<dyn Reader>, Error> {
        self.bus.work(queue, token).await
    }
}

impl Stage {
    async fn ordered(&self, key: &str, queue: Queue, payload: &str) {
        let mut facts = Facts::new();
        facts.command(&SystemIds, queue, key, SystemIds.uuid(), &json!(payload)).unwrap();
        let mut tx = coreloop_db::begin(&self.pool).await.unwrap();
        Outbox::new("auth").unwrap().write(&mut tx, &facts, SystemClock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn refused_three_times(refusals: &AtomicUsize) {
    wait_until("three refusals", PATIENCE, async || refusals.load(Ordering::SeqCst) >= 3).await;
}

#[test]
fn commands_are_sent_once_while_the_broker_of_events_refuses_what_is_in_their_batch() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.events = EventBroker::Kafka;
        stage.order("a", &[1, 2]).await.0.commit().await.unwrap();
        let events = Picky::of(&stage).await;
        let (refusals, mended) = (Arc::clone(&events.refusals), Arc::clone(&events.mended));
        let parts = Parts { bus: Arc::new(events), ..stage.parts().await };
        let _relay = Running::of(Relay::new(parts).unwrap().sending(Arc::new(stage.bus().await)).worker());
        refused_three_times(&refusals).await;
        assert_eq!(stage.queued().await, 2, "they were sent again");
        mended.store(true, Ordering::SeqCst);
        stage.wait_for_published(1).await;
        assert_eq!(stage.queued().await, 2, "they were sent again");
    });
}

#[test]
fn commands_of_a_queue_are_sent_once_while_another_queue_is_full() {
    run(async {
        let stage = Stage::set().await;
        // The full one comes first.
        stage.ordered("a", OTHER, "push").await;
        stage.order("a", &[1, 2]).await.0.commit().await.unwrap();
        let commands = Arc::new(Picky::of(&stage).await);
        let relay = Relay::new(stage.parts().await).unwrap().sending(Arc::clone(&commands) as _);
        let _relay = Running::of(relay.worker());
        refused_three_times(&commands.refusals).await;
        assert_eq!((stage.queued().await, stage.published().await), (2, 0), "they were sent again, or too early");
        commands.mended.store(true, Ordering::SeqCst);
        stage.wait_for_published(1).await;
        assert_eq!(stage.queued().await, 2, "they were sent again");
    });
}

/// A queue that nobody has, no command at all, and what its broker does not take.
#[test]
fn a_row_that_can_never_be_sent_is_a_dead_letter_and_what_is_behind_it_goes_on() {
    run(async {
        let mut stage = Stage::set().await;
        // The first looks bring nothing that can be sent.
        stage.options.batch = 1;
        let insert = |queue: &str, payload: &str| {
            format!(
                "insert into auth.outbox (id, aggregatetype, aggregateid, type, payload, created_at)
                 values (gen_random_uuid(), 'cmd', 'odd', '{queue}', '{payload}', now())"
            )
        };
        let whole = format!("{{\"idempotency_key\": \"{}\", \"payload\": 1}}", SystemIds.uuid());
        stage.db.execute(&insert("nobody.knows", &whole)).await;
        stage.db.execute(&insert(QUEUE.name(), "{}")).await;
        stage.ordered("large", QUEUE, &"x".repeat(200)).await;
        stage.order("a", &[1, 2]).await.0.commit().await.unwrap();
        let commands = Arc::new(Picky::of(&stage).await);
        let relay = async || {
            let relay = Relay::new(stage.parts().await).unwrap().sending(Arc::clone(&commands) as _);
            Running::of(relay.worker())
        };
        let first = relay().await;
        let (_worker, _consumer) = (stage.worker(&Issuing::new()).await, stage.consumer(Noting).await);
        stage.wait_for_effects(3).await;
        let mut effects = stage.effects().await.remove("a").unwrap();
        effects.retain(|number| *number != 100);
        assert_eq!(effects, [1, 2]);
        let (letters, mut connection) = (DeadLetters::new("auth").unwrap(), stage.pool.acquire().await.unwrap());
        let all = Filter { consumer: "auth.relay".into(), reason: None, id: None, after: 0, count: 10 };
        let dead = letters.list(&mut connection, &all).await.unwrap();
        let told: Vec<(&str, &str)> = dead.iter().map(|one| (one.topic.as_str(), one.reason.as_str())).collect();
        let (odd, ours) = (("cmd:nobody.knows", "UNSENDABLE"), ("cmd:rewards.issue", "UNSENDABLE"));
        assert_eq!(told, [odd, ours, ours]);
        let why = ["there is no queue `nobody.knows`", "it is no command", "202 bytes are more"];
        assert!(dead.iter().zip(why).all(|(one, why)| one.error.starts_with(why)), "{dead:?}");
        assert!(String::from_utf8_lossy(&dead[2].payload).contains(&"x".repeat(200)));
        // Tried again once the broker takes it: its worker decides, which knows no such payload.
        commands.mended.store(true, Ordering::SeqCst);
        let large = Filter { id: Some(dead[2].id), ..all.clone() };
        assert_eq!(letters.reprocess(&mut connection, &large, SystemClock.now()).await.unwrap(), 1);
        first.stop().await;
        // It has lain there for longer than a command is worth doing, and a newer process knows the queue of the first.
        stage
            .db
            .execute(
                "update auth.held_events set envelope = envelope || '{\"created_at\": \"2020-01-01T00:00:00Z\"}';
                 update auth.held_events set topic = 'cmd:rewards.issue', envelope = envelope || '{\"type\": \"rewards.issue\"}'
                 where topic = 'cmd:nobody.knows'",
            )
            .await;
        let _second = relay().await;
        let malformed = "select count(*) from auth.held_events
                          where consumer = 'rewards.issue' and key = 'large' and reason = 'MALFORMED_COMMAND'";
        wait_until("it was sent", PATIENCE, async || stage.db.count(malformed).await == 1).await;
        stage.wait_for_effects(4).await;
        assert_eq!(stage.effects().await["odd"], [1]);
        assert_eq!(letters.list(&mut connection, &all).await.unwrap().len(), 1);
    });
}

fn fact(bytes: usize) -> Result<Uuid, Error> {
    let fact = |text: String| AuthUserLoggedIn { session_id: text, ..AuthUserLoggedIn::default() };
    Facts::new().add(&SystemIds, "a", &fact("x".repeat(bytes)))
}

/// What a client could cause by asking for too much is not a fault of ours.
#[test]
fn what_is_too_large_is_refused_where_it_is_written_and_says_so() {
    run(async {
        let stage = Stage::set().await;
        let commands = stage.commands().await;
        // The quotes of the text, and of the key.
        let most = MAX_COMMAND_BYTES - 2 - 3;
        let order = |bytes: usize| {
            let mut facts = Facts::new();
            facts.command(&SystemIds, QUEUE, "a", SystemIds.uuid(), &"x".repeat(bytes)).map(|()| facts)
        };
        let send = async |bytes: usize| commands.send(QUEUE, "a", SystemIds.uuid(), &"x".repeat(bytes)).await;
        for refused in [
            fact(MAX_PAYLOAD_BYTES).map(|_| ()),
            order(most + 1).map(|_| ()),
            send(most + 1).await,
            Facts::new().command(&SystemIds, QUEUE, "k".repeat(MAX_COMMAND_BYTES), SystemIds.uuid(), &1),
        ] {
            let refused = Problem::from(refused.unwrap_err());
            assert_eq!((refused.reason(), refused.kind()), ("BODY_TOO_LARGE", Kind::InvalidArgument), "{refused:?}");
            assert!(refused.message().contains("1048576") && refused.message().contains("245760"), "{refused:?}");
        }
        // What is admitted travels, and dies of what it says alone.
        assert!(fact(MAX_PAYLOAD_BYTES - 1_000).is_ok());
        let mut tx = coreloop_db::begin(&stage.pool).await.unwrap();
        Outbox::new("auth").unwrap().write(&mut tx, &order(most).unwrap(), SystemClock.now()).await.unwrap();
        tx.commit().await.unwrap();
        send(most).await.unwrap();
        let (_relay, _worker) = (stage.sending_relay().await, stage.worker(&Issuing::new()).await);
        let dead = "select count(*) from auth.held_events where state = 'dead' and reason = 'MALFORMED_COMMAND'";
        wait_until("both were given to the worker", PATIENCE, async || stage.db.count(dead).await == 2).await;
    });
}

/// Takes what it hears for something else.
struct Mistaken;

#[async_trait]
impl Handler for Mistaken {
    async fn handle(&self, _tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        event.decode::<AuthUserRegistered>().map(|_| ())
    }
}

#[test]
fn what_a_worker_or_a_consumer_cannot_read_is_a_dead_letter_that_says_why() {
    run(async {
        let stage = Stage::set().await;
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Mistaken).await);
        let handler = Issuing::new();
        let _worker = stage.worker(&handler).await;
        let now = SystemClock.now();
        let newer = Command { version: 2, ..command(1, now) };
        let text = Command { payload: "\"one\"".into(), ..command(1, now) };
        let cut = Command { payload: "{\"a\":".into(), ..command(1, now) };
        stage.bus().await.send(QUEUE, &[newer, text, cut, command(4, now)]).await.unwrap();
        stage.wait_for_effects(1).await;
        assert_eq!((stage.effects().await["a"].as_slice(), handler.asked().len()), ([4].as_slice(), 1));
        stage.tell("a", &[1]).await;
        for (reason, count) in [("UNKNOWN_VERSION", 1), ("MALFORMED_COMMAND", 2), ("WRONG_TOPIC", 1)] {
            let dead = format!("select count(*) from auth.held_events where state = 'dead' and reason = '{reason}'");
            wait_until(reason, PATIENCE, async || stage.db.count(&dead).await == count).await;
        }
    });
}
