//! Where a photo is to be sent.

use std::time::Duration;

use coreloop_core::UserId;
use coreloop_db::deadline;
use jiff::{SignedDuration, Timestamp};

use crate::{
    App, Error, key::ObjectKey, metrics::FormatLabels, pending::Pending, signed::Signed, storage::Upload, store::places,
};

/// Longest time for the note of a place: one that is not noted is better than none.
const PATIENCE: Duration = Duration::from_secs(1);

/// A place for a photo.
#[derive(Debug)]
pub struct Place {
    /// The object's key.
    pub key: ObjectKey,
    /// Where and how to PUT it.
    pub upload: Upload,
    /// Where a worker may load it from.
    pub get_url: Signed,
    /// Where people load it from.
    pub cdn_url: String,
}

/// Signs an upload and remembers what the app said of the photo.
///
/// # Errors
/// A format that is not taken; no storage.
pub async fn create(
    app: &App,
    (user, mime_type): (UserId, &str),
    pending: &Pending,
    now: Timestamp,
) -> Result<Place, Error> {
    let key = ObjectKey::new(user, app.ids.uuid(), mime_type, now)
        .ok_or_else(|| Error::invalid("mime_type", "must be a format that is taken"))?;
    let upload = app.storage.upload(&key, pending.content_length, now)?;
    let get_url = app.storage.get(&key.text, now)?;
    note(app, &key, now).await?;
    app.uploads.keep(&key.text, pending).await;
    app.metrics.signed.get_or_create(&FormatLabels { mime_type: key.mime_type }).inc();
    Ok(Place { cdn_url: app.storage.cdn_url(&key.text), key, upload, get_url })
}

/// Notes a place, so that what is sent there and never registered goes. Without the database it is signed all the same, and what is never
/// registered of that stays.
async fn note(app: &App, key: &ObjectKey, now: Timestamp) -> Result<(), Error> {
    let life = SignedDuration::from_secs(app.options.unregistered_secs.into());
    let due = now.saturating_add(life).unwrap_or(now);
    let noted = places::note(&app.db, (key.image, key.user.0), &key.text, due);
    match deadline::within(PATIENCE, noted).await {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) if !coreloop_db::is_transient(&error) => Err(error.into()),
        missed => {
            tracing::warn!(timeout = missed.is_none(), "a place is signed and not noted");
            Ok(())
        }
    }
}
