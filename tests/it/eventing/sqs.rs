//! Commands over SQS, as ElasticMQ speaks it.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{Command, CommandBus, Commands, Consumer, Error, Queue};
use coreloop_eventing_sqs::{Options, SqsBus};
use coreloop_testkit::{TestSqs, run, wait::wait_for, wait_until};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    commanding::{Issuing, QUEUE, command},
    stage::{Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(40);

/// A corner of the shared server.
struct Corner(Options);

impl Corner {
    async fn shared() -> Self {
        let prefix = format!("{}-", SystemIds.uuid().simple());
        Self(Options {
            endpoint: TestSqs::shared().await.endpoint(),
            access_key_id: "key".into(),
            access_key_secret: "secret".into(),
            prefix,
            timeout_ms: 30_000,
            visibility_secs: 10,
            ..Options::default()
        })
    }

    fn bus(&self) -> SqsBus {
        SqsBus::new(&self.0, Arc::new(SystemClock))
    }

    fn commands(&self) -> Commands {
        Commands::new(Arc::new(self.bus()), Arc::new(SystemClock), "rewards")
    }

    async fn worker(&self, stage: &Stage, handler: &Issuing) -> Running {
        let consumer = Consumer::working(QUEUE, Arc::new(self.bus()), stage.parts().await, handler.clone());
        Running::of(consumer.unwrap().worker())
    }
}

fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| SystemIds.uuid()).collect()
}

#[test]
fn a_command_over_sqs_is_done_once_and_in_order_per_key() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let (commands, handler) = (corner.commands(), Issuing::new());
        let ids = ids(40);
        for _ in 0..2 {
            for (number, id) in ids.iter().enumerate() {
                commands.send(QUEUE, format!("key {}", number % 10), *id, &number).await.unwrap();
            }
        }
        let _workers = (corner.worker(&stage, &handler).await, corner.worker(&stage, &handler).await);
        stage.wait_for_effects_within(40, PATIENCE).await;
        let reader = corner.bus().work(QUEUE, SystemIds.uuid()).await.unwrap();
        wait_until("the queue is empty", PATIENCE, async || reader.lag().await.unwrap()[0].1 == 0).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 40);
        assert!(effects.values().all(|numbers| numbers.len() == 4 && numbers.is_sorted()), "{effects:?}");
        assert_eq!(handler.asked().len(), 40, "somebody was asked twice");
    });
}

#[test]
fn what_a_killed_worker_had_of_sqs_comes_back_before_what_followed_it() {
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
        stage.wait_for_effects_within(3, PATIENCE).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
        assert_eq!(handler.asked(), [ids[0], ids[0], ids[1], ids[2]]);
    });
}

/// A vendor that takes longer than SQS waits for a reader is asked once: its reader asks for more time.
#[test]
fn what_takes_long_is_not_given_out_again_meanwhile() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        corner.0.visibility_secs = 3;
        let slow = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let _worker = corner.worker(&stage, &slow).await;
        corner.commands().send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        wait_until("the vendor is asked", PATIENCE, async || !slow.asked().is_empty()).await;
        let (other, since) = (corner.bus().work(QUEUE, SystemIds.uuid()).await.unwrap(), tokio::time::Instant::now());
        wait_for("three times as long", PATIENCE, async || {
            assert!(other.next(1).await.unwrap().is_empty(), "it was given out again");
            (since.elapsed() > Duration::from_secs(9)).then_some(())
        })
        .await;
        slow.answers.add_permits(1);
        stage.wait_for_effects(1).await;
        assert_eq!(slow.asked().len(), 1);
    });
}

#[test]
fn what_sqs_gives_up_is_a_dead_letter_of_the_consumer() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        corner.0.delivery_limit = 2;
        let commands = corner.commands();
        commands.send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        // Given out, and again: each time its worker dies, until SQS has had enough.
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let died = async || stage.effects().await.contains_key("a died of DELIVERY_LIMIT");
        for times in 1.. {
            assert!(times <= 4, "it is given out for ever");
            let worker = corner.worker(&stage, &stuck).await;
            wait_until("it is begun, or dead", PATIENCE, async || stuck.asked().len() >= times || died().await).await;
            worker.kill().await;
            if died().await {
                break;
            }
        }
        assert!((1..=2).contains(&stuck.asked().len()), "{:?}", stuck.asked());
        commands.send(QUEUE, "a", SystemIds.uuid(), &2).await.unwrap();
        let handler = Issuing::new();
        let _worker = corner.worker(&stage, &handler).await;
        stage.wait_for_effects_within(2, PATIENCE).await;
        let effects = stage.effects().await;
        assert_eq!((&effects["a"], &effects["a died of DELIVERY_LIMIT"]), (&vec![2], &vec![1]));
        assert_eq!(handler.asked().len(), 1, "what was given up was begun");
    });
}

#[test]
fn sqs_takes_no_more_than_a_queue_may_hold_and_says_when_it_is_away() {
    run(async {
        let mut corner = Corner::shared().await;
        let (queue, now) = (Queue::CHAT_PIPELINE, SystemClock.now());
        let many: Vec<Command> =
            (0..=queue.most()).map(|number| Command { queue, ..command(number.into(), now) }).collect();
        let refused = corner.bus().send(queue, &many).await;
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
        corner.bus().send(queue, &many[..25]).await.unwrap();
        corner.0.endpoint = "http://127.0.0.1:9".into();
        let refused = corner.bus().send(queue, &many[..1]).await;
        assert!(matches!(refused, Err(Error::Broker(_))), "{refused:?}");
    });
}
