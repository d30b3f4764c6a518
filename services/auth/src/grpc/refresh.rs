//! `RefreshToken`.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Client, Error, refresh};

/// Trades a refresh token for a new pair.
///
/// # Errors
/// `REFRESH_TOKEN_INVALID`, `REFRESH_TOKEN_REUSED`.
pub async fn refresh_token(
    app: &App,
    request: Request<v1::RefreshTokenRequest>,
) -> Result<Response<v1::RefreshTokenResponse>, Error> {
    let client = Client::of(&request);
    let asked = request.into_inner();
    let client = client.with_device(&asked.device_id, "");
    let (tokens, user) = refresh::refresh(app, &asked.refresh_token, &client).await?;
    Ok(Response::new(v1::RefreshTokenResponse {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: tokens.expires_in,
        refresh_expires_in: tokens.refresh_expires_in,
        user: Some((&user).into()),
    }))
}
