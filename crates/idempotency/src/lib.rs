//! Same key, same effect, same answer: claim, replay, expire, with a body hash.
//!
//! A row a key, in the schema of the service, written in the transaction of the effect it guards: either both last or
//! neither. Who is first is decided by Postgres, by a transaction lock on the key that is tried, never waited for, so a
//! second call learns at once that the first still runs. The scope of a key is its user and RPC, so that no user can
//! read another's answers. Rejected: Redis, because an answer must not be lost while its effect lasts.
//!
//! The table, to be put in a migration of each service that uses it:
//! ```sql
//! create table auth.idempotency_keys (
//!     user_id    uuid        not null,
//!     rpc        text        not null,
//!     key        text        not null,
//!     body_hash  bytea       not null,
//!     answer     bytea,
//!     claimed_at timestamptz not null,
//!     expires_at timestamptz not null,
//!     constraint idempotency_keys_pkey primary key (user_id, rpc, key)
//! );
//! create index idempotency_keys_expires_at_idx on auth.idempotency_keys (expires_at);
//! ```
//! Of use in a handler:
//! ```text
//! let mut tx = db::begin(&pool).await?;
//! if let Claim::Replay(answer) = keys.claim(&mut tx, &scope, &body, now).await? {
//!     return decode(answer);
//! }
//! … the effect …
//! keys.finish(&mut tx, &scope, &reply.encode_to_vec()).await?;
//! tx.commit().await?;
//! ```

mod error;
mod store;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

pub use error::Error;

/// Longest key accepted, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// Whose key it is and for what.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The caller.
    pub user: Uuid,
    /// Full name of the RPC, as `coreloop.auth.v1.AuthService/SignUp`.
    pub rpc: &'a str,
    /// The key as sent.
    pub key: &'a str,
}

/// The outcome of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// This call is the first: do the work.
    First,
    /// An earlier call claimed the key in a transaction of its own and did not finish in time: take its work up.
    Resumed,
    /// The work was done; this is its answer.
    Replay(Vec<u8>),
}

/// The keys of one service.
#[derive(Debug, Clone)]
pub struct Keys {
    sql: store::Statements,
    keep: SignedDuration,
    running: SignedDuration,
}

impl Keys {
    /// Keys in the table `<schema>.idempotency_keys`, kept for a day; a claim that was committed without an answer is
    /// taken up again after a minute.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(schema: &str) -> Result<Self, Error> {
        let plain =
            !schema.is_empty() && schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            return Err(Error::Schema(schema.to_owned()));
        }
        Ok(Self {
            sql: store::Statements::of(schema),
            keep: SignedDuration::from_hours(24),
            running: SignedDuration::from_mins(1),
        })
    }

    /// Keeps answers for `keep`, and takes up unfinished claims after `running`.
    #[must_use]
    pub fn lasting(mut self, keep: SignedDuration, running: SignedDuration) -> Self {
        (self.keep, self.running) = (keep, running);
        self
    }

    /// Claims the key in the transaction of `connection`. `body` is the request without the key, in an encoding that is
    /// the same for the same request.
    ///
    /// # Errors
    /// [`Error::Reused`] when the key came with another body, [`Error::InProgress`] while the first call runs.
    pub async fn claim(
        &self,
        connection: &mut PgConnection,
        scope: &Scope<'_>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Claim, Error> {
        if scope.key.is_empty() || scope.key.len() > MAX_KEY_BYTES {
            return Err(Error::Key);
        }
        let hash = hash(body);
        let expires = now.saturating_add(self.keep).unwrap_or(Timestamp::MAX);
        let tried = store::claim(connection, &self.sql, scope, &hash, now, expires).await?;
        if !tried.locked {
            return Err(Error::InProgress);
        }
        if tried.claimed {
            return Ok(Claim::First);
        }
        let row = store::read(connection, &self.sql, scope).await?.ok_or(Error::InProgress)?;
        if row.body_hash != hash {
            return Err(Error::Reused);
        }
        if let Some(answer) = row.answer {
            return Ok(Claim::Replay(answer));
        }
        if row.claimed_at.saturating_add(self.running).unwrap_or(Timestamp::MAX) > now {
            return Err(Error::InProgress);
        }
        store::claim_again(connection, &self.sql, scope, now).await?;
        Ok(Claim::Resumed)
    }

    /// Records the answer of a claimed key, in the transaction of the effect.
    ///
    /// # Errors
    /// What Postgres says; [`Error::NotClaimed`] for a key that was never claimed.
    pub async fn finish(&self, connection: &mut PgConnection, scope: &Scope<'_>, answer: &[u8]) -> Result<(), Error> {
        if store::finish(connection, &self.sql, scope, answer).await? { Ok(()) } else { Err(Error::NotClaimed) }
    }

    /// The answer recorded for a key, if any; for reads outside a claim.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn replay(&self, connection: &mut PgConnection, scope: &Scope<'_>) -> Result<Option<Vec<u8>>, Error> {
        Ok(store::read(connection, &self.sql, scope).await?.and_then(|row| row.answer))
    }

    /// Deletes up to `most` keys past their time; answers how many. A worker calls it until it answers fewer.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn sweep(&self, connection: &mut PgConnection, now: Timestamp, most: i64) -> Result<u64, Error> {
        Ok(store::sweep(connection, &self.sql, now, most).await?)
    }
}

/// SHA-256 of a request.
fn hash(body: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, body).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_plain() {
        assert!(Keys::new("auth").is_ok());
        for schema in ["", "a.b", "a;", "A"] {
            assert!(Keys::new(schema).is_err(), "{schema}");
        }
    }
}
