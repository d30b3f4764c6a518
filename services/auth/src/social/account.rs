//! From an identity at a provider to an account here.
//!
//! An account is found by (provider, id at the provider) and by nothing else. An address is compared only to refuse: one
//! that belongs to an account answers EMAIL_BELONGS_TO_ACCOUNT, proven or not. An address that the provider did not prove
//! is kept as what it is, unproven: whoever proves it later, by a reset mail, ends the links that did not (see
//! `ResetPassword`), so an address taken in advance is no way into its owner's account.

use coreloop_access::{Denied, User};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::{Problem, UserId};
use coreloop_db::Transaction;
use sqlx::PgConnection;

use super::{profile::Identity, state::Pending};
use crate::{
    App, Client, Error,
    events::{self, Note},
    store,
};

/// Where a first sign-in may lose a race and look again.
const TRIES: usize = 3;

/// An account in an open transaction.
#[derive(Debug)]
pub struct Entry {
    /// The transaction; a new account lives by its commit.
    pub tx: Transaction,
    /// The account.
    pub user: UserId,
    /// It was made just now.
    pub is_new: bool,
}

/// Finds the account of `identity` or makes one. Races are decided by the unique constraints.
///
/// # Errors
/// `EMAIL_BELONGS_TO_ACCOUNT`, `INVITE_REQUIRED`, `INVITE_INVALID`.
pub async fn enter(app: &App, pending: &Pending, identity: &Identity) -> Result<Entry, Error> {
    let provider = pending.provider.as_str();
    for _ in 0..TRIES {
        let mut tx = app.begin().await?;
        if let Some(user) = store::social::owner(&mut *tx, provider, &identity.provider_user_id).await? {
            // Lock order: the account, then its link. Until the lock was had the link could be removed.
            store::users::lock(&mut tx, user).await?;
            if store::social::used(&mut tx, user, provider, identity, app.now()).await? {
                return Ok(Entry { tx, user, is_new: false });
            }
            tx.rollback().await?;
            continue;
        }
        match create(app, &mut tx, pending, identity).await {
            Ok(user) => return Ok(Entry { tx, user, is_new: true }),
            Err(Error::Refused(AuthReason::EmailTaken | AuthReason::SocialAccountTaken)) => {
                tx.rollback().await?;
                let owner = store::social::owner(&app.db, provider, &identity.provider_user_id).await?;
                if owner.is_none() {
                    let link_path = format!("/api/v1/auth/links/{provider}");
                    return Err(Error::EmailBelongsToAccount { link_path });
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Internal("a social account came and went".into()))
}

async fn create(app: &App, tx: &mut PgConnection, pending: &Pending, identity: &Identity) -> Result<UserId, Error> {
    if app.options.invite_required && pending.invite_code.is_empty() {
        return Err(AuthReason::InviteRequired.into());
    }
    let user = UserId(app.ids.uuid());
    let new = store::users::NewUser {
        id: user,
        nickname: &identity.nickname,
        email: identity.email.as_deref(),
        email_verified: identity.email_verified,
        profile_image_url: &identity.image,
    };
    let now = app.now();
    store::users::insert(tx, &new, now).await?;
    if app.options.invite_required {
        store::invites::take(tx, &pending.invite_code, user, now).await?;
    }
    if !store::social::link(tx, user, &pending.provider, identity, now).await? {
        return Err(AuthReason::SocialAccountTaken.into());
    }
    Ok(user)
}

/// Links the identity to the caller's account. What is linked to them already stays as it is.
///
/// The provider may have taken its time: a caller whose session has ended since, as by a new password, links nothing.
///
/// # Errors
/// `TOKEN_REVOKED`, `SOCIAL_ACCOUNT_TAKEN`.
pub async fn link(
    app: &App,
    caller: &User,
    provider: &str,
    identity: &Identity,
    client: &Client,
) -> Result<store::social::Link, Error> {
    let user = caller.user_id;
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(store::users::User::active);
    if !store::sessions::is_open(&mut *tx, user, caller.session_id).await? {
        return Err(Problem::from(Denied::TokenRevoked).into());
    }
    if account.is_none() {
        return Err(AuthReason::UserNotFound.into());
    }
    if store::social::link(&mut tx, user, provider, identity, app.now()).await? {
        let note = Note::ProviderLinked { provider: provider.to_owned() };
        events::note(app, &mut tx, user, client, &note).await?;
    }
    let linked = store::social::find(&mut *tx, provider, &identity.provider_user_id).await?;
    tx.commit().await?;
    linked.filter(|link| link.user_id == user).ok_or_else(|| AuthReason::SocialAccountTaken.into())
}

/// Removes the caller's accounts at `provider`, unless they are the last way to sign in.
///
/// # Errors
/// `NOT_FOUND`, `LAST_SIGN_IN_METHOD`.
pub async fn unlink(app: &App, user: UserId, provider: &str, client: &Client) -> Result<(), Error> {
    let mut tx = app.begin().await?;
    // Two removals of the last two methods wait for each other here.
    store::users::lock(&mut tx, user).await?;
    if store::social::unlink(&mut tx, user, provider).await? == 0 {
        return Err(Error::NotFound);
    }
    if store::social::methods(&mut *tx, user).await? == 0 {
        return Err(AuthReason::LastSignInMethod.into());
    }
    let note = Note::ProviderUnlinked { provider: provider.to_owned() };
    events::note(app, &mut tx, user, client, &note).await?;
    tx.commit().await?;
    Ok(())
}
