//! From the outbox to the broker.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use coreloop_testkit::{Rounds, deep, run, seed, wait::wait_for, wait_until};
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    buses::Mute,
    stage::{Noting, Stage},
};

#[test]
fn a_late_commit_is_not_skipped_and_holds_nobody_up() {
    run(async {
        let stage = Stage::set().await;
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Noting).await);
        let late = stage.write("late", &[1, 2]).await;
        let never = stage.write("never", &[1]).await;
        stage.tell("early", &[1]).await;
        stage.wait_for_effects(1).await;
        never.rollback().await.unwrap();
        stage.tell("early", &[2]).await;
        stage.wait_for_effects(2).await;
        late.commit().await.unwrap();
        stage.wait_for_effects(4).await;
        let expected = BTreeMap::from([("early".to_owned(), vec![1, 2]), ("late".to_owned(), vec![1, 2])]);
        assert_eq!(stage.effects().await, expected);
        // Nothing is asked for any more once its fate is known.
        wait_until("the gaps are closed", Duration::from_secs(30), async || {
            stage.db.count("select cardinality(gaps_from)::bigint from auth.outbox_relay").await == 0
        })
        .await;
    });
}

#[test]
fn a_relay_killed_between_publishing_and_its_record_publishes_again_without_a_second_effect() {
    run(async {
        let stage = Stage::set().await;
        let mute = stage.relay_over(Mute { bus: stage.bus().await, mute_publish: true, mute_ack: false }).await;
        stage.tell("a", &[1, 2, 3]).await;
        stage.wait_for_published(3).await;
        mute.kill().await;
        let _relay = stage.relay().await;
        let _consumer = stage.consumer(Noting).await;
        stage.wait_for_published(6).await;
        stage.tell("a", &[4]).await;
        stage.wait_for_effects(4).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3, 4]);
    });
}

#[test]
fn a_broker_that_lost_everything_is_told_again() {
    run(async {
        let mut stage = Stage::set().await;
        let relay = stage.relay().await;
        stage.tell("a", &[1, 2]).await;
        stage.wait_for_published(2).await;
        // Nobody has read them.
        stage.redis.kill();
        stage.tell("a", &[3]).await;
        stage.redis.resurrect().await;
        let _consumer = stage.consumer(Noting).await;
        stage.tell("a", &[4]).await;
        stage.wait_for_effects(4).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3, 4]);
        relay.stop().await;
    });
}

/// It is told again what nobody has read although nobody says anything new.
#[test]
fn a_broker_that_lost_events_is_told_again_before_the_next_event_comes() {
    run(async {
        let mut stage = Stage::set().await;
        let _relay = stage.relay().await;
        stage.tell("a", &[1, 2]).await;
        stage.wait_for_published(2).await;
        stage.redis.kill();
        stage.redis.resurrect().await;
        let _consumer = stage.consumer(Noting).await;
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await["a"], [1, 2]);
        stage.wait_for_metric("outbox_broker_losses_total{domain=\"auth\"} 1").await;
    });
}

/// A transaction is open below everything that is left in the outbox while the broker loses what it had.
#[test]
fn a_late_commit_is_not_skipped_when_the_broker_is_told_again() {
    run(async {
        let mut stage = Stage::set().await;
        let _relay = stage.relay().await;
        let late = stage.write("late", &[1, 2]).await;
        stage.tell("early", &[1]).await;
        stage.wait_for_published(1).await;
        stage.redis.kill();
        stage.redis.resurrect().await;
        stage.tell("early", &[2]).await;
        let _consumer = stage.consumer(Noting).await;
        stage.wait_for_effects(2).await;
        late.commit().await.unwrap();
        stage.wait_for_effects(4).await;
        let expected = BTreeMap::from([("early".to_owned(), vec![1, 2]), ("late".to_owned(), vec![1, 2])]);
        assert_eq!(stage.effects().await, expected);
    });
}

#[test]
fn of_two_replicas_one_publishes_and_the_other_takes_over() {
    run(async {
        let stage = Stage::set().await;
        let first = stage.relay().await;
        let _second = stage.relay().await;
        stage.tell("a", &[1]).await;
        // Killed before it has recorded that, the other would publish it again.
        let recorded = async || stage.db.count("select read_to from auth.outbox_relay").await == 1;
        wait_until("it is recorded", Duration::from_secs(30), recorded).await;
        first.kill().await;
        stage.tell("a", &[2]).await;
        stage.wait_for_published(2).await;
        assert_eq!(stage.published().await, 2);
    });
}

#[test]
fn published_rows_are_swept_when_their_time_is_over() {
    run(async {
        let stage = Stage::set().await;
        stage.tell("a", &[1, 2, 3]).await;
        stage.db.execute("update auth.outbox set created_at = created_at - interval '2 hours' where seq < 3").await;
        let _relay = stage.relay().await;
        stage.wait_for_published(3).await;
        wait_until("old rows are gone", Duration::from_secs(30), async || {
            stage.db.count("select count(*) from auth.outbox").await == 1
        })
        .await;
    });
}

