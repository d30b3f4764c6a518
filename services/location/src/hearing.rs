//! Somebody closes their account: favourites and visits go, and none comes after.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler};
use coreloop_facts::v1::AuthUserWithdrawn;
use uuid::Uuid;

use crate::{
    App,
    store::{favorites, owners, visits},
};

/// The consumer `location.leaving`.
#[derive(Debug)]
pub struct Leaving(pub Arc<App>);

#[async_trait]
impl Handler for Leaving {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserWithdrawn = event.decode()?;
        let malformed = |_| Failure::permanent("MALFORMED_EVENT", "user_id is no UUID");
        let user: Uuid = fact.user_id.parse().map_err(malformed)?;
        owners::withdraw(tx, user, self.0.clock.now()).await?;
        favorites::forget(tx, user).await?;
        visits::forget(tx, user).await?;
        Ok(())
    }
}
