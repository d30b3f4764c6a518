//! That a message is not what it was is told to who follows it, once it is committed: a word on the channel, by whoever hears our own
//! fact.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_eventing::{Event, Failure, PassingHandler};
use uuid::Uuid;

use crate::App;

/// The consumer `chat.telling`. A word that is said twice has somebody look twice.
#[derive(Debug)]
pub struct Telling(pub Arc<App>);

#[async_trait]
impl PassingHandler for Telling {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        // Whatever happened to a conversation, its key is the conversation.
        let malformed = |_| Failure::permanent("MALFORMED_EVENT", "the key is no UUID");
        let conversation: Uuid = event.key.parse().map_err(malformed)?;
        self.0.pieces.changed(conversation).await;
        Ok(())
    }
}
