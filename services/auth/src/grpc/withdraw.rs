//! Closing an account.

use coreloop_access::Caller;
use coreloop_auth_api::v1::{self, AuthReason};
use tonic::{Request, Response};

use crate::{
    App, Client, Error,
    events::{self, Event},
    guard::Account,
    password,
    revoke::{self, Which, Why},
    store,
};

/// `Withdraw`: erases the personal data, ends every session and tells the other services to forget.
///
/// # Errors
/// `INVALID_CREDENTIALS` when the account has a password and another one, or none, is sent; `ACCOUNT_LOCKED`.
pub async fn withdraw(
    app: &App,
    request: Request<v1::WithdrawRequest>,
) -> Result<Response<v1::WithdrawResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let request = request.into_inner();
    let phc = store::users::password_hash(&app.db, user).await?;
    if phc.is_some() {
        let account = Account::SignedIn(user);
        password::verify_guarded(app, &account, &request.password, phc.as_deref(), &client).await?;
    }
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(|account| account.status != "withdrawn");
    let account = account.ok_or_else(|| Error::from(AuthReason::UserNotFound))?;
    if phc != store::users::password_hash(&mut *tx, user).await? {
        // Changed since it was verified: the proof is of another password.
        return Err(AuthReason::InvalidCredentials.into());
    }
    let revoked = revoke::end(app, &mut tx, user, Which::All, Why::Withdrawn, &client).await?;
    events::record(app, &mut tx, user, &client, &[Event::UserWithdrawn]).await?;
    store::withdrawals::erase(&mut tx, user, app.now()).await?;
    tx.commit().await?;
    revoke::announce(app, revoked).await?;
    tracing::info!(user_id = %user, was = %account.status, "account withdrawn");
    Ok(Response::new(v1::WithdrawResponse {}))
}
