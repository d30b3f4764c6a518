//! The two halves of a social sign-in: start (authorize) and redeem (code and state come back).

use coreloop_auth_api::v1::AuthReason;
use coreloop_core::UserId;
use jiff::{SignedDuration, Timestamp};

use super::{
    profile::Identity,
    provider::Start,
    state::{self, Pending},
};
use crate::{App, Error};

/// What a client asks to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ask {
    /// Provider.
    pub provider: String,
    /// Redirect URI; empty: the edge's own callback.
    pub redirect_uri: String,
    /// Deep link; empty: the first registered.
    pub app_redirect_uri: String,
    /// Device.
    pub device_id: String,
    /// Its name.
    pub device_name: String,
    /// Invite code for a first sign-in.
    pub invite_code: String,
    /// Account to link to; none: a sign-in.
    pub link: Option<UserId>,
}

/// A started sign-in.
#[derive(Debug, Clone)]
pub struct Started {
    /// Provider.
    pub provider: String,
    /// Address to open.
    pub authorization_url: String,
    /// State, good once.
    pub state: String,
    /// PKCE challenge (S256).
    pub code_challenge: String,
    /// When the state expires.
    pub expires_at: Timestamp,
}

/// Starts a sign-in: makes state, nonce and verifier, and keeps them.
///
/// # Errors
/// `PROVIDER_UNKNOWN`, `REDIRECT_URI_NOT_ALLOWED`, `PROVIDER_ERROR` when the provider cannot be discovered.
pub async fn start(app: &App, ask: Ask) -> Result<Started, Error> {
    let provider = app.social.provider(&ask.provider)?;
    let expires_at = app.now().checked_add(SignedDuration::from_secs(app.social.state_ttl_secs.into()));
    let expires_at = expires_at.unwrap_or(Timestamp::MAX);
    let pending = Pending {
        redirect_uri: app.social.redirect_uri(&ask.provider, &ask.redirect_uri)?,
        app_redirect_uri: app.social.app_redirect_uri(&ask.app_redirect_uri)?,
        provider: ask.provider.clone(),
        verifier: state::secret()?,
        nonce: state::secret()?,
        device_id: ask.device_id.clone(),
        device_name: ask.device_name.clone(),
        invite_code: ask.invite_code.clone(),
        link: ask.link,
        expires_at: expires_at.as_second(),
    };
    let state = state::secret()?;
    let start = pending.start(&state);
    let authorization_url = provider.authorization_url(&start).await?.to_string();
    let code_challenge = start.challenge().as_str().to_owned();
    state::keep(app, &state, &pending, &ask).await?;
    Ok(Started { provider: pending.provider, authorization_url, state, code_challenge, expires_at })
}

impl Pending {
    fn start<'s>(&'s self, state: &'s str) -> Start<'s> {
        Start { state, nonce: &self.nonce, verifier: &self.verifier, redirect_uri: &self.redirect_uri }
    }
}

/// What came back from a provider.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Provider the path names; empty: the state knows it.
    pub provider: &'a str,
    /// Authorization code.
    pub code: &'a str,
    /// State.
    pub state: &'a str,
    /// Redirect URI the client names; empty: it names none.
    pub redirect_uri: &'a str,
    /// Account that links; none: a sign-in.
    pub link: Option<UserId>,
}

/// Uses the state up and checks that the answer is to it.
///
/// # Errors
/// `OAUTH_STATE_INVALID` with a fresh state, `PROVIDER_MISMATCH`, `REDIRECT_URI_NOT_ALLOWED`.
pub async fn take(app: &App, answer: Answer<'_>) -> Result<Pending, Error> {
    let Some(pending) = state::take(app, answer.state).await? else {
        app.social.state_expired.inc();
        return Err(state_invalid(app, answer).await);
    };
    match fits(&pending, answer) {
        Ok(()) => Ok(pending),
        // A state of another purpose or another account is no state to this caller.
        Err(AuthReason::OauthStateInvalid) => Err(state_invalid(app, answer).await),
        Err(reason) => Err(reason.into()),
    }
}

/// Whether an answer belongs to a started sign-in. The state is used up whatever comes of this.
fn fits(pending: &Pending, answer: Answer<'_>) -> Result<(), AuthReason> {
    if !answer.provider.is_empty() && answer.provider != pending.provider {
        return Err(AuthReason::ProviderMismatch);
    }
    if pending.link != answer.link {
        return Err(AuthReason::OauthStateInvalid);
    }
    if !answer.redirect_uri.is_empty() && answer.redirect_uri != pending.redirect_uri {
        return Err(AuthReason::RedirectUriNotAllowed);
    }
    Ok(())
}

