//! Commands of the outbox that RabbitMQ takes in part: what it has said that it has is sent once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{
    Command, CommandBroker, CommandBus, Error, Facts, Outbox, Queue, Relay, SendError, bus::Reader,
};
use coreloop_eventing_rabbitmq::RabbitBus;
use coreloop_testkit::{TestRabbit, run, wait::wait_for, wait_until};
use lapin::options::QueuePurgeOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

use super::{
    rabbit::Corner,
    stage::{Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(40);
/// Its lanes are soon full. `a`, `b` and `c` have one each.
const QUEUE: Queue = Queue::CHAT_PIPELINE;

/// A bus that counts how often some of a sending was refused.
#[derive(Debug)]
struct Counting {
    bus: RabbitBus,
    full: AtomicUsize,
}

#[async_trait]
impl CommandBus for Counting {
    async fn send(&self, queue: Queue, commands: &[Command]) -> Result<(), SendError> {
        let sent = self.bus.send(queue, commands).await;
        let full = sent.as_ref().is_err_and(|error| matches!(error.source, Error::Full));
        self.full.fetch_add(usize::from(full), Ordering::SeqCst);
        sent
    }

    async fn work(&self, queue: Queue, token: Uuid) -> Result<Box<dyn Reader>, Error> {
        self.bus.work(queue, token).await
    }
}

impl Stage {
    async fn over_rabbitmq() -> Self {
        let mut stage = Self::set().await;
        stage.options.commands = CommandBroker::RabbitMq;
        stage
    }

    async fn relay_to(&self, bus: Arc<dyn CommandBus>) -> Running {
        Running::of(Relay::new(self.parts().await).unwrap().sending(bus).worker())
    }

    /// Commits an event and, behind it, commands by key and number.
    async fn commanded(&self, commands: &[(&str, i64)]) {
        let (mut tx, mut facts) = (self.write("a", &[100]).await, Facts::new());
        for (key, number) in commands {
            facts.command(&SystemIds, QUEUE, *key, SystemIds.uuid(), number).unwrap();
        }
        Outbox::new("auth").unwrap().write(&mut tx, &facts, SystemClock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

impl Corner {
    /// Takes `count` commands, all that there are: the numbers of each key in the order in which they are given.
    async fn take(&self, count: usize) -> BTreeMap<String, Vec<i64>> {
        let reader = self.bus().work(QUEUE, SystemIds.uuid()).await.unwrap();
        let mut taken = BTreeMap::<String, Vec<i64>>::new();
        wait_for("all of them", PATIENCE, async || {
            for one in reader.next(10).await.unwrap() {
                let event = one.event.unwrap();
                let number = serde_json::from_slice(&event.payload).unwrap();
                taken.entry(event.key).or_default().push(number);
                reader.ack(&[one.receipt]).await.unwrap();
            }
            (taken.values().map(Vec::len).sum::<usize>() >= count).then_some(())
        })
        .await;
        assert!(reader.next(10).await.unwrap().is_empty(), "there is more than {taken:?}");
        taken
    }
}

fn of_keys<const N: usize>(wanted: [(&str, &[i64]); N]) -> BTreeMap<String, Vec<i64>> {
    wanted.map(|(key, numbers)| (key.to_owned(), numbers.to_vec())).into()
}

#[test]
fn a_full_lane_of_rabbitmq_holds_back_the_commands_of_its_keys_and_no_others() {
    run(async {
        let (stage, corner) = (Stage::over_rabbitmq().await, Corner::shared().await);
        let bus = corner.bus();
        let full = corner.fill(&bus, QUEUE, "a").await;
        stage.commanded(&[("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)]).await;
        let commands = Arc::new(Counting { bus, full: AtomicUsize::new(0) });
        let _relay = stage.relay_to(Arc::clone(&commands) as _).await;
        wait_until("three refusals", PATIENCE, async || commands.full.load(Ordering::SeqCst) >= 3).await;
        let lanes = ["a", "b", "c"].map(|key| corner.lane_of(QUEUE, key));
        let mut waiting = Vec::new();
        for lane in lanes.chunks(1) {
            waiting.push(corner.waiting_in(lane).await);
        }
        assert_eq!(waiting, [full, 2, 1], "they were sent again, or not at all");
        assert_eq!(stage.published().await, 0, "published before its batch was sent");

        let (_connection, channel) = corner.channel().await;
        channel.queue_purge(lanes[0].as_str().into(), QueuePurgeOptions::default()).await.unwrap();
        stage.wait_for_published(1).await;
        assert_eq!(corner.take(5).await, of_keys([("a", &[1, 3]), ("b", &[2, 5]), ("c", &[4])]));
    });
}

/// A way to the broker that breaks, once, where `mark` was to pass.
async fn breaking_at(target: String, mark: &'static [u8]) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, broken) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicBool::new(false)));
    let breaks = Arc::clone(&broken);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut server, breaks) = (TcpStream::connect(&target).await.unwrap(), Arc::clone(&breaks));
            tokio::spawn(async move {
                let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
                loop {
                    let passed = tokio::select! {
                        read = client.read(&mut up) => {
                            let Ok(read @ 1..) = read else { return };
                            let marked = up[..read].windows(mark.len()).any(|part| part == mark);
                            if marked && !breaks.swap(true, Ordering::SeqCst) {
                                return;
                            }
                            server.write_all(&up[..read]).await
                        }
                        read = server.read(&mut down) => {
                            let Ok(read @ 1..) = read else { return };
                            client.write_all(&down[..read]).await
                        }
                    };
                    if passed.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, broken)
}

/// Two are confirmed, then the connection breaks: of the third alone nobody knows what became of it.
#[test]
fn what_rabbitmq_had_confirmed_before_its_connection_broke_is_not_sent_again() {
    run(async {
        let (stage, mut corner) = (Stage::over_rabbitmq().await, Corner::shared().await);
        let third = 987_654_321;
        let (address, broken) = breaking_at(TestRabbit::shared().await.address(), b"987654321").await;
        corner.options.url = format!("amqp://guest:guest@{address}/%2f").into();
        stage.commanded(&[("a", 1), ("b", 2), ("a", third)]).await;
        let _relay = stage.relay_to(Arc::new(corner.bus())).await;
        stage.wait_for_published(1).await;
        assert!(broken.load(Ordering::SeqCst), "it did not break");
        assert_eq!(corner.take(3).await, of_keys([("a", &[1, third]), ("b", &[2])]));
    });
}
