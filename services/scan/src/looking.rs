//! A look at a photo as a span of its trace: in a trace of what took how long, the model's time is told apart from ours.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_outbound::Away;
use coreloop_service::{Call, Ctx, Ended, Span, Spans, Target};
use tokio::time::Instant;

use crate::model::{Seen, reason};

/// Name of the spans.
const SPAN: &str = "vision_call";

/// Tells of looks.
pub struct Looking {
    spans: Option<Arc<dyn Spans>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl std::fmt::Debug for Looking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looking").field("spans", &self.spans.is_some()).finish_non_exhaustive()
    }
}

impl Looking {
    /// To whoever exports the spans of the process; to nobody where nobody does.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        Self { spans: ctx.spans.clone(), clock: Arc::clone(&ctx.clock), ids: Arc::clone(&ctx.ids) }
    }

    /// A look, below the call that runs.
    pub async fn within(&self, look: impl Future<Output = Result<Seen, Away>>) -> Result<Seen, Away> {
        let Some((spans, running)) = self.spans.as_ref().zip(Call::current()) else { return look.await };
        let (began, trace) = (Instant::now(), running.trace.child(self.span()));
        let call = Arc::new(Call::new(running.request_id.clone(), trace, target(), None));
        let seen = Arc::clone(&call).scope(look).await;
        let failed = seen.is_err();
        if failed || trace.sampled {
            let (target, ended, took) = (Arc::clone(&call.target), self.clock.now(), began.elapsed());
            spans.take(Span { trace, target, ended, took, outcome: Ended::Step(outcome(&seen)), failed });
        }
        seen
    }

    fn span(&self) -> [u8; 8] {
        (self.ids.uuid().as_u128() as u64 | 1).to_be_bytes()
    }
}

/// In a word, for spans and metrics.
#[must_use]
pub fn outcome(seen: &Result<Seen, Away>) -> &'static str {
    match seen {
        Ok(Seen::Verdict(_)) => "seen",
        Ok(Seen::Nonsense) => "nonsense",
        Ok(Seen::Unseen) => "unseen",
        Err(away) => reason(away),
    }
}

fn target() -> Arc<Target> {
    let word = str::to_owned;
    Arc::new(Target { domain: word("scan"), service: word("scan"), method: word("look"), path: SPAN.to_owned() })
}
