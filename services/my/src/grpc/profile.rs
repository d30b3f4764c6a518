//! `GetProfile`, `UpdateProfile`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_my_api::v1::{self, MyReason};
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error, mask,
    profiles::{self, Picture, Wanted},
    store::{
        follows::{self, Counts},
        profiles::Profile,
    },
    times::proto_time,
};

/// Fields that can be changed.
const FIELDS: &[&str] = &["nickname", "bio", "image_id"];

/// `GetProfile`.
///
/// # Errors
/// When it is not known here and auth is away; `USER_WITHDRAWN`.
pub async fn get_profile(
    app: &App,
    request: Request<v1::GetProfileRequest>,
) -> Result<Response<v1::GetProfileResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let profile = profiles::of(app, user).await?.ok_or(MyReason::UserWithdrawn)?;
    let counts = follows::counts(&app.db, user, None).await?;
    Ok(Response::new(v1::GetProfileResponse { profile: Some(proto_profile(profile, counts)) }))
}

/// `UpdateProfile`.
///
/// # Errors
/// A mask that names no field, a name that does not show; `IMAGE_NOT_FOUND`, `USER_WITHDRAWN`; when auth or image is asked and is
/// away.
pub async fn update_profile(
    app: &App,
    request: Request<v1::UpdateProfileRequest>,
) -> Result<Response<v1::UpdateProfileResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.into_inner();
    let said = asked.profile.unwrap_or_default();
    let fields = mask::chosen(asked.update_mask.as_ref(), FIELDS, |field| match field {
        "nickname" => !said.nickname.is_empty(),
        "bio" => !said.bio.is_empty(),
        _ => !said.image_id.is_empty(),
    })?;
    let mut wanted = Wanted::default();
    for field in fields {
        match field {
            "nickname" => wanted.nickname = Some(nickname(&said.nickname)?),
            "bio" => wanted.bio = Some(said.bio.trim().to_owned()),
            _ => wanted.picture = Some(picture(app, user, &said.image_id).await?),
        }
    }
    let mut profile = profiles::change(app, user, &wanted).await?;
    if let Some(image) = profile.image_id.filter(|_| wanted.picture.is_some()) {
        profile = seen_again(app, user, image).await?.unwrap_or(profile);
    }
    let counts = follows::counts(&app.db, user, None).await?;
    Ok(Response::new(v1::UpdateProfileResponse { profile: Some(proto_profile(profile, counts)) }))
}

/// A shown name without blanks around it, as at sign-up.
fn nickname(asked: &str) -> Result<String, Error> {
    let name = asked.trim();
    if name.is_empty() {
        return Err(Error::invalid("profile.nickname", "must have 1 to 40 characters that show"));
    }
    Ok(name.to_owned())
}

/// An own upload; somebody else's is told apart from none by nothing.
async fn picture(app: &App, user: Uuid, image_id: &str) -> Result<Picture, Error> {
    if image_id.is_empty() {
        return Ok(Picture::default());
    }
    let id: Uuid =
        image_id.parse().map_err(|_| Error::invalid("profile.image_id", "must be the id of an image, or empty"))?;
    let found = app.peers.photo(id).await?.filter(|photo| photo.user_id == user.to_string());
    let photo = found.ok_or(MyReason::ImageNotFound)?;
    Ok(Picture { image_id: Some(id), url: photo.cdn_url })
}

/// The profile without a picture that was deleted while it was chosen: who heard of that before it was chosen found nothing to do. None:
/// it is there, or that is not known.
async fn seen_again(app: &App, user: Uuid, image: Uuid) -> Result<Option<Profile>, Error> {
    match app.peers.photo(image).await {
        Ok(None) => {}
        Ok(Some(_)) => return Ok(None),
        Err(problem) => {
            tracing::debug!(%problem, "the image service does not say whether a picture is still there");
            return Ok(None);
        }
    }
    let mut tx = coreloop_db::begin(&app.db).await?;
    profiles::unpicture(app, &mut tx, (user, image), app.now()).await?;
    tx.commit().await?;
    profiles::of(app, user).await
}

fn proto_profile(profile: Profile, counts: Counts) -> v1::Profile {
    v1::Profile {
        user_id: profile.user_id.to_string(),
        nickname: profile.nickname,
        bio: profile.bio,
        image_id: profile.image_id.map(|id| id.to_string()).unwrap_or_default(),
        image_url: profile.image_url,
        joined_at: Some(proto_time(profile.joined_at)),
        followers: counts.followers,
        following: counts.following,
        version: profile.version,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_show() {
        assert_eq!(nickname(" 앨리스 ").unwrap(), "앨리스");
        assert!(nickname(" \u{a0}").is_err() && nickname("").is_err());
    }
}
