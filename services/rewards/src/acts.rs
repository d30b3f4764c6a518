//! What administrators do, told to the audit of the mesh in the transaction of the act.

use coreloop_core::UserId;
use coreloop_facts::Act;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use crate::{
    App, Error,
    store::{changes, grants::Grant},
};

/// A campaign, an article or an ad was written in this transaction: `what` is its table, `subject` its name there. Nobody is asked
/// why. What is as it was, but for who wrote it and when, is nothing to tell.
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
    if change.before.as_ref().is_some_and(|before| said(before) == said(&change.after)) {
        return Ok(());
    }
    let act = Act { by, subject, reason: "", before: change.before.as_ref(), after: Some(&change.after) };
    Ok(app.acts.tell(connection, &act, now).await?)
}

fn said(row: &Value) -> Option<Map<String, Value>> {
    let mut fields = row.as_object()?.clone();
    fields.retain(|name, _| !matches!(name.as_str(), "updated_at" | "updated_by"));
    Some(fields)
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
        "campaign_id": grant.campaign,
    });
    let subject = grant.user_id.to_string();
    let act = Act { by, subject: &subject, reason: &grant.reason, before: None, after: Some(&after) };
    Ok(app.acts.tell(connection, &act, now).await?)
}
