//! Social sign-in.

use coreloop_access::Caller;
use coreloop_auth_api::v1::{self, AuthReason};
use jiff::SignedDuration;
use tonic::{Request, Response};
use url::Url;

use crate::{
    App, Client, Error,
    audit::Audit,
    events::{self, Event},
    metrics::FailLabels,
    session::{self, Opened, SignIn},
    social::{
        account::{self, Entry},
        flow::{self, Answer, Ask},
        state::{self, LoginCode, Pending},
    },
    store::{self, users::proto_time},
};

/// `Authorize`: keeps verifier, nonce and state, and answers the provider's address.
///
/// # Errors
/// `PROVIDER_UNKNOWN`, `REDIRECT_URI_NOT_ALLOWED`; `TOKEN_MISSING` when `link` is set and nobody is signed in.
pub async fn authorize(
    app: &App,
    request: Request<v1::AuthorizeRequest>,
) -> Result<Response<v1::AuthorizeResponse>, Error> {
    let link = if request.get_ref().link { Some(Caller::of(&request)?.require_user()?.user_id) } else { None };
    let request = request.into_inner();
    let ask = Ask {
        provider: request.provider,
        redirect_uri: request.redirect_uri,
        app_redirect_uri: request.app_redirect_uri,
        device_id: request.device_id,
        device_name: request.device_name,
        invite_code: request.invite_code,
        link,
    };
    let started = flow::start(app, ask).await?;
    Ok(Response::new(v1::AuthorizeResponse {
        provider: started.provider,
        authorization_url: started.authorization_url,
        state: started.state,
        code_challenge: started.code_challenge,
        code_challenge_method: "S256".to_owned(),
        expires_at: Some(proto_time(started.expires_at)),
    }))
}

/// `SocialLogin`: trades code and state for a session.
///
/// # Errors
/// `OAUTH_STATE_INVALID`, `PROVIDER_UNKNOWN`, `PROVIDER_MISMATCH`, `PROVIDER_ERROR`, `EMAIL_BELONGS_TO_ACCOUNT`,
/// `INVITE_REQUIRED`, `INVITE_INVALID`, `REDIRECT_URI_NOT_ALLOWED`.
pub async fn social_login(
    app: &App,
    request: Request<v1::SocialLoginRequest>,
) -> Result<Response<v1::SocialLoginResponse>, Error> {
    let client = Client::of(&request);
    let request = request.into_inner();
    let answer = Answer {
        provider: &request.provider,
        code: &request.code,
        state: &request.state,
        redirect_uri: &request.redirect_uri,
        link: None,
    };
    let (opened, is_new_user) = audited(app, &client, &request.provider, sign_in(app, answer, &client).await)?;
    let tokens = opened.tokens;
    Ok(Response::new(v1::SocialLoginResponse {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: tokens.expires_in,
        refresh_expires_in: tokens.refresh_expires_in,
        user: Some(v1::User::from(&opened.user)),
        is_new_user,
    }))
}

async fn sign_in(app: &App, answer: Answer<'_>, client: &Client) -> Result<(Opened, bool), Error> {
    let pending = flow::take(app, answer).await?;
    let identity = flow::identify(app, &pending, answer).await?;
    let Entry { tx, user, is_new } = account::enter(app, &pending, &identity).await?;
    let client = client.clone().with_device(&pending.device_id, &pending.device_name);
    let before = registered(&pending.provider, is_new);
    let how = SignIn { provider: &pending.provider, before, ..SignIn::by("social", &client) };
    Ok((session::open(app, tx, user, how).await?, is_new))
}

fn registered(provider: &str, is_new: bool) -> Vec<Event> {
    is_new.then(|| Event::UserRegistered { method: provider.to_owned() }).into_iter().collect()
}

