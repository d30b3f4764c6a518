//! M9: 10,000 random histories; replay = snapshot = the state at any time = the read model.

use coreloop_eventstore::{At, EventStore, Loaded};
use coreloop_testkit::{Rounds, run, seed};
use futures::future::join_all;
use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::purse::{Happened, Purse, Stage, at, write};

/// Histories that are written at the same time.
const ABREAST: u64 = 10;

/// What a history must tell: the state after each event, and when that was written.
struct Truth {
    id: Uuid,
    states: Vec<Purse>,
    times: Vec<Timestamp>,
}

#[test]
fn every_way_to_a_state_leads_there() {
    run(async {
        let stage = Stage::set().await;
        let seed = seed("histories");
        let mut rounds = Rounds::of(1_000);
        let mut events = 0;
        for round in rounds.by_ref() {
            let first = seed.wrapping_add(round as u64 * ABREAST);
            let lived = join_all((0..ABREAST).map(|number| live_and_tell(&stage, first.wrapping_add(number)))).await;
            events += lived.into_iter().sum::<usize>();
        }
        let snapshots = stage.db.count("select count(*) from wallet.snapshots").await;
        println!("{} histories, {events} events, {snapshots} snapshots: 0 violations", rounds.begun() as u64 * ABREAST);
        assert!(snapshots > 0, "histories are long enough to have snapshots");
        stage.pool.close().await;
    });
}

async fn live_and_tell(stage: &Stage, seed: u64) -> usize {
    let mut chance = StdRng::seed_from_u64(seed);
    let every = if chance.random_bool(0.3) { 100 } else { chance.random_range(1..12) };
    let store = stage.store.clone().snapshot_every(every);
    let truth = live(stage, &store, &mut chance).await;
    tell(stage, &store, &truth, &mut chance).await;
    truth.times.len()
}

fn event(chance: &mut StdRng) -> Happened {
    match chance.random_range(0..6) {
        0 => Happened::Named(["Ada", "오늘", "\"'\\ ", "\u{1f4b0}", ""][chance.random_range(0..5)].to_owned()),
        1..=3 => Happened::Credited(chance.random_range(0..1_i64 << 40)),
        _ => Happened::Debited(chance.random_range(0..1_i64 << 40)),
    }
}

/// Writes a history in transactions of a few events each; one in eight is rolled back, and clocks go a little back at times.
async fn live(stage: &Stage, store: &EventStore, chance: &mut StdRng) -> Truth {
    let mut truth = Truth { id: Uuid::from_u128(chance.random()), states: vec![Purse::default()], times: Vec::new() };
    let length = if chance.random_bool(0.1) { chance.random_range(100..330) } else { chance.random_range(0..60) };
    let mut now = 0;
    while truth.times.len() < length {
        let events: Vec<_> = (0..chance.random_range(1..25)).map(|_| event(chance)).collect();
        now += chance.random_range(-2..9);
        let mut tx = coreloop_db::begin(&stage.pool).await.unwrap();
        let mut loaded = store.load::<Purse>(&mut tx, truth.id).await.unwrap();
        assert_eq!(loaded.state(), truth.states.last().unwrap());
        write(store, &mut tx, &mut loaded, &events, at(now)).await.unwrap();
        if chance.random_bool(0.125) {
            tx.rollback().await.unwrap();
            continue;
        }
        tx.commit().await.unwrap();
        let written = truth.times.last().copied().map_or(at(now), |last| last.max(at(now)));
        for event in &events {
            let mut next = truth.states.last().unwrap().clone();
            coreloop_eventstore::Aggregate::apply(&mut next, event);
            truth.states.push(next);
            truth.times.push(written);
        }
    }
    truth
}

async fn tell(stage: &Stage, store: &EventStore, truth: &Truth, chance: &mut StdRng) {
    let mut connection = stage.pool.acquire().await.unwrap();
    let head = truth.times.len();
    let same = |loaded: &Loaded<Purse>, version: usize| {
        assert_eq!(loaded.state(), &truth.states[version], "{} at {version}", truth.id);
        assert_eq!(loaded.version(), i64::try_from(version).unwrap());
    };
    same(&store.load(&mut connection, truth.id).await.unwrap(), head);
    same(&store.replay(&mut connection, truth.id).await.unwrap(), head);
    same(&store.verify(&mut connection, truth.id).await.unwrap(), head);
    for _ in 0..3 {
        let version = chance.random_range(0..=head);
        let asked = At::Version(i64::try_from(version).unwrap());
        same(&store.state_at(&mut connection, truth.id, asked).await.unwrap(), version);
        let instant = at(chance.random_range(-5..120));
        let version = truth.times.iter().filter(|time| **time <= instant).count();
        same(&store.state_at(&mut connection, truth.id, At::Instant(instant)).await.unwrap(), version);
    }
    let read: Option<(i64, i64)> = sqlx::query_as("select balance, version from wallet.purses where id = $1")
        .bind(truth.id)
        .fetch_optional(&mut *connection)
        .await
        .unwrap();
    let last = truth.states.last().unwrap();
    assert_eq!(read.unwrap_or_default(), (last.balance, i64::try_from(head).unwrap()));
}
