//! Profiles: made of what auth knows when somebody first asks, changed here, told to auth and to everybody who hears.

use coreloop_facts::v1::MyProfileUpdated;
use coreloop_my_api::v1::MyReason;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::Change,
    person::{Changed, Happened},
    store::{
        people::{self, Standing},
        profiles::{self, Profile},
    },
    times::proto_time,
};

/// The picture of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// An own upload; none: there is no picture.
    pub image_id: Option<Uuid>,
    /// Where people load it from.
    pub url: String,
}

/// What a profile is to become; none: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Shown name.
    pub nickname: Option<String>,
    /// What they say of themselves.
    pub bio: Option<String>,
    /// Picture.
    pub picture: Option<Picture>,
}

/// The profile of a user; none when there is nobody, or nobody any more.
///
/// # Errors
/// When it is not known here and auth is away; when the database fails.
pub async fn of(app: &App, user: Uuid) -> Result<Option<Profile>, Error> {
    if let Some(known) = profiles::find(&app.db, user).await? {
        return Ok(Some(known));
    }
    let Some(account) = app.peers.account(user).await? else { return Ok(None) };
    let mut tx = coreloop_db::begin(&app.db).await?;
    if people::lock(&mut tx, user).await?.closed {
        return Ok(None);
    }
    profiles::insert(&mut tx, &account, app.now()).await?;
    // Another may have been first, and it may be changed already.
    let profile = profiles::find(&mut *tx, user).await?;
    tx.commit().await?;
    Ok(profile)
}

/// Changes the profile of a user, where it is not so already; answers it as it is.
///
/// # Errors
/// `USER_WITHDRAWN`; when auth is asked for it first and is away; when the database fails.
pub async fn change(app: &App, user: Uuid, wanted: &Wanted) -> Result<Profile, Error> {
    of(app, user).await?.ok_or(MyReason::UserWithdrawn)?;
    let now = app.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let standing = people::lock(&mut tx, user).await?;
    let found = profiles::find(&mut *tx, user).await?.filter(|_| !standing.closed);
    let mut profile = found.ok_or(MyReason::UserWithdrawn)?;
    let changed = applied(&mut profile, wanted);
    if changed.is_empty() {
        return Ok(profile);
    }
    write(app, &mut tx, (&mut profile, standing), changed, now).await?;
    tx.commit().await?;
    Ok(profile)
}

/// A photo is gone, and with it the picture that it was, in the transaction of `connection`; `false` when it was none.
///
/// # Errors
/// When the database fails.
pub async fn unpicture(
    app: &App,
    connection: &mut PgConnection,
    (user, image): (Uuid, Uuid),
    now: Timestamp,
) -> Result<bool, Error> {
    let standing = people::lock(&mut *connection, user).await?;
    let Some(mut profile) = profiles::find(&mut *connection, user).await? else { return Ok(false) };
    if profile.image_id != Some(image) {
        return Ok(false);
    }
    let changed = applied(&mut profile, &Wanted { picture: Some(Picture::default()), ..Wanted::default() });
    write(app, connection, (&mut profile, standing), changed, now).await?;
    Ok(true)
}

/// Names of what changes.
fn applied(profile: &mut Profile, wanted: &Wanted) -> Vec<String> {
    let mut changed = Vec::new();
    if let Some(nickname) = wanted.nickname.as_ref().filter(|nickname| **nickname != profile.nickname) {
        profile.nickname.clone_from(nickname);
        changed.push("nickname".to_owned());
    }
    if let Some(bio) = wanted.bio.as_ref().filter(|bio| **bio != profile.bio) {
        profile.bio.clone_from(bio);
        changed.push("bio".to_owned());
    }
    let other = |picture: &&Picture| picture.image_id != profile.image_id || picture.url != profile.image_url;
    if let Some(picture) = wanted.picture.as_ref().filter(other) {
        profile.image_id = picture.image_id;
        profile.image_url.clone_from(&picture.url);
        changed.push("image".to_owned());
    }
    changed
}

async fn write(
    app: &App,
    connection: &mut PgConnection,
    (profile, standing): (&mut Profile, Standing),
    changed: Vec<String>,
    now: Timestamp,
) -> Result<(), Error> {
    profile.version = profile.version.saturating_add(1);
    profiles::put(&mut *connection, profile, now).await?;
    let mut change = Change::of(profile.user_id, standing);
    let fact = MyProfileUpdated {
        user_id: profile.user_id.to_string(),
        changed: changed.clone(),
        version: profile.version,
        occurred_at: Some(proto_time(now)),
    };
    change.facts.add(&*app.ids, profile.user_id.to_string(), &fact)?;
    change.happened.push(Happened::Changed(Changed { fields: changed, at: now.as_microsecond() }));
    change.write(app, connection, now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Profile {
        Profile {
            user_id: Uuid::from_u128(7),
            nickname: "alice".to_owned(),
            bio: String::new(),
            image_id: None,
            image_url: "https://provider.example/a.png".to_owned(),
            joined_at: Timestamp::UNIX_EPOCH,
            version: 0,
        }
    }

    #[test]
    fn only_what_is_another_changes() {
        let mut profile = alice();
        let same = Wanted { nickname: Some("alice".to_owned()), bio: Some(String::new()), picture: None };
        assert!(applied(&mut profile, &same).is_empty());
        assert_eq!(profile, alice());
        let other = Wanted { nickname: Some("ada".to_owned()), bio: None, picture: Some(Picture::default()) };
        assert_eq!(applied(&mut profile, &other), ["nickname", "image"]);
        assert_eq!((profile.nickname.as_str(), profile.image_url.as_str()), ("ada", ""));
        assert!(applied(&mut profile, &other).is_empty());
    }
}
