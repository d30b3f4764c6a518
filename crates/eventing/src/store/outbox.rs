//! Writing `<schema>.outbox`.

use std::sync::Arc;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::outbox::Row;

#[derive(Debug, Clone)]
pub(crate) struct Statements {
    insert: Arc<str>,
}

/// What all rows of a transaction share.
pub(crate) struct Origin {
    pub(crate) trace_id: String,
    pub(crate) traceparent: String,
    pub(crate) request_id: String,
    pub(crate) now: Timestamp,
}

impl Statements {
    pub(crate) fn of(schema: &str) -> Self {
        Self {
            insert: format!(
                "insert into {schema}.outbox
                     (id, aggregatetype, aggregateid, type, payload, version,
                      trace_id, traceparent, request_id, created_at)
                 select id, domain, key, event, payload, version, $7, $8, $9, $10
                 from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::integer[]) with ordinality
                      as t(id, domain, key, event, payload, version, ord)
                 order by ord"
            )
            .into(),
        }
    }
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    sql: &Statements,
    rows: &[Row],
    origin: &Origin,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.insert)))
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.domain.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.payload.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
        .bind(&origin.trace_id)
        .bind(&origin.traceparent)
        .bind(&origin.request_id)
        .bind(origin.now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}