/// B1: writers of many keys, a tenth of whose transactions are rolled back, while relays and consumers are killed and the
/// broker is away, comes back with nothing, or with what it had some time ago.
#[test]
fn every_commit_has_its_effect_once_and_in_order_whatever_is_killed() {
    run(async {
        let mut stage = Stage::set().await;
        let outage = if deep() { Duration::from_secs(60) } else { Duration::ZERO };
        let seed = seed("eventing_kills");
        let mut writing = Writing { chance: StdRng::seed_from_u64(seed), told: BTreeMap::new(), last: 0 };
        let (mut relays, mut consumers) =
            (vec![stage.relay().await, stage.relay().await], vec![stage.consumer(Noting).await]);
        let (mut killed, mut outages) = (0, 0);
        for round in Rounds::of(60) {
            writing.round(&stage).await;
            match round % 3 {
                0 => {
                    relays.remove(0).kill().await;
                    relays.push(stage.relay().await);
                    killed += 1;
                }
                1 => {
                    consumers.remove(0).kill().await;
                    consumers.push(stage.consumer(Noting).await);
                }
                _ if round % 2 == 0 => {
                    // What it has now is what it comes back with, a few rounds later.
                    let () = redis::cmd("SAVE").query_async(&mut stage.redis.connect().await).await.unwrap();
                }
                _ => {
                    stage.redis.kill();
                    let since = Instant::now();
                    loop {
                        writing.round(&stage).await;
                        if outages > 0 || since.elapsed() >= outage {
                            break;
                        }
                        let next = since.elapsed() + Duration::from_secs(1);
                        wait_until("a second of the outage", Duration::from_secs(30), async || since.elapsed() >= next)
                            .await;
                    }
                    outages += 1;
                    stage.redis.resurrect().await;
                }
            }
        }
        assert!(!deep() || (killed >= 20 && outages >= 1), "{killed} relays were killed");
        stage.tell("last", &[1]).await;
        writing.told.insert("last".into(), vec![1]);
        stage.wait_for_effects(writing.told.values().map(Vec::len).sum()).await;
        assert_eq!(stage.effects().await, writing.told, "seed {seed}");
    });
}

/// B1, its twenty kills alone: each while there is something to publish.
#[test]
fn twenty_relays_are_killed_and_nothing_is_lost_or_doubled() {
    run(async {
        let stage = Stage::set().await;
        let seed = seed("eventing_relay_kills");
        let mut writing = Writing { chance: StdRng::seed_from_u64(seed), told: BTreeMap::new(), last: 0 };
        let mut relays = vec![stage.relay().await, stage.relay().await];
        let _consumer = stage.consumer(Noting).await;
        for _ in 0..20 {
            // The one that leads is the older, unless the other was faster: then that is killed next.
            let eldest = relays.remove(0);
            tokio::join!(writing.round(&stage), eldest.kill());
            relays.push(stage.relay().await);
            let some = writing.told.values().map(Vec::len).sum::<usize>() / 2;
            stage.wait_for_effects(some).await;
        }
        stage.wait_for_effects(writing.told.values().map(Vec::len).sum()).await;
        assert_eq!(stage.effects().await, writing.told, "seed {seed}");
    });
}

/// B1, its minute without the broker: what is committed meanwhile has its effect once, in order, when it is back; what is rolled back
/// has none.
#[test]
fn a_minute_without_the_broker_loses_and_doubles_nothing() {
    run(async {
        let mut stage = Stage::set().await;
        let seed = seed("eventing_outage");
        let mut writing = Writing { chance: StdRng::seed_from_u64(seed), told: BTreeMap::new(), last: 0 };
        let (_relays, _consumer) = ([stage.relay().await, stage.relay().await], stage.consumer(Noting).await);
        writing.round(&stage).await;
        stage.redis.kill();
        let since = Instant::now();
        for second in 1..=60 {
            writing.round(&stage).await;
            let until = Duration::from_secs(second);
            wait_until("a second of the outage", Duration::from_secs(30), async || since.elapsed() >= until).await;
        }
        stage.redis.resurrect().await;
        stage.wait_for_effects(writing.told.values().map(Vec::len).sum()).await;
        assert_eq!(stage.effects().await, writing.told, "seed {seed}");
    });
}

/// What was committed, by key.
struct Writing {
    chance: StdRng,
    told: BTreeMap<String, Vec<i64>>,
    last: i64,
}

