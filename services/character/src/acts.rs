//! What administrators do, told to the audit of the mesh in the transaction of the act.

use coreloop_core::UserId;
use coreloop_facts::Act;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{App, Error, collection::Piece, store::changes};

/// A character of the catalogue was written in this transaction. Nobody is asked why. What is as it was, but for who wrote it and
/// when, is nothing to tell.
///
/// # Errors
/// When the database fails.
pub async fn put(
    app: &App,
    connection: &mut PgConnection,
    by: UserId,
    code: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let change = changes::newest(connection, "catalogue", code).await?;
    if change.before.as_ref().is_some_and(|before| said(before) == said(&change.after)) {
        return Ok(());
    }
    let act = Act { by, subject: code, reason: "", before: change.before.as_ref(), after: Some(&change.after) };
    Ok(app.acts.tell(connection, &act, now).await?)
}

fn said(row: &Value) -> Option<Map<String, Value>> {
    let mut fields = row.as_object()?.clone();
    fields.retain(|name, _| !matches!(name.as_str(), "updated_at" | "updated_by"));
    Some(fields)
}

/// A character is taken from a user in this transaction.
///
/// # Errors
/// When the database fails.
pub async fn revoked(
    app: &App,
    connection: &mut PgConnection,
    (by, reason): (UserId, &str),
    (user, code, piece): (Uuid, &str, &Piece),
    now: Timestamp,
) -> Result<(), Error> {
    let (subject, before) = (user.to_string(), json!({ "code": code, "level": piece.level, "source": piece.source }));
    let act = Act { by, subject: &subject, reason, before: Some(&before), after: None };
    Ok(app.acts.tell(connection, &act, now).await?)
}
