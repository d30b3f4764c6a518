//! `GetPreferences`, `UpdatePreferences`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_notification_api::v1::{self, NotificationReason};
use tonic::{Request, Response};

use crate::{
    App, Error,
    preferences::{changed, proto},
    store::{people, pushes},
};

/// `GetPreferences`.
///
/// # Errors
/// When the database fails.
pub async fn get_preferences(
    app: &App,
    request: Request<v1::GetPreferencesRequest>,
) -> Result<Response<v1::GetPreferencesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let person = people::of(&app.db, user).await?;
    Ok(Response::new(v1::GetPreferencesResponse { preferences: Some(proto(&person)) }))
}

/// `UpdatePreferences`: what waits for the end of quiet hours that are no more is looked at anew.
///
/// # Errors
/// Fields that there are not, quiet hours that are none; `USER_WITHDRAWN`.
pub async fn update_preferences(
    app: &App,
    request: Request<v1::UpdatePreferencesRequest>,
) -> Result<Response<v1::UpdatePreferencesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let v1::UpdatePreferencesRequest { preferences, update_mask } = request.into_inner();
    let (asked, mask) = (preferences.unwrap_or_default(), update_mask.unwrap_or_default());
    let mut tx = coreloop_db::begin(&app.db).await?;
    let person = people::lock(&mut tx, user).await?;
    if person.closed {
        return Err(NotificationReason::UserWithdrawn.into());
    }
    let wanted = changed(&person, &asked, &mask.paths, &app.options.time_zone)?;
    people::prefer(&mut tx, user, &wanted).await?;
    if wanted.quiet != person.quiet {
        pushes::hurry(&mut tx, user, app.clock.now()).await?;
    }
    tx.commit().await?;
    Ok(Response::new(v1::UpdatePreferencesResponse { preferences: Some(proto(&wanted)) }))
}
