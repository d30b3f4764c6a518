//! What this service asks others: auth who somebody is, character what they have, image whose a photo is.

use std::time::Duration;

use coreloop_auth_api::{
    machine::Machine,
    v1::{
        AccountProfile, GetProfilesRequest, SetProfileRequest, auth_internal_service_client::AuthInternalServiceClient,
    },
};
use coreloop_character_api::v1::{GetOwnedRequest, character_internal_service_client::CharacterInternalServiceClient};
use coreloop_core::{Kind, Problem, Reason};
use coreloop_db::deadline;
use coreloop_image_api::v1::{FindImageRequest, image_internal_service_client::ImageInternalServiceClient};
use coreloop_service::Ctx;
use jiff::Timestamp;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{error::DOMAIN, store::profiles::Profile, times};

/// Longest time of one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// The other services. Clones share the tokens.
#[derive(Debug, Clone)]
pub struct Peers {
    auth: Machine,
    character: Machine,
    image: Machine,
}

/// A photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Whose.
    pub user_id: String,
    /// Where people load it from.
    pub cdn_url: String,
}

impl Peers {
    /// Those of this mesh.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        let peer = |name: &'static str| Machine::of(ctx, "my", name);
        Self { auth: peer("auth"), character: peer("character"), image: peer("image") }
    }

    /// Who somebody is; none when there is nobody, or nobody any more.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn account(&self, user: Uuid) -> Result<Option<Profile>, Problem> {
        let asked = async {
            let request = self.auth.request(GetProfilesRequest { user_ids: vec![user.to_string()] }).await?;
            AuthInternalServiceClient::new(self.auth.link()).get_profiles(request).await
        };
        let found = answered("auth does not answer", asked).await?;
        found.profiles.into_iter().next().map(|profile| read(user, profile)).transpose()
    }

    /// Tells auth what a profile has become; one that is not newer than what it knows changes nothing there. `false` when the
    /// account is gone.
    ///
    /// # Errors
    /// When auth does not answer; a failed precondition when it refuses the profile as it is.
    pub async fn tell(&self, profile: &Profile) -> Result<bool, Problem> {
        let asked = async {
            let said = SetProfileRequest {
                user_id: profile.user_id.to_string(),
                nickname: profile.nickname.clone(),
                profile_image_url: profile.image_url.clone(),
                version: profile.version,
            };
            let request = self.auth.request(said).await?;
            AuthInternalServiceClient::new(self.auth.link()).set_profile(request).await
        };
        match deadline::within(PATIENCE, asked).await {
            Some(Ok(_)) => Ok(true),
            Some(Err(status)) if is(&status, "auth", "USER_NOT_FOUND") => Ok(false),
            // Its rules are others than ours: telling it again does not help, and it is not away.
            Some(Err(status)) if status.code() == Code::InvalidArgument => {
                Err(Problem::new(Kind::FailedPrecondition, DOMAIN, "PROFILE_REFUSED", "auth refuses it")
                    .because(status))
            }
            Some(Err(status)) => Err(Problem::unavailable("auth does not answer", status)),
            None => Err(Problem::common(Reason::DeadlineExceeded, "auth takes too long")),
        }
    }

    /// How many characters somebody has. Whoever asks says for how long they wait.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn characters(&self, user: Uuid) -> Result<i32, Problem> {
        let asked = async {
            let request = self.character.request(GetOwnedRequest { user_id: user.to_string() }).await?;
            CharacterInternalServiceClient::new(self.character.link()).get_owned(request).await
        };
        let owned = answered("the character service does not answer", asked).await?;
        Ok(i32::try_from(owned.characters.len()).unwrap_or(i32::MAX))
    }

    /// A photo; none when there is none, or none any more.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn photo(&self, id: Uuid) -> Result<Option<Photo>, Problem> {
        let asked = async {
            let request = self.image.request(FindImageRequest { image_id: id.to_string() }).await?;
            ImageInternalServiceClient::new(self.image.link()).find_image(request).await
        };
        match deadline::within(PATIENCE, asked).await {
            Some(Ok(found)) => {
                let found = found.into_inner();
                let cdn_url = found.image.unwrap_or_default().cdn_url;
                Ok(Some(Photo { user_id: found.user_id, cdn_url }))
            }
            Some(Err(status)) if is(&status, "image", "IMAGE_NOT_FOUND") => Ok(None),
            Some(Err(status)) => Err(Problem::unavailable("the image service does not answer", status)),
            None => Err(Problem::common(Reason::DeadlineExceeded, "the image service takes too long")),
        }
    }
}

async fn answered<T>(
    away: &'static str,
    asked: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Problem> {
    match deadline::within(PATIENCE, asked).await {
        Some(Ok(answer)) => Ok(answer.into_inner()),
        Some(Err(status)) => Err(Problem::unavailable(away, status)),
        None => Err(Problem::common(Reason::DeadlineExceeded, away)),
    }
}

/// It says that itself: not a mesh without such a service.
fn is(status: &Status, domain: &str, reason: &str) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.domain == domain && info.reason == reason)
}

fn read(user: Uuid, account: AccountProfile) -> Result<Profile, Problem> {
    if account.user_id != user.to_string() || account.nickname.is_empty() {
        return Err(Problem::common(Reason::DependencyUnavailable, "auth makes no sense"));
    }
    Ok(Profile {
        user_id: user,
        nickname: account.nickname,
        bio: String::new(),
        image_id: None,
        image_url: account.profile_image_url,
        joined_at: times::of_fact(account.created_at.as_ref()).unwrap_or(Timestamp::UNIX_EPOCH),
        version: account.version,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_the_service_itself_says_that_there_is_none() {
        let said = |domain: &'static str, reason: &'static str| {
            Status::from(Problem::new(Kind::NotFound, domain, reason, "none"))
        };
        assert!(is(&said("image", "IMAGE_NOT_FOUND"), "image", "IMAGE_NOT_FOUND"));
        assert!(!is(&said("coreloop", "IMAGE_NOT_FOUND"), "image", "IMAGE_NOT_FOUND"));
        assert!(!is(&said("image", "NOT_FOUND"), "image", "IMAGE_NOT_FOUND"));
    }

    #[test]
    fn an_account_that_was_not_asked_for_is_not_believed() {
        let account = |user_id: &str| AccountProfile {
            user_id: user_id.to_owned(),
            nickname: "alice".to_owned(),
            ..AccountProfile::default()
        };
        let user = Uuid::from_u128(7);
        assert_eq!(read(user, account(&user.to_string())).unwrap().nickname, "alice");
        assert!(read(user, account(&Uuid::from_u128(8).to_string())).is_err());
        assert!(read(user, AccountProfile { nickname: String::new(), ..account(&user.to_string()) }).is_err());
    }
}
