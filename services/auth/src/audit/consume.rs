//! From the stream to `auth.login_audits`, by a consumer group.

use std::{sync::Arc, time::Duration};

use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use tokio_util::sync::CancellationToken;

use super::Audit;
use crate::{App, Error, store};

/// The command queue (chapter 06, item 5).
pub(super) const STREAM: &str = "cmd:auth.audit";
/// Entries that are no record of ours, for somebody to look at.
const DEAD: &str = "cmd:auth.audit:dead";
const GROUP: &str = "auth";
const BATCH: usize = 200;
/// A look without a wake-up: other replicas wake only themselves.
const POLL: Duration = Duration::from_secs(1);
/// An entry read this long ago and not acknowledged belongs to whoever finds it.
const ABANDONED_MS: usize = 15_000;

/// Runs until `stop`.
pub(super) async fn run(app: Arc<App>, stop: CancellationToken) {
    let consumer = app.ids.uuid().to_string();
    let mut grouped = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.audits.delivered.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        match drain(&app, &consumer, grouped).await {
            Ok(()) => grouped = true,
            Err(error) => {
                // A Redis that lost its data has lost the group too.
                grouped = false;
                tracing::debug!(%error, "audit queue not read");
            }
        }
    }
}

/// Takes everything there is: first what others left, then what is new.
async fn drain(app: &App, consumer: &str, grouped: bool) -> Result<(), Error> {
    let mut redis = app.redis.connection();
    if !grouped {
        let create = redis::cmd("XGROUP").arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM").to_owned();
        match app.redis.within(create.query_async::<()>(&mut redis)).await {
            Err(Error::Redis(error)) if error.code() == Some("BUSYGROUP") => {}
            other => other?,
        }
    }
    let claim = redis::cmd("XAUTOCLAIM")
        .arg(STREAM)
        .arg(GROUP)
        .arg(consumer)
        .arg(ABANDONED_MS)
        .arg("0")
        .arg("COUNT")
        .arg(BATCH)
        .to_owned();
    let left: StreamAutoClaimReply = app.redis.within(claim.query_async(&mut redis)).await?;
    settle(app, &left.claimed).await?;
    loop {
        let read = redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(consumer)
            .arg("COUNT")
            .arg(BATCH)
            .arg("STREAMS")
            .arg(STREAM)
            .arg(">")
            .to_owned();
        let new: Option<StreamReadReply> = app.redis.within(read.query_async(&mut redis)).await?;
        let entries: Vec<StreamId> = new.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).collect();
        settle(app, &entries).await?;
        if entries.len() < BATCH {
            return Ok(());
        }
    }
}

/// Stores entries, then acknowledges and removes them. What is no record is set aside.
async fn settle(app: &App, entries: &[StreamId]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut records = Vec::with_capacity(entries.len());
    let mut pipe = redis::pipe();
    for entry in entries {
        let payload: String = entry.get("payload").unwrap_or_default();
        match serde_json::from_str::<Audit>(&payload) {
            Ok(audit) => records.push(audit),
            Err(error) => {
                tracing::error!(%error, entry = %entry.id, "an entry of the audit queue cannot be read");
                pipe.cmd("XADD")
                    .arg(DEAD)
                    .arg("MAXLEN")
                    .arg("~")
                    .arg(1_000)
                    .arg("*")
                    .arg("payload")
                    .arg(payload)
                    .ignore();
            }
        }
    }
    store::audits::insert(&app.db, &records).await?;
    let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    pipe.cmd("XACK").arg(STREAM).arg(GROUP).arg(&ids).ignore();
    pipe.cmd("XDEL").arg(STREAM).arg(&ids).ignore();
    let mut redis = app.redis.connection();
    app.redis.within(pipe.query_async::<()>(&mut redis)).await
}
