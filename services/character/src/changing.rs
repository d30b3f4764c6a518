//! The four things that happen to a collection: its history, its rows and the fact that tells of it, written together.
//!
//! Whoever calls has locked the row of the collection ([`crate::store::collections::lock`]) and then loaded its history, in the
//! transaction of `connection`; and has asked the rules.

use coreloop_eventing::Facts;
use coreloop_eventstore::Loaded;
use coreloop_facts::v1::{CharacterAcquired, CharacterClosed, CharacterEvolved, CharacterLost};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::{
    App, Error,
    collection::{Collection, Happened},
    metrics::{CauseLabels, SourceLabels},
    store::{collections, ownership},
    times::proto_time,
};

/// A character that comes.
#[derive(Debug, Clone, Copy)]
pub struct Coming<'a> {
    /// Which.
    pub code: &'a str,
    /// Where from: `scan`, `unlock`, `campaign`, `reward`.
    pub source: &'a str,
    /// The event that it is given for; empty: none.
    pub event_id: &'a str,
    /// Until when; none: for good.
    pub expires_at: Option<Timestamp>,
}

/// A character that goes.
#[derive(Debug, Clone, Copy)]
pub struct Going<'a> {
    /// Which.
    pub code: &'a str,
    /// Why: [`crate::collection::DELETED`], [`crate::collection::EXPIRED`].
    pub cause: &'static str,
    /// Who took it; empty: nobody.
    pub by: &'a str,
}

/// A character comes into the collection.
///
/// # Errors
/// When the database fails; `ownership_pkey` when the rules did not see that it is there.
pub async fn acquire(
    app: &App,
    connection: &mut PgConnection,
    loaded: &mut Loaded<Collection>,
    coming: &Coming<'_>,
    now: Timestamp,
) -> Result<Facts, Error> {
    let user = loaded.id();
    let fact = CharacterAcquired {
        user_id: user.to_string(),
        code: coming.code.to_owned(),
        source: coming.source.to_owned(),
        source_event_id: coming.event_id.to_owned(),
        owned_count: count(loaded.state().owned.len().saturating_add(1)),
        expires_at: coming.expires_at.map(proto_time),
        version: loaded.version().saturating_add(1),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact)?;
    happen(app, connection, loaded, Happened::Acquired(fact), now).await?;
    let piece =
        loaded.state().owned.get(coming.code).ok_or(Error::Corrupt("a character that came and is not there"))?;
    ownership::insert(connection, user, coming.code, piece).await?;
    app.metrics.acquired.get_or_create(&SourceLabels { source: coming.source.to_owned() }).inc();
    Ok(facts)
}

/// A character goes out of the collection.
///
/// # Errors
/// When the database fails.
pub async fn lose(
    app: &App,
    connection: &mut PgConnection,
    loaded: &mut Loaded<Collection>,
    going: &Going<'_>,
    now: Timestamp,
) -> Result<Facts, Error> {
    let user = loaded.id();
    let fact = CharacterLost {
        user_id: user.to_string(),
        code: going.code.to_owned(),
        cause: going.cause.to_owned(),
        by: going.by.to_owned(),
        owned_count: count(loaded.state().owned.len().saturating_sub(1)),
        version: loaded.version().saturating_add(1),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact)?;
    happen(app, connection, loaded, Happened::Lost(fact), now).await?;
    ownership::delete(connection, user, going.code).await?;
    app.metrics.lost.get_or_create(&CauseLabels { cause: going.cause }).inc();
    Ok(facts)
}

/// A character of the collection rises to a level.
///
/// # Errors
/// When the database fails.
pub async fn evolve(
    app: &App,
    connection: &mut PgConnection,
    loaded: &mut Loaded<Collection>,
    (code, level): (&str, i32),
    now: Timestamp,
) -> Result<Facts, Error> {
    let user = loaded.id();
    let fact = CharacterEvolved {
        user_id: user.to_string(),
        code: code.to_owned(),
        level,
        version: loaded.version().saturating_add(1),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact)?;
    happen(app, connection, loaded, Happened::Evolved(fact), now).await?;
    ownership::raise(connection, user, code, level).await?;
    app.metrics.evolved.inc();
    Ok(facts)
}

/// The user has closed the account: the collection is empty for ever, and what was known of them is gone.
///
/// # Errors
/// When the database fails.
pub async fn close(
    app: &App,
    connection: &mut PgConnection,
    loaded: &mut Loaded<Collection>,
    now: Timestamp,
) -> Result<Facts, Error> {
    let user = loaded.id();
    let fact = CharacterClosed {
        user_id: user.to_string(),
        version: loaded.version().saturating_add(1),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact)?;
    happen(app, connection, loaded, Happened::Closed(fact), now).await?;
    collections::close(connection, user, loaded.version()).await?;
    Ok(facts)
}

/// The event, and what it made of the collection's row.
async fn happen(
    app: &App,
    connection: &mut PgConnection,
    loaded: &mut Loaded<Collection>,
    event: Happened,
    now: Timestamp,
) -> Result<(), Error> {
    app.history.append(connection, loaded, &[event], &*app.ids, now).await?;
    let owned = count(loaded.state().owned.len());
    Ok(collections::advance(connection, loaded.id(), owned, loaded.version()).await?)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
