//! Promises B2, B3 and B5 of chapter 09. B1 is `relaying::every_commit_has_its_effect_once_and_in_order_whatever_is_killed`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use coreloop_core::{Clock as _, SystemClock};
use coreloop_db::Transaction;
use coreloop_eventing::{DeadLetters, Event, Failure, Filter, Handler};
use coreloop_testkit::{run, seed, wait_until};
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use super::stage::{CONSUMER, Gated, Noting, Poisoned, Stage, consumer, parts};

/// B2: transactions overlap all the time and are committed in another order than they wrote; two stay open for five
/// seconds, one of them since before the others.
#[test]
fn overlapping_transactions_are_not_skipped_while_one_is_open_for_five_seconds() {
    const OPEN: Duration = Duration::from_secs(5);
    run(async {
        let stage = Stage::set().await;
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Noting).await);
        let seed = seed("eventing_overlapping");
        let told = Mutex::new(BTreeMap::<String, Vec<i64>>::new());
        let since = Instant::now();
        let late = stage.write("late", &[1, 2]).await;
        let writers = (0..8_u64).map(|writer| {
            let (stage, told) = (&stage, &told);
            async move {
                let mut chance = StdRng::seed_from_u64(seed ^ writer);
                let mut number = 0;
                while since.elapsed() < OPEN {
                    // Two are open at once, and the second ends first as often as not.
                    let (one, other) = (format!("{writer}a"), format!("{writer}b"));
                    number += 1;
                    let mut open = vec![(one.clone(), stage.write(&one, &[number]).await)];
                    open.push((other.clone(), stage.write(&other, &[number]).await));
                    if chance.random() {
                        open.reverse();
                    }
                    for (key, tx) in open {
                        if chance.random_ratio(1, 10) {
                            tx.rollback().await.unwrap();
                        } else {
                            tx.commit().await.unwrap();
                            told.lock().unwrap().entry(key).or_default().push(number);
                        }
                    }
                }
            }
        });
        join_all(writers).await;
        let mut told = told.into_inner().unwrap();
        // Nobody waited for the open one.
        stage.wait_for_effects(told.values().map(Vec::len).sum()).await;
        assert_eq!(stage.effects().await, told, "seed {seed}");
        late.commit().await.unwrap();
        told.insert("late".into(), vec![1, 2]);
        stage.wait_for_effects(told.values().map(Vec::len).sum()).await;
        assert_eq!(stage.effects().await, told, "seed {seed}");
    });
}

/// B3: one event in a hundred cannot be handled. Each of these is tried three times more, what is of other keys comes in
/// time, and after the mending all have their effect, once.
#[test]
fn one_percent_of_poison_delays_nobody_else_and_comes_back_after_the_mending() {
    const KEYS: i64 = 100;
    const EACH: i64 = 5;
    run(async {
        let mut stage = Stage::set().await;
        // A fifth of jitter less, and still longer than others may be late: one that waits behind poison shows.
        let figure = coreloop_testkit::figure(Duration::from_secs(2));
        stage.options.retry_delays_secs = vec![figure.as_secs() * 5 / 4 + 1, 1, 1];
        let poison = Poisoned::of([("key3", 0), ("key33", 2), ("key63", 2), ("key93", 4), ("key99", 4)]);
        let bad: Vec<String> = poison.poison.iter().map(|(key, _)| key.clone()).collect();
        let (mended, tries) = (Arc::clone(&poison.mended), Arc::clone(&poison.tries));
        // Connections first: on a busy machine a new one takes seconds, and that is nobody's poison.
        join_all((0..24).map(|_| stage.pool.acquire())).await.into_iter().for_each(|open| drop(open.unwrap()));
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(poison).await);
        for number in 0..EACH {
            // Few at a time, so that nobody waits for the machine.
            for first in (0..KEYS).step_by(10) {
                join_all((first..first + 10).map(|key| {
                    let stage = &stage;
                    async move { stage.tell(&format!("key{key}"), &[number]).await }
                }))
                .await;
            }
        }
        let all = usize::try_from(KEYS * EACH).unwrap();
        stage.wait_for_effects(all - bad.len()).await;
        let dead = "select count(*) from auth.held_events where state = 'dead' and failures = 4";
        wait_until("all poison is dead", Duration::from_secs(120), async || stage.db.count(dead).await == 5).await;
        assert_eq!(tries.load(Ordering::SeqCst), 5 * 4, "once, and three times more");
        stage.wait_for_metric("events_dead{consumer=\"auth.test\"} 5").await;
        stage.wait_for_metric("events_held{consumer=\"auth.test\"} 0").await;
        let keys = bad.join("','");
        let p99 = format!(
            "select percentile_disc(0.99) within group (order by late_ms) from auth.effects where key not in ('{keys}')"
        );
        let late = stage.db.count(&p99).await;
        assert!(u128::try_from(late).unwrap() <= figure.as_millis(), "others came {late} ms late");

        mended.store(true, Ordering::SeqCst);
        let filter =
            Filter { consumer: CONSUMER.into(), reason: Some("POISON".into()), id: None, after: 0, count: 1_000 };
        let mut connection = stage.pool.acquire().await.unwrap();
        let letters = DeadLetters::new("auth").unwrap();
        assert_eq!(letters.reprocess(&mut connection, &filter, SystemClock.now()).await.unwrap(), 5);
        stage.wait_for_effects(all).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), all, "none twice");
        for (key, mut numbers) in effects {
            assert!(bad.contains(&key) || numbers.is_sorted(), "{key}: {numbers:?}");
            numbers.sort_unstable();
            assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "{key}");
        }
        assert_eq!(stage.db.count("select count(*) from auth.held_events").await, 0);
    });
}

