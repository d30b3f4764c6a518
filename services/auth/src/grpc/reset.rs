//! Password reset.

use coreloop_auth_api::v1::{self, AuthReason};
use tonic::{Request, Response};

use crate::{
    App, Client, Error,
    events::{self, Note},
    mail::{self, token_hash},
    password,
    revoke::{self, Which, Why},
    store,
};

/// `RequestPasswordReset`: the same answer in the same time for every address; see [`crate::mail::resets`].
///
/// # Errors
/// When the database fails.
pub async fn request_password_reset(
    app: &App,
    request: Request<v1::RequestPasswordResetRequest>,
) -> Result<Response<v1::RequestPasswordResetResponse>, Error> {
    mail::resets::request(app, &request.get_ref().email, &Client::of(&request)).await?;
    Ok(Response::new(v1::RequestPasswordResetResponse {}))
}

/// `ResetPassword`: sets a password by the token and ends every session of the account.
///
/// The mail proves the address. Where it was not proven before, whoever made the account may not be who reads the mail:
/// their links to it end too, but for those that carry the same proven address.
///
/// The answer is of the password. When the sessions cannot be made known as ended at once, the worker does it: the token is
/// used up, so an error would send its owner to ask for another mail.
///
/// # Errors
/// `RESET_TOKEN_INVALID`, `PASSWORD_BREACHED`.
pub async fn reset_password(
    app: &App,
    request: Request<v1::ResetPasswordRequest>,
) -> Result<Response<v1::ResetPasswordResponse>, Error> {
    let client = Client::of(&request);
    let request = request.into_inner();
    let refused = || Error::from(AuthReason::ResetTokenInvalid);
    let hash = token_hash(&request.token);
    // Looked at before the expensive hash; decided again below.
    let user = store::resets::owner(&app.db, &hash, app.now()).await?.ok_or_else(refused)?;
    let phc = password::hash_new(app, &request.new_password).await?;
    let now = app.now();
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(store::users::User::active).ok_or_else(refused)?;
    if !store::resets::take(&mut tx, &hash, user, now).await? {
        return Err(refused());
    }
    store::users::set_password(&mut tx, user, &phc, now).await?;
    let mut links_ended = 0;
    if let Some(email) = account.email.as_deref().filter(|_| !account.email_verified) {
        store::resets::prove_email(&mut tx, user, now).await?;
        links_ended = store::social::unlink_strangers(&mut tx, user, email).await?;
    }
    events::note(app, &mut tx, user, &client, &Note::PasswordReset { links_ended }).await?;
    let revoked = revoke::end(app, &mut tx, user, Which::All, Why::PasswordChanged, &client).await?;
    tx.commit().await?;
    revoke::announce_later(app, revoked).await;
    if let Some(email) = &account.email
        && let Err(error) = app.guard.forget(app, email).await
    {
        tracing::warn!(%error, user_id = %user, "failed tries still count after a password reset");
    }
    tracing::info!(user_id = %user, "password was reset");
    Ok(Response::new(v1::ResetPasswordResponse {}))
}
