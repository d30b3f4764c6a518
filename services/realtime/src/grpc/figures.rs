//! `StreamMetrics`: figures of this replica's sockets, every few seconds.

use std::{sync::Arc, time::Duration};

use coreloop_realtime_api::v1;
use futures::{StreamExt as _, stream::BoxStream};
use tonic::Status;

use crate::{App, message::stamp};

/// The figures as they come.
pub type Figures = BoxStream<'static, Result<v1::StreamMetricsResponse, Status>>;

/// The figures: now, and every `metrics_secs`.
#[must_use]
pub fn stream(app: &Arc<App>) -> Figures {
    let every = Duration::from_secs(app.options.metrics_secs);
    let ticks = tokio::time::interval(every);
    let figures = futures::stream::unfold((Arc::clone(app), ticks), |(app, mut ticks)| async move {
        ticks.tick().await;
        Some((Ok(of(&app)), (app, ticks)))
    });
    figures.boxed()
}

fn of(app: &App) -> v1::StreamMetricsResponse {
    let (sockets, users) = app.hub.size();
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let counted = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    v1::StreamMetricsResponse {
        timestamp: Some(stamp(app.clock.now())),
        sockets: whole(sockets),
        users: whole(users),
        queued: app.metrics.depth.get(),
        delivered: counted(app.metrics.delivered.get()),
        failed: counted(app.metrics.failed.get()),
    }
}
