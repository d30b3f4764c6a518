//! An image is removed: marked and told at once, then the object, then the row.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::UserId;
use coreloop_eventing::{Event, Facts, Failure, PassingHandler};
use coreloop_facts::v1::ImageDeleted;
use coreloop_image_api::v1::ImageReason;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, Photo},
    metrics::FailureLabels,
    store::{images, owners},
    times::proto_time,
};

/// Marks an image of `user` as removed. From now on nobody finds it.
///
/// # Errors
/// `IMAGE_NOT_FOUND`.
pub async fn remove(app: &App, user: UserId, id: Uuid) -> Result<(), Error> {
    let now = app.clock.now();
    let fact = fact_of(id, user, now);
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact)?;
    let mut tx = coreloop_db::begin(&app.db).await?;
    owners::hold(&mut tx, user.0).await?;
    if !images::mark(&mut tx, user.0, id).await? {
        return Err(ImageReason::ImageNotFound.into());
    }
    note(app, &mut tx, id, fact, now).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(())
}

/// What is told of it.
pub(crate) fn fact_of(id: Uuid, user: UserId, now: Timestamp) -> ImageDeleted {
    ImageDeleted { image_id: id.to_string(), user_id: user.to_string(), occurred_at: Some(proto_time(now)) }
}

/// Writes it into the history of what was marked.
///
/// # Errors
/// What the history says.
pub(crate) async fn note(
    app: &App,
    connection: &mut PgConnection,
    id: Uuid,
    fact: ImageDeleted,
    now: Timestamp,
) -> Result<(), Error> {
    // Whatever is registered has one event, and this is its second.
    app.history.append_at::<Photo>(connection, (id, 1), &[Happened::Deleted(fact)], &*app.ids, now).await?;
    Ok(())
}

/// The consumer `image.removal`: what was marked goes, object and then row, as often as it is heard.
#[derive(Debug)]
pub struct Removal(pub Arc<App>);

#[async_trait]
impl PassingHandler for Removal {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        let app = &self.0;
        let fact: ImageDeleted = event.decode()?;
        let malformed = |_| Failure::permanent("MALFORMED_EVENT", "image_id is no UUID");
        let id: Uuid = fact.image_id.parse().map_err(malformed)?;
        let Some(image) = images::by_id(&app.db, id).await?.filter(|image| !image.is_there()) else { return Ok(()) };
        if let Err(away) = app.storage.remove(&image.object_key, app.clock.now()).await {
            app.metrics.failures.get_or_create(&FailureLabels { operation: "delete", code: away.name() }).inc();
            return Err(Failure::retryable("STORAGE_UNAVAILABLE", away.to_string()));
        }
        images::forget(&app.db, id).await?;
        Ok(())
    }
}
