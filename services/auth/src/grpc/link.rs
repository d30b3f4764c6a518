//! Sign-in methods of an account.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `ListLinks`.
///
/// # Errors
/// As the contract lists.
pub async fn list_links(
    _app: &App,
    _request: Request<v1::ListLinksRequest>,
) -> Result<Response<v1::ListLinksResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `LinkProvider`.
///
/// # Errors
/// As the contract lists.
pub async fn link_provider(
    _app: &App,
    _request: Request<v1::LinkProviderRequest>,
) -> Result<Response<v1::LinkProviderResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `UnlinkProvider`.
///
/// # Errors
/// As the contract lists.
pub async fn unlink_provider(
    _app: &App,
    _request: Request<v1::UnlinkProviderRequest>,
) -> Result<Response<v1::UnlinkProviderResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