/// Records a refused try; a successful one is recorded where the session is opened. The time of a social sign-in is mostly
/// the provider's and is not counted among ours.
fn audited<T>(app: &App, client: &Client, provider: &str, done: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &done {
        refused(app, Audit::of(app, "social", client, error.outcome()).provider(provider), error.outcome());
    }
    done
}

fn refused(app: &App, audit: Audit, reason: &'static str) {
    app.audits.record(audit);
    app.metrics.login_fail.get_or_create(&FailLabels { reason }).inc();
}

/// `OauthCallback`: finishes in the browser what the app started, and sends it back with a one-time login code.
///
/// Once the state is known to be good the app is told of every failure at its deep link; before that there is nowhere to
/// go, and the error is answered.
///
/// # Errors
/// `OAUTH_STATE_INVALID`, `PROVIDER_UNKNOWN`, `PROVIDER_MISMATCH`.
pub async fn oauth_callback(
    app: &App,
    request: Request<v1::OauthCallbackRequest>,
) -> Result<Response<v1::OauthCallbackResponse>, Error> {
    let client = Client::of(&request);
    let request = request.into_inner();
    app.social.provider(&request.provider)?;
    let answer = Answer {
        provider: &request.provider,
        code: &request.code,
        state: &request.state,
        redirect_uri: "",
        link: None,
    };
    if let Some(location) = hand_over_link(app, &request).await? {
        return Ok(Response::new(v1::OauthCallbackResponse { location }));
    }
    let pending = audited(app, &client, &request.provider, flow::take(app, answer).await)?;
    let done = if request.error.is_empty() {
        finish(app, &pending, answer, &client).await
    } else {
        tracing::info!(provider = %pending.provider, error_code = %told(&request.error), "provider sent back an error");
        Err(Error::Provider { provider: pending.provider.clone(), code: told(&request.error), transient: false })
    };
    let location = match audited(app, &client, &pending.provider, done) {
        Ok(code) => deep_link(&pending.app_redirect_uri, &[("code", &code)]),
        Err(Error::Provider { code, .. }) => {
            deep_link(&pending.app_redirect_uri, &[("error", &code), ("reason", "PROVIDER_ERROR")])
        }
        Err(error) => deep_link(&pending.app_redirect_uri, &[("error", error.outcome()), ("reason", error.outcome())]),
    }?;
    Ok(Response::new(v1::OauthCallbackResponse { location }))
}

/// The browser is nobody: a link is finished by its account through the app, which is handed code and state. The state is
/// not used up by this, and without the verifier the code is worth nothing.
async fn hand_over_link(app: &App, request: &v1::OauthCallbackRequest) -> Result<Option<String>, Error> {
    let linking = state::look(app, &request.state).await?.filter(|pending| pending.link.is_some());
    let Some(pending) = linking.filter(|pending| pending.provider == request.provider) else {
        return Ok(None);
    };
    let refused = told(&request.error);
    let mut pairs = vec![("state", request.state.as_str()), ("link", "true")];
    if request.error.is_empty() {
        pairs.push(("code", &request.code));
    } else {
        pairs.extend([("error", refused.as_str()), ("reason", "PROVIDER_ERROR")]);
    }
    deep_link(&pending.app_redirect_uri, &pairs).map(Some)
}

async fn finish(app: &App, pending: &Pending, answer: Answer<'_>, client: &Client) -> Result<String, Error> {
    let identity = flow::identify(app, pending, answer).await?;
    let Entry { mut tx, user, is_new } = account::enter(app, pending, &identity).await?;
    let client = client.clone().with_device(&pending.device_id, &pending.device_name);
    let facts = registered(&pending.provider, is_new);
    if !facts.is_empty() {
        events::record(app, &mut tx, user, &client, &facts).await?;
    }
    let standing = store::social::standing(&mut tx, user, &pending.provider, &identity.provider_user_id).await?;
    let standing = standing.ok_or_else(|| Error::Internal("a sign-in by an identity that is not linked".into()))?;
    tx.commit().await?;
    let ttl = SignedDuration::from_secs(app.social.login_code_ttl_secs.into());
    let login = LoginCode {
        user,
        provider: pending.provider.clone(),
        provider_user_id: identity.provider_user_id,
        standing,
        is_new,
        device_id: pending.device_id.clone(),
        device_name: pending.device_name.clone(),
        expires_at: app.now().checked_add(ttl).unwrap_or(jiff::Timestamp::MAX).as_second(),
    };
    state::keep_login(app, &login).await
}

