//! Commands over a real RabbitMQ.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{Command, CommandBus, Commands, Consumer, Error, Queue};
use coreloop_eventing_rabbitmq::{Options, RabbitBus};
use coreloop_testkit::{TestRabbit, run, wait::wait_for, wait_until};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    commanding::{Issuing, QUEUE, command},
    stage::{Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(40);
/// A broker that was killed is back after ten seconds, or a minute where others start beside it.
const AWAY: Duration = Duration::from_secs(200);

/// A corner of the shared broker.
pub struct Corner {
    url: String,
    pub options: Options,
}

impl Corner {
    async fn of(rabbit: &TestRabbit) -> Self {
        let prefix = format!("{}.", SystemIds.uuid().simple());
        let options = Options { url: rabbit.url().into(), prefix, timeout_ms: 30_000, ..Options::default() };
        Self { url: rabbit.url(), options }
    }

    pub async fn shared() -> Self {
        Self::of(TestRabbit::shared().await).await
    }

    pub fn bus(&self) -> RabbitBus {
        RabbitBus::new(&self.options)
    }

    fn commands(&self) -> Commands {
        Commands::new(Arc::new(self.bus()), Arc::new(SystemClock), "rewards")
    }

    async fn worker(&self, stage: &Stage, handler: &Issuing) -> Running {
        let consumer = Consumer::working(QUEUE, Arc::new(self.bus()), stage.parts().await, handler.clone());
        Running::of(consumer.unwrap().worker())
    }

    pub async fn channel(&self) -> (Connection, lapin::Channel) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    fn lane(&self, queue: Queue, lane: u32) -> String {
        format!("{}cmd.{}.{lane}", self.options.prefix, queue.name())
    }

    /// The lane of a key.
    pub fn lane_of(&self, queue: Queue, key: &str) -> String {
        self.lane(queue, (fnv(key) % u64::from(self.options.lanes)).try_into().unwrap())
    }

    /// Commands that wait, of all lanes; those that are given out do not count.
    pub async fn waiting(&self, queue: Queue) -> u32 {
        let lanes: Vec<String> = (0..self.options.lanes).map(|lane| self.lane(queue, lane)).collect();
        self.waiting_in(&lanes).await
    }

    pub async fn waiting_in(&self, lanes: &[String]) -> u32 {
        let (_connection, channel) = self.channel().await;
        let mut waiting = 0;
        for lane in lanes {
            let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let name = lane.as_str().into();
            waiting += channel.queue_declare(name, look, FieldTable::default()).await.unwrap().message_count();
        }
        waiting
    }

    /// Sends commands of many keys until the lane of `key` is full; how many of them the broker has said that it has.
    pub async fn fill(&self, bus: &RabbitBus, queue: Queue, key: &str) -> u32 {
        let (most, now) = (queue.most().div_ceil(self.options.lanes), SystemClock.now());
        // Many keys of one lane: those of one key are sent one after the other.
        let lane = self.lane_of(queue, key);
        let keys = (0..).map(|number| format!("{key}{number}")).filter(|other| self.lane_of(queue, other) == lane);
        let many: Vec<Command> =
            keys.zip(0..250).map(|(key, number)| Command { queue, key, ..command(number, now) }).collect();
        // The limit is felt a few commands late.
        let mut taken = 0;
        let refused = loop {
            match bus.send(queue, &many).await {
                Ok(()) => taken += 250,
                Err(error) => break error,
            }
            assert!(taken <= most + 2_000, "no limit");
        };
        assert!(matches!(refused.source, Error::Full), "{refused:?}");
        assert!(taken + 250 >= most, "refused after {taken}");
        taken + u32::try_from(refused.taken.len()).unwrap()
    }
}

/// The hash that says the lane of a key.
fn fnv(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| SystemIds.uuid()).collect()
}

#[test]
fn a_command_over_rabbitmq_is_done_once_and_in_order_per_key() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let (commands, handler) = (corner.commands(), Issuing::new());
        let ids = ids(40);
        for _ in 0..2 {
            for (number, id) in ids.iter().enumerate() {
                commands.send(QUEUE, format!("key{}", number % 10), *id, &number).await.unwrap();
            }
        }
        assert_eq!(corner.waiting(QUEUE).await, 80);
        let _workers = (corner.worker(&stage, &handler).await, corner.worker(&stage, &handler).await);
        stage.wait_for_effects(40).await;
        wait_until("the queue is empty", PATIENCE, async || corner.waiting(QUEUE).await == 0).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 40);
        assert!(effects.values().all(|numbers| numbers.len() == 4 && numbers.is_sorted()), "{effects:?}");
        assert_eq!(handler.asked().len(), 40, "somebody was asked twice");
    });
}

#[test]
fn what_a_killed_worker_had_of_rabbitmq_comes_back_before_what_followed_it() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let commands = corner.commands();
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let first = corner.worker(&stage, &stuck).await;
        let ids = ids(3);
        for (number, id) in ids.iter().enumerate() {
            commands.send(QUEUE, "a", *id, &(number + 1)).await.unwrap();
        }
        wait_until("the vendor is asked", PATIENCE, async || !stuck.asked().is_empty()).await;
        first.kill().await;
        let handler = Issuing { asked: Arc::clone(&stuck.asked), ..Issuing::new() };
        let _second = corner.worker(&stage, &handler).await;
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
        assert_eq!(handler.asked(), [ids[0], ids[0], ids[1], ids[2]]);
    });
}

