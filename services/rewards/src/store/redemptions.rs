//! `rewards.redemptions`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::inventory::Piece;
use crate::{origin::Origin, vault::Sealed};

/// How far a redemption is, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum State {
    /// A piece is set aside.
    Reserved = 1,
    /// The points are taken.
    Paid = 2,
    /// The voucher is there.
    Issued = 3,
    /// The piece is back, the points are on their way.
    Returning = 4,
    /// The points are back.
    Failed = 5,
    /// It was never paid; the piece is back.
    Cancelled = 6,
}

impl State {
    /// In a word: the step in the audit, the status in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Issued => "issued",
            Self::Returning => "returning",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A step from one state to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// From reserved: the wallet's posting.
    Paid {
        /// The posting.
        spent: Uuid,
    },
    /// From reserved.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// From paid.
    Issued {
        /// The vendor's id.
        order_id: String,
        /// The code, sealed.
        code: Sealed,
    },
    /// From paid to returning.
    Refused {
        /// Why.
        reason: String,
    },
    /// From cancelled to returning, where the piece is back already: the wallet's posting, that nobody had heard of.
    PaidLate {
        /// The posting.
        spent: Uuid,
    },
    /// From returning: the wallet's posting.
    Failed {
        /// The posting.
        returned: Uuid,
    },
}

/// A redemption.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// Key of the request.
    pub key: String,
    /// What.
    pub sku: String,
    /// What, as the vendor names it.
    pub vendor_sku: String,
    /// Points.
    pub price: i64,
    /// How far it is.
    pub state: State,
    /// Why it came to nothing.
    pub reason: String,
    /// The wallet's posting that took the points.
    pub spent: Option<Uuid>,
    /// The one that gave them back.
    pub returned: Option<Uuid>,
    /// The vendor's id.
    pub order_id: String,
    /// The code, sealed.
    pub code_sealed: Option<Vec<u8>>,
    /// Name of the key that sealed it.
    pub code_key: String,
    /// When it was asked for.
    pub created_at: jiff_sqlx::Timestamp,
    /// When the points were taken; none where that was heard after it was cancelled.
    pub paid_at: Option<jiff_sqlx::Timestamp>,
    /// When it came to an end.
    pub ended_at: Option<jiff_sqlx::Timestamp>,
    /// When the recovery may take it up.
    pub due_at: jiff_sqlx::Timestamp,
}

/// A redemption that begins now, and is due at another time.
#[must_use]
pub fn new(
    id: Uuid,
    user_id: Uuid,
    key: &str,
    sku: &str,
    piece: Piece,
    (now, due): (Timestamp, Timestamp),
) -> Redemption {
    Redemption {
        id,
        user_id,
        key: key.to_owned(),
        sku: sku.to_owned(),
        vendor_sku: piece.vendor_sku,
        price: piece.price,
        state: State::Reserved,
        reason: String::new(),
        spent: None,
        returned: None,
        order_id: String::new(),
        code_sealed: None,
        code_key: String::new(),
        created_at: now.to_sqlx(),
        paid_at: None,
        ended_at: None,
        due_at: due.to_sqlx(),
    }
}

