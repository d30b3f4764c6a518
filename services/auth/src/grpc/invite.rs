//! Invite codes.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `CreateInvite`.
///
/// # Errors
/// As the contract lists.
pub async fn create_invite(
    _app: &App,
    _request: Request<v1::CreateInviteRequest>,
) -> Result<Response<v1::CreateInviteResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `ListInvites`.
///
/// # Errors
/// As the contract lists.
pub async fn list_invites(
    _app: &App,
    _request: Request<v1::ListInvitesRequest>,
) -> Result<Response<v1::ListInvitesResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
