//! What becomes of characters: how many there are, for badges and for when nobody else can tell; and a line of the timeline.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::Change,
    person::{Happened, Moved},
    store::{footprints, heard, people, streaks},
};

/// Notes what became of a character, in the transaction of `connection`; `false` when it was noted before, or its user is gone. Of two
/// events of a collection the newer says how many there are, whichever is heard first.
///
/// # Errors
/// When the database fails.
pub async fn note(
    app: &App,
    connection: &mut PgConnection,
    (user, moved): (Uuid, Moved),
    now: Timestamp,
) -> Result<bool, Error> {
    let standing = people::lock(&mut *connection, user).await?;
    let event = format!("{user}:{}", moved.version);
    if standing.closed || !heard::claim(&mut *connection, "character", &event, user).await? {
        return Ok(false);
    }
    let mut change = Change::of(user, standing);
    if let Some(owned) = moved.owned.filter(|_| moved.version > standing.owned_version) {
        (change.standing.owned, change.standing.owned_version) = (owned, moved.version);
    }
    change.happened.push(Happened::Moved(moved));
    let variety = footprints::variety(&mut *connection, user).await?;
    let longest = streaks::find(&mut *connection, user).await?.longest;
    change.earn(app, &mut *connection, (variety, longest), now).await?;
    change.write(app, connection, now).await?;
    Ok(true)
}
