//! The story of chapter 02 under kills: people upload and register photos and look at their sockets, while parts of the eco app die.
//! In the end each photo has come to one end, what it is worth is there once, and its owner was told of it once.
//!
//! An album earns more than one may have, so its last photo ends with the compensation. When all is quiet, and Redis carries
//! the events, it loses everything and is told all of it again; then photos and scans are told as other events: neither has a second
//! effect.

pub(crate) mod album;
pub(crate) mod live;
mod streams;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use coreloop_planted::Bug;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::PgConnection;
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

use self::{
    album::{Albums, Person},
    live::Ears,
    streams::Streams,
};
use crate::{
    carried::Over,
    chaos::{self, Blow, Done},
    check::{self, Findings},
    journal::Journal,
    run::Outcome,
    world::{Build, Ground, World},
};

/// Characters that one may have: fewer than an album earns.
pub(crate) const MOST_OWNED: i64 = 3;
/// Photos of an album, those of them that earn something, and those that this is refused of.
pub(crate) const PHOTOS: i64 = 5;
pub(crate) const EARNING: i64 = 4;
pub(crate) const REFUSED: i64 = EARNING - MOST_OWNED;
/// Longest time in which every photo is registered, once everything is back.
const ANSWERS: Duration = Duration::from_secs(60);
/// Sockets that hear nothing for so long hear nothing more; over Kafka who reads may be replaced before.
const STILL: Duration = Duration::from_secs(3);
const STILL_OVER_KAFKA: Duration = Duration::from_secs(20);
/// What comes twice comes a little later.
const LATER: Duration = Duration::from_millis(700);

/// What is told.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Names its database and folder.
    pub(crate) name: String,
    /// What carries events and commands.
    pub(crate) over: Over,
    /// What every decision comes from.
    pub(crate) seed: u64,
    /// People, each with an album.
    pub(crate) people: u32,
    /// What is done to the mesh.
    pub(crate) blows: Vec<Blow>,
    /// The bug it has.
    pub(crate) bug: Option<Bug>,
    /// When all is quiet Redis loses everything, and is told all of it again.
    pub(crate) tell_again: bool,
    /// In the end photos and scans are told once more, as other events.
    pub(crate) as_others: bool,
    /// Longest wait for a photo to come nearer to its end.
    pub(crate) patience: Duration,
}

/// So many photos need so many people.
pub(crate) fn people(photos: u32) -> u32 {
    photos.div_ceil(u32::try_from(PHOTOS).unwrap_or(1))
}

/// Blows from a seed: so many kills, each with something else before it now and then.
pub(crate) fn blows(seed: u64, kills: u32, over: Over) -> Vec<Blow> {
    const KILLED: [&str; 5] = ["app-0", "app-1", "live-0", "live-1", "auth"];
    const WAYS: [&str; 8] = [
        "app-0>redis",
        "app-1>redis",
        "app-0>postgres",
        "app-1>postgres",
        "live-0>redis",
        "live-1>redis",
        "live-1>image",
        "client>live-0",
    ];
    let mut random = StdRng::seed_from_u64(seed);
    let mut blows = Vec::new();
    for number in 0..kills {
        let down = Duration::from_millis(random.random_range(0..1_000));
        if random.random_bool(0.4) {
            let way = WAYS[random.random_range(0..WAYS.len())];
            blows.push(match random.random_range(0..3) {
                0 => Blow::Cut(way, down),
                1 => Blow::Silence(way, down),
                _ => Blow::Freeze(KILLED[random.random_range(0..4)], down),
            });
        }
        // Each kind in turn, so that few kills are of many kinds.
        blows.push(match number % 8 {
            2 => Blow::KillRedis(down),
            5 => Blow::CrashPostgres(down),
            3 if over == Over::Brokers => Blow::KillKafka(down),
            6 if over == Over::Brokers => Blow::KillRabbit(down),
            _ => Blow::Kill(KILLED[random.random_range(0..KILLED.len())], down),
        });
    }
    blows
}

