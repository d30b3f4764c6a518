//! What is done to the mesh while it works: killed, frozen, cut, from a seed.
//!
//! A blow falls when the mesh has answered some more since the last, not at a time: so it always falls into work.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use coreloop_testkit::Fault;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::time::{Instant, sleep};

use crate::{
    carried::{Brokers, Over},
    journal::Journal,
    load::Load,
    run,
    world::World,
};

/// Work goes on within so long after everything is back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who hears events.
const WITNESSES: [&str; 2] = ["witness-0", "witness-1"];
/// So much is answered while nobody reads.
const UNREAD: usize = 25;
/// So much has its effect until one that hears is killed: what it was given more than that waits.
const HEARD: i64 = 5;
/// The relay has so long to tell of it.
const TOLD: Duration = Duration::from_secs(30);

/// Something that is done to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL to a process, which comes back after a while.
    Kill(&'static str, Duration),
    /// SIGKILL to both witnesses while one hears: when some more has had its effect.
    KillHearing(Duration),
    /// SIGKILL to Redis, which comes back empty.
    KillRedis(Duration),
    /// SIGKILL to Kafka, which comes back with what was on disk.
    KillKafka(Duration),
    /// SIGKILL to RabbitMQ, which comes back with what was on disk.
    KillRabbit(Duration),
    /// SIGKILL to Postgres, all of it, which comes back with what was on disk.
    CrashPostgres(Duration),
    /// SIGSTOP to a process for a while.
    Freeze(&'static str, Duration),
    /// SIGSTOP to Kafka for a while.
    FreezeKafka(Duration),
    /// A way is cut for a while.
    Cut(&'static str, Duration),
    /// A way is silent for a while, its connections open.
    Silence(&'static str, Duration),
    /// A way is slow from now on.
    Slow(&'static str, Duration),
}

impl Blow {
    /// It kills.
    pub(crate) fn kills(&self) -> bool {
        use Blow as B;
        !matches!(self, B::Freeze(..) | B::FreezeKafka(_) | B::Cut(..) | B::Silence(..) | B::Slow(..))
    }
}

/// What was away, and when.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    /// `redis`, `kafka`, `rabbitmq` or `postgres`.
    pub(crate) what: &'static str,
    /// Since the begin.
    pub(crate) from: Duration,
    /// Since the begin.
    pub(crate) to: Duration,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// Kills.
    pub(crate) kills: u32,
    /// What else.
    pub(crate) others: u32,
    /// What processes said last that ended by themselves (a supervisor would start them again, and so do we).
    pub(crate) ended: Vec<String>,
    /// Times that a broker or Postgres were away.
    pub(crate) outages: Vec<Outage>,
}

/// Blows from a seed: so many kills, and now and then something else between two of them. Brokers that come back with what they had
/// are a quarter of them each.
pub(crate) fn plan(seed: u64, kills: u32, over: Over) -> Vec<Blow> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills: Vec<_> = (0..kills).map(|number| kill(&mut random, over, number)).collect();
    kills.shuffle(&mut random);
    let mut blows = Vec::new();
    for kill in kills {
        if random.random_bool(0.4) {
            blows.push(disturbance(&mut random, over));
        }
        blows.push(kill);
    }
    blows
}

fn kill(random: &mut StdRng, over: Over, number: u32) -> Blow {
    let down = Duration::from_millis(random.random_range(0..1_000));
    match number % 4 {
        0 if over == Over::Brokers => return Blow::KillRabbit(down),
        2 if over == Over::Brokers => return Blow::KillKafka(down),
        _ => {}
    }
    match random.random_range(0..24) {
        0..4 => Blow::Kill("wallet-0", down),
        4..8 => Blow::Kill("wallet-1", down),
        8..11 => Blow::Kill("market-0", down),
        11..14 => Blow::Kill("market-1", down),
        14..16 => Blow::Kill("witness-0", down),
        16..18 => Blow::Kill("witness-1", down),
        18 => Blow::Kill("auth", down),
        19..21 => Blow::KillRedis(down),
        _ => Blow::CrashPostgres(down),
    }
}

fn disturbance(random: &mut StdRng, over: Over) -> Blow {
    const WAYS: [&str; 17] = [
        "market-0>postgres",
        "market-1>postgres",
        "market-0>redis",
        "market-0>wallet",
        "market-1>wallet",
        "client>shop-0",
        "payment>market-0",
        "wallet-0>postgres",
        "wallet-1>postgres",
        "wallet-0>redis",
        "wallet-1>redis",
        "wallet-0>auth",
        "client>wallet-0",
        "client>wallet-1",
        "witness-0>postgres",
        "witness-0>redis",
        "witness-1>redis",
    ];
    const FROZEN: [&str; 6] = ["wallet-0", "wallet-1", "market-0", "market-1", "witness-0", "witness-1"];
    let (way, long) = (WAYS[random.random_range(0..WAYS.len())], Duration::from_millis(random.random_range(20..1_500)));
    if over == Over::Brokers && random.random_bool(0.5) {
        return match random.random_range(0..3) {
            0 => Blow::Cut("market-0>rabbitmq", long),
            1 => Blow::Silence("market-1>rabbitmq", long),
            _ => Blow::FreezeKafka(long),
        };
    }
    match random.random_range(0..3) {
        0 => Blow::Cut(way, long),
        1 => Blow::Silence(way, long),
        _ => Blow::Freeze(FROZEN[random.random_range(0..FROZEN.len())], long),
    }
}

/// Lets blows fall on the mesh, each into work, and mends what it broke.
///
/// # Errors
/// When something does not come back.
pub(crate) async fn rage(world: &mut World<'_>, journal: &Arc<Journal>, blows: &[Blow], seed: u64) -> Result<Done> {
    let (mut done, mut random) = (Done::default(), StdRng::seed_from_u64(seed));
    for blow in blows {
        let pace = random.random_range(15..80);
        wait_for_work(world, journal, pace).await?;
        journal.blow(&format!("{blow:?}"));
        fall(world, journal, blow, &mut done).await?;
        if blow.kills() {
            done.kills += 1;
        } else {
            done.others += 1;
        }
    }
    wait_for_work(world, journal, 50).await?;
    Ok(done)
}

/// Lets the clients end while nobody reads events, and then kills what carries them. What was published and not read is gone, where
/// that is Redis, and nothing is written any more that would make the relay look.
///
/// # Errors
/// When something does not come back.
pub(crate) async fn kill_unread(world: &mut World<'_>, journal: &Journal, load: Load, done: &mut Done) -> Result<()> {
    for witness in WITNESSES {
        world.service(witness)?.freeze();
    }
    wait_for_work(world, journal, UNREAD).await?;
    load.stop().await;
    // The relay tells of the last, if it can.
    let (mut database, end) = (world.ground.postgres.connect(&world.database).await?, Instant::now() + TOLD);
    while !run::told(&mut database).await? && Instant::now() < end {
        sleep(Duration::from_millis(10)).await;
    }
    let blow = match world.over {
        Over::Redis => Blow::KillRedis(Duration::ZERO),
        Over::Brokers => Blow::KillKafka(Duration::ZERO),
    };
    fall(world, journal, &blow, done).await?;
    done.kills += 1;
    Ok(())
}

/// Kills Redis when there is nothing to do any more: all that it was ever told is told again.
///
/// # Errors
/// When it does not come back.
pub(crate) async fn lose_all(world: &mut World<'_>, journal: &Journal, done: &mut Done) -> Result<()> {
    done.kills += 1;
    fall(world, journal, &Blow::KillRedis(Duration::ZERO), done).await
}

/// Waits until so much more was answered. What ended by itself is started again meanwhile.
///
/// # Errors
/// When it is not answered in time.
pub(crate) async fn wait_for_work(world: &mut World<'_>, journal: &Journal, more: usize) -> Result<()> {
    let (mark, end) = (journal.answered() + more, Instant::now() + PATIENCE);
    while journal.answered() < mark {
        anyhow::ensure!(Instant::now() < end, "the mesh did not answer {more} calls within {PATIENCE:?}");
        for service in &mut world.services {
            service.serves()?;
        }
        world.ground.auth.serves()?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Waits until so much more has had its effect.
async fn wait_for_effects(world: &World<'_>, more: i64) -> Result<()> {
    let (mut database, end) = (world.ground.postgres.connect(&world.database).await?, Instant::now() + PATIENCE);
    let mut mark = None;
    loop {
        let effects: i64 = sqlx::query_scalar("select count(*) from witness.effects").fetch_one(&mut database).await?;
        if effects >= *mark.get_or_insert(effects + more) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "nothing had its effect within {PATIENCE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Lets a blow fall; what it broke for a while is mended.
///
/// # Errors
/// When something does not come back.
pub(crate) async fn fall(world: &mut World<'_>, journal: &Journal, blow: &Blow, done: &mut Done) -> Result<()> {
    match blow {
        Blow::Kill(name, down) => {
            world.service(name)?.kill();
            sleep(*down).await;
            world.service(name)?.start()?;
        }
        Blow::KillHearing(down) => kill_hearing(world, *down).await?,
        Blow::KillRedis(down) => {
            world.ground.redis.kill();
            let from = journal.now();
            sleep(*down).await;
            let to = journal.now();
            world.ground.redis.resurrect().await;
            done.outages.push(Outage { what: "redis", from, to });
        }
        Blow::KillKafka(down) => {
            brokers(world)?.kafka.kill();
            let from = journal.now();
            sleep(*down).await;
            world.front.calm.store(true, Ordering::SeqCst);
            brokers(world)?.kafka.resurrect().await;
            world.front.calm.store(false, Ordering::SeqCst);
            let to = journal.now();
            done.outages.push(Outage { what: "kafka", from, to });
        }
        Blow::KillRabbit(down) => {
            brokers(world)?.rabbit.kill();
            let from = journal.now();
            sleep(*down).await;
            world.front.calm.store(true, Ordering::SeqCst);
            brokers(world)?.rabbit.resurrect().await;
            world.front.calm.store(false, Ordering::SeqCst);
            let to = journal.now();
            done.outages.push(Outage { what: "rabbitmq", from, to });
        }
        Blow::CrashPostgres(down) => {
            world.ground.postgres.crash();
            let from = journal.now();
            sleep(*down).await;
            let to = journal.now();
            world.ground.postgres.resurrect().await?;
            done.outages.push(Outage { what: "postgres", from, to });
        }
        Blow::Freeze(name, long) => {
            world.service(name)?.freeze();
            sleep(*long).await;
            world.service(name)?.thaw();
        }
        Blow::FreezeKafka(long) => {
            brokers(world)?.kafka.freeze();
            sleep(*long).await;
            brokers(world)?.kafka.thaw();
        }
        Blow::Cut(way, long) => faulty(world, way, Fault::Cut, *long).await?,
        Blow::Silence(way, long) => faulty(world, way, Fault::Pause, *long).await?,
        Blow::Slow(way, by) => world.way(way)?.set(Fault::Delay(*by)),
    }
    Ok(())
}

/// Kills both witnesses while one of them is having effects.
async fn kill_hearing(world: &mut World<'_>, down: Duration) -> Result<()> {
    wait_for_effects(world, HEARD).await?;
    for witness in WITNESSES {
        world.service(witness)?.kill();
    }
    sleep(down).await;
    for witness in WITNESSES {
        world.service(witness)?.start()?;
    }
    Ok(())
}

fn brokers<'a>(world: &'a mut World<'_>) -> Result<&'a mut Brokers> {
    world.ground.brokers.as_mut().context("no brokers were started")
}

async fn faulty(world: &World<'_>, way: &str, fault: Fault, long: Duration) -> Result<()> {
    let proxy = world.way(way)?;
    proxy.set(fault);
    sleep(long).await;
    proxy.heal();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let blows = plan(7, 25, Over::Redis);
        assert_eq!(blows, plan(7, 25, Over::Redis));
        assert_ne!(blows, plan(8, 25, Over::Redis));
        assert_eq!(blows.iter().filter(|blow| blow.kills()).count(), 25);
        assert!(blows.iter().any(|blow| !blow.kills()));
    }

    #[test]
    fn brokers_that_keep_what_they_have_are_killed_where_they_carry_and_nowhere_else() {
        let kills = |over| {
            let blows = plan(7, 7, over);
            assert_eq!(blows.iter().filter(|blow| blow.kills()).count(), 7);
            let of = |wanted: fn(&Blow) -> bool| blows.iter().filter(|blow| wanted(blow)).count();
            (of(|blow| matches!(blow, Blow::KillKafka(_))), of(|blow| matches!(blow, Blow::KillRabbit(_))))
        };
        assert_eq!((kills(Over::Brokers), kills(Over::Redis)), ((2, 2), (0, 0)));
    }
}
