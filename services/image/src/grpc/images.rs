//! `GetImage`, `ListImages`, `DeleteImage`: of the caller, and of nobody else. `FindImage`, for services.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_image_api::v1::{self, ImageReason};
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error, removing,
    store::images::{Image, by_id, of_user},
    times::proto_time,
};

/// Name of the list in its page tokens.
const IMAGES: &str = "image.images";

/// As its owner sees it.
#[must_use]
pub fn proto_image(app: &App, image: Image) -> v1::Image {
    v1::Image {
        image_id: image.id.to_string(),
        cdn_url: app.storage.cdn_url(&image.object_key),
        object_key: image.object_key,
        mime_type: image.mime_type,
        content_length: image.content_length,
        etag: image.etag,
        gps: image.gps_lat.zip(image.gps_lng).map(|(lat, lng)| v1::Gps { lat, lng }),
        shooted_at: image.shot_at.map(|at| proto_time(at.to_jiff())),
        created_at: Some(proto_time(image.created_at.to_jiff())),
    }
}

/// `GetImage`: one of somebody else is none. What scan does not say is left out, and said to be.
///
/// # Errors
/// `IMAGE_NOT_FOUND`.
pub async fn get_image(
    app: &App,
    request: Request<v1::GetImageRequest>,
) -> Result<Response<v1::GetImageResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let found = by_id(&app.db, id(&request.get_ref().image_id)?).await?;
    let image = found.filter(|image| image.user_id == user.0 && image.is_there()).ok_or(ImageReason::ImageNotFound)?;
    let analysis = app.scans.find(image.id).await;
    if let Err(away) = &analysis {
        tracing::debug!(%away, "an image is answered without its analysis");
    }
    Ok(Response::new(v1::GetImageResponse {
        image: Some(proto_image(app, image)),
        analysis_stale: analysis.is_err(),
        analysis: analysis.unwrap_or_default(),
    }))
}

/// `ListImages`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_images(
    app: &App,
    request: Request<v1::ListImagesRequest>,
) -> Result<Response<v1::ListImagesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(IMAGES, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let mut rows = of_user(&app.db, user.0, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(IMAGES, &(row.created_at.to_jiff().as_microsecond(), row.id)));
    Ok(Response::new(v1::ListImagesResponse {
        images: rows.into_iter().map(|row| proto_image(app, row)).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `DeleteImage`: one of somebody else is none.
///
/// # Errors
/// `IMAGE_NOT_FOUND`.
pub async fn delete_image(
    app: &App,
    request: Request<v1::DeleteImageRequest>,
) -> Result<Response<v1::DeleteImageResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    removing::remove(app, user, id(&request.get_ref().image_id)?).await?;
    Ok(Response::new(v1::DeleteImageResponse {}))
}

/// `FindImage`: anybody's, without what tells where they were.
///
/// # Errors
/// `IMAGE_NOT_FOUND`.
pub async fn find_image(
    app: &App,
    request: Request<v1::FindImageRequest>,
) -> Result<Response<v1::FindImageResponse>, Error> {
    let found = by_id(&app.db, id(&request.get_ref().image_id)?).await?;
    let image = found.filter(Image::is_there).ok_or(ImageReason::ImageNotFound)?;
    let get_url = app.storage.get(&image.object_key, app.clock.now())?.into_text();
    let user_id = image.user_id.to_string();
    let image = Image { gps_lat: None, gps_lng: None, ..image };
    Ok(Response::new(v1::FindImageResponse { user_id, image: Some(proto_image(app, image)), get_url }))
}

fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::invalid("image_id", "must be a UUID"))
}
