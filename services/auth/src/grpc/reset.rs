//! Password reset.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `RequestPasswordReset`.
///
/// # Errors
/// As the contract lists.
pub async fn request_password_reset(
    _app: &App,
    _request: Request<v1::RequestPasswordResetRequest>,
) -> Result<Response<v1::RequestPasswordResetResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `ResetPassword`.
///
/// # Errors
/// As the contract lists.
pub async fn reset_password(
    _app: &App,
    _request: Request<v1::ResetPasswordRequest>,
) -> Result<Response<v1::ResetPasswordResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
