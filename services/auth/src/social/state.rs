//! What a sign-in knows between its two calls: `oauth:state:{state}` and the one-time login code. Each is taken by one
//! atomic GETDEL, so whoever comes second finds nothing; and Postgres remembers what was taken until it has expired, so a
//! Redis that comes back as it was a while ago brings nothing back. What a start asked for, without any secret, outlives its state at
//! `oauth:asked:{state}`: who comes too late or twice is offered a fresh start that asks the same.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coreloop_core::UserId;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::flow::Ask;
use crate::{
    App, Error,
    store::{processed, social::Standing},
    vault,
};

/// What a start asked for is remembered for so many lives of its state.
const ASKED_LIVES: u32 = 3;

/// A sign-in, or a link, that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Provider it was started with.
    pub provider: String,
    /// PKCE verifier; it is nowhere else.
    pub verifier: String,
    /// Nonce of OpenID Connect.
    pub nonce: String,
    /// Redirect URI the provider was given.
    pub redirect_uri: String,
    /// Deep link to return to.
    pub app_redirect_uri: String,
    /// Device that started.
    pub device_id: String,
    /// Its name.
    pub device_name: String,
    /// Invite code for a first sign-in.
    pub invite_code: String,
    /// Account that the social account is to be linked to; none: a sign-in.
    pub link: Option<UserId>,
    /// When it expires, in seconds since the epoch, by the service's clock.
    pub expires_at: i64,
}

/// A sign-in that was finished in the browser and waits for the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCode {
    /// Who signed in.
    pub user: UserId,
    /// By which provider.
    pub provider: String,
    /// By which identity there.
    pub provider_user_id: String,
    /// What the sign-in stood on: the code is worth nothing once that has changed.
    pub standing: Standing,
    /// The account is new.
    pub is_new: bool,
    /// Device that started; the code is its.
    pub device_id: String,
    /// Its name.
    pub device_name: String,
    /// When it expires, in seconds since the epoch, by the service's clock.
    pub expires_at: i64,
}

/// A fresh secret of 256 bits.
///
/// # Errors
/// When the machine has no randomness.
pub fn secret() -> Result<String, Error> {
    Ok(URL_SAFE_NO_PAD.encode(vault::random::<32>()?))
}

/// Whether a text can be one of ours at all; nothing else is looked up.
fn is_secret(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn state_key(state: &str) -> String {
    format!("oauth:state:{state}")
}

fn asked_key(state: &str) -> String {
    format!("oauth:asked:{state}")
}

/// By digest: who reads Redis cannot trade the code.
fn code_key(code: &str) -> String {
    format!("auth:login_code:{}", hashed(code))
}

fn hashed(secret: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

/// Keeps a started sign-in, and what it asked for.
///
/// # Errors
/// When Redis does not take it.
pub async fn keep(app: &App, state: &str, pending: &Pending, ask: &Ask) -> Result<(), Error> {
    let ttl_secs = app.social.state_ttl_secs;
    put(app, asked_key(state), ask, ttl_secs.saturating_mul(ASKED_LIVES)).await?;
    put(app, state_key(state), pending, ttl_secs).await
}

/// What the start of a state asked for, also when the state is used or expired.
///
/// # Errors
/// When Redis does not answer.
pub async fn asked(app: &App, state: &str) -> Result<Option<Ask>, Error> {
    if is_secret(state) { get(app, "GET", asked_key(state)).await } else { Ok(None) }
}

/// Takes a started sign-in. None when it is unknown, used or expired.
///
/// # Errors
/// When Redis or the database does not answer.
pub async fn take(app: &App, state: &str) -> Result<Option<Pending>, Error> {
    if !is_secret(state) {
        return Ok(None);
    }
    let pending: Option<Pending> = get(app, "GETDEL", state_key(state)).await?;
    match pending.filter(|pending| app.clock.unix() < pending.expires_at) {
        Some(pending) if first_use(app, "oauth_state", state, pending.expires_at).await? => Ok(Some(pending)),
        _ => Ok(None),
    }
}

/// Looks at a started sign-in without using it up.
///
/// # Errors
/// When Redis does not answer.
pub async fn look(app: &App, state: &str) -> Result<Option<Pending>, Error> {
    if !is_secret(state) {
        return Ok(None);
    }
    let pending: Option<Pending> = get(app, "GET", state_key(state)).await?;
    Ok(pending.filter(|pending| app.clock.unix() < pending.expires_at))
}

/// Keeps a finished sign-in and answers the code that stands for it.
///
/// # Errors
/// When Redis does not take it.
pub async fn keep_login(app: &App, login: &LoginCode) -> Result<String, Error> {
    let code = secret()?;
    put(app, code_key(&code), login, app.social.login_code_ttl_secs).await?;
    Ok(code)
}

/// Takes a finished sign-in. None when the code is unknown, used or expired.
///
/// # Errors
/// When Redis or the database does not answer.
pub async fn take_login(app: &App, code: &str) -> Result<Option<LoginCode>, Error> {
    if !is_secret(code) {
        return Ok(None);
    }
    let login: Option<LoginCode> = get(app, "GETDEL", code_key(code)).await?;
    match login.filter(|login| app.clock.unix() < login.expires_at) {
        Some(login) if first_use(app, "login_code", code, login.expires_at).await? => Ok(Some(login)),
        _ => Ok(None),
    }
}

/// Whether a secret, good until `expires_at`, is used for the first time. Nothing of it is kept but its digest.
async fn first_use(app: &App, kind: &str, secret: &str, expires_at: i64) -> Result<bool, Error> {
    let now = app.now();
    // The clocks of replicas may differ by a little.
    let until = now.checked_add(SignedDuration::from_secs(expires_at - now.as_second() + 60)).unwrap_or(now);
    processed::first(&app.db, &format!("{kind}:{}", hashed(secret)), now, until).await
}

async fn put<T: Serialize>(app: &App, key: String, value: &T, ttl_secs: u32) -> Result<(), Error> {
    let json = serde_json::to_string(value).map_err(|_| Error::Internal("a state cannot be written".into()))?;
    let mut connection = app.redis.connection();
    let mut command = redis::cmd("SET");
    command.arg(key).arg(json).arg("EX").arg(ttl_secs);
    app.redis.within(command.query_async(&mut connection)).await
}

async fn get<T: DeserializeOwned>(app: &App, command: &str, key: String) -> Result<Option<T>, Error> {
    let mut connection = app.redis.connection();
    let mut command = redis::cmd(command);
    command.arg(key);
    let json: Option<String> = app.redis.within(command.query_async(&mut connection)).await?;
    // What cannot be read was written by another version: as good as expired.
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_ours_is_looked_up() {
        let ours = secret().unwrap();
        assert!(is_secret(&ours));
        assert_ne!(ours, secret().unwrap());
        for other in ["", "x", "*", &"a".repeat(42), &"a".repeat(44), &format!("{}:", "a".repeat(42))] {
            assert!(!is_secret(other), "{other}");
        }
    }

    #[test]
    fn redis_never_holds_a_login_code() {
        let code = secret().unwrap();
        assert!(!code_key(&code).contains(&code));
    }
}
