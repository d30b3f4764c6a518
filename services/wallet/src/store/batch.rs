//! A batch: what it needs, locked and read in one trip, and all that became of it, written in one more.

use coreloop_planted::{self as planted, Bug};
use coreloop_wallet_api::v1;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    Error,
    books::{Account, Books, EntryRow, FactRow, Held, Known, Loaded},
    funds::{Lot, Micros, Part},
    order::{Currency, Key},
};

/// What a batch is about.
#[derive(Debug, Default)]
pub struct Needs {
    /// Accounts to lock, in order.
    pub accounts: Vec<Key>,
    /// Ids of the orders.
    pub ids: Vec<Uuid>,
    /// Postings that are to be reversed.
    pub originals: Vec<Uuid>,
    /// Holds that are to end.
    pub holds: Vec<Uuid>,
}

/// Locks the accounts in the order of their keys, makes those that are missing, and reads what is known.
///
/// # Errors
/// When the database fails.
pub async fn open(conn: &mut PgConnection, needs: &Needs) -> Result<Loaded, Error> {
    let (owners, currencies): (Vec<Uuid>, Vec<Currency>) = needs.accounts.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"select what as "what!", id as "id!", currency, numbers, bytes, more from wallet.open($1, $2, $3, $4, $5)"#,
        &owners,
        &currencies,
        &needs.ids,
        &needs.originals,
        &needs.holds,
    )
    .fetch_all(conn)
    .await?;
    let mut loaded = Loaded::default();
    for row in rows {
        let key = (row.id, row.currency.unwrap_or_default());
        let (numbers, bytes) = (row.numbers.unwrap_or_default(), row.bytes.unwrap_or_default());
        match (row.what.as_str(), numbers.as_slice()) {
            ("account", [balance, free, paid, seq, last_at]) => {
                let account = loaded.accounts.entry(key).or_default();
                (account.balance, account.seq, account.last_at, account.hash) = (*balance, *seq, *last_at, bytes);
                put(account, Lot::FREE, *free)?;
                put(account, Lot::PAID, *paid)?;
            }
            ("lot", [expires_at, paid, remaining]) => {
                let lot = Lot { paid: *paid != 0, expires_at: *expires_at };
                put(loaded.accounts.entry(key).or_default(), lot, *remaining)?;
            }
            ("posting", [kind]) => {
                let kind = i16::try_from(*kind).unwrap_or_default();
                let answer = row.more.unwrap_or_default();
                loaded.postings.insert(row.id, Known { kind, body_hash: bytes, answer });
            }
            ("reversed", _) => {
                loaded.reversed.insert(row.id);
            }
            ("hold", [_, expires_at, open]) => {
                loaded.holds.insert(row.id, Held { expires_at: *expires_at, open: *open != 0 });
            }
            _ => return Err(Error::Corrupt("an unknown row of wallet.open")),
        }
    }
    for account in loaded.accounts.values_mut() {
        account.before = account.funds.clone();
    }
    Ok(loaded)
}

fn put(account: &mut Account, lot: Lot, amount: i64) -> Result<(), Error> {
    if amount == 0 || account.funds.put(&[Part { lot, amount }], i64::MAX) {
        return Ok(());
    }
    Err(Error::Corrupt("an account holds more than can be counted"))
}

/// Microseconds as Postgres takes them.
pub(crate) fn time(at: Micros) -> jiff_sqlx::Timestamp {
    Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX).to_sqlx()
}