/// Tells it.
///
/// # Errors
/// When the mesh does not start, or stops answering.
pub(crate) async fn run(ground: &mut Ground, build: &Build, plan: &Plan) -> Result<Outcome> {
    let began = Instant::now();
    let (mut world, fronts) = World::eco(ground, build, (plan.name.as_str(), plan.over, plan.bug)).await?;
    let journal = Arc::new(Journal::begin(&world.folder.join("journal.jsonl"))?);
    let pace = Arc::new(Semaphore::new(0));
    let people = Person::some(plan.people, plan.seed, &Arc::from(fronts), &world.issuer());
    let ears = Ears::open(&people);
    let albums = Albums::begin(&people, plan.seed, &journal, &pace);
    let mut done = rage(&mut world, &journal, plan, &pace).await?;
    world.heal().await?;
    let healed = Instant::now();
    albums.end(ANSWERS).await?;
    let users: Vec<Uuid> = people.iter().map(|person| person.id).collect();
    let mut database = world.ground.postgres.connect(&world.database).await?;
    wait_for_ends(&mut database, &users, plan.patience).await?;
    let caught_up = healed.elapsed();
    ears.settle(if plan.over == Over::Redis { STILL } else { STILL_OVER_KAFKA }).await;
    let mut heard = Vec::new();
    if plan.tell_again {
        // Whoever begins anew behind what is told again has heard nothing of it: what was said before is looked at as well.
        heard = ears.caught_up().await;
        tell_again(&mut world, &journal, plan, &mut done).await?;
    }
    heard.extend(ears.end().await);
    if plan.as_others {
        journal.blow("scans and photos are told as other events");
        let mut streams = Streams::of(&world.ground.redis).await?;
        streams.tell_as_others().await?;
        streams.wait_until_read(plan.patience).await?;
    }
    wait_until_nothing_waits(&mut database, plan.patience).await?;
    let deeds = journal.all();
    let mut findings = Findings::default();
    check::story::look(&mut database, &users, &deeds, &heard, &mut findings).await?;
    check::panics(&world.folder, &mut findings)?;
    if plan.bug.is_none() && done.kills > 0 {
        check::story::worked(&heard, &mut findings);
    }
    done.ended = world.services.iter().flat_map(|service| service.ended.clone()).collect();
    Ok(Outcome { over: plan.over, done, findings, deeds, took: began.elapsed(), caught_up })
}

/// Lets photos be taken, and a blow fall each time when half of those that were allowed since the last are registered.
async fn rage(world: &mut World<'_>, journal: &Arc<Journal>, plan: &Plan, pace: &Semaphore) -> Result<Done> {
    let mut done = Done::default();
    let photos = usize::try_from(i64::from(plan.people) * PHOTOS)?;
    let each = photos / (plan.blows.len() + 1);
    let mut left = photos;
    for blow in &plan.blows {
        pace.add_permits(each);
        left -= each;
        chaos::wait_for_work(world, journal, each / 2).await?;
        journal.blow(&format!("{blow:?}"));
        chaos::fall(world, journal, blow, &mut done).await?;
        if blow.kills() {
            done.kills += 1;
        } else {
            done.others += 1;
        }
    }
    pace.add_permits(left);
    Ok(done)
}

/// Lets Redis lose everything, and waits until the relays have told all of it again and it is read.
async fn tell_again(world: &mut World<'_>, journal: &Arc<Journal>, plan: &Plan, done: &mut Done) -> Result<()> {
    let mut streams = Streams::of(&world.ground.redis).await?;
    journal.blow("all is told again");
    chaos::lose_all(world, journal, done).await?;
    let mut database = world.ground.postgres.connect(&world.database).await?;
    streams.again(&world.ground.redis).await;
    streams.wait_until_told(&mut database, plan.patience).await?;
    streams.wait_until_read(plan.patience).await
}

/// Waits until nothing is to be tried again, or the time is up; and a little longer, for what comes twice.
async fn wait_until_nothing_waits(database: &mut PgConnection, patience: Duration) -> Result<()> {
    let waiting = check::story::HOLDING
        .map(|schema| format!("(select count(*) from {schema}.held_events where state in ('retry', 'waiting'))"));
    let (sql, end) = (format!("select {}", waiting.join(" + ")), Instant::now() + patience);
    while sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql.as_str())).fetch_one(&mut *database).await? > 0
        && Instant::now() < end
    {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(LATER).await;
    Ok(())
}

/// Waits until every photo has come to its end, or nothing has moved for so long: what is open then is for the checker.
async fn wait_for_ends(database: &mut PgConnection, users: &[Uuid], patience: Duration) -> Result<()> {
    let sql = format!(
        "select count(*) filter (where ended < {PHOTOS}), count(*) filter (where counted < {EARNING} + {MOST_OWNED}),
                count(*) filter (where told < {EARNING}), (sum(ended) + sum(counted) + sum(told))::bigint
           from (select (select count(*) from scan.tasks where user_id = who and reward_status in (1, 3, 4)) as ended,
                        (select count(*) from my.heard where user_id = who) as counted,
                        (select count(*) from notification.inbox where user_id = who) as told
                   from unnest($1::uuid[]) as people (who)) each"
    );
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let (looked_at, counted, told, moved): (i64, i64, i64, i64) =
            sqlx::query_as(sqlx::AssertSqlSafe(sql.as_str())).bind(users.to_vec()).fetch_one(&mut *database).await?;
        if looked_at + counted + told == 0 {
            return Ok(());
        }
        if moved != last {
            (last, since) = (moved, Instant::now());
        }
        if since.elapsed() > patience {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_of_many_kinds_and_brokers_die_where_they_carry() {
        let kinds = |over| {
            let blows = blows(7, 16, over);
            assert_eq!(blows.iter().filter(|blow| blow.kills()).count(), 16);
            let of = |wanted: fn(&Blow) -> bool| blows.iter().filter(|blow| wanted(blow)).count();
            (of(|blow| matches!(blow, Blow::KillRedis(_))), of(|blow| matches!(blow, Blow::KillKafka(_))))
        };
        assert_eq!((kinds(Over::Redis), kinds(Over::Brokers)), ((2, 0), (2, 2)));
        assert_eq!(people(1_000), 200);
    }
}
