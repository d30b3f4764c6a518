//! What somebody has, for who reads.
//!
//! The database says how new that is, in one short statement; where Redis is as new, its view is it, and no history is read. Where the
//! database is away, what Redis has is shown, and how far the others are is not.

use std::collections::BTreeMap;

use coreloop_db::deadline;
use coreloop_eventstore::At;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    App, Error,
    catalogue::{away, is_away},
    collection::{Collection, Piece},
    condition::Counters,
    store::collections,
};

/// What somebody has.
#[derive(Debug, Clone, Default)]
pub struct Holding {
    /// Number of the last thing that happened.
    pub version: i64,
    /// What is there, by code; not what is over.
    pub owned: BTreeMap<String, Piece>,
    /// What was counted; none of the past, and while nobody can tell.
    pub counters: Option<Counters>,
}

impl Holding {
    fn of(version: i64, mut owned: BTreeMap<String, Piece>, at: Timestamp) -> Self {
        owned.retain(|_, piece| piece.lasts(at.as_microsecond()));
        Self { version, owned, counters: None }
    }
}

/// What `user` has now.
///
/// # Errors
/// When neither the database nor Redis can tell.
pub async fn now(app: &App, user: Uuid) -> Result<Holding, Error> {
    let stated = deadline::within(app.options.database_patience(), collections::now(&app.db, user)).await;
    let failed = match stated {
        Some(Ok(None)) => return Ok(Holding { counters: Some(Counters::default()), ..Holding::default() }),
        Some(Ok(Some((version, counters)))) => {
            let holding = as_new_as(app, user, version).await?;
            return Ok(Holding { counters: Some(counters), ..holding });
        }
        Some(Err(error)) if !is_away(&error) => return Err(error),
        Some(Err(error)) => error,
        None => away().into(),
    };
    let view = app.views.find(user).await.ok().flatten().ok_or(failed)?;
    Ok(Holding::of(view.version, view.owned, app.clock.now()))
}

/// What Redis has, when it is of that version; else what the history says.
async fn as_new_as(app: &App, user: Uuid, version: i64) -> Result<Holding, Error> {
    if let Ok(Some(view)) = app.views.find(user).await
        && view.version == version
    {
        return Ok(Holding::of(view.version, view.owned, app.clock.now()));
    }
    let mut connection = app.db.acquire().await?;
    let loaded = app.history.load::<Collection>(&mut connection, user).await?;
    let version = loaded.version();
    Ok(Holding::of(version, loaded.into_state().owned, app.clock.now()))
}

/// What `user` had at a time.
///
/// # Errors
/// When the database fails.
pub async fn then(app: &App, user: Uuid, at: Timestamp) -> Result<Holding, Error> {
    let mut connection = app.db.acquire().await?;
    let loaded = app.history.state_at::<Collection>(&mut connection, user, At::Instant(at)).await?;
    let version = loaded.version();
    Ok(Holding::of(version, loaded.into_state().owned, at))
}
