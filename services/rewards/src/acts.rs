//! What administrators do, told to the audit of the mesh in the transaction of the act.

use coreloop_core::UserId;
use coreloop_facts::Act;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    App, Error,
    store::{changes, grants::Grant},
};

/// A campaign, an article or an ad was changed in this transaction: `what` is its table, `subject` its name there. Nobody is asked
/// why.
///
/// # Errors
/// When the database fails.
pub async fn changed(
    app: &App,
    connection: &mut PgConnection,
    by: UserId,
    (what, subject): (&str, &str),
    now: Timestamp,
) -> Result<(), Error> {
    let change = changes::newest(connection, what, subject).await?;
    let act = Act { by, subject, reason: "", before: change.before.as_ref(), after: Some(&change.after) };
    Ok(app.acts.tell(connection, &act, now).await?)
}

/// A grant is promised in this transaction. Nothing was there before; what becomes of it is in `reward_audit`.
///
/// # Errors
/// When the database fails.
pub async fn promised(
    app: &App,
    connection: &mut PgConnection,
    by: UserId,
    grant: &Grant,
    now: Timestamp,
) -> Result<(), Error> {
    let after = json!({
        "grant_id": grant.id,
        "kind": grant.kind().as_str_name(),
        "amount": grant.amount,
        "item": grant.item,
        "external_event_id": grant.external_event_id,
    });
    let subject = grant.user_id.to_string();
    let act = Act { by, subject: &subject, reason: &grant.reason, before: None, after: Some(&after) };
    Ok(app.acts.tell(connection, &act, now).await?)
}
