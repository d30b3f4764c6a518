//! Opening a session: the one way by which any sign-in ends.

use coreloop_access::{
    Role, Roles,
    token::{Claims, Purpose, Subject, TokenKind},
};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::{SessionId, TokenId, UserId};
use coreloop_db::Transaction;
use jiff::{SignedDuration, Timestamp};

use crate::{
    App, Client, Error,
    audit::Audit,
    events::{self, Event},
    revoke,
    store::{self, sessions::NewSession, users::User},
};

/// How a session is opened.
#[derive(Debug, Clone)]
pub struct SignIn<'a> {
    /// `password`, `admin`, `social` or `exchange`: the audit's method.
    pub method: &'a str,
    /// Provider of a social sign-in; else empty.
    pub provider: &'a str,
    /// Device and address.
    pub client: &'a Client,
    /// Opens an administrator's session: admin audience and key, minutes of life, no refresh token.
    pub admin: bool,
    /// The hash a password was verified against: refused when it was changed meanwhile.
    pub password_hash: Option<&'a str>,
    /// Facts to record before the sign-in, as [`Event::UserRegistered`].
    pub before: Vec<Event>,
}

impl<'a> SignIn<'a> {
    /// A user's sign-in by `method`.
    #[must_use]
    pub fn by(method: &'a str, client: &'a Client) -> Self {
        Self { method, provider: "", client, admin: false, password_hash: None, before: Vec::new() }
    }
}

/// A token pair as a response carries it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tokens {
    /// Access token.
    pub access: String,
    /// Refresh token; empty for administrators.
    pub refresh: String,
    /// Life of the access token in seconds.
    pub expires_in: i32,
    /// Life of the refresh token in seconds.
    pub refresh_expires_in: i32,
}

/// An opened session.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Session.
    pub session: SessionId,
    /// First access token.
    pub jti: TokenId,
    /// The pair.
    pub tokens: Tokens,
    /// The account, as of the sign-in.
    pub user: User,
}

/// Opens a session for `user` in `tx`, commits it, and queues the audit.
///
/// Of more sessions than `sessions_per_user` the one not used for longest ends.
///
/// The account's row is locked first, so a role change, a lock or a password change is either seen here or ends the new
/// session too.
///
/// # Errors
/// `INVALID_CREDENTIALS` when the account is gone or its password was changed meanwhile, [`Error::LockedByAdmin`].
pub async fn open(app: &App, mut tx: Transaction, user: UserId, sign_in: SignIn<'_>) -> Result<Opened, Error> {
    let account = admit(&mut tx, user, &sign_in).await?;
    let now = app.now();
    let draft = Draft::new(app, SessionId(app.ids.uuid()), &account, sign_in.admin, now);
    let tokens = draft.sign(app)?;
    store::sessions::insert(&mut tx, &draft.row(&sign_in), now).await?;
    let method = if sign_in.provider.is_empty() { sign_in.method } else { sign_in.provider };
    let mut facts = sign_in.before.clone();
    facts.push(Event::UserLoggedIn { method: method.to_owned(), session: draft.session });
    events::record(app, &mut tx, user, sign_in.client, &facts).await?;
    let ended = revoke::end_beyond(app, &mut tx, user, app.options.sessions_per_user, sign_in.client).await?;
    tx.commit().await?;
    revoke::announce_later(app, ended).await;
    app.watches.changed(account.id);
    let audit = Audit::of(app, sign_in.method, sign_in.client, "ok");
    app.metrics.active_sessions.inc();
    app.audits.signed_in(audit.user(user).provider(sign_in.provider).token(draft.access), draft.access_expires_at);
    let user = User { last_login_at: Some(now.into()), ..account };
    Ok(Opened { session: draft.session, jti: draft.access, tokens, user })
}

/// The account, locked, if it may sign in.
async fn admit(tx: &mut Transaction, user: UserId, sign_in: &SignIn<'_>) -> Result<User, Error> {
    let refused = || Error::from(AuthReason::InvalidCredentials);
    let (account, hash) = store::users::lock_with_hash(tx, user).await?.ok_or_else(refused)?;
    if sign_in.password_hash.is_some() && sign_in.password_hash != hash.as_deref() {
        return Err(refused());
    }
    match account.status.as_str() {
        "active" if !sign_in.admin || account.roles().has(Role::Admin) => Ok(account),
        "locked" => Err(Error::LockedByAdmin),
        _ => Err(refused()),
    }
}

