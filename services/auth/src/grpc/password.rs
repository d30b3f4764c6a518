//! `ChangePassword`.

use coreloop_access::Caller;
use coreloop_auth_api::v1::{self, AuthReason};
use coreloop_core::UserId;
use tonic::{Request, Response};

use crate::{
    App, Client, Error,
    audit::Audit,
    events::{self, Note},
    guard::Account,
    password,
    revoke::{self, Which, Why},
    session::{self, Opened, SignIn},
    store,
};

/// Changes the caller's password: every session ends, the answer carries a new one.
///
/// # Errors
/// `INVALID_CREDENTIALS`, `ACCOUNT_LOCKED`, `PASSWORD_BREACHED`, `NO_PASSWORD`.
pub async fn change_password(
    app: &App,
    request: Request<v1::ChangePasswordRequest>,
) -> Result<Response<v1::ChangePasswordResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let asked = request.into_inner();
    let client = client.with_device(&asked.device_id, &asked.device_name);
    let opened = change(app, user, &asked, &client).await.inspect_err(|error| {
        app.audits.record(Audit::of(app, "password_change", &client, error.outcome()).user(user));
    })?;
    Ok(Response::new(v1::ChangePasswordResponse {
        access_token: opened.tokens.access,
        refresh_token: opened.tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: opened.tokens.expires_in,
        refresh_expires_in: opened.tokens.refresh_expires_in,
        user: Some((&opened.user).into()),
    }))
}

async fn change(app: &App, user: UserId, asked: &v1::ChangePasswordRequest, client: &Client) -> Result<Opened, Error> {
    let current = store::users::password_hash(&app.db, user).await?.ok_or(AuthReason::NoPassword)?;
    password::check_new(&asked.new_password)?;
    let account = Account::SignedIn(user);
    password::verify_guarded(app, &account, &asked.current_password, Some(&current), client).await?;
    let new = password::hash_new(app, &asked.new_password).await?;
    let mut tx = app.begin().await?;
    store::users::lock(&mut tx, user).await?.ok_or(Error::NotFound)?;
    // Two changes at once: the second one verified a password that is none any more.
    if store::users::password_hash(&mut *tx, user).await?.as_deref() != Some(current.as_str()) {
        return Err(AuthReason::InvalidCredentials.into());
    }
    store::users::set_password(&mut tx, user, &new, app.now()).await?;
    events::note(app, &mut tx, user, client, &Note::PasswordChanged).await?;
    let revoked = revoke::end(app, &mut tx, user, Which::All, Why::PasswordChanged, client).await?;
    let opened = session::open(app, tx, user, SignIn::by("password", client)).await?;
    revoke::announce_later(app, revoked).await;
    Ok(opened)
}