/// Trades the code with the provider.
///
/// # Errors
/// `PROVIDER_UNKNOWN`, `PROVIDER_ERROR`.
pub async fn identify(app: &App, pending: &Pending, answer: Answer<'_>) -> Result<Identity, Error> {
    let provider = app.social.provider(&pending.provider)?;
    provider.identify(answer.code, &pending.start(answer.state)).await
}

/// `OAUTH_STATE_INVALID` with a fresh state where the provider is known.
async fn state_invalid(app: &App, answer: Answer<'_>) -> Error {
    // Offering one is a kindness: where it cannot be made, the path must do, and where nothing is known, the words alone.
    let asked = state::asked(app, answer.state).await.unwrap_or_default();
    let ask = again(asked, answer);
    if app.social.provider(&ask.provider).is_err() {
        return Error::StateInvalid { fresh: Vec::new() };
    }
    let mut fresh = vec![("fresh_authorize_path", authorize_path(&ask))];
    if let Ok(started) = start(app, ask).await {
        fresh.push(("state", started.state));
        fresh.push(("authorization_url", started.authorization_url));
    }
    Error::StateInvalid { fresh }
}

/// What a fresh start asks for: what the state's own did, when it was for the same purpose and is this caller's to know.
fn again(asked: Option<Ask>, answer: Answer<'_>) -> Ask {
    let same = |ask: &Ask| ask.link == answer.link && (answer.provider.is_empty() || ask.provider == answer.provider);
    asked.filter(same).unwrap_or_else(|| Ask {
        provider: answer.provider.to_owned(),
        redirect_uri: answer.redirect_uri.to_owned(),
        link: answer.link,
        ..Ask::default()
    })
}

fn authorize_path(ask: &Ask) -> String {
    let link = if ask.link.is_some() { "?link=true" } else { "" };
    format!("/api/v1/auth/authorize/{}{link}", ask.provider)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn pending() -> Pending {
        Pending {
            provider: "google".to_owned(),
            verifier: "v".to_owned(),
            nonce: "n".to_owned(),
            redirect_uri: "https://a/b".to_owned(),
            app_redirect_uri: "app://x".to_owned(),
            device_id: String::new(),
            device_name: String::new(),
            invite_code: String::new(),
            link: None,
            expires_at: 0,
        }
    }

    const ANSWER: Answer<'_> = Answer { provider: "google", code: "c", state: "s", redirect_uri: "", link: None };

    #[test]
    fn an_answer_of_another_provider_is_a_mix_up() {
        assert_eq!(fits(&pending(), ANSWER), Ok(()));
        assert_eq!(fits(&pending(), Answer { provider: "", ..ANSWER }), Ok(()));
        let mixed = Answer { provider: "kakao", ..ANSWER };
        assert_eq!(fits(&pending(), mixed), Err(AuthReason::ProviderMismatch));
    }

    #[test]
    fn a_state_links_only_the_account_that_started_it() {
        let (me, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let linking = Pending { link: Some(me), ..pending() };
        assert_eq!(fits(&linking, Answer { link: Some(me), ..ANSWER }), Ok(()));
        for (pending, link) in [(&linking, Some(other)), (&linking, None), (&pending(), Some(me))] {
            assert_eq!(fits(pending, Answer { link, ..ANSWER }), Err(AuthReason::OauthStateInvalid));
        }
    }

    #[test]
    fn the_redirect_uri_is_that_of_the_start() {
        let same = Answer { redirect_uri: "https://a/b", ..ANSWER };
        assert_eq!(fits(&pending(), same), Ok(()));
        let near = Answer { redirect_uri: "https://a/b/", ..ANSWER };
        assert_eq!(fits(&pending(), near), Err(AuthReason::RedirectUriNotAllowed));
    }

    #[test]
    fn a_fresh_start_asks_what_the_first_one_did_where_it_is_the_same_callers() {
        let (me, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let first = Ask {
            provider: "google".to_owned(),
            device_id: "the phone".to_owned(),
            invite_code: "5858".to_owned(),
            ..Ask::default()
        };
        assert_eq!(again(Some(first.clone()), ANSWER), first);
        assert_eq!(again(Some(first.clone()), Answer { provider: "", ..ANSWER }), first);
        let bare = |provider: &str, link| Ask { provider: provider.to_owned(), link, ..Ask::default() };
        assert_eq!(again(None, ANSWER), bare("google", None));
        assert_eq!(again(Some(first.clone()), Answer { provider: "kakao", ..ANSWER }), bare("kakao", None));
        let linking = Ask { link: Some(me), ..first };
        assert_eq!(again(Some(linking.clone()), ANSWER), bare("google", None), "whose link it was is not told");
        assert_eq!(again(Some(linking.clone()), Answer { link: Some(other), ..ANSWER }), bare("google", Some(other)));
        assert_eq!(
            authorize_path(&again(Some(linking), Answer { link: Some(me), ..ANSWER })),
            "/api/v1/auth/authorize/google?link=true"
        );
    }
}
