//! Closing an account.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `Withdraw`.
///
/// # Errors
/// As the contract lists.
pub async fn withdraw(
    _app: &App,
    _request: Request<v1::WithdrawRequest>,
) -> Result<Response<v1::WithdrawResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
