//! What the databases hold, of one moment.

use anyhow::Result;
use coreloop_wallet_api::v1;
use prost::Message as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::market::Market;

/// A posting.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) kind: i16,
    pub(crate) caller: String,
    pub(crate) key: String,
    pub(crate) answer: v1::Posting,
    pub(crate) reverses: Option<Uuid>,
    /// What it belongs to.
    pub(crate) reference: String,
    /// Microseconds.
    pub(crate) posted_at: i64,
}

/// An entry.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Entry {
    pub(crate) owner: Uuid,
    pub(crate) currency: i16,
    pub(crate) seq: i64,
    pub(crate) posting: Uuid,
    pub(crate) delta: i64,
    pub(crate) balance_after: i64,
}

/// An account.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Account {
    pub(crate) owner: Uuid,
    pub(crate) currency: i16,
    pub(crate) house: Option<i16>,
    pub(crate) balance: i64,
}

/// A hold.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Hold {
    pub(crate) id: Uuid,
    pub(crate) currency: i16,
    pub(crate) amount: i64,
    pub(crate) state: String,
    /// Microseconds.
    pub(crate) expires_at: i64,
}

/// An effect at the witness.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Effect {
    pub(crate) event: Uuid,
    /// Number of the event in the outbox.
    pub(crate) number: i64,
    pub(crate) key: String,
    pub(crate) currency: i16,
    pub(crate) sequence: i64,
    pub(crate) delta: i64,
    pub(crate) balance_after: i64,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) postings: Vec<Row>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) holds: Vec<Hold>,
    /// In the order in which they came to be.
    pub(crate) effects: Vec<Effect>,
    /// Of the shop and rewards.
    pub(crate) market: Market,
    /// Commands that were acted on: to have a reward issued.
    pub(crate) commands: usize,
}

impl State {
    /// Reads it in one snapshot.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn read(database: &mut PgConnection) -> Result<Self> {
        let mut tx = database.begin_with("begin isolation level repeatable read read only").await?;
        type Raw = (Uuid, i16, String, String, Vec<u8>, Option<Uuid>, String, i64);
        let raw: Vec<Raw> = sqlx::query_as(
            "select id, kind, caller, key, answer, reverses, reference, (extract(epoch from posted_at) * 1000000)::bigint
             from wallet.postings where kind <> 11",
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut postings = Vec::with_capacity(raw.len());
        for (id, kind, caller, key, answer, reverses, reference, posted_at) in raw {
            let answer = v1::Posting::decode(answer.as_slice())?;
            postings.push(Row { id, kind, caller, key, answer, reverses, reference, posted_at });
        }
        let entries = sqlx::query_as(
            "select owner, currency, seq, posting, delta, balance_after from wallet.entries order by owner, currency, seq",
        )
        .fetch_all(&mut *tx)
        .await?;
        let accounts =
            sqlx::query_as("select owner, currency, house, balance from wallet.accounts").fetch_all(&mut *tx).await?;
        let holds = sqlx::query_as(
            "select id, currency, amount, state, (extract(epoch from expires_at) * 1000000)::bigint as expires_at
             from wallet.holds",
        )
        .fetch_all(&mut *tx)
        .await?;
        let effects = sqlx::query_as(
            "select event, number, key, currency, sequence, delta, balance_after from witness.effects order by place",
        )
        .fetch_all(&mut *tx)
        .await?;
        let market = Market::read(&mut tx).await?;
        let commands: i64 =
            sqlx::query_scalar("select count(*) from rewards.processed_events").fetch_one(&mut *tx).await?;
        let commands = usize::try_from(commands)?;
        tx.rollback().await?;
        Ok(Self { postings, entries, accounts, holds, effects, market, commands })
    }
}
