//! Ending sessions: recorded with their cause in one transaction, published after it, published again until it held.

use coreloop_core::{SessionId, UserId};
use jiff::SignedDuration;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Client, Error,
    events::{self, Event},
    store::{self, revocations::Revocation},
};

/// Why sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Their owner signed out.
    Logout,
    /// A traded refresh token came again.
    Reuse,
    /// The owner's roles were set.
    RoleChanged,
    /// An administrator locked the account.
    Locked,
    /// The password was changed or reset.
    PasswordChanged,
    /// The account was closed.
    Withdrawn,
    /// Their owner ended one from the list.
    Revoked,
}

impl Why {
    /// The constant in rows and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Reuse => "reuse",
            Self::RoleChanged => "role_changed",
            Self::Locked => "locked",
            Self::PasswordChanged => "password_changed",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
        }
    }
}

/// Which sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That one.
    One(SessionId),
    /// All but that one.
    AllBut(SessionId),
    /// All.
    All,
}

/// Sessions that were ended and are still to be announced: [`announce`] after the commit, or tokens stay good until the
/// worker does it.
#[derive(Debug, Default)]
#[must_use = "announce it after the commit"]
pub struct Revoked {
    /// What was recorded.
    pub rows: Vec<Revocation>,
    /// How many sessions were ended.
    pub sessions: usize,
    user: Option<UserId>,
}

/// Ends sessions of `user` in the caller's transaction and records the revocations and the facts. Lock the account's row
/// first (`store::users::lock`) where the act changes the account too.
///
/// # Errors
/// When the database fails.
pub async fn end(
    app: &App,
    conn: &mut PgConnection,
    user: UserId,
    which: Which,
    why: Why,
    client: &Client,
) -> Result<Revoked, Error> {
    // Lock order: users, then sessions.
    store::users::lock(conn, user).await?;
    let (only, except) = match which {
        Which::One(id) => (Some(id), None),
        Which::AllBut(id) => (None, Some(id)),
        Which::All => (None, None),
    };
    let now = app.now();
    let ended = store::sessions::end(conn, user, only, except, why.as_str(), now).await?;
    if ended.is_empty() {
        return Ok(Revoked::default());
    }
    // A token is believed for the leeway beyond its end; so is its revocation.
    let margin = SignedDuration::from_secs(app.rules.leeway_secs() + 1);
    let rows: Vec<Revocation> = ended
        .iter()
        .flat_map(|session| {
            let expires_at = session.access_expires_at.checked_add(margin).unwrap_or(session.access_expires_at);
            [
                Revocation { id: session.id.0, session: true, expires_at },
                Revocation { id: session.access_jti.0, session: false, expires_at },
            ]
        })
        .collect();
    store::revocations::insert(conn, user, why.as_str(), &rows, now).await?;
    events::record(app, conn, user, client, &facts(which, why, &ended)).await?;
    Ok(Revoked { rows, sessions: ended.len(), user: Some(user) })
}

fn facts(which: Which, why: Why, ended: &[store::sessions::Ended]) -> Vec<Event> {
    let sessions: Vec<Option<SessionId>> = match which {
        Which::All => vec![None],
        Which::One(id) => vec![Some(id)],
        Which::AllBut(_) => ended.iter().map(|session| Some(session.id)).collect(),
    };
    sessions
        .into_iter()
        .flat_map(|session| {
            let left = (why == Why::Logout).then_some(Event::UserLoggedOut { session });
            left.into_iter().chain([Event::TokenRevoked { session, reason: why.as_str() }])
        })
        .collect()
}

/// Publishes what [`end`] recorded; call it after the commit. When it answers, every replica that can be reached refuses
/// the tokens.
///
/// # Errors
/// `DEPENDENCY_UNAVAILABLE` when Redis does not take it: recorded it is, and the worker publishes it as soon as it can.
pub async fn announce(app: &App, revoked: Revoked) -> Result<(), Error> {
    if revoked.rows.is_empty() {
        return Ok(());
    }
    publish(app, &revoked.rows).await?;
    if let Some(user) = revoked.user {
        app.audits.forget(user, revoked.rows.iter().map(|row| row.id).collect());
    }
    Ok(())
}

/// Publishes rows and notes it.
pub(crate) async fn publish(app: &App, rows: &[Revocation]) -> Result<(), Error> {
    app.publish(rows).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    // Not noting it means publishing it once more, which changes nothing.
    if let Err(error) = store::revocations::published(&app.db, &ids, app.now()).await {
        tracing::warn!(%error, "published revocations could not be noted");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_out_everywhere_is_two_facts_whatever_the_number_of_sessions() {
        assert_eq!(
            facts(Which::All, Why::Logout, &[]),
            vec![Event::UserLoggedOut { session: None }, Event::TokenRevoked { session: None, reason: "logout" }]
        );
    }

    #[test]
    fn ending_one_by_reuse_is_one_fact() {
        let id = SessionId(Uuid::from_u128(7));
        assert_eq!(
            facts(Which::One(id), Why::Reuse, &[]),
            vec![Event::TokenRevoked { session: Some(id), reason: "reuse" }]
        );
    }
}