/// B5, with the pauses that ship: a consumer dies with work in its hands, in its memory and unread.
#[test]
fn the_work_of_a_dead_consumer_is_taken_over_within_thirty_seconds() {
    const KEYS: i64 = 60;
    run(async {
        let mut stage = Stage::set().await;
        let shipped = coreloop_eventing::Options::default();
        (stage.options.standby_ms, stage.options.poll_ms) = (shipped.standby_ms, shipped.poll_ms);
        // The rest waits in its memory, and connections are left for others.
        stage.options.concurrency = 10;
        let _relay = stage.relay().await;
        let (permits, inside) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let first = stage.consumer(Gated { permits, inside: Arc::clone(&inside) }).await;
        for number in 1..=3 {
            for key in 0..KEYS {
                stage.tell(&format!("key{key}"), &[number]).await;
            }
        }
        inside.acquire_many(10).await.unwrap().forget();
        let _second = stage.consumer(Noting).await;
        let since = Instant::now();
        first.kill().await;
        stage.wait_for_effects_within(usize::try_from(KEYS * 3).unwrap(), Duration::from_secs(60)).await;
        let (took, most) = (since.elapsed(), coreloop_testkit::figure(Duration::from_secs(30)));
        assert!(took <= most, "{took:?}");
        assert!(stage.effects().await.values().all(|numbers| *numbers == [1, 2, 3]));
    });
}

/// Its process stands still, with an event in its hands: nobody tells Postgres, which keeps its connections and its locks.
struct StandingStill {
    stands: Arc<Semaphore>,
    go: Mutex<std::sync::mpsc::Receiver<()>>,
}

#[async_trait]
impl Handler for StandingStill {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        Noting.handle(tx, event).await?;
        self.stands.add_permits(1);
        // The only thread of its process.
        let _let_go = self.go.lock().unwrap().recv();
        Ok(())
    }
}

/// B5, likewise.
#[test]
fn the_work_of_a_consumer_that_stands_still_is_taken_over_within_thirty_seconds() {
    run(async {
        let mut stage = Stage::set().await;
        let shipped = coreloop_eventing::Options::default();
        (stage.options.standby_ms, stage.options.poll_ms) = (shipped.standby_ms, shipped.poll_ms);
        let _relay = stage.relay().await;
        let (stands, (let_go, go)) = (Arc::new(Semaphore::new(0)), std::sync::mpsc::channel());
        let (url, redis, options) = (stage.db.url(), stage.redis.url(), stage.options.clone());
        let handler = StandingStill { stands: Arc::clone(&stands), go: Mutex::new(go) };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let process = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                // As the product's pool is set.
                let pool = PgPoolOptions::new().max_connections(8).connect_with(
                    url.parse::<PgConnectOptions>()
                        .unwrap()
                        .options([("idle_in_transaction_session_timeout", "10000")]),
                );
                let parts = parts(&pool.await.unwrap(), &redis, &options).await;
                consumer(parts, handler).run(stopped).await;
            });
        });
        for number in 1..=3 {
            stage.tell("a", &[number]).await;
            stage.tell("b", &[number]).await;
        }
        stands.acquire().await.unwrap().forget();
        let (since, _second) = (Instant::now(), stage.consumer(Noting).await);
        stage.wait_for_effects_within(6, Duration::from_secs(60)).await;
        let (took, most) = (since.elapsed(), coreloop_testkit::figure(Duration::from_secs(30)));
        assert!(took <= most, "{took:?}");
        // It goes on, and is nobody any more.
        stop.cancel();
        drop(let_go);
        tokio::task::spawn_blocking(|| process.join().unwrap()).await.unwrap();
        let effects = stage.effects().await;
        assert!(effects.values().all(|numbers| *numbers == [1, 2, 3]), "{effects:?}");
    });
}