impl Writing {
    /// A transaction of each of twelve keys, with one to three events.
    async fn round(&mut self, stage: &Stage) {
        self.last += 10;
        let writes: Vec<(String, bool, Vec<i64>)> = (0..12)
            .map(|key| {
                let count = self.chance.random_range(1..4);
                (format!("key{key}"), self.chance.random_ratio(1, 10), (self.last..self.last + count).collect())
            })
            .collect();
        join_all(writes.iter().map(|(key, undone, numbers)| async move {
            let tx = stage.write(key, numbers).await;
            if *undone { tx.rollback().await.unwrap() } else { tx.commit().await.unwrap() }
        }))
        .await;
        for (key, _, numbers) in writes.into_iter().filter(|(_, undone, _)| !undone) {
            self.told.entry(key).or_default().extend(numbers);
        }
    }
}

/// It takes longer than others of the process would wait, and is told once.
#[test]
fn a_slow_broker_is_given_its_time() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.broker_timeout_ms = 30_000;
        let _relay = stage.relay().await;
        stage.tell("a", &[1]).await;
        stage.wait_for_published(1).await;
        stage.redis.freeze();
        let since = Instant::now();
        stage.tell("a", &[2]).await;
        let past = async || since.elapsed() >= Duration::from_secs(1);
        wait_until("others have given up", Duration::from_secs(30), past).await;
        stage.redis.thaw();
        stage.tell("a", &[3]).await;
        stage.wait_for_published(3).await;
        let recorded = "select count(*) from auth.outbox_relay where read_to = 3";
        wait_until("it is recorded", Duration::from_secs(30), async || stage.db.count(recorded).await == 1).await;
        assert_eq!(stage.published().await, 3, "told twice");
    });
}

/// No look comes by itself here: what is missed when the relay goes to sleep stays missed.
#[test]
fn in_a_rush_commits_are_silent_and_nobody_is_missed_when_it_ends() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.poll_ms = 60_000;
        let _relay = stage.relay().await;
        let mut told = 0;
        for _ in 0..3 {
            // Written while commits are silent, committed when they are not.
            let silent = loop {
                // At once, so that one look after another finds some, however long a commit takes.
                let keys: Vec<String> = (0..20).map(|writer| format!("rush{writer}")).collect();
                join_all(keys.iter().map(|key| stage.tell(key, &[1]))).await;
                told += 20;
                let silent = stage.write("early", &[1]).await;
                if !stage.listening().await {
                    break silent;
                }
                silent.rollback().await.unwrap();
            };
            wait_until("the rush is over", Duration::from_secs(30), async || stage.listening().await).await;
            silent.commit().await.unwrap();
            told += 1;
            stage.wait_for_published(told).await;
        }
        // And it is woken, as before.
        stage.tell("rush", &[0]).await;
        stage.wait_for_published(told + 1).await;
    });
}

/// Rows stay for an hour after they are published: whoever walks through them at each look gets slower all the time.
#[test]
fn a_look_reads_what_is_new_and_not_what_was_published() {
    const ROWS: i64 = 20_000;
    run(async {
        let stage = Stage::set().await;
        stage
            .db
            .execute(&format!(
                "insert into auth.outbox (id, aggregatetype, aggregateid, type, payload, created_at)
                 select gen_random_uuid(), 'auth', 'a', 'user_logged_in', '{{}}', now() from generate_series(1, {ROWS})"
            ))
            .await;
        stage.db.execute("analyze auth.outbox").await;
        let relay = stage.relay().await;
        let all = async || stage.published().await >= usize::try_from(ROWS).unwrap();
        wait_until("all are published", Duration::from_secs(120), all).await;
        // The connection that is closed says what it did.
        relay.stop().await;
        let read = "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where relname = 'outbox'";
        let told = wait_for("what was read is told", Duration::from_secs(30), async || {
            Some(stage.db.count(read).await).filter(|told| *told >= ROWS)
        })
        .await;
        assert!(told < 4 * ROWS, "{told} rows were read for {ROWS}");
    });
}

#[test]
fn nothing_is_asked_while_there_is_nothing_to_do() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options.poll_ms = 60_000;
        let _relay = stage.relay().await;
        // After the second of two the relay has nothing left of its beginning to do.
        for number in 1..=2 {
            stage.tell("a", &[number]).await;
            let recorded = async || stage.db.count("select read_to from auth.outbox_relay").await == number;
            wait_until("it is recorded", Duration::from_secs(30), recorded).await;
        }
        // Its last statement is the record: any other takes that one's place.
        let last = "select coalesce((extract(epoch from max(query_start)) * 1000000)::bigint, 0) from pg_stat_activity
             where datname = current_database() and query like 'update auth.outbox_relay%'";
        let mut connection = stage.db.connect().await;
        let mut at = async || sqlx::query_scalar::<_, i64>(last).fetch_one(&mut connection).await.unwrap();
        let before = at().await;
        assert_ne!(before, 0);
        let (mut looks, mut woken) = (0, false);
        wait_for("a hundred looks at a sleeping relay", Duration::from_secs(60), async || {
            woken |= at().await != before;
            looks += 1;
            (looks >= 100).then_some(())
        })
        .await;
        assert!(!woken, "the relay asked although nothing happened");
        stage.tell("a", &[3]).await;
        stage.wait_for_published(3).await;
    });
}
