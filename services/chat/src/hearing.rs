//! An image is removed: what came with it goes on without.

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler};
use coreloop_facts::v1::ImageDeleted;
use uuid::Uuid;

use crate::store::messages;

/// The consumer `chat.images`. An image that goes while it is being sent is found gone when it is answered.
#[derive(Debug)]
pub struct Hearing;

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: ImageDeleted = event.decode()?;
        let malformed = |_| Failure::permanent("MALFORMED_EVENT", "image_id is no UUID");
        let image: Uuid = fact.image_id.parse().map_err(malformed)?;
        Ok(messages::without_image(tx, image).await?)
    }
}
