//! `GetUser`: what anybody sees of somebody, the owner too when they look here.

use coreloop_access::Caller;
use coreloop_my_api::v1::{self, MyReason};
use tonic::{Request, Response};
use uuid::Uuid;

use super::{proto_impact, user};
use crate::{
    App, Error,
    badges::{self, Badge},
    profiles,
    store::{self, follows, people, preferences, profiles::Profile},
    times::proto_time,
};

/// `GetUser`. Balances are the wallet's and its owner's; what was recycled is shown where its owner says so.
///
/// # Errors
/// `USER_NOT_FOUND`; when nobody is known here by that id and auth is away.
pub async fn get_user(app: &App, request: Request<v1::GetUserRequest>) -> Result<Response<v1::GetUserResponse>, Error> {
    let caller = Caller::of(&request)?.user().map(|caller| caller.user_id.0);
    let user = user("user_id", &request.get_ref().user_id)?;
    let profile = profiles::of(app, user).await?.ok_or(MyReason::UserNotFound)?;
    Ok(Response::new(v1::GetUserResponse { user: Some(shown(app, profile, caller).await?) }))
}

async fn shown(app: &App, profile: Profile, caller: Option<Uuid>) -> Result<v1::PublicProfile, Error> {
    let user = profile.user_id;
    let counts = follows::counts(&app.db, user, caller).await?;
    let had = store::badges::of(&app.db, user).await?;
    let has = |badge: &Badge| had.iter().any(|had| had.code == badge.code);
    let badges = badges::ALL.iter().filter(|badge| has(badge)).map(|badge| badge.code.to_owned()).collect();
    let figures = match preferences::of(&app.db, user).await?.public_figures {
        true => Some(proto_figures(&people::known(&app.db, user).await?)),
        false => None,
    };
    let masked = ["balances", "figures"].into_iter().filter(|name| *name != "figures" || figures.is_none());
    Ok(v1::PublicProfile {
        user_id: user.to_string(),
        nickname: profile.nickname,
        bio: profile.bio,
        image_url: profile.image_url,
        joined_at: Some(proto_time(profile.joined_at)),
        followers: counts.followers,
        following: counts.following,
        badges,
        followed: counts.followed,
        masked: masked.map(str::to_owned).collect(),
        figures,
    })
}

fn proto_figures(known: &people::Known) -> v1::PublicFigures {
    v1::PublicFigures {
        recycled: known.total.recycled,
        longest_streak: known.streak.longest,
        characters: known.owned,
        impact: Some(proto_impact(&known.total)),
    }
}
