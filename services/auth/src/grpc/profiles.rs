//! `GetProfiles`, `SetProfile`: what others may see of accounts, for services of the mesh.

use coreloop_access::Caller;
use coreloop_auth_api::v1::{self, AuthReason};
use coreloop_core::UserId;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Client, Error,
    events::{self, Note},
    store::{self, users::proto_time},
};

/// `GetProfiles`.
///
/// # Errors
/// When the database fails.
pub async fn get_profiles(
    app: &App,
    request: Request<v1::GetProfilesRequest>,
) -> Result<Response<v1::GetProfilesResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    // What is no id is nobody's; the contract refuses it before.
    let ids: Vec<Uuid> = request.get_ref().user_ids.iter().filter_map(|id| id.parse().ok()).collect();
    let profiles = store::profiles::find_all(&app.db, &ids).await?.into_iter().map(|profile| v1::AccountProfile {
        user_id: profile.id.to_string(),
        nickname: profile.nickname,
        profile_image_url: profile.profile_image_url,
        created_at: Some(proto_time(profile.created_at)),
        version: profile.profile_version,
    });
    Ok(Response::new(v1::GetProfilesResponse { profiles: profiles.collect() }))
}

/// `SetProfile`: in the order of versions, whatever the order in which they are told.
///
/// # Errors
/// `USER_NOT_FOUND` when there is no such account, or none any more.
pub async fn set_profile(
    app: &App,
    request: Request<v1::SetProfileRequest>,
) -> Result<Response<v1::SetProfileResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    let client = Client::of(&request);
    let asked = request.into_inner();
    let user: UserId = asked.user_id.parse().map_err(|_| AuthReason::UserNotFound)?;
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(|account| account.status != "withdrawn");
    account.ok_or_else(|| Error::from(AuthReason::UserNotFound))?;
    let said = (asked.nickname.as_str(), asked.profile_image_url.as_str());
    if store::profiles::set(&mut tx, user, said, asked.version, app.now()).await? {
        events::note(app, &mut tx, user, &client, &Note::ProfileSet).await?;
        tx.commit().await?;
        app.watches.changed(user);
    }
    Ok(Response::new(v1::SetProfileResponse {}))
}
