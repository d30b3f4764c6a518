//! Somebody closes the account: nothing is left of them but a row that says so.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::Change,
    person::{Footprint, Happened},
    store::people::{self, Standing},
};

/// Forgets a user, in the transaction of `connection`; `false` when they were forgotten before. Who followed them, and whom they
/// followed, is not told of it one by one: everybody hears that the account is closed.
///
/// # Errors
/// When the database fails.
pub async fn close(app: &App, connection: &mut PgConnection, user: Uuid, now: Timestamp) -> Result<bool, Error> {
    let standing = people::lock(&mut *connection, user).await?;
    if standing.closed {
        return Ok(false);
    }
    people::forget(&mut *connection, user).await?;
    let gone =
        Standing { version: standing.version, total: Footprint::default(), owned: 0, owned_version: 0, closed: true };
    let mut change = Change::of(user, gone);
    change.happened.push(Happened::Closed);
    change.write(app, connection, now).await?;
    Ok(true)
}
