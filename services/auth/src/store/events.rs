//! `auth.auth_events` and `auth.outbox`.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Client, Error};

/// An event to append.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id of the event, the same in history and outbox.
    pub id: Uuid,
    /// Name in the domain.
    pub name: &'static str,
    /// ProtoJSON.
    pub payload: Value,
}

/// Appends `row` to the account's history alone, as [`append`] does.
///
/// # Errors
/// `NOT_FOUND` when there is no such account.
pub async fn note(
    conn: &mut PgConnection,
    user: UserId,
    row: &Row,
    client: &Client,
    now: Timestamp,
) -> Result<(), Error> {
    let metadata = json!({ "trace_id": client.trace_id, "request_id": client.request_id });
    let done = sqlx::query!(
        r#"with head as (update auth.users set event_seq = event_seq + 1 where id = $1 returning event_seq)
           insert into auth.auth_events
               (event_id, aggregate_type, aggregate_id, sequence_number, event_type, payload, metadata, created_at)
           select $2, 'user', $1, event_seq, 'auth.' || $3::text, $4, $5, $6 from head"#,
        user.0,
        row.id,
        row.name,
        row.payload,
        metadata,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Appends `rows` to the account's history and the outbox, and notes the time of a sign-in. `users.event_seq` is taken under the row's lock, so
/// sequence numbers have no gap and two writers never share one.
///
/// # Errors
/// `NOT_FOUND` when there is no such account.
pub async fn append(
    conn: &mut PgConnection,
    user: UserId,
    rows: &[Row],
    client: &Client,
    now: Timestamp,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let names: Vec<String> = rows.iter().map(|row| row.name.to_owned()).collect();
    let payloads: Vec<Value> = rows.iter().map(|row| row.payload.clone()).collect();
    let metadata = json!({ "trace_id": client.trace_id, "request_id": client.request_id });
    let done = sqlx::query!(
        r#"
        with head as (
            update auth.users
               set event_seq = event_seq + cardinality($2::uuid[]),
                   last_login_at = case when 'user_logged_in' = any ($3::text[]) then $6 else last_login_at end
             where id = $1 returning event_seq
        ), given as (
            select id, name, payload, head.event_seq - cardinality($2::uuid[]) + ord as seq
              from head, unnest($2::uuid[], $3::text[], $4::jsonb[]) with ordinality as t(id, name, payload, ord)
        ), history as (
            insert into auth.auth_events
                (event_id, aggregate_type, aggregate_id, sequence_number, event_type, payload, metadata, created_at)
            select id, 'user', $1, seq, 'auth.' || name, payload, $5, $6 from given
        )
        insert into auth.outbox
            (id, aggregatetype, aggregateid, type, payload, trace_id, request_id, traceparent, created_at)
        select id, 'auth', $1::uuid::text, name, payload, $7, $8, $9, $6 from given order by seq
        "#,
        user.0,
        &ids,
        &names,
        &payloads,
        metadata,
        now.to_sqlx() as _,
        client.trace_id,
        client.request_id,
        client.traceparent,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == rows.len() as u64 { Ok(()) } else { Err(Error::NotFound) }
}
