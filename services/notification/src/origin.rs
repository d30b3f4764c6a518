//! Where a task came from, for whoever goes on with it when its request was answered long ago: every step is of one trace.

use std::sync::Arc;

use coreloop_service::{Call, Target, Trace};
use http::HeaderValue;

/// Trace and request of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// W3C trace context.
    pub traceparent: String,
    /// Id of the request.
    pub request_id: String,
}

impl Origin {
    /// Of the call that runs.
    #[must_use]
    pub fn current() -> Self {
        Call::current().map_or_else(Self::default, |call| Self {
            traceparent: call.trace.header(),
            request_id: call.request_id.to_str().unwrap_or_default().to_owned(),
        })
    }

    /// The call that asked: what is asked of others in its scope hangs where it would have hung. None where nothing was kept.
    #[must_use]
    pub fn resumed(&self) -> Option<Arc<Call>> {
        let trace = Trace::parse(&self.traceparent)?;
        let request_id = HeaderValue::try_from(&self.request_id).ok()?;
        let word = str::to_owned;
        let target = Target {
            domain: word("notification"),
            service: word("notification"),
            method: word("resume"),
            path: word("resume"),
        };
        Some(Arc::new(Call::new(request_id, trace, Arc::new(target), None)))
    }

    /// Does `work` as that call, or as the one that runs where nothing was kept.
    pub async fn within<F: Future>(&self, work: F) -> F::Output {
        match self.resumed() {
            Some(call) => call.scope(work).await,
            None => work.await,
        }
    }
}
