//! `GetMe`.

use coreloop_access::Caller;
use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// Answers the caller's account.
///
/// # Errors
/// `NOT_FOUND` when the account is gone.
pub async fn get_me(app: &App, request: Request<v1::GetMeRequest>) -> Result<Response<v1::GetMeResponse>, Error> {
    let caller = Caller::of(&request)?.require_user()?;
    let user = app.accounts.find(caller.user_id.0).await?.ok_or(Error::NotFound)?;
    Ok(Response::new(v1::GetMeResponse { user: Some((&*user).into()) }))
}
