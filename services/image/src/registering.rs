//! An upload becomes an image, once storage has said that it is there.

use coreloop_core::UserId;
use coreloop_eventing::Facts;
use coreloop_facts::v1::ImageRegistered;
use coreloop_image_api::v1::ImageReason;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;

use crate::{
    App, Error,
    history::{Happened, Photo},
    key::ObjectKey,
    metrics::{FailureLabels, OutcomeLabels},
    pending::Pending,
    processing,
    storage::Head,
    store::{
        images::{self, Image, Thumbnails},
        owners, places,
    },
    thumbnails::{self, Unmade},
    times::{micros, proto_time},
};

/// Most bytes of a photo, as the contract says it of uploads.
pub const MOST_BYTES: i64 = 10 << 20;

/// Registers what `user` has sent as `key`, of which storage said `etag`.
///
/// # Errors
/// The refusals of the contract.
pub async fn register(app: &App, user: UserId, key: &str, etag: &str) -> Result<Image, Error> {
    let outcome = decided(app, user, key, etag.trim_matches('"')).await;
    let word = match &outcome {
        Ok((_, true)) => "registered".to_owned(),
        Ok((_, false)) => "known".to_owned(),
        Err(Error::Refused(reason)) => crate::error::constant(*reason).to_ascii_lowercase(),
        Err(_) => "failed".to_owned(),
    };
    app.metrics.registered.get_or_create(&OutcomeLabels { outcome: word }).inc();
    outcome.map(|(image, _)| image)
}

/// The image, and whether it is new.
async fn decided(app: &App, user: UserId, key: &str, etag: &str) -> Result<(Image, bool), Error> {
    // Somebody else's is told apart from none by nothing.
    let key = ObjectKey::parse(key).filter(|key| key.user == user).ok_or(ImageReason::UploadNotFound)?;
    if let Some(known) = images::by_id(&app.db, key.image).await? {
        return known_as(known, &key, etag).map(|image| (image, false));
    }
    let now = micros(app.clock.now());
    let pending = app.uploads.find(&key.text).await;
    let head = asked(app, &key, now).await?.filter(|head| head.is_of(user)).ok_or(ImageReason::UploadNotFound)?;
    if head.etag != etag {
        return Err(ImageReason::EtagMismatch.into());
    }
    if head.mime_type != key.mime_type {
        return Err(ImageReason::TypeMismatch.into());
    }
    let promised = pending.as_ref().map_or(head.content_length, |pending| pending.content_length);
    if promised != head.content_length || !(1..=MOST_BYTES).contains(&head.content_length) {
        return Err(ImageReason::SizeMismatch.into());
    }
    let image = made(&key, head, pending.unwrap_or_default(), now);
    if write(app, &image, now).await? {
        app.uploads.forget(&key.text).await;
        return Ok((image, true));
    }
    // Another was first; by now it may be removed.
    let known = images::by_id(&app.db, key.image).await?.ok_or(ImageReason::UploadNotFound)?;
    known_as(known, &key, etag).map(|image| (image, false))
}

async fn asked(app: &App, key: &ObjectKey, now: Timestamp) -> Result<Option<Head>, Error> {
    let head = app.storage.head(&key.text, now).await;
    if let Err(away) = &head {
        app.metrics.failures.get_or_create(&FailureLabels { operation: "head", code: away.name() }).inc();
    }
    Ok(head?)
}

/// What is registered, for who names it by its whole key: the id alone is no proof of whose it is.
fn known_as(image: Image, key: &ObjectKey, etag: &str) -> Result<Image, Error> {
    if !image.is_there() || image.object_key != key.text {
        return Err(ImageReason::UploadNotFound.into());
    }
    if image.etag == etag { Ok(image) } else { Err(ImageReason::EtagMismatch.into()) }
}

fn made(key: &ObjectKey, head: Head, pending: Pending, now: Timestamp) -> Image {
    let supported = thumbnails::is_supported(&head.mime_type);
    Image {
        id: key.image,
        user_id: key.user.0,
        object_key: key.text.clone(),
        etag: head.etag,
        mime_type: head.mime_type,
        content_length: head.content_length,
        device_id: pending.device_id,
        gps_lat: pending.gps.map(|(lat, _)| lat),
        gps_lng: pending.gps.map(|(_, lng)| lng),
        shot_at: pending.shot_at.and_then(|at| Timestamp::from_microsecond(at).ok()).map(|at| at.to_sqlx()),
        state: images::THERE,
        thumbnails: if supported { Thumbnails::Pending } else { Thumbnails::Unsupported },
        created_at: now.to_sqlx(),
    }
}

/// State, history, fact and the command for its smaller copies in one transaction; false when another was first.
async fn write(app: &App, image: &Image, now: Timestamp) -> Result<bool, Error> {
    let fact = fact_of(app, image, now);
    let mut facts = Facts::new();
    facts.add(&*app.ids, image.user_id.to_string(), &fact)?;
    let mut tx = coreloop_db::begin(&app.db).await?;
    // What was sent may be on its way out, because nobody had registered it.
    if !owners::hold(&mut tx, image.user_id).await? || !places::take(&mut tx, image.id).await? {
        return Err(ImageReason::UploadNotFound.into());
    }
    let supported = image.thumbnails == Thumbnails::Pending;
    let sent = supported && processing::has_room(app, &mut tx).await?;
    if !images::insert(&mut tx, image, sent.then_some(now)).await? {
        return Ok(false);
    }
    let happened = [Happened::Registered(Box::new(fact))];
    let noted = app.history.append_at::<Photo>(&mut tx, (image.id, 0), &happened, &*app.ids, now).await;
    // What has a history and no row was removed, whatever was sent to its place since.
    if let Err(coreloop_eventstore::Error::Conflict { .. }) = noted {
        return Err(ImageReason::UploadNotFound.into());
    }
    noted?;
    if !supported {
        let none = processing::fact_of(image, image.thumbnails, &Unmade::Unsupported.to_string(), now);
        facts.add(&*app.ids, image.user_id.to_string(), &none)?;
    } else if sent {
        processing::add_command(app, &mut facts, image.id, image.object_key.clone())?;
    }
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(true)
}

fn fact_of(app: &App, image: &Image, now: Timestamp) -> ImageRegistered {
    ImageRegistered {
        image_id: image.id.to_string(),
        user_id: image.user_id.to_string(),
        object_key: image.object_key.clone(),
        etag: image.etag.clone(),
        mime_type: image.mime_type.clone(),
        content_length: image.content_length,
        cdn_url: app.storage.cdn_url(&image.object_key),
        shot_at: image.shot_at.map(|at| proto_time(at.to_jiff())),
        occurred_at: Some(proto_time(now)),
    }
}
