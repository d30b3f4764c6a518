//! `CreateUpload`, `RegisterImage`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_image_api::v1;
use tonic::{Request, Response};

use super::images::proto_image;
use crate::{
    App, Error,
    pending::Pending,
    registering,
    times::{parse, proto_time},
    uploads,
};

/// `CreateUpload`.
///
/// # Errors
/// As the contract lists.
pub async fn create_upload(
    app: &App,
    request: Request<v1::CreateUploadRequest>,
) -> Result<Response<v1::CreateUploadResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let pending = Pending {
        content_length: asked.content_length,
        device_id: asked.device_id,
        gps: asked.gps.map(|gps| (gps.lat, gps.lng)),
        shot_at: parse("shooted_at", asked.shooted_at.as_ref())?.map(|at| at.as_microsecond()),
    };
    // `jpeg` for short.
    let short = !asked.mime_type.contains('/');
    let mime_type = if short { format!("image/{}", asked.mime_type) } else { asked.mime_type };
    let place = uploads::create(app, (user, &mime_type), &pending, app.clock.now()).await?;
    Ok(Response::new(v1::CreateUploadResponse {
        object_key: place.key.text,
        upload_url: place.upload.url.into_text(),
        headers: place.upload.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        get_url: place.get_url.into_text(),
        cdn_url: place.cdn_url,
        expires_at: Some(proto_time(place.upload.expires_at)),
    }))
}

/// `RegisterImage`.
///
/// # Errors
/// As the contract lists.
pub async fn register_image(
    app: &App,
    request: Request<v1::RegisterImageRequest>,
) -> Result<Response<v1::RegisterImageResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let key = match (asked.object_key.as_str(), asked.cdn_url.as_str()) {
        ("", "") => return Err(Error::invalid("object_key", "must be set, or cdn_url")),
        // An address of another place names no object of ours.
        ("", url) => app.storage.key_of(url).unwrap_or_default(),
        (key, url) if url.is_empty() || app.storage.key_of(url) == Some(key) => key,
        _ => return Err(Error::invalid("cdn_url", "must be of the same object, or empty")),
    };
    let image = registering::register(app, user, key, &asked.etag).await?;
    Ok(Response::new(v1::RegisterImageResponse { image: Some(proto_image(app, image)) }))
}
