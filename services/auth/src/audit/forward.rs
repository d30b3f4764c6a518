//! From the channel to the stream; to Postgres while Redis is away.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Audit, Item, consume::STREAM};
use crate::{App, Error, store};

/// Items taken at once.
const BATCH: usize = 256;
/// Entries the stream keeps, about.
const STREAM_LENGTH: usize = 100_000;
/// After Redis failed, records go to Postgres for this long before Redis is asked again.
const REDIS_PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stop`, then empties the channel.
pub(super) async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut queued = app.audits.queued.lock().await;
    let mut batch = Vec::with_capacity(BATCH);
    let mut redis_back = tokio::time::Instant::now();
    loop {
        let more = tokio::select! {
            taken = queued.recv_many(&mut batch, BATCH) => taken > 0,
            () = stop.cancelled() => {
                while let Ok(item) = queued.try_recv() {
                    batch.push(item);
                }
                false
            }
        };
        if tokio::time::Instant::now() < redis_back {
            keep(&app, &batch).await;
        } else if let Err(error) = deliver(&app, &batch).await {
            tracing::warn!(%error, "redis takes no audit records, they go to the database");
            redis_back = tokio::time::Instant::now() + REDIS_PAUSE;
            keep(&app, &batch).await;
        }
        batch.clear();
        if !more {
            return;
        }
    }
}

/// One round trip for the whole batch. Done twice, the second entry of a record is stored once.
async fn deliver(app: &App, batch: &[Item]) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let now = app.now().as_second();
    let mut pipe = redis::pipe();
    for item in batch {
        match item {
            Item::Record(audit) => add(&mut pipe, audit)?,
            Item::Issued { user, jti, expires_at } => {
                let (key, end) = (list(user), expires_at.as_second());
                pipe.zrembyscore(&key, "-inf", now).ignore();
                pipe.zadd(&key, jti.to_string(), end).ignore();
                // The list goes with the token that lives longest, which need not be the newest: an administrator's is short.
                pipe.cmd("EXPIREAT").arg(&key).arg(end).arg("NX").ignore();
                pipe.cmd("EXPIREAT").arg(&key).arg(end).arg("GT").ignore();
            }
            Item::Forgotten { user, ids } => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                pipe.zrem(list(user), ids).ignore();
            }
        }
    }
    let mut connection = app.redis.connection();
    app.redis.within(pipe.query_async::<()>(&mut connection)).await?;
    app.audits.delivered.notify_one();
    Ok(())
}

/// The message fields that chapter 06, item 5 asks for.
fn add(pipe: &mut redis::Pipeline, audit: &Audit) -> Result<(), Error> {
    let payload = serde_json::to_string(audit).map_err(|error| Error::Internal(error.to_string()))?;
    pipe.cmd("XADD").arg(STREAM).arg("MAXLEN").arg("~").arg(STREAM_LENGTH).arg("*");
    for (field, value) in [
        ("trace_id", audit.trace_id.as_str()),
        ("request_id", audit.request_id.as_str()),
        ("idempotency_key", &audit.id.to_string()),
        ("timestamp", &audit.occurred_at.to_string()),
        ("source", "auth"),
        ("version", "1"),
        ("payload", &payload),
    ] {
        pipe.arg(field).arg(value);
    }
    pipe.ignore();
    Ok(())
}

fn list(user: &coreloop_core::UserId) -> String {
    format!("auth:user_tokens:{user}")
}

/// Stores the records of a batch, trying for a while: with Redis away there is no other place for them.
async fn keep(app: &App, batch: &[Item]) {
    let records: Vec<Audit> = batch
        .iter()
        .filter_map(|item| if let Item::Record(audit) = item { Some((**audit).clone()) } else { None })
        .collect();
    for pause_ms in [100, 400, 1_600, 0] {
        match store::audits::insert(&app.db, &records).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, records = records.len(), "audit records could not be stored"),
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    app.metrics.audits_dropped.inc_by(records.len() as u64);
}
