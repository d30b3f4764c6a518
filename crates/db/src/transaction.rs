//! Transactions: begun before the deadline, committed last, rolled back when dropped.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::{DbError, deadline};

/// An open transaction. Give `&mut *tx` to statements; the last fallible line is [`Transaction::commit`]. Dropped
/// without it, everything is rolled back. Nothing remote is called while it is open.
#[derive(Debug)]
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Transaction(sqlx::Transaction<'static, Postgres>);

/// Begins a transaction, waiting for a connection no longer than the caller's deadline allows.
///
/// # Errors
/// [`DbError::Deadline`] when the deadline passes first; else what Postgres says.
pub async fn begin(pool: &PgPool) -> Result<Transaction, DbError> {
    if deadline::passed() {
        return Err(DbError::Deadline);
    }
    let begun = async { opened(pool.acquire().await?).await };
    match deadline::within(pool.options().get_acquire_timeout(), begun).await {
        Some(begun) => Ok(Transaction(begun?)),
        None if deadline::passed() => Err(DbError::Deadline),
        None => Err(DbError::Sqlx(sqlx::Error::PoolTimedOut)),
    }
}

/// `BEGIN`, in a task of its own: a caller who gives up does not cut it off. sqlx counts a transaction as open once Postgres
/// has said so; dropped before, it gives back a connection that nobody rolls back, and what the next caller writes on it
/// lasts only if some later transaction happens to commit. Here the answer is always heard, and then dropped.
async fn opened(connection: PoolConnection<Postgres>) -> Result<sqlx::Transaction<'static, Postgres>, sqlx::Error> {
    let begun = tokio::spawn(sqlx::Transaction::begin(connection, None));
    begun.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed))
}

impl Transaction {
    /// Makes it lasting. A transaction whose deadline has passed is rolled back instead: the caller has already been
    /// told that it failed.
    ///
    /// # Errors
    /// [`DbError::Deadline`], or what Postgres says; after a lost connection it is not known whether it lasted.
    pub async fn commit(self) -> Result<(), DbError> {
        if deadline::passed() {
            return Err(DbError::Deadline);
        }
        Ok(self.0.commit().await?)
    }

    /// Undoes it now rather than when the connection is next used.
    ///
    /// # Errors
    /// What Postgres says; it is undone all the same.
    pub async fn rollback(self) -> Result<(), DbError> {
        Ok(self.0.rollback().await?)
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
