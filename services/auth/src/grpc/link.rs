//! Sign-in methods of an account.

use coreloop_access::Caller;
use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{
    App, Client, Error,
    social::{
        account,
        flow::{self, Answer},
    },
    store::{self, users::proto_time},
};

fn proto_link(link: store::social::Link) -> v1::Link {
    v1::Link { provider: link.provider, email: link.email, linked_at: Some(proto_time(link.linked_at)) }
}

/// `ListLinks`.
///
/// # Errors
/// When the database fails.
pub async fn list_links(
    app: &App,
    request: Request<v1::ListLinksRequest>,
) -> Result<Response<v1::ListLinksResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let has_password = store::users::password_hash(&app.db, user).await?.is_some();
    let links = store::social::of_user(&app.db, user).await?;
    let links = links.into_iter().map(proto_link).collect();
    Ok(Response::new(v1::ListLinksResponse { has_password, links }))
}

/// `LinkProvider`: adds a social account, by a state that the caller started with `link`.
///
/// # Errors
/// `OAUTH_STATE_INVALID`, `PROVIDER_MISMATCH`, `PROVIDER_ERROR`, `SOCIAL_ACCOUNT_TAKEN`; `TOKEN_REVOKED` when the session has
/// ended while the provider was asked.
pub async fn link_provider(
    app: &App,
    request: Request<v1::LinkProviderRequest>,
) -> Result<Response<v1::LinkProviderResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    let client = Client::of(&request);
    let request = request.into_inner();
    let answer = Answer {
        provider: &request.provider,
        code: &request.code,
        state: &request.state,
        redirect_uri: "",
        link: Some(caller.user_id),
    };
    let pending = flow::take(app, answer).await?;
    let identity = flow::identify(app, &pending, answer).await?;
    let link = account::link(app, &caller, &pending.provider, &identity, &client).await?;
    tracing::info!(user_id = %caller.user_id, provider = %pending.provider, "social account linked");
    Ok(Response::new(v1::LinkProviderResponse { link: Some(proto_link(link)) }))
}

/// `UnlinkProvider`: removes the caller's social account at a provider.
///
/// # Errors
/// `LAST_SIGN_IN_METHOD`, `NOT_FOUND`.
pub async fn unlink_provider(
    app: &App,
    request: Request<v1::UnlinkProviderRequest>,
) -> Result<Response<v1::UnlinkProviderResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let provider = request.into_inner().provider;
    account::unlink(app, user, &provider, &client).await?;
    tracing::info!(user_id = %user, %provider, "social account unlinked");
    Ok(Response::new(v1::UnlinkProviderResponse {}))
}
