//! `GetImage`, `ListImages`, `DeleteImage`: of the caller, and of nobody else. `FindImage`, for services.

use coreloop_access::Caller;
use coreloop_core::{UserId, page};
use coreloop_image_api::v1::{self, ImageReason};
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error,
    recent::{self, Newest},
    removing,
    store::{
        images::{Image, Thumbnails, by_id, of_user},
        owners,
    },
    thumbnails::{SIZES, key_of},
    times::proto_time,
};

/// Name of the list in its page tokens.
const IMAGES: &str = "image.images";

/// As its owner sees it.
#[must_use]
pub fn proto_image(app: &App, image: Image) -> v1::Image {
    v1::Image {
        image_id: image.id.to_string(),
        thumbnail_state: image.thumbnails as i32,
        thumbnails: thumbnails(app, &image),
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

fn thumbnails(app: &App, image: &Image) -> Vec<v1::Thumbnail> {
    if image.thumbnails != Thumbnails::Done {
        return Vec::new();
    }
    let of =
        |px: u32| v1::Thumbnail { max_px: px.cast_signed(), url: app.storage.cdn_url(&key_of(&image.object_key, px)) };
    SIZES.into_iter().map(of).collect()
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
    let count = usize::try_from(page::size(asked.page_size)).unwrap_or(usize::MAX);
    let cursor: Option<(i64, Uuid)> = page::decode(IMAGES, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let (mut images, more) = match before {
        None => newest(app, user, count).await?,
        before => (rows(app, user, before, count).await?, false),
    };
    let more = more || images.len() > count;
    images.truncate(count);
    let next = images.last().filter(|_| more).and_then(token_after);
    Ok(Response::new(v1::ListImagesResponse { images, next_page_token: next.unwrap_or_default() }))
}

/// The newest, from Redis where it has them as they are; and whether there are more beyond these.
async fn newest(app: &App, user: UserId, count: usize) -> Result<(Vec<v1::Image>, bool), Error> {
    // First: what is read after it is as new, or newer.
    let version = owners::version(&app.db, user.0).await?;
    let kept = app.recent.find(user).await.filter(|kept| kept.version == version);
    if let Some(page) = kept.and_then(|kept| kept.first(count)) {
        return Ok(page);
    }
    let images = rows(app, user, None, count.max(recent::MOST)).await?;
    app.recent.keep(user, &Newest::of(version, &images)).await;
    Ok((images, false))
}

/// So many, and one more where there is one.
async fn rows(
    app: &App,
    user: UserId,
    before: Option<(Timestamp, Uuid)>,
    count: usize,
) -> Result<Vec<v1::Image>, Error> {
    let most = i64::try_from(count).unwrap_or(i64::MAX).saturating_add(1);
    let found = of_user(&app.db, user.0, before, most).await?;
    Ok(found.into_iter().map(|row| proto_image(app, row)).collect())
}

/// Asks for what comes after an image.
fn token_after(image: &v1::Image) -> Option<String> {
    let at = image.created_at.as_ref()?;
    let micros = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos) / 1_000)?;
    let id: Uuid = image.image_id.parse().ok()?;
    Some(page::encode(IMAGES, &(micros, id)))
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
