//! Somebody asks for a photo to be classified: their own image, or what is at an address.

use std::time::Duration;

use coreloop_core::{Problem, Reason, UserId};
use coreloop_scan_api::v1::{ClassifyRequest, ScanReason};
use uuid::Uuid;

use crate::{
    App, Error, address,
    store::{
        tasks::{self, New, Task},
        waiting,
    },
    tasks::{Begun, begin},
    times::day_of,
};

/// When whoever was refused may come again.
const LATER: Duration = Duration::from_secs(5);

/// Has a photo classified; answers the task, which may be there already.
///
/// # Errors
/// The refusals of the contract.
pub async fn classify(app: &App, user: UserId, asked: ClassifyRequest) -> Result<Task, Error> {
    let new = match (asked.image_id.as_str(), asked.image_url.as_str()) {
        ("", "") => return Err(Error::invalid("image_id", "must be set, or image_url")),
        ("", _) => at_address(app, user, asked)?,
        (_, "") => of_image(app, user, asked).await?,
        _ => return Err(Error::invalid("image_url", "must be empty where image_id is set")),
    };
    if let Some(known) = known(app, &new).await? {
        return Ok(known);
    }
    let most = i64::from(app.options.max_open);
    if waiting::open(&app.db, most).await? >= most {
        return Err(Problem::common(Reason::Overloaded, "too many photos wait").retry_after(LATER).into());
    }
    let mut tx = coreloop_db::begin(&app.db).await?;
    match begin(app, &mut tx, &new).await? {
        Begun::Now => tx.commit().await?,
        Begun::Before => tx.rollback().await?,
        // Nothing is theirs any more.
        Begun::Never => return Err(ScanReason::ImageNotFound.into()),
    }
    // Mine, or that of whoever was first.
    known(app, &new).await?.ok_or(Error::Corrupt("a task that is there and is not"))
}

/// The task that the image or the key names.
async fn known(app: &App, new: &New) -> Result<Option<Task>, Error> {
    let id = match (new.image_id, &new.key) {
        (Some(image), _) => tasks::of_image(&app.db, image).await?,
        (None, Some(key)) => tasks::of_key(&app.db, new.user_id, key).await?,
        (None, None) => Some(new.id),
    };
    let Some(id) = id else { return Ok(None) };
    let Some(task) = tasks::by_id(&app.db, id).await? else { return Ok(None) };
    let same = task.image_url == new.image_url && task.user_input == new.user_input;
    if new.image_id.is_none() && !same { Err(Error::KeyReused) } else { Ok(Some(task)) }
}

async fn of_image(app: &App, user: UserId, asked: ClassifyRequest) -> Result<New, Error> {
    let image: Uuid = asked.image_id.parse().map_err(|_| Error::invalid("image_id", "must be a UUID"))?;
    // Somebody else's is told apart from none by nothing.
    let found = app.images.find(image).await?.filter(|found| found.user_id == user.0);
    let found = found.ok_or(ScanReason::ImageNotFound)?;
    let created_at = found.created_at.unwrap_or_else(|| app.clock.now());
    Ok(New {
        id: app.ids.uuid(),
        user_id: user.0,
        image_id: Some(image),
        image_url: String::new(),
        etag: found.etag,
        user_input: asked.user_input,
        key: None,
        day: day_of(created_at),
        created_at,
    })
}

fn at_address(app: &App, user: UserId, asked: ClassifyRequest) -> Result<New, Error> {
    if let Some(description) = address::refused(&asked.image_url, app.options.private_urls) {
        return Err(Error::invalid("image_url", description));
    }
    let now = app.clock.now();
    Ok(New {
        id: app.ids.uuid(),
        user_id: user.0,
        image_id: None,
        image_url: asked.image_url,
        etag: String::new(),
        user_input: asked.user_input,
        key: Some(asked.idempotency_key).filter(|key| !key.is_empty()),
        day: day_of(now),
        created_at: now,
    })
}
