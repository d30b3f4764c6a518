//! `Logout`, `AdminLogout`, `LogoutAll`, `ListTokens`, `RevokeToken`.

use coreloop_access::Caller;
use coreloop_auth_api::v1;
use coreloop_core::{TokenId, UserId, page};
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Client, Error,
    revoke::{self, Which, Why},
    store::{self, users::proto_time},
};

/// Name of the list in its page tokens.
const LIST: &str = "auth.tokens";

/// Ends the caller's session.
///
/// # Errors
/// `DEPENDENCY_UNAVAILABLE` when it ended but could not be made known everywhere yet.
pub async fn logout(app: &App, request: Request<v1::LogoutRequest>) -> Result<Response<v1::LogoutResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    end(app, caller.user_id, Which::One(caller.session_id), Why::Logout, &Client::of(&request)).await?;
    Ok(Response::new(v1::LogoutResponse {}))
}

/// Ends the administrator's session. It is not [`logout`] for the audience of users' calls admits no administrator's token.
///
/// # Errors
/// As [`logout`].
pub async fn admin_logout(
    app: &App,
    request: Request<v1::AdminLogoutRequest>,
) -> Result<Response<v1::AdminLogoutResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    end(app, caller.user_id, Which::One(caller.session_id), Why::Logout, &Client::of(&request)).await?;
    Ok(Response::new(v1::AdminLogoutResponse {}))
}

/// Ends every session of the caller.
///
/// # Errors
/// As [`logout`].
pub async fn logout_all(
    app: &App,
    request: Request<v1::LogoutAllRequest>,
) -> Result<Response<v1::LogoutAllResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    let ended = end(app, caller.user_id, Which::All, Why::Logout, &Client::of(&request)).await?;
    Ok(Response::new(v1::LogoutAllResponse { ended: i32::try_from(ended).unwrap_or(i32::MAX) }))
}

/// Ends the caller's session that `jti` is the newest token of.
///
/// # Errors
/// `NOT_FOUND` when there is none, or it is another user's; as [`logout`].
pub async fn revoke_token(
    app: &App,
    request: Request<v1::RevokeTokenRequest>,
) -> Result<Response<v1::RevokeTokenResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    let client = Client::of(&request);
    let jti: TokenId = request.get_ref().jti.parse().map_err(|_| Error::NotFound)?;
    let session = store::sessions::by_token(&app.db, caller.user_id, jti).await?.ok_or(Error::NotFound)?;
    if end(app, caller.user_id, Which::One(session), Why::Revoked, &client).await? == 0 {
        return Err(Error::NotFound);
    }
    Ok(Response::new(v1::RevokeTokenResponse {}))
}

async fn end(app: &App, user: UserId, which: Which, why: Why, client: &Client) -> Result<usize, Error> {
    let mut tx = app.begin().await?;
    let revoked = revoke::end(app, &mut tx, user, which, why, client).await?;
    let sessions = revoked.sessions;
    tx.commit().await?;
    revoke::announce(app, revoked).await?;
    Ok(sessions)
}

/// Lists the caller's sessions, newest first.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_tokens(
    app: &App,
    request: Request<v1::ListTokensRequest>,
) -> Result<Response<v1::ListTokensResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    let asked = request.into_inner();
    let before: Option<Uuid> = page::decode(LIST, &asked.page_token)?;
    let size = page::size(asked.page_size);
    // One more than asked tells whether there is a next page.
    let mut rows = store::sessions::list(&app.db, caller.user_id, before, size + 1, app.live_after()).await?;
    let full = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > full;
    rows.truncate(full);
    let next_page_token = match rows.last() {
        Some(last) if more => page::encode(LIST, &last.id.0),
        _ => String::new(),
    };
    let tokens = rows
        .into_iter()
        .map(|row| v1::TokenInfo {
            jti: row.access_jti.to_string(),
            session_id: row.id.to_string(),
            device_name: row.device_name,
            ip: row.ip,
            user_agent: row.user_agent,
            created_at: Some(proto_time(row.created_at)),
            last_used_at: Some(proto_time(row.last_used_at)),
            expires_at: Some(proto_time(row.expires_at)),
            current: row.id == caller.session_id,
        })
        .collect();
    Ok(Response::new(v1::ListTokensResponse { tokens, next_page_token }))
}
