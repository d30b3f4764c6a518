//! The views are made anew of the histories, from zero, while the old serve: `coreloop character rebuild`.
//!
//! What happens meanwhile is written by the consumer as always, and the version of a collection decides between the two
//! ([`crate::views`]). Killed on the way it leaves what served before, and whoever begins again begins from zero.

use std::time::{Duration, Instant};

use coreloop_db::lease::Lease;
use coreloop_eventstore::{Aggregate as _, EventStore};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Error, collection::Collection, schema::Schema, store::catalogue, views::Views, week};

/// Events of one statement.
const PAGE: i64 = 5_000;
/// Collections that Redis is told of at once: more wait for their turn on its connection.
const AT_ONCE: usize = 64;

/// What was made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Collections.
    pub collections: u64,
    /// Events that they are made of.
    pub events: u64,
    /// Views that were of nobody.
    pub dropped: i64,
    /// How long it took.
    pub took: Duration,
}

/// A collection on its way through its history.
struct Folding {
    user: Uuid,
    version: i64,
    state: Collection,
}

/// Makes all views anew. `who` names this rebuild.
///
/// # Errors
/// [`Error::Rebuilding`] while another does, or when another took over; when the database or Redis fails.
pub async fn rebuild(db: &PgPool, views: &Views, (who, now): (Uuid, Timestamp)) -> Result<Rebuilt, Error> {
    let lease = Lease::try_take(db, "character.rebuild").await?.ok_or(Error::Rebuilding)?;
    let outcome = alone(db, views, (who, now)).await;
    lease.give_up().await;
    outcome
}

async fn alone(db: &PgPool, views: &Views, (who, now): (Uuid, Timestamp)) -> Result<Rebuilt, Error> {
    let (began, history, weeks) = (Instant::now(), EventStore::new("character")?, week::ranked(now));
    let (schema, oldest) = (Schema::unlock().map_err(|_| Error::Corrupt("a schema that was good"))?, week::oldest(now));
    views.begin(who, &weeks).await?;
    let mut rebuilt = Rebuilt::default();
    let (mut after, mut open): (_, Option<Folding>) = ((Uuid::nil(), 0), None);
    loop {
        let mut connection = db.acquire().await?;
        let page = history.all::<Collection>(&mut connection, after, PAGE).await?;
        drop(connection);
        let mut whole = Vec::new();
        let ended = page.is_empty();
        for (user, recorded) in page {
            rebuilt.events += 1;
            after = (user, recorded.sequence);
            if open.as_ref().is_some_and(|folding| folding.user != user) {
                whole.extend(open.take());
            }
            let folding = open.get_or_insert_with(|| Folding { user, version: 0, state: Collection::default() });
            folding.state.apply(&recorded.event);
            folding.version = recorded.sequence;
        }
        if ended {
            whole.extend(open.take());
        }
        rebuilt.collections += whole.len() as u64;
        tell(views, whole, &oldest).await?;
        if !views.go_on(who).await? {
            return Err(Error::Rebuilding);
        }
        if ended {
            break;
        }
    }
    views.tell(&catalogue::all(db, &schema).await?).await?;
    if !views.end(who, &weeks).await? {
        return Err(Error::Rebuilding);
    }
    rebuilt.dropped = views.sweep().await?;
    Ok(Rebuilt { took: began.elapsed(), ..rebuilt })
}

async fn tell(views: &Views, whole: Vec<Folding>, oldest: &str) -> Result<(), Error> {
    let told = stream::iter(whole).map(|folding| async move {
        let newer = views.put(folding.user, folding.version, &folding.state, oldest).await?;
        tracing::trace!(user_id = %folding.user, newer, "a collection is told anew");
        Ok::<_, Error>(())
    });
    told.buffer_unordered(AT_ONCE).try_collect().await
}
