//! What histories came to is made anew, from zero, while the old serves: `coreloop my rebuild`.
//!
//! One user is one transaction, under their lock: who reads sees the old until it is committed, and who writes waits for so long. Killed
//! on the way it leaves some as they were; whoever begins again begins from zero.

use std::time::{Duration, Instant};

use coreloop_db::lease::Lease;
use coreloop_eventstore::EventStore;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    person::Person,
    store::{
        people::{self, Standing},
        rebuilding as store, streaks,
    },
};

/// Users of one statement.
const PAGE: i64 = 500;

/// What was made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Users.
    pub people: u64,
    /// Events of their histories.
    pub events: u64,
    /// How long it took.
    pub took: Duration,
}

/// Makes everything anew.
///
/// # Errors
/// [`Error::Rebuilding`] while another does; when the database fails.
pub async fn rebuild(db: &PgPool) -> Result<Rebuilt, Error> {
    let lease = Lease::try_take(db, "my.rebuild").await?.ok_or(Error::Rebuilding)?;
    let outcome = alone(db).await;
    lease.give_up().await;
    outcome
}

async fn alone(db: &PgPool) -> Result<Rebuilt, Error> {
    let (began, history) = (Instant::now(), EventStore::new("my")?);
    let (mut after, mut rebuilt) = (Uuid::nil(), Rebuilt::default());
    loop {
        let page = store::people(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = *last;
        for user in page {
            rebuilt.events = rebuilt.events.saturating_add_signed(one(db, &history, user).await?);
            rebuilt.people += 1;
        }
    }
    Ok(Rebuilt { took: began.elapsed(), ..rebuilt })
}

/// Answers how many events there are.
async fn one(db: &PgPool, history: &EventStore, user: Uuid) -> Result<i64, Error> {
    let mut tx = coreloop_db::begin(db).await?;
    people::lock(&mut tx, user).await?;
    let replayed = history.replay::<Person>(&mut tx, user).await?;
    let person = replayed.state();
    store::days(&mut tx, user, person).await?;
    store::badges(&mut tx, user, person).await?;
    if person.streak.last_day.is_some() {
        streaks::put(&mut tx, user, &person.streak).await?;
    }
    let standing = Standing {
        version: replayed.version(),
        total: person.total,
        owned: person.owned,
        owned_version: person.owned_version,
        closed: person.closed,
    };
    people::put(&mut tx, user, &standing).await?;
    tx.commit().await?;
    Ok(replayed.version())
}
