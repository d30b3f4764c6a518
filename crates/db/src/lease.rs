//! Leases: one of many replicas does a piece of work, by a Postgres advisory lock.
//!
//! The lock belongs to a connection of its own, so it is given up when the holder dies: at once when its process ends,
//! after twenty seconds when its machine does not answer any more (Postgres asks, and nobody else has to), and after a
//! silence that it sets itself when its process stands still ([`Lease::expire_after`]). A holder that
//! was cut off may overlap with its successor for that long: work under a lease is safe to repeat, the lease only keeps it
//! from being done in vain.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgExecutor, PgPool};

use crate::DbError;

/// A holder waits so long for Postgres to hear that it gives up.
const PARTING: Duration = Duration::from_secs(2);

/// A held lease; given up when dropped.
#[derive(Debug)]
pub struct Lease {
    connection: PgConnection,
}

impl Lease {
    /// Takes the lease `name` (as `auth.rotate_keys`) unless another holds it.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn try_take(pool: &PgPool, name: &str) -> Result<Option<Self>, DbError> {
        let mut connection = pool.acquire().await?;
        if !lock(&mut connection, name).await? {
            return Ok(None);
        }
        // Out of the pool, so that nobody is handed a connection that holds a lock.
        Ok(Some(Self { connection: connection.detach() }))
    }

    /// Whether it is still held. Asked before each piece of work.
    pub async fn held(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }

    /// Takes it from a holder that says nothing for so long: one whose process stands still keeps its connection, and so
    /// the lease, as long as it stands. [`Lease::held`] is to be asked several times as often.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn expire_after(&mut self, silence: Duration) -> Result<(), DbError> {
        sqlx::query("select set_config('idle_session_timeout', $1, false)")
            .bind(silence.as_millis().to_string())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// The connection that holds it: what is written here is written while the lease is held, or not at all.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives it up; another may take it from now on. (A closed connection alone frees its locks only a little later.) Where
    /// Postgres says nothing the connection is dropped, and the holder can begin again.
    pub async fn give_up(mut self) {
        let freed = async {
            let _freed_with_the_connection_else =
                sqlx::query("select pg_advisory_unlock_all()").execute(&mut self.connection).await;
            let _already_gone_is_as_good = self.connection.close().await;
        };
        let _dropped_is_as_good = tokio::time::timeout(PARTING, freed).await;
    }
}

/// Something that one replica does for all now and then, as looking at every row. When it was last done stands in the table `sweeps`
/// (`name` its key, `done_at`) of the service's schema, so that it is done as often whoever does it.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The service's schema.
    pub schema: &'static str,
    /// What it is called there; with the schema, the name of its lease.
    pub name: &'static str,
}

impl Sweep {
    /// Does `work` where no other replica is at it; answers whether it was done.
    ///
    /// # Errors
    /// Those of `work`; what Postgres says.
    pub async fn alone<E: From<DbError>>(
        self,
        pool: &PgPool,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<bool, E> {
        let Some(lease) = Lease::try_take(pool, &format!("{}.{}", self.schema, self.name)).await? else {
            return Ok(false);
        };
        let outcome = work.await;
        lease.give_up().await;
        outcome.map(|()| true)
    }

    /// Whether it was not done since a time.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn is_due(self, db: impl PgExecutor<'_>, since: Timestamp) -> Result<bool, DbError> {
        let sql = format!("select not exists (select from {}.sweeps where name = $1 and done_at > $2)", self.schema);
        let due = sqlx::query_scalar(AssertSqlSafe(sql)).bind(self.name).bind(since.to_sqlx());
        Ok(due.fetch_one(db).await?)
    }

    /// It was done.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn done(self, db: impl PgExecutor<'_>, now: Timestamp) -> Result<(), DbError> {
        let sql = format!(
            "insert into {}.sweeps (name, done_at) values ($1, $2)
             on conflict on constraint sweeps_pkey do update set done_at = excluded.done_at",
            self.schema
        );
        sqlx::query(AssertSqlSafe(sql)).bind(self.name).bind(now.to_sqlx()).execute(db).await?;
        Ok(())
    }
}

async fn lock(connection: &mut PgConnection, name: &str) -> Result<bool, DbError> {
    let taken: (bool,) = sqlx::query_as(
        "select pg_try_advisory_lock($1) from (
             select set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '5', false),
                    set_config('tcp_keepalives_count', '3', false)
             offset 0) as noticed_when_gone",
    )
    .bind(key(name))
    .fetch_one(connection)
    .await?;
    Ok(taken.0)
}

/// Takes the lease `name` for the rest of the transaction of `connection`; false when another holds it.
///
/// # Errors
/// What Postgres says.
pub async fn in_transaction(connection: &mut PgConnection, name: &str) -> Result<bool, DbError> {
    let taken: (bool,) =
        sqlx::query_as("select pg_try_advisory_xact_lock($1)").bind(key(name)).fetch_one(connection).await?;
    Ok(taken.0)
}

/// FNV-1a of the name: stable across builds, which the standard hasher is not.
pub(crate) fn key(name: &str) -> i64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_stable() {
        assert_eq!(super::key(""), 0xcbf2_9ce4_8422_2325_u64.cast_signed());
        assert_eq!(super::key("a"), 0xaf63_dc4c_8601_ec8c_u64.cast_signed());
    }
}