/// A column of what is written: one value of each row.
fn column<R, V>(rows: &[R], value: impl FnMut(&R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

/// Writes what became of a batch. Everything is one statement: a posting without its entries cannot be.
///
/// # Errors
/// When the database fails, or finds that what is written does not add up.
#[expect(clippy::too_many_lines, reason = "one statement, and the columns it takes")]
pub async fn write(conn: &mut PgConnection, books: &Books, ids: &[Uuid]) -> Result<(), Error> {
    let written = &books.written;
    let postings = &written.postings;
    let entries: &[EntryRow] = if planted::on(Bug::NoEntry) { &[] } else { &written.entries };
    let (made, settled, facts) = (&written.made, &written.settled, &written.facts);
    let accounts: Vec<(Key, &Account)> = books.changed().collect();
    let lots: Vec<((Key, Lot), i64)> = books.changed_lots().into_iter().collect();
    let (kept, gone): (Vec<_>, Vec<_>) = lots.into_iter().partition(|(_, amount)| *amount > 0);
    let expiring = |account: &Account| {
        account.funds.total().unwrap_or_default() - account.funds.of(Lot::FREE) - account.funds.of(Lot::PAID)
    };
    sqlx::query!(
        r#"
        with post as (
            insert into wallet.postings
                (id, kind, caller, key, actor, reason, reference, body_hash, answer, reverses, posted_at)
            select * from unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                                 $8::bytea[], $9::bytea[], $10::uuid[], $11::timestamptz[])
        ), account as (
            update wallet.accounts a
               set balance = v.balance, free = v.free, paid = v.paid, expiring = v.expiring, seq = v.seq, hash = v.hash,
                   last_at = v.last_at
              from unnest($12::uuid[], $13::smallint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
                          $18::bigint[], $19::bytea[], $20::timestamptz[])
                   as v(owner, currency, balance, free, paid, expiring, seq, hash, last_at)
             where a.owner = v.owner and a.currency = v.currency
        ), lot as (
            insert into wallet.lots (owner, currency, expires_at, paid, remaining)
            select * from unnest($21::uuid[], $22::smallint[], $23::timestamptz[], $24::boolean[], $25::bigint[])
            on conflict on constraint lots_pkey do update set remaining = excluded.remaining
        ), empty_lot as (
            delete from wallet.lots l
             using unnest($26::uuid[], $27::smallint[], $28::timestamptz[], $29::boolean[])
                   as v(owner, currency, expires_at, paid)
             where l.owner = v.owner and l.currency = v.currency and l.expires_at = v.expires_at and l.paid = v.paid
        ), hold as (
            insert into wallet.holds (id, owner, currency, amount, expires_at, state, settled_by)
            select * from unnest($30::uuid[], $31::uuid[], $32::smallint[], $33::bigint[], $34::timestamptz[], $35::text[],
                                 $36::uuid[])
        ), settled as (
            update wallet.holds h set state = v.state, settled_by = v.by
              from unnest($37::uuid[], $38::text[], $39::uuid[]) as v(id, state, by) where h.id = v.id
        ), fact as (
            insert into wallet.outbox
                (id, aggregatetype, aggregateid, type, payload, version, trace_id, traceparent, request_id, created_at)
            select id, 'wallet', key, 'posted', payload, 1, trace_id, traceparent, request_id, $46
              from unnest($40::uuid[], $41::text[], $42::jsonb[], $43::text[], $44::text[], $45::text[]) with ordinality
                   as t(id, key, payload, trace_id, traceparent, request_id, ord)
             order by ord
        )
        insert into wallet.entries (owner, currency, seq, posting, delta, balance_after, hash, posted_at)
        select * from unnest($47::uuid[], $48::smallint[], $49::bigint[], $50::uuid[], $51::bigint[], $52::bigint[],
                             $53::bytea[], $54::timestamptz[])
        "#,
        &column(postings, |row| row.id),
        &column(postings, |row| row.kind),
        &column(postings, |row| row.cause.caller.to_string()),
        &column(postings, |row| row.cause.key.clone()),
        &column(postings, |row| row.cause.actor.to_string()),
        &column(postings, |row| row.cause.reason.clone()),
        &column(postings, |row| row.cause.reference.clone()),
        &column(postings, |row| row.body_hash.clone()),
        &column(postings, |row| row.answer.clone()),
        &column(postings, |row| row.reverses) as &[Option<Uuid>],
        &column(postings, |row| time(row.posted_at)) as &[jiff_sqlx::Timestamp],
        &column(&accounts, |(key, _)| key.0),
        &column(&accounts, |(key, _)| key.1),
        &column(&accounts, |(_, account)| account.balance),
        &column(&accounts, |(_, account)| account.funds.of(Lot::FREE)),
        &column(&accounts, |(_, account)| account.funds.of(Lot::PAID)),
        &column(&accounts, |(_, account)| expiring(account)),
        &column(&accounts, |(_, account)| account.seq),
        &column(&accounts, |(_, account)| account.hash.clone()),
        &column(&accounts, |(_, account)| time(account.last_at)) as &[jiff_sqlx::Timestamp],
        &column(&kept, |((key, _), _)| key.0),
        &column(&kept, |((key, _), _)| key.1),
        &column(&kept, |((_, lot), _)| time(lot.expires_at)) as &[jiff_sqlx::Timestamp],
        &column(&kept, |((_, lot), _)| lot.paid),
        &column(&kept, |(_, amount)| *amount),
        &column(&gone, |((key, _), _)| key.0),
        &column(&gone, |((key, _), _)| key.1),
        &column(&gone, |((_, lot), _)| time(lot.expires_at)) as &[jiff_sqlx::Timestamp],
        &column(&gone, |((_, lot), _)| lot.paid),
        &column(made, |row| row.id),
        &column(made, |row| row.key.0),
        &column(made, |row| row.key.1),
        &column(made, |row| row.amount),
        &column(made, |row| time(row.expires_at)) as &[jiff_sqlx::Timestamp],
        &column(made, |row| row.settled.map_or("held", |settled| settled.state).to_owned()),
        &column(made, |row| row.settled.map(|settled| settled.by)) as &[Option<Uuid>],
        &column(settled, |row| row.id),
        &column(settled, |row| row.state.to_owned()),
        &column(settled, |row| row.by),
        ids,
        &column(facts, |row| row.posted.user_id.clone()),
        &facts.iter().map(payload).collect::<Vec<_>>() as &[Json<Payload<'_>>],
        &column(facts, |row| row.origin.trace_id.clone()),
        &column(facts, |row| row.origin.traceparent.clone()),
        &column(facts, |row| row.origin.request_id.clone()),
        time(books.now) as jiff_sqlx::Timestamp,
        &column(entries, |row| row.line.key.0),
        &column(entries, |row| row.line.key.1),
        &column(entries, |row| row.line.seq),
        &column(entries, |row| row.posting),
        &column(entries, |row| row.line.delta),
        &column(entries, |row| row.line.balance_after),
        &column(entries, |row| row.hash.to_vec()),
        &column(entries, |row| time(row.line.posted_at)) as &[jiff_sqlx::Timestamp],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What [`Bug::EarlyReply`] does: the commit does not wait for the disk.
///
/// # Errors
/// When the database fails.
pub async fn relax(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("set local synchronous_commit = off").execute(conn).await?;
    Ok(())
}

/// ProtoJSON of a fact, with field names as in the contract.
#[derive(Serialize)]
struct Payload<'a> {
    user_id: &'a str,
    currency: &'static str,
    delta: String,
    balance_after: String,
    reason: &'a str,
    reference: &'a str,
    posting_id: &'a str,
    kind: &'static str,
    sequence: String,
    occurred_at: Option<String>,
}

fn payload(row: &FactRow) -> Json<Payload<'_>> {
    let posted = &row.posted;
    let at = posted.occurred_at.map(|at| Timestamp::new(at.seconds, at.nanos).unwrap_or_default().to_string());
    Json(Payload {
        user_id: &posted.user_id,
        currency: posted.currency().as_str_name(),
        delta: posted.delta.to_string(),
        balance_after: posted.balance_after.to_string(),
        reason: &posted.reason,
        reference: &posted.reference,
        posting_id: &posted.posting_id,
        kind: v1::PostingKind::as_str_name(&posted.kind()),
        sequence: posted.sequence.to_string(),
        occurred_at: at,
    })
}
