//! What a consumer passes on, outside of a transaction; and what any consumer may state: its time, and how many at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{
    Command, CommandBus, CommandHandler, Commands, Consumer, DeadLetters, Event, Failure, Filter, Parts, PassingHandler,
};
use coreloop_eventing_kafka::{self as kafka, KafkaBus};
use coreloop_eventing_rabbitmq::{self as rabbitmq, RabbitBus};
use coreloop_eventing_sqs::{self as sqs, SqsBus};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_testkit::{TestKafka, TestRabbit, TestSqs, run, wait::PATIENCE, wait::within, wait_until};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    commanding::{Issuing, QUEUE},
    stage::{CONSUMER, Running, Stage},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// Somebody else. What they are told has its effect at once, and once by its id; then they answer as there are permits.
#[derive(Clone)]
struct Other {
    told: Arc<Mutex<Told>>,
    /// So many have been told.
    inside: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// What they refuse, without an effect.
    refused: BTreeSet<(String, i64)>,
    mended: Arc<AtomicBool>,
}

#[derive(Default)]
struct Told {
    ids: Vec<Uuid>,
    /// By which they know what they have done.
    done: BTreeSet<Uuid>,
    /// The numbers of each key in the order of their effects.
    effects: BTreeMap<String, Vec<i64>>,
    /// Keys that are told of now, and the most of them ever.
    now: Vec<String>,
    most: usize,
    /// A key was told of twice at the same time.
    twice: bool,
}

impl Other {
    fn answering(answers: usize) -> Self {
        let (inside, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(answers)));
        Self { told: Arc::default(), inside, answers, refused: BTreeSet::new(), mended: Arc::default() }
    }

    fn refusing(key: &str, number: i64) -> Self {
        Self { refused: BTreeSet::from([(key.to_owned(), number)]), ..Self::answering(Semaphore::MAX_PERMITS) }
    }

    /// The same, who answers everybody from now on.
    fn prompt(&self) -> Self {
        Self { answers: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), ..self.clone() }
    }

    fn effects(&self) -> BTreeMap<String, Vec<i64>> {
        self.told.lock().unwrap().effects.clone()
    }

    /// How often they were told.
    fn times(&self) -> usize {
        self.told.lock().unwrap().ids.len()
    }

    /// How many keys they were told of at the same time, at most.
    fn most(&self) -> usize {
        self.told.lock().unwrap().most
    }

    /// Waits until so many more have been told to them.
    async fn wait_inside(&self, count: u32) {
        within(format!("{count} more"), PATIENCE, self.inside.acquire_many(count)).await.unwrap().forget();
    }

    async fn wait_for_effects(&self, count: usize) {
        wait_until(format!("{count} effects"), PATIENCE, async || {
            self.effects().values().map(Vec::len).sum::<usize>() >= count
        })
        .await;
    }

    async fn be_told(&self, id: Uuid, key: &str, number: i64) -> Result<(), Failure> {
        let refused = self.refused.contains(&(key.to_owned(), number)) && !self.mended.load(Ordering::SeqCst);
        let _now = Now::of(self, key);
        {
            let mut told = self.told.lock().unwrap();
            told.ids.push(id);
            if !refused && told.done.insert(id) {
                told.effects.entry(key.to_owned()).or_default().push(number);
            }
        }
        self.inside.add_permits(1);
        self.answers.acquire().await.unwrap().forget();
        if refused { Err(Failure::retryable("POISON", "as the test says")) } else { Ok(()) }
    }
}

/// Somebody is told; over also when the teller is killed.
struct Now<'a>(&'a Other, String);

impl<'a> Now<'a> {
    fn of(other: &'a Other, key: &str) -> Self {
        let mut told = other.told.lock().unwrap();
        told.twice |= told.now.iter().any(|now| now == key);
        told.now.push(key.to_owned());
        told.most = told.most.max(told.now.len());
        Self(other, key.to_owned())
    }
}

impl Drop for Now<'_> {
    fn drop(&mut self) {
        let mut told = self.0.told.lock().unwrap();
        let at = told.now.iter().position(|now| *now == self.1).unwrap();
        told.now.remove(at);
    }
}

