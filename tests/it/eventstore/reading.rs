//! What a history tells later: to another fold, of old events, at another time.

use coreloop_core::{Kind, Problem};
use coreloop_eventstore::{At, Error};
use coreloop_testkit::run;
use uuid::Uuid;

use super::purse::{Happened, Purse, Stage, at};

#[test]
fn a_changed_fold_ignores_the_snapshots_of_the_old_one() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(150).await;
        let mut old = stage.load::<1>(id).await.unwrap();
        stage.append(&mut old, &[Happened::Debited(30)], at(0)).await.unwrap();
        assert_eq!(stage.db.count("select count(*) from wallet.snapshots where schema_number = 1").await, 1);

        let mut new = stage.load::<2>(id).await.unwrap();
        assert_eq!((new.version(), new.state().balance, new.state().spent), (151, 120, 30));
        // It has its own at the first write, and the old one goes on beside it.
        stage.append(&mut new, &[Happened::Debited(5)], at(0)).await.unwrap();
        let own = "select sequence_number from wallet.snapshots where schema_number = 2";
        assert_eq!(stage.db.count(own).await, 152);
        assert_eq!(stage.load::<2>(id).await.unwrap().state().spent, 35);
        let mut old = stage.load::<1>(id).await.unwrap();
        assert_eq!((old.version(), old.state().spent), (152, 0));
        stage.append(&mut old, &vec![Happened::Debited(1); 60], at(0)).await.unwrap();
        assert_eq!(stage.load::<2>(id).await.unwrap().state().spent, 95);
        let mut connection = stage.pool.acquire().await.unwrap();
        assert_eq!(stage.store.verify::<Purse<1>>(&mut connection, id).await.unwrap().version(), 212);
        assert_eq!(stage.store.verify::<Purse<2>>(&mut connection, id).await.unwrap().version(), 212);
        drop(connection);
        stage.pool.close().await;
    });
}

