//! Tables that begin empty and are full a minute later.
//!
//! A connection plans a statement when it first comes and keeps the plan, until statistics of its tables change. What was planned
//! over an empty table reads the whole of it for one key, and goes on so when there are a million rows; autovacuum comes by
//! once a minute. So whoever writes tells how much it wrote, and each time that it is four times as much the tables are
//! looked at anew, beside the writes and in nobody's way.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use sqlx::{AssertSqlSafe, PgPool};

/// Rows after which tables are first looked at.
const FIRST: u64 = 256;
/// Rows after which that is autovacuum's alone.
const LAST: u64 = 2_000_000;

/// Counts what a process writes into some tables. Clones count together.
#[derive(Debug, Clone)]
pub struct Growth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: PgPool,
    statement: Arc<str>,
    rows: AtomicU64,
    next: AtomicU64,
}

impl Growth {
    /// Of `tables`, which belong to the role of `db`, each with a column that rows are found by: `["shop.purchases (id)"]`. How
    /// many rows there are is what matters; the other columns are left to autovacuum.
    #[must_use]
    pub fn of(db: PgPool, tables: &[&str]) -> Self {
        let statement = format!("analyze {}", tables.join(", ")).into();
        Self(Arc::new(Inner { db, statement, rows: AtomicU64::new(0), next: AtomicU64::new(FIRST) }))
    }

    /// So many rows more were written into one of them.
    pub fn wrote(&self, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or_default();
        if self.0.count(rows) {
            let inner = Arc::clone(&self.0);
            tokio::spawn(async move {
                let look = sqlx::query(AssertSqlSafe(Arc::clone(&inner.statement)));
                let _autovacuum_does_what_failed = look.execute(&inner.db).await;
            });
        }
    }
}

impl Inner {
    /// Whether it is time to look: one caller is told so.
    fn count(&self, rows: u64) -> bool {
        let (total, next) = (self.rows.fetch_add(rows, Relaxed).saturating_add(rows), self.next.load(Relaxed));
        let after = std::iter::successors(Some(next), |next| next.checked_mul(4)).find(|next| *next > total);
        total >= next
            && next < LAST
            && self.next.compare_exchange(next, after.unwrap_or(LAST), Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_time_it_is_four_times_as_much() {
        let db = PgPool::connect_lazy("postgres://nobody@localhost/none").unwrap();
        let growth = Growth::of(db, &["a.b (id)", "a.c (id)"]);
        assert_eq!(&*growth.0.statement, "analyze a.b (id), a.c (id)");
        let told: Vec<u64> = (1..=20_000_u64).filter(|_| growth.0.count(1)).collect();
        assert_eq!(told, [256, 1_024, 4_096, 16_384]);
        // A leap is one look; in the end it is autovacuum's.
        assert!(growth.0.count(1_000_000) && !growth.0.count(1));
        assert!(growth.0.count(20_000_000) && !growth.0.count(20_000_000));
    }
}
