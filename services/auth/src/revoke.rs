//! Ending sessions: recorded with their cause in one transaction, published after it, published again until it held.

use std::sync::Arc;

use coreloop_access::{RevocationWriter, revocation::Revoked as What};
use coreloop_core::{Clock, Problem, SessionId, TokenId, UserId};
use jiff::SignedDuration;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    App, Client, Error,
    events::{self, Event},
    store::{self, revocations::Revocation, sessions::End},
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
    /// Their owner signed in once more than there may be sessions.
    TooMany,
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
            Self::TooMany => "too_many",
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
    let ending = End { user, only, except, reason: why.as_str(), now, live_after: app.live_after() };
    let ended = store::sessions::end(conn, ending).await?;
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
    app.metrics.active_sessions.dec_by(i64::try_from(ended.len()).unwrap_or(0));
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

/// Ends the sessions of `user` that are not among the `most` used last, as [`end`] does: called with the account's row
/// locked, so two sign-ins never leave one too many.
///
/// # Errors
/// When the database fails.
pub async fn end_beyond(
    app: &App,
    conn: &mut PgConnection,
    user: UserId,
    most: u32,
    client: &Client,
) -> Result<Revoked, Error> {
    let mut all = Revoked::default();
    for id in store::sessions::beyond(conn, user, most.into(), app.live_after()).await? {
        let ended = end(app, conn, user, Which::One(id), Why::TooMany, client).await?;
        all.rows.extend(ended.rows);
        all.sessions += ended.sessions;
        all.user = ended.user.or(all.user);
    }
    Ok(all)
}

/// Publishes what [`end`] recorded; call it after the commit. When it answers, no replica that follows accepts the tokens.
/// It goes on when the caller goes away.
///
/// # Errors
/// `DEPENDENCY_UNAVAILABLE` when Redis does not take it: recorded it is, and the worker publishes it as soon as it can.
pub async fn announce(app: &App, revoked: Revoked) -> Result<(), Error> {
    if revoked.rows.is_empty() {
        return Ok(());
    }
    if let Some(user) = revoked.user {
        app.audits.forget(user, revoked.rows.iter().map(|row| row.id).collect());
        app.watches.changed(user);
    }
    let publisher = app.publisher.clone();
    let published = tokio::spawn(async move { publisher.publish(&revoked.rows).await });
    published.await.map_err(|error| Error::Internal(error.to_string()))?
}

/// [`announce`] where the caller's act stands whatever becomes of it: a failure is logged and left to the worker.
pub async fn announce_later(app: &App, revoked: Revoked) {
    if let Err(error) = announce(app, revoked).await {
        tracing::warn!(%error, "revocations are recorded but not yet published");
    }
}

/// Makes revocations known, and notes that they are.
#[derive(Debug, Clone)]
pub struct Publisher {
    db: PgPool,
    writer: RevocationWriter,
    clock: Arc<dyn Clock>,
    rebuild: Arc<Notify>,
}

impl Publisher {
    /// A publisher over the process's writer.
    #[must_use]
    pub fn new(db: PgPool, writer: RevocationWriter, clock: Arc<dyn Clock>) -> Self {
        Self { db, writer, clock, rebuild: Arc::new(Notify::new()) }
    }

    /// Publishes `rows`.
    ///
    /// # Errors
    /// `DEPENDENCY_UNAVAILABLE` when Redis does not take them; this process refuses them all the same.
    pub async fn publish(&self, rows: &[Revocation]) -> Result<(), Error> {
        let fast: Vec<_> = rows.iter().map(fast_form).collect();
        let written = self.writer.revoke(&fast).await.map_err(away)?;
        if written.needs_rebuild {
            self.rebuild.notify_one();
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        // Not noting it means publishing it once more, which changes nothing.
        if let Err(error) = store::revocations::published(&self.db, &ids, self.clock.now()).await {
            tracing::warn!(%error, "published revocations could not be noted");
        }
        Ok(())
    }

    /// Publishes what is recorded and was not published; answers how many.
    ///
    /// # Errors
    /// When a store does not answer.
    pub async fn catch_up(&self) -> Result<usize, Error> {
        let rows = store::revocations::unpublished(&self.db, BATCH, self.clock.now()).await?;
        if !rows.is_empty() {
            self.publish(&rows).await?;
        }
        Ok(rows.len())
    }

    /// Fills a Redis that lost its data from what is recorded. Answers whether it had to.
    ///
    /// # Errors
    /// When a store does not answer.
    pub async fn rebuild_if_lost(&self) -> Result<bool, Error> {
        let Some(run) = self.writer.needs_rebuild().await.map_err(away)? else { return Ok(false) };
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let rows = store::revocations::live(&self.db, after, BATCH, self.clock.now()).await?;
            after = rows.last().map(|row| row.id);
            all.extend(rows.iter().map(fast_form));
            if rows.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                break;
            }
        }
        self.writer.rebuild(&run, &all).await.map_err(away)?;
        tracing::info!(revocations = all.len(), "revocations rebuilt in redis");
        Ok(true)
    }

    /// Tells every replica to read the keys again, and waits until the attentive ones were told.
    pub async fn keys_changed(&self) {
        match self.writer.announce_keys().await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("a replica was not told of the keys in time; it will notice at its next look"),
            Err(error) => tracing::warn!(%error, "replicas will notice the keys at their next look"),
        }
    }

    /// Waits until a writer finds Redis without its data.
    pub async fn lost(&self) {
        self.rebuild.notified().await;
    }
}

/// Rows read or published at once.
const BATCH: i64 = 1_000;

fn fast_form(row: &Revocation) -> coreloop_access::Revocation {
    let what = if row.session { What::Session(SessionId(row.id)) } else { What::Token(TokenId(row.id)) };
    coreloop_access::Revocation { what, expires_at: row.expires_at.as_second() }
}

fn away(error: coreloop_access::revocation::WriteError) -> Error {
    Problem::unavailable("redis does not answer", error).into()
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