#[async_trait]
impl PassingHandler for Other {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserLoggedIn = event.decode()?;
        self.be_told(event.id, &event.key, fact.session_id.parse().unwrap()).await
    }
}

#[async_trait]
impl CommandHandler for Other {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        self.be_told(command.idempotency_key, &command.key, command.decode()?).await?;
        Ok(json!({}))
    }

    async fn settle(&self, _: &mut Transaction, _: &Command, _: &Value) -> Result<(), Failure> {
        Ok(())
    }
}

fn passing(name: &str, parts: Parts, other: &Other) -> Consumer {
    Consumer::passing(name, parts, other.clone()).unwrap().hears::<AuthUserLoggedIn>().unwrap()
}

/// A stage whose broker may be late: who gives it up reads again, and acts again.
async fn patient() -> Stage {
    let mut stage = Stage::set().await;
    stage.options.broker_timeout_ms = 30_000;
    stage
}

impl Stage {
    async fn passing(&self, other: &Other) -> Running {
        Running::of(passing(CONSUMER, self.parts().await, other).worker())
    }

    async fn count(&self, of: &str) -> i64 {
        self.db.count(&format!("select count(*) from auth.{of}")).await
    }
}

/// It has told, and dies before it can say so.
async fn killed_between_deed_and_acknowledgement(stage: &Stage, parts: impl AsyncFn() -> Parts) {
    let stuck = Other::answering(0);
    let first = Running::of(passing(CONSUMER, parts().await, &stuck).worker());
    stage.tell("a", &[1, 2]).await;
    stage.tell("b", &[1]).await;
    stuck.wait_inside(2).await;
    first.kill().await;
    let other = stuck.prompt();
    let _second = Running::of(passing(CONSUMER, parts().await, &other).worker());
    stage.tell("b", &[2]).await;
    other.wait_for_effects(4).await;
    stage.wait_for_metric("events_handled_total{consumer=\"auth.test\",outcome=\"handled\"} 4").await;
    assert_eq!(other.effects(), BTreeMap::from([("a".into(), vec![1, 2]), ("b".into(), vec![1, 2])]));
    assert_eq!(other.times(), 6, "the two that were begun are told again, and nothing else");
    assert_eq!(stage.count("processed_events").await, 0, "no row says what was done");
    stage.wait_for_metric("events_lag{consumer=\"auth.test\",topic=\"events.auth.user_logged_in\"} 0").await;
}

#[test]
fn what_was_passed_on_and_not_acknowledged_is_passed_on_again() {
    run(async {
        let stage = patient().await;
        let _relay = stage.relay().await;
        killed_between_deed_and_acknowledgement(&stage, async || stage.parts().await).await;
        wait_until("all are acknowledged", PATIENCE, async || stage.pending().await == 0).await;
    });
}

#[test]
fn what_was_passed_on_and_not_acknowledged_over_kafka_is_passed_on_again() {
    run(async {
        let (stage, servers) = (patient().await, TestKafka::shared().await.servers());
        let prefix = format!("{}.", SystemIds.uuid().simple());
        let options =
            kafka::Options { servers, prefix, partitions: 3, timeout_ms: 30_000, ..kafka::Options::default() };
        let bus = || KafkaBus::new(&options, LONG);
        let _relay = stage.relay_over(bus()).await;
        let parts = async || Parts { bus: Arc::new(bus()), ..stage.parts().await };
        killed_between_deed_and_acknowledgement(&stage, parts).await;
    });
}

#[test]
fn keys_are_passed_on_at_the_same_time_and_each_in_order() {
    run(async {
        let (stage, other) = (patient().await, Other::answering(0));
        let (_relay, _consumer) = (stage.relay().await, stage.passing(&other).await);
        for number in 1..=3 {
            for key in ["a", "b", "c", "d"] {
                stage.tell(key, &[number]).await;
            }
        }
        // One of each key is told, and nobody has answered.
        other.wait_inside(4).await;
        other.answers.add_permits(12);
        other.wait_for_effects(12).await;
        assert!(other.effects().values().all(|numbers| *numbers == [1, 2, 3]), "{:?}", other.effects());
        assert!(!other.told.lock().unwrap().twice, "two of a key at the same time");
    });
}