/// A pair about to be signed.
pub(crate) struct Draft {
    pub(crate) session: SessionId,
    user: UserId,
    roles: Roles,
    admin: bool,
    pub(crate) access: TokenId,
    pub(crate) refresh: TokenId,
    now: Timestamp,
    pub(crate) access_expires_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

impl Draft {
    pub(crate) fn new(app: &App, session: SessionId, user: &User, admin: bool, now: Timestamp) -> Self {
        let access_ttl = if admin { app.options.admin_ttl_secs } else { app.options.access_ttl_secs };
        let access_expires_at = later(now, access_ttl);
        let expires_at = if admin { access_expires_at } else { later(now, app.options.refresh_ttl_secs) };
        Self {
            session,
            user: user.id,
            roles: token_roles(user.roles(), admin),
            admin,
            access: TokenId(app.ids.uuid()),
            refresh: TokenId(app.ids.uuid()),
            now,
            access_expires_at,
            expires_at,
        }
    }

    fn claims(&self, app: &App, kind: TokenKind, id: TokenId, expires_at: Timestamp) -> Result<Claims, Error> {
        let audience = app.rules.audience(kind).ok_or_else(|| Error::Internal("the kind has no audience".into()))?;
        Ok(Claims {
            kind,
            issuer: app.rules.issuer().clone(),
            audience: audience.clone(),
            subject: Subject::User { id: self.user, session: self.session },
            id,
            roles: self.roles,
            issued_at: self.now.as_second(),
            not_before: self.now.as_second(),
            expires_at: expires_at.as_second(),
        })
    }

    pub(crate) fn sign(&self, app: &App) -> Result<Tokens, Error> {
        let kind = if self.admin { TokenKind::Admin } else { TokenKind::Access };
        let purpose = if self.admin { Purpose::Admin } else { Purpose::User };
        let signer = app.keys.signer(purpose)?;
        let access = signer.sign(&self.claims(app, kind, self.access, self.access_expires_at)?)?;
        let refresh = if self.admin {
            String::new()
        } else {
            signer.sign(&self.claims(app, TokenKind::Refresh, self.refresh, self.expires_at)?)?
        };
        Ok(Tokens {
            access,
            refresh,
            expires_in: seconds(self.now, self.access_expires_at),
            refresh_expires_in: if self.admin { 0 } else { seconds(self.now, self.expires_at) },
        })
    }

    fn row<'a>(&self, sign_in: &'a SignIn<'_>) -> NewSession<'a> {
        NewSession {
            id: self.session,
            user: self.user,
            audience: if self.admin { "admin" } else { "user" },
            method: sign_in.method,
            provider: sign_in.provider,
            client: sign_in.client,
            access_jti: self.access,
            access_expires_at: self.access_expires_at,
            refresh_jti: (!self.admin).then_some(self.refresh),
            expires_at: self.expires_at,
        }
    }
}

/// The roles a token carries: ADMIN counts only after the second factor, so a user's token never has it.
fn token_roles(roles: Roles, admin: bool) -> Roles {
    roles.iter().filter(|role| admin || *role != Role::Admin).collect()
}

fn later(now: Timestamp, secs: u32) -> Timestamp {
    // Whole seconds, as the claims have them: the row never outlives the token.
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    whole.checked_add(SignedDuration::from_secs(i64::from(secs))).unwrap_or(Timestamp::MAX)
}

fn seconds(from: Timestamp, to: Timestamp) -> i32 {
    i32::try_from(to.as_second() - from.as_second()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_token_never_carries_the_admin_role() {
        let roles: Roles = [Role::Standard, Role::Admin].into_iter().collect();
        assert!(!token_roles(roles, false).has(Role::Admin));
        assert!(token_roles(roles, true).has(Role::Admin));
    }

    #[test]
    fn ends_are_whole_seconds() {
        let now: Timestamp = "2026-01-01T00:00:00.9Z".parse().unwrap();
        assert_eq!(later(now, 10).to_string(), "2026-01-01T00:00:10Z");
    }
}
