//! Passing on: an event is acted on outside of a transaction, and then acknowledged.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_service::Call;

use super::{
    Consumer, Kind,
    turn::{Outcome, Turn, bounded},
};
use crate::{Error, Event, Failure, Parts, store, store::inbox::Claim};

/// What a consumer that passes events on does with one.
#[async_trait]
pub trait PassingHandler: Send + Sync + 'static {
    /// Acts on `event`. No transaction is open, so others may be called. **It may come to be done again**, and must have its
    /// effect once by the event's id: see [`Consumer::passing`]. [`Failure::Transient`] is for a database of one's own that is away,
    /// [`Failure::Away`] for another store of one's own: both begin again without a count; somebody else who is away is
    /// [`Failure::Retryable`].
    async fn act(&self, event: &Event) -> Result<(), Failure>;
}

impl Consumer {
    /// The consumer `name`, which passes events on: `handler` acts on each with no transaction open, and may call others. In
    /// order per key, tried again and set aside as with [`Consumer::new`], in the same tables of the schema of `parts`; but **no
    /// note is kept of what was done**. An event is acted on again when the process dies, or the broker forgets, between the deed
    /// and the end of its acknowledgement, when it failed half-way, and when the group is told to read again. So its effect must
    /// be idempotent by [`Event::id`], for as long as the broker keeps events. What comes again may come after later events of
    /// its key, and those come again behind it: an effect that must not go back meanwhile compares [`Event::sequence`].
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn passing(name: &str, parts: Parts, handler: impl PassingHandler) -> Result<Self, Error> {
        Self::of(name, parts, Kind::Passing(Arc::new(handler)))
    }
}

impl Turn<'_> {
    /// Acts on the event, unless it waits behind another or is a dead letter.
    pub(super) async fn pass(
        &self,
        handler: &dyn PassingHandler,
        event: &Event,
        held: bool,
        call: &Arc<Call>,
    ) -> Result<Outcome, Failure> {
        let outcome = match self.look(event, held).await? {
            Claim::Mine => {
                bounded(self.consumer.within, call, handler.act(event)).await?;
                Outcome::Done("handled")
            }
            Claim::Done => Outcome::Done("known"),
            Claim::Behind => {
                let mut connection = self.consumer.parts.db.acquire().await?;
                self.wait_behind(&mut connection, event).await?;
                Outcome::Behind
            }
        };
        if held {
            // Not tried with the deed, which is done: a database that is away is no reason to do it again.
            let mut breath = self.breath();
            while let Err(refused) = self.let_go(event).await {
                breath.draw(&refused).await;
            }
        }
        Ok(outcome)
    }

    async fn let_go(&self, event: &Event) -> Result<(), Failure> {
        let mut connection = self.consumer.parts.db.acquire().await?;
        Ok(store::inbox::release(&mut connection, &self.consumer.sql, &self.consumer.name, event.id).await?)
    }
}
