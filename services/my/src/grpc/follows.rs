//! `Follow`, `Unfollow`, and both lists: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_eventing::Facts;
use coreloop_facts::v1::{MyFollowed, MyUnfollowed};
use coreloop_my_api::v1::{self, MyReason};
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use super::user;
use crate::{
    App, Error, profiles,
    store::{
        follows::{self, Follow},
        people,
    },
    times::{from_micros, proto_time},
};

/// Names of the lists in their page tokens.
const FOLLOWERS: &str = "my.followers";
const FOLLOWING: &str = "my.following";

/// `Follow`: whom the caller follows already they follow, since when they did.
///
/// # Errors
/// `SELF_FOLLOW`, `USER_NOT_FOUND`, `FOLLOWS_FULL`, `USER_WITHDRAWN`; when somebody is not known here and auth is away.
pub async fn follow(app: &App, request: Request<v1::FollowRequest>) -> Result<Response<v1::FollowResponse>, Error> {
    let me = Caller::of(&request)?.require_user()?.user_id.0;
    let other = user("user_id", &request.get_ref().user_id)?;
    if me == other {
        return Err(MyReason::SelfFollow.into());
    }
    let profile = profiles::of(app, other).await?.ok_or(MyReason::UserNotFound)?;
    // Lists show the caller by it.
    profiles::of(app, me).await?.ok_or(MyReason::UserWithdrawn)?;
    let followed_at = begin(app, me, other).await?;
    let follow = Follow { user_id: other, nickname: profile.nickname, image_url: profile.image_url, followed_at };
    Ok(Response::new(v1::FollowResponse { follow: Some(proto_follow(follow)) }))
}

/// Since when.
async fn begin(app: &App, me: Uuid, other: Uuid) -> Result<Timestamp, Error> {
    let now = app.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    // Whom many follow is not kept from anything by them: only who follows is changed.
    let (mine, is_gone) = people::lock_beside(&mut tx, me, other).await?;
    if mine.closed {
        return Err(MyReason::UserWithdrawn.into());
    }
    if is_gone {
        return Err(MyReason::UserNotFound.into());
    }
    if let Some(since) = follows::since(&mut *tx, me, other).await? {
        return Ok(since);
    }
    if !follows::insert(&mut tx, (me, other), app.options.max_follows.into(), now).await? {
        return Err(MyReason::FollowsFull.into());
    }
    let fact =
        MyFollowed { user_id: me.to_string(), followee_id: other.to_string(), occurred_at: Some(proto_time(now)) };
    let mut facts = Facts::new();
    facts.add(&*app.ids, me.to_string(), &fact)?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(now)
}

/// `Unfollow`: whom the caller does not follow they do not follow, also where there is no such user.
///
/// # Errors
/// When the database fails.
pub async fn unfollow(
    app: &App,
    request: Request<v1::UnfollowRequest>,
) -> Result<Response<v1::UnfollowResponse>, Error> {
    let me = Caller::of(&request)?.require_user()?.user_id.0;
    let (other, now) = (user("user_id", &request.get_ref().user_id)?, app.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    people::lock(&mut tx, me).await?;
    if follows::delete(&mut tx, me, other).await? {
        let fact = MyUnfollowed {
            user_id: me.to_string(),
            followee_id: other.to_string(),
            occurred_at: Some(proto_time(now)),
        };
        let mut facts = Facts::new();
        facts.add(&*app.ids, me.to_string(), &fact)?;
        app.outbox.write(&mut tx, &facts, now).await?;
        tx.commit().await?;
    }
    Ok(Response::new(v1::UnfollowResponse {}))
}

/// `ListFollowers`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_followers(
    app: &App,
    request: Request<v1::ListFollowersRequest>,
) -> Result<Response<v1::ListFollowersResponse>, Error> {
    let me = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.get_ref();
    let (behind, most) = (behind(FOLLOWERS, &asked.page_token)?, page::size(asked.page_size));
    let found = follows::followers(&app.db, me, behind, most.saturating_add(1)).await?;
    let (followers, next_page_token) = paged(FOLLOWERS, found, most);
    Ok(Response::new(v1::ListFollowersResponse { followers, next_page_token }))
}

/// `ListFollowing`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_following(
    app: &App,
    request: Request<v1::ListFollowingRequest>,
) -> Result<Response<v1::ListFollowingResponse>, Error> {
    let me = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.get_ref();
    let (behind, most) = (behind(FOLLOWING, &asked.page_token)?, page::size(asked.page_size));
    let found = follows::following(&app.db, me, behind, most.saturating_add(1)).await?;
    let (following, next_page_token) = paged(FOLLOWING, found, most);
    Ok(Response::new(v1::ListFollowingResponse { following, next_page_token }))
}

/// Behind whom a page begins; the first behind everybody who ever will be.
fn behind(list: &str, token: &str) -> Result<(Timestamp, Uuid), Error> {
    let cursor: Option<(i64, Uuid)> = page::decode(list, token)?;
    Ok(cursor.map_or((LAST, Uuid::max()), |(micros, id)| (from_micros(micros), id)))
}

/// A time that nobody lives to see, and every database can write.
const LAST: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// A page of what was found, one more than `most` where it goes on.
fn paged(list: &str, mut found: Vec<Follow>, most: i64) -> (Vec<v1::Follow>, String) {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let goes_on = found.len() > most;
    found.truncate(most);
    let last = found.last().filter(|_| goes_on);
    let token = last.map(|last| page::encode(list, &(last.followed_at.as_microsecond(), last.user_id)));
    (found.into_iter().map(proto_follow).collect(), token.unwrap_or_default())
}

fn proto_follow(follow: Follow) -> v1::Follow {
    v1::Follow {
        user_id: follow.user_id.to_string(),
        nickname: follow.nickname,
        image_url: follow.image_url,
        followed_at: Some(proto_time(follow.followed_at)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whether_there_is_another() {
        let follow = |number: i64| Follow {
            user_id: Uuid::from_u128(7),
            nickname: String::new(),
            image_url: String::new(),
            followed_at: from_micros(number),
        };
        let (page, token) = paged(FOLLOWERS, vec![follow(3), follow(2), follow(1)], 2);
        assert_eq!((page.len(), behind(FOLLOWERS, &token).unwrap()), (2, (from_micros(2), Uuid::from_u128(7))));
        assert_eq!(paged(FOLLOWERS, vec![follow(3), follow(2)], 2).1, "");
        assert_eq!(behind(FOLLOWERS, "").unwrap(), (LAST, Uuid::max()));
        assert!(behind(FOLLOWING, &token).is_err(), "a token of one list is none of another");
    }
}