/// The provider's error code as it may be logged and passed on: RFC 6749 allows printable ASCII; we keep less.
fn told(error: &str) -> String {
    error.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(64).collect()
}

fn deep_link(to: &str, pairs: &[(&str, &str)]) -> Result<String, Error> {
    let mut url = Url::parse(to).map_err(|_| Error::Internal("a deep link cannot be read".into()))?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url.to_string())
}

/// `ExchangeLoginCode`: trades the login code for a session, on the device that started.
///
/// The code ends before its time with what it stands on: the link is removed, or the password is set.
///
/// # Errors
/// `LOGIN_CODE_INVALID`, `ACCOUNT_LOCKED`.
pub async fn exchange_login_code(
    app: &App,
    request: Request<v1::ExchangeLoginCodeRequest>,
) -> Result<Response<v1::ExchangeLoginCodeResponse>, Error> {
    let client = Client::of(&request);
    let request = request.into_inner();
    let mut login = None;
    let opened = exchange(app, &request, &client, &mut login).await.inspect_err(|error| {
        let audit = Audit::of(app, "exchange", &client, error.outcome());
        let audit = audit.maybe_user(login.as_ref().map(|login| login.user));
        let provider = login.as_ref().map(|login| login.provider.as_str());
        refused(app, audit.provider(provider.unwrap_or_default()), error.outcome());
    })?;
    let tokens = opened.tokens;
    Ok(Response::new(v1::ExchangeLoginCodeResponse {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: tokens.expires_in,
        refresh_expires_in: tokens.refresh_expires_in,
        user: Some(v1::User::from(&opened.user)),
        is_new_user: login.is_some_and(|login| login.is_new),
    }))
}

/// `known` is told for the audit as soon as it is known whose code it is.
async fn exchange(
    app: &App,
    request: &v1::ExchangeLoginCodeRequest,
    client: &Client,
    known: &mut Option<LoginCode>,
) -> Result<Opened, Error> {
    let invalid = || Error::from(AuthReason::LoginCodeInvalid);
    let login = known.insert(state::take_login(app, &request.code).await?.ok_or_else(invalid)?);
    if !login.device_id.is_empty() && login.device_id != request.device_id {
        return Err(invalid());
    }
    let client = client.clone().with_device(&request.device_id, &login.device_name);
    let how = SignIn { provider: &login.provider, ..SignIn::by("exchange", &client) };
    let mut tx = app.begin().await?;
    // Whoever removes the link or sets a password locks the account too: what came before is seen here. A removal that comes
    // after leaves the session, as it leaves every other; a new password ends it.
    store::users::lock(&mut tx, login.user).await?;
    let standing = store::social::standing(&mut tx, login.user, &login.provider, &login.provider_user_id).await?;
    if standing != Some(login.standing) {
        return Err(invalid());
    }
    session::open(app, tx, login.user, how).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_deep_link_keeps_its_own_query_and_cannot_be_broken_out_of() {
        let link = deep_link("coreloop://auth/callback?v=1", &[("code", "a&b=c#d")]).unwrap();
        assert_eq!(link, "coreloop://auth/callback?v=1&code=a%26b%3Dc%23d");
    }

    #[test]
    fn a_hostile_error_code_is_bounded() {
        assert_eq!(told("access_denied"), "access_denied");
        assert_eq!(told("a\nb<c>"), "abc");
        assert_eq!(told(&"x".repeat(300)).len(), 64);
    }
}
