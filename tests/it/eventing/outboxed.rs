//! Commands that are written in the transaction which makes them due, and sent by the relay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{Facts, Outbox, Relay};
use coreloop_testkit::{run, wait_until};
use uuid::Uuid;

use super::{
    commanding::{Issuing, QUEUE},
    stage::{Noting, Running, Stage},
};

impl Stage {
    pub async fn sending_relay(&self) -> Running {
        let bus = Arc::new(self.bus().await);
        Running::of(Relay::new(self.parts().await).unwrap().sending(bus).worker())
    }

    /// Writes commands `numbers` of `key`, behind an event of it, in an open transaction.
    pub async fn order(&self, key: &str, numbers: &[i64]) -> (Transaction, Vec<Uuid>) {
        let mut tx = self.write(key, &[100]).await;
        let ids: Vec<Uuid> = numbers.iter().map(|_| SystemIds.uuid()).collect();
        let mut facts = Facts::new();
        for (number, id) in numbers.iter().zip(&ids) {
            facts.command(&SystemIds, QUEUE, key, *id, number).unwrap();
        }
        Outbox::new("auth").unwrap().write(&mut tx, &facts, SystemClock.now()).await.unwrap();
        (tx, ids)
    }
}

#[test]
fn a_command_of_the_outbox_is_sent_with_its_commit_and_never_without() {
    run(async {
        let (stage, handler) = (Stage::set().await, Issuing::new());
        let (_relay, _worker) = (stage.sending_relay().await, stage.worker(&handler).await);
        let _consumer = stage.consumer(Noting).await;
        let (never, _) = stage.order("never", &[1]).await;
        never.rollback().await.unwrap();
        let mut ids = Vec::new();
        for numbers in [[1, 2, 3], [4, 5, 6]] {
            let (tx, written) = stage.order("a", &numbers).await;
            tx.commit().await.unwrap();
            ids.extend(written);
        }
        // Six are done, and two events heard.
        stage.wait_for_effects(8).await;
        let mut effects = stage.effects().await;
        let mut done = effects.remove("a").unwrap();
        assert!(effects.is_empty(), "{effects:?}");
        done.retain(|number| *number != 100);
        assert_eq!(done, [1, 2, 3, 4, 5, 6]);
        assert_eq!(handler.asked(), ids, "another idempotency key than was written");
        stage.wait_for_an_empty_queue().await;
        assert_eq!(stage.published().await, 2, "a command is no event");
    });
}

#[test]
fn a_command_of_the_outbox_outlives_a_broker_that_was_away_or_forgets() {
    run(async {
        let (mut stage, handler) = (Stage::set().await, Issuing::new());
        let _relay = stage.sending_relay().await;
        stage.order("a", &[1]).await.0.commit().await.unwrap();
        stage.wait_for_published(1).await;
        // It forgets what it had: the command, and that it was told.
        stage.redis.kill();
        stage.order("a", &[2]).await.0.commit().await.unwrap();
        stage.redis.resurrect().await;
        let _worker = stage.worker(&handler).await;
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await, BTreeMap::from([("a".to_owned(), vec![1, 2])]));
        stage.wait_for_an_empty_queue().await;
    });
}

/// Debezium carries events; commands are nobody's but the relay's.
#[test]
fn a_command_of_the_outbox_is_sent_where_another_publishes_the_events() {
    run(async {
        let (mut stage, handler) = (Stage::set().await, Issuing::new());
        stage.options.relay = false;
        let (_relay, _worker) = (stage.sending_relay().await, stage.worker(&handler).await);
        stage.order("a", &[1, 2]).await.0.commit().await.unwrap();
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await["a"], [1, 2]);
        assert_eq!(stage.published().await, 0, "the relay published, too");
    });
}

#[test]
fn what_follows_from_a_death_is_written_with_it_and_once() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.retry_delays_secs = vec![0];
        let (_relay, refused) = (stage.sending_relay().await, BTreeSet::from([1, 2]));
        let handler = Issuing { refused, grief: Arc::new(AtomicUsize::new(2)), ..Issuing::new() };
        let _worker = stage.worker(&handler).await;
        stage.order("a", &[1, 3]).await.0.commit().await.unwrap();
        stage.wait_for_effects(2).await;
        let effects = stage.effects().await;
        assert_eq!((&effects["a"], &effects["a died of VENDOR"]), (&vec![3], &vec![1]));
        // A hook that never comes to an end keeps neither the letter nor its key.
        handler.grief.store(1_000, std::sync::atomic::Ordering::SeqCst);
        stage.order("a", &[2, 4]).await.0.commit().await.unwrap();
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await["a"], [3, 4]);
        let noted = "select count(*) from auth.held_events where state = 'dead' and error like '%its hook: GRIEF%'";
        wait_until("the letter says so", Duration::from_secs(30), async || stage.db.count(noted).await == 1).await;
        assert_eq!(stage.effects().await["a died of VENDOR"], [1]);
    });
}