/// What no fold of that number could have made shows that it was really not read, or that it was.
#[test]
fn a_snapshot_is_believed_only_under_its_own_number_and_when_it_can_be_read() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(10).await;
        let forged = |fold: i32, version: i64, state: &str| {
            format!(
                "insert into wallet.snapshots
                 select aggregate_type, aggregate_id, {fold}, sequence_number, event_id, '{state}', created_at
                 from wallet.events where aggregate_id = '{id}' and sequence_number = {version}"
            )
        };
        stage.db.execute(&forged(7, 5, r#"{"name": "seven", "balance": 500, "spent": 0, "trail": 0}"#)).await;
        let name = |loaded: &coreloop_eventstore::Loaded<Purse<1>>| loaded.state().name.clone();
        assert_eq!(name(&stage.load::<1>(id).await.unwrap()), None);
        let seven = stage.load::<7>(id).await.unwrap();
        assert_eq!((seven.state().name.as_deref(), seven.state().balance, seven.version()), (Some("seven"), 505, 10));
        let mut connection = stage.pool.acquire().await.unwrap();
        let differs = stage.store.verify::<Purse<7>>(&mut connection, id).await;
        assert!(matches!(differs, Err(Error::Differs { version: 5, .. })));
        assert_eq!(stage.store.replay::<Purse<7>>(&mut connection, id).await.unwrap().state().balance, 10);

        stage.db.execute(&forged(1, 8, r#"{"balance": "many"}"#)).await;
        assert_eq!(stage.load::<1>(id).await.unwrap().state().balance, 10, "made of all events instead");
        let at_nine = stage.store.state_at::<Purse>(&mut connection, id, At::Version(9)).await.unwrap();
        assert_eq!(at_nine.state().balance, 9);
        assert!(stage.store.verify::<Purse>(&mut connection, id).await.is_err());
        drop(connection);
        stage.pool.close().await;
    });
}

#[test]
fn old_events_are_read_in_the_words_of_today_and_those_of_tomorrow_are_not() {
    run(async {
        let stage = Stage::set().await;
        let id = Uuid::from_u128(3);
        let insert = |number: i64, name: &str, payload: &str, metadata: &str| {
            format!(
                "insert into wallet.events values
                 (gen_random_uuid(), 'purse', '{id}', {number}, '{name}', '{payload}', '{metadata}', now())"
            )
        };
        for (number, payload, metadata) in [
            (1, r#"{"amount": "7"}"#, "{}"),
            (2, r#"{"amount": "8"}"#, r#"{"version": 1}"#),
            (3, r#"{"amount_minor": 9, "added_later": true}"#, r#"{"version": 2}"#),
        ] {
            stage.db.execute(&insert(number, "purse.credited", payload, metadata)).await;
        }
        let mut loaded = stage.load::<1>(id).await.unwrap();
        assert_eq!(loaded.state().balance, 24);
        stage.append(&mut loaded, &[Happened::Credited(1)], at(9_999_999_999)).await.unwrap();
        let mut connection = stage.pool.acquire().await.unwrap();
        let told = stage.store.history::<Purse>(&mut connection, id, 1, 2).await.unwrap();
        let told: Vec<_> = told.into_iter().map(|told| (told.sequence, told.event)).collect();
        assert_eq!(told, [(2, Happened::Credited(8)), (3, Happened::Credited(9))]);

        stage.db.execute(&insert(5, "purse.credited", r#"{"amount_minor": 1}"#, r#"{"version": 3}"#)).await;
        let refused = stage.load::<1>(id).await.unwrap_err();
        let of = format!("event 5 of {id}, `purse.credited` in version 3, cannot be read");
        assert_eq!(refused.to_string(), of);
        assert_eq!(Problem::from(refused).kind(), Kind::Internal);
        let before = stage.store.state_at::<Purse>(&mut connection, id, At::Version(4)).await.unwrap();
        assert_eq!(before.state().balance, 25, "what came before it can be read");
        drop(connection);
        stage.pool.close().await;
    });
}

#[test]
fn a_state_is_told_at_every_version_that_there_was_and_at_no_other() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(3).await;
        let mut loaded = stage.load::<1>(id).await.unwrap();
        stage.append(&mut loaded, &[Happened::Debited(1)], at(10)).await.unwrap();
        // A replica whose clock is behind.
        stage.append(&mut loaded, &[Happened::Debited(1)], at(4)).await.unwrap();
        stage.append(&mut loaded, &[Happened::Credited(9)], at(20)).await.unwrap();
        let mut connection = stage.pool.acquire().await.unwrap();
        let mut when = async |at: At| stage.store.state_at::<Purse>(&mut connection, id, at).await;
        for (version, balance) in [(0, 0), (1, 1), (3, 3), (4, 2), (5, 1), (6, 10)] {
            assert_eq!(when(At::Version(version)).await.unwrap().state().balance, balance);
        }
        for wrong in [-1, 7, i64::MIN, i64::MAX] {
            let refused = when(At::Version(wrong)).await.unwrap_err();
            assert!(matches!(refused, Error::Unreached { asked, .. } if asked == wrong), "{wrong}");
            assert_eq!(Problem::from(refused).reason(), "NOT_FOUND");
        }
        for (second, version) in [(-1, 0), (0, 3), (9, 3), (10, 5), (19, 5), (20, 6), (99_999, 6)] {
            assert_eq!(when(At::Instant(at(second))).await.unwrap().version(), version, "second {second}");
        }
        // What is not now is not written behind.
        let mut then = when(At::Version(4)).await.unwrap();
        let refused = stage.append(&mut then, &[Happened::Credited(1)], at(30)).await.unwrap_err();
        assert_eq!(Problem::from(refused).reason(), "CONFLICT");
        let nobody = stage.load::<1>(Uuid::from_u128(99)).await.unwrap();
        assert_eq!((nobody.version(), nobody.state()), (0, &Purse::default()));
        drop(connection);
        stage.pool.close().await;
    });
}
