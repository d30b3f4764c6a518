//! Who may write next.

use std::{sync::Arc, time::Duration};

use coreloop_core::id::SystemIds;
use coreloop_eventstore::{Error, Loaded};
use coreloop_testkit::{Fault, FaultProxy, run, wait_until};
use futures::future::join_all;
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::purse::{Happened, Purse, Stage, at, write};

const PATIENCE: Duration = Duration::from_secs(30);

/// A statement waits for another transaction to end.
async fn wait_for_waiting(stage: &Stage, kind: &str) {
    let waiting = format!(
        "select count(*) from pg_locks l join pg_stat_activity a using (pid)
         where not l.granted and l.locktype = '{kind}' and a.datname = current_database()"
    );
    wait_until("somebody waits", PATIENCE, async || stage.db.count(&waiting).await > 0).await;
}

#[test]
fn of_writers_who_saw_the_same_version_one_wins() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(2).await;
        for round in 0..20_i64 {
            let seen = stage.load::<1>(id).await.unwrap();
            let writers = (1..=8).map(|amount| {
                let (mut mine, stage) = (seen.clone(), &stage);
                async move { stage.append(&mut mine, &[Happened::Credited(amount), Happened::Debited(1)], at(0)).await }
            });
            let written = join_all(writers).await;
            assert_eq!(written.iter().filter(|written| written.is_ok()).count(), 1);
            for lost in written.into_iter().filter_map(Result::err) {
                let of = format!("the history of purse {id} does not end where it did at version {}", 2 + round * 2);
                assert_eq!(lost.to_string(), of);
            }
            // What stands beside the events was lost with them.
            let (now, count) = (stage.load::<1>(id).await.unwrap(), 4 + round * 2);
            assert_eq!(now.version(), count);
            let beside = format!(
                "select count(*) from wallet.purses where balance = {} and version = {count}",
                now.state().balance
            );
            assert_eq!(stage.db.count(&beside).await, 1);
        }
        stage.pool.close().await;
    });
}

#[test]
fn who_comes_second_waits_to_hear_what_became_of_the_first() {
    run(async {
        let stage = Arc::new(Stage::set().await);
        let id = stage.purse(1).await;
        for first_lasts in [false, true] {
            let seen = stage.load::<1>(id).await.unwrap();
            let mut tx = coreloop_db::begin(&stage.pool).await.unwrap();
            write(&stage.store, &mut tx, &mut seen.clone(), &[Happened::Credited(5)], at(0)).await.unwrap();
            let second = tokio::spawn({
                let (stage, mut seen) = (Arc::clone(&stage), seen.clone());
                async move { stage.append(&mut seen, &[Happened::Credited(7)], at(0)).await }
            });
            wait_for_waiting(&stage, "transactionid").await;
            if first_lasts {
                tx.commit().await.unwrap();
                assert!(matches!(second.await.unwrap(), Err(Error::Conflict { expected: 2, .. })));
            } else {
                tx.rollback().await.unwrap();
                second.await.unwrap().unwrap();
            }
        }
        assert_eq!(stage.load::<1>(id).await.unwrap().state().balance, 1 + 7 + 5);
        stage.pool.close().await;
    });
}

/// It has the right number and the wrong past.
#[test]
fn what_was_loaded_with_events_that_did_not_last_is_refused() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(1).await;
        let mut stale = stage.load::<1>(id).await.unwrap();
        let mut other = stale.clone();
        let mut tx = coreloop_db::begin(&stage.pool).await.unwrap();
        write(&stage.store, &mut tx, &mut stale, &[Happened::Credited(1_000)], at(0)).await.unwrap();
        tx.rollback().await.unwrap();
        let refused = stage.append(&mut stale.clone(), &[Happened::Debited(900)], at(0)).await;
        assert!(matches!(refused, Err(Error::Conflict { expected: 2, .. })), "nobody is at version 2");
        stage.append(&mut other, &[Happened::Credited(1)], at(0)).await.unwrap();
        assert_eq!((stale.version(), stale.head() == other.head()), (other.version(), false));
        let refused = stage.append(&mut stale, &[Happened::Debited(900)], at(0)).await;
        assert!(matches!(refused, Err(Error::Conflict { expected: 2, .. })), "another is at version 2");
        assert_eq!(stage.load::<1>(id).await.unwrap().state().balance, 2);
        stage.pool.close().await;
    });
}

