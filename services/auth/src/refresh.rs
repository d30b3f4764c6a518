//! Trading a refresh token: the pure rule, and the act around it.
//!
//! A session knows its current refresh token and the one traded last. A genuine token that is neither is a replay, however
//! old, so nothing else needs to be remembered. Of any number of parallel uses one trades, under the session's row lock; the
//! others then find the token traded and are answered the same pair, or burn the session.

use coreloop_access::{
    Denied,
    token::{Subject, TokenKind},
};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::{Problem, SessionId, TokenId, UserId};
use jiff::{SignedDuration, Timestamp};

use crate::{
    App, Client, Error,
    audit::Audit,
    revoke::{self, Which, Why},
    session::{Draft, Tokens},
    store::{
        self,
        sessions::{Family, Trade},
        users::User,
    },
    vault::Vault,
};

/// Label of the key that a token yields for its successors.
const PAIR: &str = "coreloop refresh grace";

/// What becomes of a genuine refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is the session's current one: trade it.
    Trade,
    /// It was traded moments ago by the same device: its reply was lost, answer it again.
    Again,
    /// It was used before: somebody has a copy. The session burns.
    Burn,
    /// The session has ended.
    Ended,
}

/// Decides. `device` is the fingerprint of who presents the token.
#[must_use]
pub fn decide(family: &Family, token: TokenId, device: &[u8], now: Timestamp, grace: SignedDuration) -> Decision {
    if family.ended {
        return Decision::Ended;
    }
    if family.refresh_jti == Some(token.0) {
        return Decision::Trade;
    }
    let same_token = family.traded_jti == Some(token.0) && family.traded_pair.is_some();
    let same_device = family.traded_by.as_deref() == Some(device);
    let in_time = family.traded_at.is_some_and(|at| now.duration_since(at.to_jiff()) <= grace);
    if same_token && same_device && in_time { Decision::Again } else { Decision::Burn }
}

/// A refresh token that passed verification.
struct Presented<'a> {
    text: &'a str,
    id: TokenId,
    session: SessionId,
    user: UserId,
}

/// Trades `token`.
///
/// # Errors
/// `REFRESH_TOKEN_INVALID`, `REFRESH_TOKEN_REUSED`, [`Error::LockedByAdmin`]; `DEPENDENCY_UNAVAILABLE` while no key is known.
pub async fn refresh(app: &App, token: &str, client: &Client) -> Result<(Tokens, User), Error> {
    let presented = believe(app, token).await?;
    let mut tx = app.begin().await?;
    let family = store::sessions::lock_family(&mut tx, presented.session).await?.ok_or_else(invalid)?;
    if family.user_id != presented.user {
        return Err(invalid());
    }
    let user = store::users::find(&mut *tx, presented.user).await?.ok_or_else(invalid)?;
    let now = app.now();
    let grace = SignedDuration::from_secs(app.options.refresh_grace_secs.into());
    match decide(&family, presented.id, &client.fingerprint(), now, grace) {
        Decision::Trade if user.active() => {
            let tokens = trade(app, &mut tx, &presented, &user, client).await?;
            tx.commit().await?;
            Ok((tokens, user))
        }
        Decision::Trade if user.status == "locked" => Err(Error::LockedByAdmin),
        Decision::Again => Ok((unseal(&presented, family.traded_pair.as_deref().unwrap_or_default())?, user)),
        Decision::Trade | Decision::Ended => Err(invalid()),
        Decision::Burn => {
            tx.rollback().await?;
            burn(app, &presented, client).await?;
            Err(AuthReason::RefreshTokenReused.into())
        }
    }
}

fn invalid() -> Error {
    AuthReason::RefreshTokenInvalid.into()
}

async fn believe<'a>(app: &App, token: &'a str) -> Result<Presented<'a>, Error> {
    let (claims, _) = app.gate.verify(token.as_bytes()).await.map_err(|denied| match denied {
        Denied::KeysUnknown => Problem::from(denied).into(),
        _ => invalid(),
    })?;
    match (claims.kind, &claims.subject) {
        (TokenKind::Refresh, Subject::User { id, session }) => {
            Ok(Presented { text: token, id: claims.id, session: *session, user: *id })
        }
        _ => Err(invalid()),
    }
}

