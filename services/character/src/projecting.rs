//! Redis is told what each collection has become.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_eventing::{Event, Failure, PassingHandler};
use uuid::Uuid;

use crate::{App, Error, collection::Collection, week};

/// The consumer `character.views`. It does not believe the fact but looks at what there is by now, so that whatever is heard again,
/// or late, leaves the newest; and Redis takes nothing that is older than what it has.
#[derive(Debug)]
pub struct Projecting(pub Arc<App>);

#[async_trait]
impl PassingHandler for Projecting {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        let app = &self.0;
        let user: Uuid =
            event.key.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", "the key is no user's id"))?;
        let mut connection = app.db.acquire().await?;
        let loaded = app.history.load::<Collection>(&mut connection, user).await.map_err(Error::from)?;
        drop(connection);
        let oldest = week::oldest(app.clock.now());
        app.views.put(user, loaded.version(), loaded.state(), &oldest).await.map_err(Error::from)?;
        Ok(())
    }
}