#[test]
fn a_second_reader_of_a_lane_waits_until_the_first_is_gone() {
    run(async {
        let corner = Corner::shared().await;
        let (one, other) = (corner.bus(), corner.bus());
        let first = one.work(QUEUE, SystemIds.uuid()).await.unwrap();
        let second = other.work(QUEUE, SystemIds.uuid()).await.unwrap();
        let now = SystemClock.now();
        one.send(QUEUE, &[command(1, now), command(2, now)]).await.unwrap();
        let given = wait_for("the first is given", PATIENCE, async || first.next(10).await.unwrap().pop()).await;
        assert_eq!(&given.event.unwrap().payload[..], b"1");
        assert!(first.next(10).await.unwrap().is_empty(), "a second command of a lane before the first was done");
        assert!(second.next(10).await.unwrap().is_empty(), "two readers of a lane at once");
        drop(first);
        let again = wait_for("the second is given", PATIENCE, async || second.next(10).await.unwrap().pop()).await;
        assert_eq!(&again.event.unwrap().payload[..], b"1");
        second.ack(&[again.receipt]).await.unwrap();
        let next = wait_for("the next is given", PATIENCE, async || second.next(10).await.unwrap().pop()).await;
        assert_eq!(&next.event.unwrap().payload[..], b"2");
    });
}

#[test]
fn what_rabbitmq_gives_up_is_a_dead_letter_of_the_consumer() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        corner.options.delivery_limit = 2;
        let commands = corner.commands();
        // Given out, and again, and again: each time its worker dies.
        commands.send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        for times in 1..=3 {
            let worker = corner.worker(&stage, &stuck).await;
            wait_until("it is begun", PATIENCE, async || stuck.asked().len() == times).await;
            worker.kill().await;
        }
        // Too old before anybody looked at it.
        let old = Command { key: "b".into(), ..command(2, SystemClock.now()) };
        let (_connection, channel) = corner.channel().await;
        let at_once = BasicProperties::default().with_expiration("1".into());
        let (exchange, route) = (format!("{}commands", corner.options.prefix), format!("{}.0", QUEUE.name()));
        let body = old.to_json().unwrap();
        let published =
            channel.basic_publish(exchange.into(), route.into(), BasicPublishOptions::default(), &body, at_once);
        published.await.unwrap().await.unwrap();
        wait_until("it is too old", PATIENCE, async || corner.waiting(QUEUE).await == 0).await;

        let handler = Issuing::new();
        let _worker = corner.worker(&stage, &handler).await;
        commands.send(QUEUE, "a", SystemIds.uuid(), &3).await.unwrap();
        stage.wait_for_effects(3).await;
        for reason in ["DELIVERY_LIMIT", "EXPIRED"] {
            let dead = format!("select count(*) from auth.held_events where state = 'dead' and reason = '{reason}'");
            wait_until(reason, PATIENCE, async || stage.db.count(&dead).await == 1).await;
        }
        let effects = stage.effects().await;
        assert_eq!(effects["a"], [3]);
        assert_eq!((&effects["a died of DELIVERY_LIMIT"], &effects["b died of EXPIRED"]), (&vec![1], &vec![2]));
        assert_eq!(handler.asked().len(), 1, "what was given up was begun");
    });
}

#[test]
fn what_waits_in_rabbitmq_is_the_lag_of_its_worker() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let commands = corner.commands();
        for id in ids(3) {
            commands.send(QUEUE, "a", id, &1).await.unwrap();
        }
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let _worker = corner.worker(&stage, &stuck).await;
        let lag = |count: u32| format!("events_lag{{consumer=\"rewards.issue\",topic=\"cmd:rewards.issue\"}} {count}");
        // One is given out, and those behind it wait.
        stage.wait_for_metric(&lag(2)).await;
        stuck.answers.add_permits(3);
        stage.wait_for_metric(&lag(0)).await;
        stage.wait_for_effects(3).await;
    });
}

#[test]
fn a_full_lane_of_rabbitmq_refuses_and_drops_nothing() {
    run(async {
        let corner = Corner::shared().await;
        let (bus, queue) = (corner.bus(), Queue::CHAT_PIPELINE);
        let taken = corner.fill(&bus, queue, "a").await;
        assert_eq!(corner.waiting(queue).await, taken, "others are kept than it said");
        let now = SystemClock.now();
        let other = Command { queue, key: "b".into(), payload: Bytes::from_static(b"1"), ..command(1, now) };
        // Of another lane.
        bus.send(queue, &[other]).await.unwrap();
    });
}

/// Every command is sent until the broker has said that it has it; whoever works comes back by itself.
#[test]
fn rabbitmq_killed_loses_nothing_and_doubles_nothing() {
    run(async {
        let mut rabbit = TestRabbit::start().await;
        let (stage, mut corner) = (Stage::set().await, Corner::of(&rabbit).await);
        corner.options.lanes = 2;
        corner.options.timeout_ms = 5_000;
        let (commands, handler) = (corner.commands(), Issuing::new());
        let _worker = corner.worker(&stage, &handler).await;
        let ids = ids(24);
        let send = async |numbers: std::ops::Range<usize>| {
            for number in numbers {
                let (key, id) = (format!("key{}", number % 4), ids[number]);
                wait_for("a command is sent", AWAY, async || {
                    commands.send(QUEUE, key.as_str(), id, &number).await.ok()
                })
                .await;
            }
        };
        send(0..8).await;
        stage.wait_for_effects_within(4, PATIENCE).await;
        rabbit.registered(&[corner.lane(QUEUE, 0), corner.lane(QUEUE, 1)]).await;
        rabbit.kill();
        futures::join!(send(8..16), rabbit.resurrect());
        send(16..24).await;
        stage.wait_for_effects_within(24, AWAY).await;
        wait_until("the queue is empty", PATIENCE, async || corner.waiting(QUEUE).await == 0).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 24);
        assert!(effects.values().all(|numbers| numbers.len() == 6 && numbers.is_sorted()), "{effects:?}");
    });
}
