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
    chaos::{self, Blow, Done},
    check::{self, Findings},
    journal::{Deed, Journal},
    load::{Load, Mix, part_of},
    world::{Build, Ground, World},
};

/// Longest time in which what nobody knows is asked again, when everything is back.
const ANSWERS: Duration = Duration::from_secs(30);

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Names its database and folder.
    pub(crate) name: String,
    /// What every decision comes from.
    pub(crate) seed: u64,
    /// What clients do.
    pub(crate) mix: Mix,
    /// What is done to the mesh.
    pub(crate) blows: Vec<Blow>,
    /// The bug it has.
    pub(crate) bug: Option<Bug>,
    /// When the clients have ended, the broker loses what nobody has read yet.
    pub(crate) quiet_loss: bool,
    /// Longest wait for effects to come.
    pub(crate) patience: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
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
    let mut world = World::set(ground, &plan.name, build, plan.bug).await?;
    let journal = Arc::new(Journal::begin(&world.folder.join("journal.jsonl"))?);
    let load = Load::start(&plan.mix, part_of(plan.seed, 1), &world.front, &journal);
    let mut done = chaos::rage(&mut world, &journal, &plan.blows, part_of(plan.seed, 2)).await?;
    if plan.quiet_loss {
        chaos::lose_unread(&mut world, &journal, load, &mut done).await?;
    } else {
        load.stop().await;
    }
    world.heal().await?;
    ask_again(&world, &journal).await;
    let healed = Instant::now();
    let mut database = world.ground.postgres.connect(&world.database).await?;
    wait_for_effects(&mut database, plan.patience).await?;
    let caught_up = healed.elapsed();
    let url = world.ground.postgres.url_of(world.ground.postgres.address(), &world.database);
    let deeds = journal.all();
    let findings = check::look(&mut database, &url, &deeds).await?;
    Ok(Outcome { done, findings, deeds, took: began.elapsed(), caught_up })
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

/// Waits until nothing is due any more and every entry of a user has had an effect, or nothing has come for a while.
async fn wait_for_effects(database: &mut PgConnection, patience: Duration) -> Result<()> {
    let (mut last, mut since) = ((-1, -1, -1), Instant::now());
    loop {
        let now: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from wallet.holds where state = 'held' and expires_at < now() + interval '10 s')
                  + (select count(*) from wallet.lots where expires_at < now() + interval '10 s'),
                 (select count(*) from wallet.entries where owner > '00000000-0000-0000-0000-000000010000'),
                 (select count(*) from witness.effects)",
        )
        .fetch_one(&mut *database)
        .await?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let (due, entries, effects) = now;
        let quiet = since.elapsed();
        // A little longer, for what comes twice.
        let all_there = due == 0 && entries <= effects && quiet > Duration::from_millis(700);
        if all_there || quiet > patience {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}
