//! Where a photo is to be sent.

use coreloop_core::UserId;
use jiff::Timestamp;

use crate::{App, Error, key::ObjectKey, metrics::FormatLabels, pending::Pending, signed::Signed, storage::Upload};

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
    app.uploads.keep(&key.text, pending).await;
    app.metrics.signed.get_or_create(&FormatLabels { mime_type: key.mime_type }).inc();
    Ok(Place { cdn_url: app.storage.cdn_url(&key.text), key, upload, get_url })
}
