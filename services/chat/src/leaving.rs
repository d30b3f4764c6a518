//! Somebody closes their account: all that was said with them goes.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_eventing::{Event, Facts, Failure, PassingHandler};
use coreloop_facts::v1::AuthUserWithdrawn;
use uuid::Uuid;

use crate::{
    App, Error, removing,
    store::{conversations, usage, users},
    times::micros,
};

/// Conversations that go in one transaction; each may have a thousand messages.
const TOGETHER: i64 = 20;

/// The consumer `chat.leaving`: one transaction for so many conversations, and as many as it takes. What is done is not done again.
#[derive(Debug)]
pub struct Leaving(pub Arc<App>);

#[async_trait]
impl PassingHandler for Leaving {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserWithdrawn = event.decode()?;
        let malformed = |_| Failure::permanent("MALFORMED_EVENT", "user_id is no UUID");
        let user: Uuid = fact.user_id.parse().map_err(malformed)?;
        while removed(&self.0, user).await? {}
        Ok(())
    }
}

/// Removes some of what there is; false when that was all of it. From the first time on nothing of `user` begins.
async fn removed(app: &App, user: Uuid) -> Result<bool, Error> {
    let now = micros(app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    users::withdraw(&mut tx, user, now).await?;
    let some = conversations::lock_some(&mut tx, user, TOGETHER).await?;
    let (mut facts, mut heard) = (Facts::new(), Vec::new());
    for id in &some {
        heard.extend(removing::remove(app, &mut tx, (user, *id), &mut facts, now).await?);
    }
    usage::forget(&mut tx, user).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    app.pieces.forget(&heard).await;
    Ok(!some.is_empty())
}
