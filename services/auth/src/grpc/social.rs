//! Social sign-in.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `Authorize`.
///
/// # Errors
/// As the contract lists.
pub async fn authorize(
    _app: &App,
    _request: Request<v1::AuthorizeRequest>,
) -> Result<Response<v1::AuthorizeResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `SocialLogin`.
///
/// # Errors
/// As the contract lists.
pub async fn social_login(
    _app: &App,
    _request: Request<v1::SocialLoginRequest>,
) -> Result<Response<v1::SocialLoginResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `OauthCallback`.
///
/// # Errors
/// As the contract lists.
pub async fn oauth_callback(
    _app: &App,
    _request: Request<v1::OauthCallbackRequest>,
) -> Result<Response<v1::OauthCallbackResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `ExchangeLoginCode`.
///
/// # Errors
/// As the contract lists.
pub async fn exchange_login_code(
    _app: &App,
    _request: Request<v1::ExchangeLoginCodeRequest>,
) -> Result<Response<v1::ExchangeLoginCodeResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