#[test]
fn poison_that_is_passed_on_holds_back_its_own_key_until_it_is_a_dead_letter() {
    run(async {
        let mut stage = patient().await;
        stage.options.retry_delays_secs = vec![LONG.as_secs()];
        let (_relay, other) = (stage.relay().await, Other::refusing("bad", 1));
        let first = stage.passing(&other).await;
        stage.tell("bad", &[1, 2, 3]).await;
        stage.tell("good", &[1]).await;
        let held = "held_events where state in ('retry', 'waiting')";
        wait_until("the bad key waits", PATIENCE, async || stage.count(held).await == 3).await;
        other.wait_for_effects(1).await;
        assert_eq!(other.effects()["good"], [1]);
        // What waits is not in a process's memory.
        first.kill().await;
        stage.db.execute("update auth.held_events set due_at = now()").await;
        stage.options.retry_delays_secs = vec![0, 0, 0];
        let _second = stage.passing(&other).await;
        other.wait_for_effects(3).await;
        assert_eq!((&other.effects()["bad"][..], other.times()), (&[2, 3][..], 4 + 3), "once and three times more");

        let letters = DeadLetters::new("auth").unwrap();
        let all = Filter { consumer: CONSUMER.into(), reason: Some("POISON".into()), id: None, after: 0, count: 10 };
        let mut connection = stage.pool.acquire().await.unwrap();
        let dead = letters.list(&mut connection, &all).await.unwrap();
        assert_eq!((dead.len(), dead[0].key.as_str(), dead[0].failures), (1, "bad", 4));
        other.mended.store(true, Ordering::SeqCst);
        assert_eq!(letters.reprocess(&mut connection, &all, SystemClock.now()).await.unwrap(), 1);
        other.wait_for_effects(4).await;
        assert_eq!(other.effects()["bad"], [2, 3, 1]);
        wait_until("nothing is held", PATIENCE, async || stage.count("held_events").await == 0).await;
    });
}

/// The process gives a handler a twentieth of a second; who states a time of their own has that, and is not taken for dead by
/// the replica that stands by.
#[test]
fn who_states_a_longer_time_is_neither_cut_off_nor_taken_over() {
    run(async {
        let mut stage = patient().await;
        (stage.options.handler_timeout_ms, stage.options.standby_ms) = (50, 50);
        let _relay = stage.relay().await;
        let (slow, cut, worker) = (Other::answering(0), Other::answering(0), Issuing::new());
        let worker = Issuing { answers: Arc::new(Semaphore::new(0)), ..worker };
        let bus: Arc<dyn CommandBus> = Arc::new(stage.bus().await);
        let working = |parts| Consumer::working(QUEUE, Arc::clone(&bus), parts, worker.clone()).unwrap();
        let hearing = |parts| passing(CONSUMER, parts, &slow);
        let _first = (
            Running::of(hearing(stage.parts().await).within(LONG).worker()),
            Running::of(working(stage.parts().await).within(LONG).worker()),
        );
        let commands = Commands::new(Arc::clone(&bus), Arc::new(SystemClock), "rewards");
        commands.send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        stage.tell("a", &[1]).await;
        slow.wait_inside(1).await;
        wait_until("the command is begun", PATIENCE, async || worker.asked().len() == 1).await;

        // Replicas that stand by: their every look at a lease takes a connection of a pool of their own.
        let (looks, standing) = (Arc::new(AtomicUsize::new(0)), PgPoolOptions::new().max_connections(4));
        let counted = Arc::clone(&looks);
        let standing = standing.before_acquire(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Ok(true) })
        });
        let pool = standing.connect(&stage.db.url()).await.unwrap();
        let beside = Parts { db: pool, ..stage.parts().await };
        let _second = (
            Running::of(hearing(beside.clone()).within(LONG).worker()),
            Running::of(working(beside).within(LONG).worker()),
        );
        // One that states no time is cut off, four times, and given up.
        let _cut = Running::of(passing("auth.cut", stage.parts().await, &cut).worker());
        let dead = "held_events where consumer = 'auth.cut' and state = 'dead' and reason = 'TIMEOUT'";
        wait_until("the process's time is over", PATIENCE, async || stage.count(dead).await == 1).await;
        let seen = looks.load(Ordering::SeqCst);
        wait_until("they look", PATIENCE, async || looks.load(Ordering::SeqCst) >= seen + 6).await;

        assert_eq!((slow.times(), worker.asked().len(), cut.times()), (1, 1, 4));
        slow.answers.add_permits(10);
        worker.answers.add_permits(10);
        stage.wait_for_effects(1).await;
        stage.wait_for_an_empty_queue().await;
        wait_until("it is acknowledged", PATIENCE, async || stage.pending().await == 0).await;
        assert_eq!((slow.times(), worker.asked().len()), (1, 1));
        assert_eq!(stage.count("held_events where consumer <> 'auth.cut'").await, 0);
    });
}

