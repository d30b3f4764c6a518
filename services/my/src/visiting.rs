//! Visits of shops: a line of the timeline. They count for no figure and no badge.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::Change,
    person::{Happened, Visited},
    store::{heard, people},
};

/// Notes a visit, in the transaction of `connection`; `false` when it was noted before, or its user is gone.
///
/// # Errors
/// When the database fails.
pub async fn note(
    app: &App,
    connection: &mut PgConnection,
    (user, visited): (Uuid, Visited),
    now: Timestamp,
) -> Result<bool, Error> {
    let standing = people::lock(&mut *connection, user).await?;
    if standing.closed || !heard::claim(&mut *connection, "visit", &visited.visit_id, user).await? {
        return Ok(false);
    }
    let mut change = Change::of(user, standing);
    change.happened.push(Happened::Visited(visited));
    change.write(app, connection, now).await?;
    Ok(true)
}
