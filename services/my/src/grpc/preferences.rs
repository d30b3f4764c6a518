//! `GetPreferences`, `UpdatePreferences`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_my_api::v1::{self, MyReason};
use tonic::{Request, Response};

use crate::{
    App, Error, mask,
    store::{
        people,
        preferences::{self, Preferences},
    },
};

/// Fields that can be set.
const FIELDS: &[&str] = &["public_figures"];

/// `GetPreferences`.
///
/// # Errors
/// When the database fails.
pub async fn get_preferences(
    app: &App,
    request: Request<v1::GetPreferencesRequest>,
) -> Result<Response<v1::GetPreferencesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let set = preferences::of(&app.db, user).await?;
    Ok(Response::new(v1::GetPreferencesResponse { preferences: Some(proto_preferences(set)) }))
}

/// `UpdatePreferences`.
///
/// # Errors
/// A mask that names no field; `USER_WITHDRAWN`.
pub async fn update_preferences(
    app: &App,
    request: Request<v1::UpdatePreferencesRequest>,
) -> Result<Response<v1::UpdatePreferencesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.into_inner();
    let wanted = asked.preferences.unwrap_or_default();
    let fields = mask::chosen(asked.update_mask.as_ref(), FIELDS, |_public_figures| wanted.public_figures)?;
    let mut tx = coreloop_db::begin(&app.db).await?;
    if people::lock(&mut tx, user).await?.closed {
        return Err(MyReason::UserWithdrawn.into());
    }
    let mut set = preferences::of(&mut *tx, user).await?;
    if !fields.is_empty() {
        set.public_figures = wanted.public_figures;
    }
    preferences::put(&mut tx, user, set).await?;
    tx.commit().await?;
    Ok(Response::new(v1::UpdatePreferencesResponse { preferences: Some(proto_preferences(set)) }))
}

fn proto_preferences(set: Preferences) -> v1::Preferences {
    v1::Preferences { public_figures: set.public_figures }
}