#[test]
fn a_connection_lost_while_it_commits_doubles_nothing() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(3).await;
        let proxy = FaultProxy::before(stage.db.server()).await;
        let far: PgPool =
            PgPoolOptions::new().max_connections(1).connect(&stage.db.url_at(proxy.port())).await.unwrap();
        let mut lock = stage.db.connect().await;
        sqlx::query("select pg_advisory_lock(42)").execute(&mut lock).await.unwrap();

        let before = stage.load::<1>(id).await.unwrap();
        let mut after = before.clone();
        let mut tx = coreloop_db::begin(&far).await.unwrap();
        let written = write(&stage.store, &mut tx, &mut after, &[Happened::Credited(10)], at(0)).await.unwrap();
        sqlx::query("insert into wallet.slow default values").execute(&mut *tx).await.unwrap();
        let commit = tokio::spawn(tx.commit());
        wait_for_waiting(&stage, "advisory").await;
        proxy.set(Fault::Cut);
        commit.await.unwrap().unwrap_err();
        let mut near = stage.pool.acquire().await.unwrap();
        assert_eq!(stage.store.recorded::<Purse>(&mut near, id, written[0]).await.unwrap(), None, "not yet");
        sqlx::query("select pg_advisory_unlock(42)").execute(&mut lock).await.unwrap();
        wait_until("the commit is through", PATIENCE, async || stage.load::<1>(id).await.unwrap().version() == 4).await;

        // Whoever was not answered does it again, or asks first.
        let again = stage.append(&mut before.clone(), &[Happened::Credited(10)], at(0)).await;
        assert!(matches!(again, Err(Error::Conflict { expected: 3, .. })));
        assert_eq!(stage.store.recorded::<Purse>(&mut near, id, written[0]).await.unwrap(), Some(4));
        assert_eq!(stage.load::<1>(id).await.unwrap().state(), after.state());
        stage.append(&mut after, &[Happened::Credited(1)], at(0)).await.unwrap();
        assert_eq!(stage.load::<1>(id).await.unwrap().state().balance, 3 + 10 + 1);
        drop((near, far));
        stage.pool.close().await;
    });
}

#[test]
fn a_version_that_is_not_there_is_not_written_behind() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(3).await;
        let mut connection = stage.pool.acquire().await.unwrap();
        let one = [Happened::Credited(1)];
        for expected in [0, 1, 2, 4, 99, -1, i64::MIN, i64::MAX] {
            let refused =
                stage.store.append_at::<Purse>(&mut connection, (id, expected), &one, &SystemIds, at(0)).await;
            assert!(matches!(refused, Err(Error::Conflict { expected: of, .. }) if of == expected), "{expected}");
        }
        let nothing = stage.store.append_at::<Purse>(&mut connection, (id, 99), &[], &SystemIds, at(0)).await;
        assert_eq!(nothing.unwrap(), 99, "nothing to write, nothing to refuse");
        let next = stage.store.append_at::<Purse>(&mut connection, (id, 3), &one, &SystemIds, at(0)).await;
        assert_eq!(next.unwrap(), 4);
        // The first of two events that are one's own is as good as another's.
        let mut tx = coreloop_db::begin(&stage.pool).await.unwrap();
        let mut loaded = Loaded::<Purse>::new(uuid::Uuid::from_u128(1));
        for number in 1..=250 {
            stage.store.append(&mut tx, &mut loaded, &one, &SystemIds, at(0)).await.unwrap();
            assert_eq!(loaded.version(), number);
        }
        tx.commit().await.unwrap();
        let kept = "select count(*) from wallet.snapshots where sequence_number in (100, 200)";
        assert_eq!((stage.db.count(kept).await, stage.db.count("select count(*) from wallet.snapshots").await), (2, 2));
        drop(connection);
        stage.pool.close().await;
    });
}
