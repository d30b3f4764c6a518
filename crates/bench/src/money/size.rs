//! P19: the same purchase beside much more history. What grows is put into the tables as purchases would have left it, and the
//! raw form, whose tables stay as they are, tells what else became of the machine meanwhile.

use anyhow::Result;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{PEOPLE, Place, one};
use crate::report::{Row, median, spread};

/// Accounts and entries that are added: what a small machine seeds in a minute.
const ACCOUNTS: u64 = 1_000_000;
const ENTRIES_EACH: u64 = 3;

impl Place {
    pub(super) async fn larger(&self, rounds: usize) -> Result<Row> {
        let before = self.sized(rounds, PEOPLE, "small").await?;
        self.grow().await?;
        let after = self.sized(rounds, PEOPLE + ACCOUNTS, "large").await?;
        let ratio = median(&before) / median(&after);
        Ok(Row {
            id: "P19",
            what: format!(
                "Spend at {} more accounts and {} more entries, of the same before",
                ACCOUNTS,
                ACCOUNTS * ENTRIES_EACH
            ),
            measured: format!("{ratio:.2}"),
            aim: "≤ 1.3",
            met: ratio <= 1.3,
            detail: format!("of the one statement each time: {} before, {} after", spread(&before), spread(&after)),
        })
    }

    /// Purchases of the first `people` beside the one statement.
    async fn sized(&self, rounds: usize, people: u64, key: &'static str) -> Result<Vec<f64>> {
        let mut ratios = Vec::new();
        for round in 0..=rounds {
            let raw = self.raw(&one(PEOPLE))?.0;
            let (ours, _) = self.ours(key, round, people).await?;
            if round > 0 {
                ratios.push(ours / raw);
            }
        }
        Ok(ratios)
    }

    async fn grow(&self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.at.database).await?;
        // Ids as [`super::user`] makes them. The checks of the tables are for what services write.
        let id = format!("('00000070-0000-0000-0000-' || lpad(to_hex({PEOPLE} + one), 12, '0'))::uuid");
        let statements = [
            "set session_replication_role = replica".to_owned(),
            format!(
                "insert into wallet.accounts (owner, currency, balance, free, seq, hash, last_at)
                 select {id}, 1, 1000000000, 1000000000, {ENTRIES_EACH}, '\\x01', 'epoch'
                   from generate_series(0, {ACCOUNTS} - 1) one"
            ),
            format!(
                "insert into wallet.entries (owner, currency, seq, posting, delta, balance_after, hash, posted_at)
                 select {id}, 1, seq, gen_random_uuid(), 1, 1000000000 - {ENTRIES_EACH} + seq, '\\x01', 'epoch'
                   from generate_series(0, {ACCOUNTS} - 1) one, generate_series(1, {ENTRIES_EACH}) seq"
            ),
            "vacuum analyze wallet.accounts".to_owned(),
            "vacuum analyze wallet.entries".to_owned(),
            "checkpoint".to_owned(),
        ];
        for statement in statements {
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement))).await?;
        }
        Ok(connection.close().await?)
    }
}
