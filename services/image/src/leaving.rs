//! Somebody closes their account: everything of theirs is removed.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::UserId;
use coreloop_eventing::{Event, Facts, Failure, PassingHandler};
use coreloop_facts::v1::AuthUserWithdrawn;
use jiff::SignedDuration;

use crate::{
    App, Error,
    removing::{self, fact_of},
    store::{images, owners, places},
};

/// Images that are marked in one transaction.
const TOGETHER: i64 = 200;

/// The consumer `image.leaving`: one transaction for so many images, and as many as it takes. What is done is not done again.
#[derive(Debug)]
pub struct Leaving(pub Arc<App>);

#[async_trait]
impl PassingHandler for Leaving {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserWithdrawn = event.decode()?;
        let malformed = |_| Failure::permanent("MALFORMED_EVENT", "user_id is no UUID");
        let user: UserId = fact.user_id.parse().map_err(malformed)?;
        while removed(&self.0, user).await? {}
        self.0.recent.forget(user).await;
        Ok(())
    }
}

/// Marks some of what there is; false when that was all of it. From the first time on nothing of `user` is registered.
async fn removed(app: &App, user: UserId) -> Result<bool, Error> {
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    owners::withdraw(&mut tx, user.0, now).await?;
    let marked = images::mark_some(&mut tx, user.0, TOGETHER).await?;
    // What was sent and not registered goes when nothing can be sent any more.
    let life = SignedDuration::from_secs(app.options.upload_secs.into());
    places::hasten(&mut tx, user.0, now.saturating_add(life).unwrap_or(now)).await?;
    let mut facts = Facts::new();
    for id in &marked {
        let fact = fact_of(*id, user, now);
        facts.add(&*app.ids, user.to_string(), &fact)?;
        removing::note(app, &mut tx, *id, fact, now).await?;
    }
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(!marked.is_empty())
}
