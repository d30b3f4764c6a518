//! An image is removed: marked and told at once, then the object, then the row.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::UserId;
use coreloop_eventing::{Event, Facts, Failure, PassingHandler};
use coreloop_facts::v1::ImageDeleted;
use coreloop_image_api::v1::ImageReason;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, Photo},
    store::{
        images::{self, Image},
        owners, places,
    },
    thumbnails::{SIZES, key_of},
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
    app.recent.forget(user).await;
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

/// The consumer `image.removal`: what was marked goes, object and copies and then the row, as often as it is heard.
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
        remove_object(app, &image.object_key).await?;
        remove_thumbnails(app, &image.object_key).await?;
        await_the_end_of_its_place(app, &image).await?;
        images::forget(&app.db, id).await?;
        Ok(())
    }
}

/// Its owner may send to its place for as long as that was signed: what comes goes then.
async fn await_the_end_of_its_place(app: &App, image: &Image) -> Result<(), Failure> {
    let life = SignedDuration::from_secs(app.options.upload_secs.into());
    let over = image.created_at.to_jiff().saturating_add(life).unwrap_or(Timestamp::MAX);
    if app.clock.now() < over {
        places::note(&app.db, (image.id, image.user_id), &image.object_key, over).await?;
    }
    Ok(())
}

/// Removes the smaller copies of an object, whichever there are.
///
/// # Errors
/// When storage does not say that they are gone.
pub async fn remove_thumbnails(app: &App, object_key: &str) -> Result<(), Failure> {
    for px in SIZES {
        remove_object(app, &key_of(object_key, px)).await?;
    }
    Ok(())
}

async fn remove_object(app: &App, key: &str) -> Result<(), Failure> {
    let removed = app.storage.remove(key, app.clock.now()).await;
    removed.map_err(|away| app.storage_failed("delete", &away))
}