async fn trade(
    app: &App,
    conn: &mut sqlx::PgConnection,
    old: &Presented<'_>,
    user: &User,
    client: &Client,
) -> Result<Tokens, Error> {
    let now = app.now();
    let draft = Draft::new(app, old.session, user, false, now);
    let tokens = draft.sign(app)?;
    let plain = serde_json::to_vec(&tokens).map_err(|error| Error::Internal(error.to_string()))?;
    let pair = Vault::of_secret(PAIR, old.text.as_bytes())?.seal(&old.id.to_string(), &plain)?;
    let trade = Trade {
        id: old.session,
        old: old.id,
        refresh_jti: draft.refresh,
        access_jti: draft.access,
        access_expires_at: draft.access_expires_at,
        expires_at: draft.expires_at,
        client,
        pair: &pair,
    };
    store::sessions::trade(conn, &trade, now).await?;
    app.audits.issued(user.id, draft.access, draft.access_expires_at);
    Ok(tokens)
}

fn unseal(old: &Presented<'_>, sealed: &[u8]) -> Result<Tokens, Error> {
    let plain = Vault::of_secret(PAIR, old.text.as_bytes())?.open(&old.id.to_string(), sealed)?;
    serde_json::from_slice(&plain).map_err(|error| Error::Internal(error.to_string()))
}

async fn burn(app: &App, old: &Presented<'_>, client: &Client) -> Result<(), Error> {
    let mut tx = app.begin().await?;
    let revoked = revoke::end(app, &mut tx, old.user, Which::One(old.session), Why::Reuse, client).await?;
    tx.commit().await?;
    let audit = Audit::of(app, "refresh", client, crate::error::constant(AuthReason::RefreshTokenReused));
    app.audits.record(audit.user(old.user).token(old.id));
    tracing::warn!(user_id = %old.user, session_id = %old.session, "a refresh token was used again, its session ends");
    revoke::announce_later(app, revoked).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff_sqlx::ToSqlx as _;
    use rstest::rstest;
    use uuid::Uuid;

    use super::*;

    const CURRENT: u128 = 2;
    const TRADED: u128 = 1;

    fn family() -> Family {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Family {
            user_id: UserId(Uuid::from_u128(9)),
            refresh_jti: Some(Uuid::from_u128(CURRENT)),
            traded_jti: Some(Uuid::from_u128(TRADED)),
            traded_by: Some(b"phone".to_vec()),
            traded_at: Some(at.to_sqlx()),
            traded_pair: Some(vec![1]),
            ended: false,
        }
    }

    #[rstest]
    #[case::current(CURRENT, "phone", "2026-01-01T00:00:05Z", Decision::Trade)]
    #[case::current_on_another_device(CURRENT, "laptop", "2026-01-01T00:00:05Z", Decision::Trade)]
    #[case::lost_reply(TRADED, "phone", "2026-01-01T00:00:10Z", Decision::Again)]
    #[case::late(TRADED, "phone", "2026-01-01T00:00:10.001Z", Decision::Burn)]
    #[case::other_device(TRADED, "laptop", "2026-01-01T00:00:01Z", Decision::Burn)]
    #[case::older(7, "phone", "2026-01-01T00:00:01Z", Decision::Burn)]
    fn rule(#[case] token: u128, #[case] device: &str, #[case] now: &str, #[case] expected: Decision) {
        let grace = SignedDuration::from_secs(10);
        let token = TokenId(Uuid::from_u128(token));
        assert_eq!(decide(&family(), token, device.as_bytes(), now.parse().unwrap(), grace), expected);
        let ended = Family { ended: true, ..family() };
        assert_eq!(decide(&ended, token, device.as_bytes(), now.parse().unwrap(), grace), Decision::Ended);
    }

    #[test]
    fn only_the_old_token_opens_the_new_pair() {
        let tokens = Tokens { access: "a".into(), refresh: "r".into(), expires_in: 1, refresh_expires_in: 2 };
        let sealed = Vault::of_secret(PAIR, b"old token")
            .unwrap()
            .seal(&TokenId(Uuid::from_u128(1)).to_string(), &serde_json::to_vec(&tokens).unwrap())
            .unwrap();
        let presented = |text| Presented {
            text,
            id: TokenId(Uuid::from_u128(1)),
            session: SessionId(Uuid::from_u128(3)),
            user: UserId(Uuid::from_u128(9)),
        };
        assert_eq!(unseal(&presented("old token"), &sealed).unwrap(), tokens);
        assert!(unseal(&presented("another"), &sealed).is_err());
    }
}
