//! `StreamAdmin`: what administrators do, as it happens.

use std::sync::Arc;

use coreloop_realtime_api::v1::{self, RealtimeReason};
use futures::{StreamExt as _, stream::BoxStream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use crate::{App, Error};

/// Acts as they come.
pub type Acted = BoxStream<'static, Result<v1::StreamAdminResponse, Status>>;

/// An act on the channel.
#[derive(Deserialize)]
struct Act {
    act: String,
    actor_user_id: String,
    subject: String,
    reason: String,
    /// Unix seconds.
    at: i64,
}

/// What administrators do from now on. Ends with `SLOW_CONSUMER` for who falls too far behind.
#[must_use]
pub fn stream(app: &Arc<App>) -> Acted {
    let acts = futures::stream::unfold(Some(app.hub.acts()), |acts| async move {
        let mut acts = acts?;
        loop {
            match acts.recv().await {
                Ok(word) => {
                    if let Ok(act) = serde_json::from_str::<Act>(&word) {
                        return Some((Ok(told(act)), Some(acts)));
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    return Some((Err(Error::from(RealtimeReason::SlowConsumer).into()), None));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    acts.boxed()
}

fn told(act: Act) -> v1::StreamAdminResponse {
    v1::StreamAdminResponse {
        act: act.act,
        actor_user_id: act.actor_user_id,
        subject: act.subject,
        reason: act.reason,
        occurred_at: Some(prost_types::Timestamp { seconds: act.at, nanos: 0 }),
    }
}
