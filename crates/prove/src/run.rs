//! One run: a mesh, its clients, what is done to it, and then the question what became of it all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use coreloop_planted::Bug;
use sqlx::PgConnection;
use tokio::time::sleep;

use crate::{
    carried::{Ear, Over},
    chaos::{self, Blow, Done},
    check::{self, Findings},
    journal::{Deed, Journal},
    load::{Load, part_of},
    mix::Mix,
    world::{Build, Ground, World},
};

/// Longest time in which what nobody knows is asked again, when everything is back.
const ANSWERS: Duration = Duration::from_secs(30);

/// What was told and has had no effect for so long is lost.
const REST: Duration = Duration::from_secs(3);

/// A consumer that is told everything once more has so long to show what it makes of it.
const AGAIN: Duration = Duration::from_secs(30);

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The clients end, and nothing is done any more.
    Calm,
    /// When the clients have ended, the broker is killed with what nobody has read yet: Redis loses it.
    KillUnread,
    /// When all has had its effect, the broker loses everything, and is told all of it again.
    TellAgain,
}

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Names its database and folder.
    pub(crate) name: String,
    /// What carries its events and commands.
    pub(crate) over: Over,
    /// What every decision comes from.
    pub(crate) seed: u64,
    /// What clients do.
    pub(crate) mix: Mix,
    /// What is done to the mesh.
    pub(crate) blows: Vec<Blow>,
    /// The bug it has.
    pub(crate) bug: Option<Bug>,
    /// What happens when the clients have ended.
    pub(crate) end: End,
    /// Longest wait for effects to come.
    pub(crate) patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What carried its events and commands.
    pub(crate) over: Over,
    /// What was done to the mesh.
    pub(crate) done: Done,
    /// What was looked at and found.
    pub(crate) findings: Findings,
    /// What clients asked and heard.
    pub(crate) deeds: Vec<Deed>,
    /// How long it took.
    pub(crate) took: Duration,
    /// From everything being back to the last effect.
    pub(crate) caught_up: Duration,
}

/// Runs it.
///
/// # Errors
/// When the mesh does not start, or stops answering.
pub(crate) async fn run(ground: &mut Ground, build: &Build, plan: &Plan) -> Result<Outcome> {
    let began = Instant::now();
    let mut world = World::set(ground, build, plan).await?;
    let journal = Arc::new(Journal::begin(&world.folder.join("journal.jsonl"))?);
    let load = Load::start(&plan.mix, part_of(plan.seed, 1), &world.front, &journal);
    let mut done = chaos::rage(&mut world, &journal, &plan.blows, part_of(plan.seed, 2)).await?;
    if plan.end == End::KillUnread {
        chaos::kill_unread(&mut world, &journal, load, &mut done).await?;
    } else {
        load.stop().await;
    }
    world.heal().await?;
    ask_again(&world, &journal).await;
    let healed = Instant::now();
    let mut database = world.ground.postgres.connect(&world.database).await?;
    wait_for_effects(&mut database, &world.ear()?, plan.patience).await?;
    if plan.end == End::TellAgain {
        chaos::lose_all(&mut world, &journal, &mut done).await?;
        wait_for_second_effects(&mut database).await?;
    }
    let caught_up = healed.elapsed();
    let url = world.ground.postgres.url_of(world.ground.postgres.address(), &world.database);
    let deeds = journal.all();
    let mut findings = check::look(&mut database, &url, &deeds, &world.others).await?;
    check::panics(&world.folder, &mut findings)?;
    if plan.bug.is_none() {
        check::worked(&deeds, &mut findings);
    }
    done.ended = world.services.iter().flat_map(|service| service.ended.clone()).collect();
    Ok(Outcome { over: plan.over, done, findings, deeds, took: began.elapsed(), caught_up })
}

/// Asks about everything that is not known, under its key, until it is; and some of what is, which must be answered the same.
async fn ask_again(world: &World<'_>, journal: &Journal) {
    let end = Instant::now() + ANSWERS;
    let sample = journal
        .all()
        .into_iter()
        .enumerate()
        .filter(|(number, deed)| !deed.forged && (deed.doubted() || (deed.done().is_some() && number % 7 == 0)));
    let mut open: Vec<usize> = sample.map(|(number, _)| number).collect();
    while !open.is_empty() && Instant::now() < end {
        for some in open.chunks(16) {
            let asking = some.iter().map(|number| async move {
                let one = [*number];
                world.front.ask(journal, *number, &one).await;
            });
            futures::future::join_all(asking).await;
        }
        open.retain(|number| journal.deed(*number).open());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until something has had its effect twice, or has had every chance to.
async fn wait_for_second_effects(database: &mut PgConnection) -> Result<()> {
    let end = Instant::now() + AGAIN;
    let twice = "select exists (select from witness.effects group by event having count(*) > 1)";
    while !sqlx::query_scalar(twice).fetch_one(&mut *database).await? && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until nothing is due any more and every entry of a user has had an effect; or until nothing more can come: all was told,
/// and the witness has answered for all that it was told. What is missing then is lost, not late.
///
/// # Errors
/// When the mesh does not come to rest.
async fn wait_for_effects(database: &mut PgConnection, ear: &Ear<'_>, patience: Duration) -> Result<()> {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let now: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from wallet.holds where state = 'held' and expires_at < now() + interval '10 s')
                  + (select count(*) from wallet.lots where expires_at < now() + interval '10 s')
                  + (select count(*) from shop.purchases where next_at is not null)
                  + (select count(*) from rewards.redemptions where state in (1, 2, 4)),
                 (select count(*) from wallet.entries where owner > '00000000-0000-0000-0000-000000010000'),
                 (select count(*) from witness.effects)",
        )
        .fetch_one(&mut *database)
        .await?;
        // Who hears again what had its effect comes nearer too.
        let heard = ear.places().await;
        if last.as_ref() != Some(&(now, heard.clone())) {
            (last, since) = (Some((now, heard)), Instant::now());
        }
        let (due, entries, effects) = now;
        let quiet = since.elapsed();
        // A little longer, for what comes twice.
        if due == 0 && entries <= effects && quiet > Duration::from_millis(700) {
            return Ok(());
        }
        if due == 0 && quiet > REST && told_all(database, ear).await? {
            return Ok(());
        }
        if quiet > patience {
            // What is still due is for the checker to find.
            anyhow::ensure!(
                told_all(database, ear).await?,
                "events do not come to rest: {entries} entries, {effects} effects"
            );
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the relay has told of every row.
pub(crate) async fn told(database: &mut PgConnection) -> Result<bool> {
    let told = "select r.read_to >= (select coalesce(max(seq), 0) from wallet.outbox) and cardinality(r.gaps_from) = 0
                  from wallet.outbox_relay r";
    Ok(sqlx::query_scalar(told).fetch_one(database).await?)
}

/// Whether the relay has told of every row, and the witness has answered for all that it was told.
async fn told_all(database: &mut PgConnection, ear: &Ear<'_>) -> Result<bool> {
    let held = "select exists (select from witness.held_events where state in ('retry', 'waiting'))";
    let held: bool = sqlx::query_scalar(held).fetch_one(&mut *database).await?;
    Ok(!held && told(database).await? && ear.all().await)
}