#[test]
fn one_at_once_is_passed_on_one_by_one_and_little_is_read_ahead() {
    const EVENTS: usize = 40;
    run(async {
        let (stage, other) = (patient().await, Other::answering(0));
        let _relay = stage.relay().await;
        for number in 0..EVENTS {
            stage.tell(&format!("key{number}"), &[1]).await;
        }
        stage.wait_for_published(EVENTS).await;
        let _consumer = Running::of(passing(CONSUMER, stage.parts().await, &other).at_once(1).worker());
        for done in 1..=EVENTS {
            other.wait_inside(1).await;
            let open = stage.pending().await;
            assert!(open <= 8, "{open} are open, while {done} of {EVENTS} is handled");
            other.answers.add_permits(1);
        }
        other.wait_for_effects(EVENTS).await;
        assert_eq!(other.most(), 1);
    });
}

/// Eight commands of eight keys; each is let out when all that could be begun beside it has been.
async fn one_by_one(bus: Arc<dyn CommandBus>) {
    const COMMANDS: i64 = 8;
    let (stage, other) = (patient().await, Other::answering(0));
    let commands = Commands::new(Arc::clone(&bus), Arc::new(SystemClock), "rewards");
    for number in 0..COMMANDS {
        commands.send(QUEUE, format!("key{number}"), SystemIds.uuid(), &1).await.unwrap();
    }
    let worker = Consumer::working(QUEUE, bus, stage.parts().await, other.clone()).unwrap().at_once(1);
    let _worker = Running::of(worker.worker());
    for done in 1..=COMMANDS {
        other.wait_inside(1).await;
        other.answers.add_permits(1);
        let settled = "processed_events where domain = 'rewards'";
        wait_until("it is done", PATIENCE, async || stage.count(settled).await >= done).await;
    }
    assert_eq!((other.most(), other.times()), (1, 8));
}

#[test]
fn one_at_once_of_redis_is_done_one_by_one() {
    run(async {
        let stage = patient().await;
        one_by_one(Arc::new(stage.bus().await)).await;
    });
}

#[test]
fn one_at_once_of_rabbitmq_is_done_one_by_one() {
    run(async {
        let (url, prefix) = (TestRabbit::shared().await.url(), format!("{}.", SystemIds.uuid().simple()));
        let options = rabbitmq::Options { prefix, timeout_ms: 30_000, ..rabbitmq::Options::default() };
        let options = rabbitmq::Options { url: url.into(), ..options };
        one_by_one(Arc::new(RabbitBus::new(&options))).await;
    });
}

#[test]
fn one_at_once_of_sqs_is_done_one_by_one() {
    run(async {
        let (endpoint, prefix) = (TestSqs::shared().await.endpoint(), format!("{}-", SystemIds.uuid().simple()));
        let options = sqs::Options { endpoint, prefix, timeout_ms: 30_000, ..sqs::Options::default() };
        let options = sqs::Options { access_key_id: "key".into(), access_key_secret: "secret".into(), ..options };
        one_by_one(Arc::new(SqsBus::new(&options, Arc::new(SystemClock)))).await;
    });
}
