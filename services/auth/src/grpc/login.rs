//! `Login`: email and password.

use coreloop_auth_api::v1;
use coreloop_core::UserId;
use tokio::time::Instant;
use tonic::{Request, Response};

use crate::{
    App, Client, Error,
    audit::Audit,
    guard::Account,
    password,
    session::{self, Opened, SignIn},
    store,
};

/// Signs in with email and password. Unknown account and wrong password take the same steps and the same time.
///
/// # Errors
/// `INVALID_CREDENTIALS`, `ACCOUNT_LOCKED`.
pub async fn login(app: &App, request: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Error> {
    let started = Instant::now();
    let client = Client::of(&request);
    let asked = request.into_inner();
    let client = client.with_device(&asked.device_id, &asked.device_name);
    let mut user = None;
    let outcome = sign_in(app, &asked.email, &asked.password, &client, &mut user).await;
    app.metrics.login(started.elapsed(), outcome.as_ref().err().map(Error::outcome));
    let opened = outcome.inspect_err(|error| {
        app.audits.record(Audit::of(app, "password", &client, error.outcome()).maybe_user(user));
    })?;
    Ok(Response::new(v1::LoginResponse {
        access_token: opened.tokens.access,
        refresh_token: opened.tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: opened.tokens.expires_in,
        refresh_expires_in: opened.tokens.refresh_expires_in,
        user: Some((&opened.user).into()),
    }))
}

/// `user` is told for the audit as soon as it is known.
async fn sign_in(
    app: &App,
    email: &str,
    password: &str,
    client: &Client,
    user: &mut Option<UserId>,
) -> Result<Opened, Error> {
    let email = password::normalise_email(email);
    let credential = store::users::credential_by_email(&app.db, &email, &client.device_id).await?;
    *user = credential.as_ref().map(|credential| credential.user_id);
    let known_device = credential.as_ref().is_some_and(|credential| credential.known_device);
    let hash = credential.as_ref().and_then(|credential| credential.password_hash.as_deref());
    password::verify_guarded(app, &Account::Email { email, known_device }, password, hash, client).await?;
    // Only a stored hash verifies, so there is an account.
    let account = user.ok_or_else(|| Error::Internal("a password verified without an account".into()))?;
    let tx = app.begin().await?;
    session::open(app, tx, account, SignIn { password_hash: hash, ..SignIn::by("password", client) }).await
}