/// Writes it; `false` when its key is known.
///
/// # Errors
/// When the database fails.
pub async fn insert(connection: &mut PgConnection, new: &Redemption, origin: &Origin) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into rewards.redemptions (id, user_id, key, sku, vendor_sku, price, state, created_at, due_at, traceparent,
                                          request_id)
         values ($1, $2, $3, $4, $5, $6, 1, $7, $8, $9, $10) on conflict (id) do nothing",
        new.id,
        new.user_id,
        new.key,
        new.sku,
        new.vendor_sku,
        new.price,
        new.created_at as _,
        new.due_at as _,
        origin.traceparent,
        origin.request_id,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// A redemption.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Redemption>, sqlx::Error> {
    sqlx::query_as!(
        Redemption,
        r#"select id, user_id, key, sku, vendor_sku, price, state as "state: State", reason, spent, returned, order_id,
                  code_sealed, code_key, created_at as "created_at: jiff_sqlx::Timestamp",
                  paid_at as "paid_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                  due_at as "due_at: jiff_sqlx::Timestamp"
             from rewards.redemptions where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// Redemptions of a user, newest first, before the one that `before` names.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    before: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<Redemption>, sqlx::Error> {
    let (at, id) = before.unwrap_or((Timestamp::MAX, Uuid::max()));
    // Without a mark all are wanted.
    let at = before.is_some().then(|| at.to_sqlx());
    sqlx::query_as!(
        Redemption,
        r#"select id, user_id, key, sku, vendor_sku, price, state as "state: State", reason, spent, returned, order_id,
                  code_sealed, code_key, created_at as "created_at: jiff_sqlx::Timestamp",
                  paid_at as "paid_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                  due_at as "due_at: jiff_sqlx::Timestamp"
             from rewards.redemptions
            where user_id = $1 and ($2::timestamptz is null or (created_at, id) < ($2, $3))
            order by created_at desc, id desc limit $4"#,
        user,
        at as _,
        id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Redemptions that were cancelled after one time and by another, after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn cancelled(
    db: impl PgExecutor<'_>,
    (since, until): (Timestamp, Timestamp),
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from rewards.redemptions where state = 6 and ended_at > $1 and ended_at <= $2 and id > $3
          order by id limit $4",
        since.to_sqlx() as _,
        until.to_sqlx() as _,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// What a step writes.
struct Change<'a> {
    from: State,
    to: State,
    spent: Option<Uuid>,
    returned: Option<Uuid>,
    order: &'a str,
    why: &'a str,
    code: Option<&'a Sealed>,
}

impl<'a> Change<'a> {
    fn of(next: &'a Step) -> Self {
        let plain = |from, to| Self { from, to, spent: None, returned: None, order: "", why: "", code: None };
        match next {
            Step::Paid { spent } => Self { spent: Some(*spent), ..plain(State::Reserved, State::Paid) },
            Step::Cancelled { reason } => Self { why: reason, ..plain(State::Reserved, State::Cancelled) },
            Step::Issued { order_id, code } => {
                Self { order: order_id, code: Some(code), ..plain(State::Paid, State::Issued) }
            }
            Step::Refused { reason } => Self { why: reason, ..plain(State::Paid, State::Returning) },
            Step::PaidLate { spent } => Self { spent: Some(*spent), ..plain(State::Cancelled, State::Returning) },
            Step::Failed { returned } => Self { returned: Some(*returned), ..plain(State::Returning, State::Failed) },
        }
    }
}

/// Takes a step from the state that it leaves; none when that was left before.
///
/// # Errors
/// When the database fails.
pub async fn step(
    connection: &mut PgConnection,
    id: Uuid,
    next: &Step,
    now: Timestamp,
    due: Timestamp,
) -> Result<Option<Redemption>, sqlx::Error> {
    let Change { from, to, spent, returned, order, why, code } = Change::of(next);
    let ended = matches!(to, State::Issued | State::Failed | State::Cancelled);
    sqlx::query_as!(
        Redemption,
        r#"update rewards.redemptions
              set state = $3, spent = coalesce($4, spent), returned = $5, order_id = $6,
                  reason = case when $7 = '' then reason else $7 end, code_sealed = $8, code_key = $9, due_at = $10,
                  paid_at = case when $3 = 2::smallint then $11 else paid_at end,
                  ended_at = case when $12 then $11 end
            where id = $1 and state = $2
           returning id, user_id, key, sku, vendor_sku, price, state as "state: State", reason, spent, returned, order_id,
                  code_sealed, code_key, created_at as "created_at: jiff_sqlx::Timestamp",
                  paid_at as "paid_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                  due_at as "due_at: jiff_sqlx::Timestamp""#,
        id,
        from as i16,
        to as i16,
        spent,
        returned,
        order,
        why,
        code.map(|code| code.bytes.as_slice()),
        code.map_or("", |code| code.key.as_str()),
        due.to_sqlx() as _,
        now.to_sqlx() as _,
        ended,
    )
    .fetch_optional(connection)
    .await
}

/// Takes up redemptions that have not ended and whose time has come, for as long as `until`: replicas take different ones. None
/// that was paid at `given_up` or before.
///
/// # Errors
/// When the database fails.
pub async fn claim_due(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    until: Timestamp,
    given_up: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update rewards.redemptions set due_at = $2 where id in (
             select id from rewards.redemptions
              where state in (1, 2, 4) and due_at <= $1 and not (state = 2 and paid_at <= $3)
              order by due_at limit $4 for update skip locked)
         returning id",
        now.to_sqlx() as _,
        until.to_sqlx() as _,
        given_up.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// As [`claim_due`], those that were paid at `given_up` or before and that no vendor has issued: the longer that is ago, the
/// longer until the next look, up to ten minutes.
///
/// # Errors
/// When the database fails.
pub async fn claim_given_up(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    until: Timestamp,
    given_up: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update rewards.redemptions
            set due_at = greatest($2, $1 + least($3 - paid_at, interval '10 minutes')) where id in (
             select id from rewards.redemptions where state = 2 and due_at <= $1 and paid_at <= $3
              order by due_at limit $4 for update skip locked)
         returning id",
        now.to_sqlx() as _,
        until.to_sqlx() as _,
        given_up.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await
}
