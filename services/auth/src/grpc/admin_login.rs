//! An administrator's sign-in with a second factor.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `AdminLogin`.
///
/// # Errors
/// As the contract lists.
pub async fn admin_login(
    _app: &App,
    _request: Request<v1::AdminLoginRequest>,
) -> Result<Response<v1::AdminLoginResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
