//! Accounts and keys, for administrators.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `SetRoles`.
///
/// # Errors
/// As the contract lists.
pub async fn set_roles(
    _app: &App,
    _request: Request<v1::SetRolesRequest>,
) -> Result<Response<v1::SetRolesResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `LockUser`.
///
/// # Errors
/// As the contract lists.
pub async fn lock_user(
    _app: &App,
    _request: Request<v1::LockUserRequest>,
) -> Result<Response<v1::LockUserResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `UnlockUser`.
///
/// # Errors
/// As the contract lists.
pub async fn unlock_user(
    _app: &App,
    _request: Request<v1::UnlockUserRequest>,
) -> Result<Response<v1::UnlockUserResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `GetUser`.
///
/// # Errors
/// As the contract lists.
pub async fn get_user(
    _app: &App,
    _request: Request<v1::GetUserRequest>,
) -> Result<Response<v1::GetUserResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `ListLoginAudits`.
///
/// # Errors
/// As the contract lists.
pub async fn list_login_audits(
    _app: &App,
    _request: Request<v1::ListLoginAuditsRequest>,
) -> Result<Response<v1::ListLoginAuditsResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `RotateKeys`.
///
/// # Errors
/// As the contract lists.
pub async fn rotate_keys(
    _app: &App,
    _request: Request<v1::RotateKeysRequest>,
) -> Result<Response<v1::RotateKeysResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
