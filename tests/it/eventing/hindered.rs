//! What hinders a consumer: a database that refuses, records of its own that it cannot read, a stop with much in memory.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler};
use coreloop_testkit::{run, wait_until};

use super::stage::{Gated, Noting, Poisoned, Stage};

const PATIENCE: Duration = Duration::from_secs(30);

/// As [`Noting`], but the database refuses one key's effects for the moment, each time.
struct Refused;

#[async_trait]
impl Handler for Refused {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        if event.key == "bad" {
            return Err(Failure::Transient("could not serialize access".into()));
        }
        Noting.handle(tx, event).await
    }
}

/// As [`Gated`], but the database refuses the first try.
struct Stumbling {
    gated: Gated,
    stumbled: AtomicBool,
}

#[async_trait]
impl Handler for Stumbling {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        if !self.stumbled.swap(true, Ordering::SeqCst) {
            return Err(Failure::Transient("could not serialize access".into()));
        }
        self.gated.handle(tx, event).await
    }
}

async fn dead(stage: &Stage, reason: &str) -> i64 {
    let all = format!("select count(*) from auth.held_events where state = 'dead' and reason = '{reason}'");
    stage.db.count(&all).await
}

#[test]
fn what_the_database_refuses_while_it_is_there_is_given_up_in_the_end() {
    run(async {
        let mut stage = Stage::set().await;
        // As long as a busy machine takes for what is not refused.
        (stage.options.handler_timeout_ms, stage.options.retry_delays_secs) = (2_000, vec![0]);
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Refused).await);
        stage.tell("bad", &[1]).await;
        stage.tell("good", &[1]).await;
        wait_until("it is a dead letter", PATIENCE, async || dead(&stage, "DATABASE").await == 1).await;
        stage.wait_for_effects(1).await;
        assert_eq!(stage.effects().await.into_keys().collect::<Vec<_>>(), ["good"]);
    });
}

#[test]
fn a_held_event_that_cannot_be_read_is_a_dead_letter_and_its_key_goes_on() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.retry_delays_secs = vec![1; 60];
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Poisoned::of([("a", 1)])).await);
        stage.tell("a", &[1, 2]).await;
        let held = "select count(*) from auth.held_events where state in ('retry', 'waiting')";
        wait_until("both are held", PATIENCE, async || stage.db.count(held).await == 2).await;
        // As a row of another age may be.
        stage.db.execute("update auth.held_events set envelope = '{}' where state = 'retry'").await;
        stage.wait_for_effects(1).await;
        assert_eq!(stage.effects().await["a"], [2]);
        assert_eq!(dead(&stage, "UNREADABLE").await, 1);
    });
}

#[test]
fn a_consumer_that_is_stopped_ends_what_it_has_begun_and_leaves_the_rest() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.concurrency = 2;
        let gated = Gated::shut();
        let (_relay, consumer) = (stage.relay().await, stage.consumer(gated.clone()).await);
        for key in ["a", "b", "c", "d", "e"] {
            stage.tell(key, &[1, 2, 3]).await;
        }
        gated.inside.acquire_many(2).await.unwrap().forget();
        stage.wait_for_published(15).await;
        // It is told to stop first.
        tokio::join!(consumer.stop(), async { gated.permits.add_permits(15) });
        assert_eq!(stage.effects().await.values().map(Vec::len).sum::<usize>(), 2);
        let _next = stage.consumer(Noting).await;
        stage.wait_for_effects(15).await;
        assert!(stage.effects().await.values().all(|numbers| *numbers == [1, 2, 3]));
    });
}

#[test]
fn what_the_database_hindered_once_is_ended_by_a_stop_as_well() {
    run(async {
        let stage = Stage::set().await;
        let gated = Gated::shut();
        let stumbling = Stumbling { gated: gated.clone(), stumbled: AtomicBool::new(false) };
        let (_relay, consumer) = (stage.relay().await, stage.consumer(stumbling).await);
        stage.tell("a", &[1]).await;
        gated.inside.acquire().await.unwrap().forget();
        let mut stopping = std::pin::pin!(consumer.stop());
        let others = async {
            for _ in 0..100 {
                stage.effects().await;
            }
        };
        tokio::select! {
            () = &mut stopping => panic!("it gave up what was under way"),
            () = others => gated.permits.add_permits(1),
        }
        stopping.await;
        assert_eq!(stage.effects().await.into_keys().collect::<Vec<_>>(), ["a"]);
    });
}
