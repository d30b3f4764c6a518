//! `rewards.grants`.

use coreloop_rewards_api::v1::RewardKind;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::grants::{Ask, Gift};

/// How far a grant is, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum State {
    /// Promised.
    Pending = 1,
    /// Given.
    Granted = 2,
    /// It cannot be given.
    Refused = 3,
}

/// What became of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Given; the wallet's posting, where the wallet gave it.
    Granted(Option<Uuid>),
    /// It cannot be given: the reason's constant.
    Refused(String),
}

/// A grant.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Id.
    pub id: Uuid,
    /// Whose events.
    pub source: String,
    /// The event.
    pub external_event_id: String,
    /// SHA-256 of what was asked.
    pub body_hash: Vec<u8>,
    /// The campaign that it is of.
    pub campaign: Option<String>,
    /// Who gets it.
    pub user_id: Uuid,
    /// What, as the contract numbers it.
    pub kind: i16,
    /// How much.
    pub amount: i64,
    /// Which item or character.
    pub item: String,
    /// Why.
    pub reason: String,
    /// How far it is.
    pub state: State,
    /// Why it cannot be given.
    pub refusal: String,
    /// The wallet's posting.
    pub posting: Option<Uuid>,
    /// When it was promised.
    pub created_at: jiff_sqlx::Timestamp,
    /// When it came to an end.
    pub ended_at: Option<jiff_sqlx::Timestamp>,
    /// When the recovery may take it up.
    pub due_at: jiff_sqlx::Timestamp,
}

impl Grant {
    /// What.
    #[must_use]
    pub fn kind(&self) -> RewardKind {
        RewardKind::try_from(i32::from(self.kind)).unwrap_or_default()
    }
}

/// A grant that is promised now.
#[must_use]
pub fn new(ask: &Ask, campaign: Option<&str>, gift: Gift, now: Timestamp, due: Timestamp) -> Grant {
    Grant {
        id: ask.id(),
        source: ask.source.clone(),
        external_event_id: ask.external_event_id.clone(),
        body_hash: ask.body_hash().to_vec(),
        campaign: campaign.map(str::to_owned),
        user_id: ask.user.0,
        kind: i16::try_from(i32::from(gift.kind)).unwrap_or_default(),
        amount: gift.amount,
        item: gift.item,
        reason: ask.reason.clone(),
        state: State::Pending,
        refusal: String::new(),
        posting: None,
        created_at: now.to_sqlx(),
        ended_at: None,
        due_at: due.to_sqlx(),
    }
}

/// Writes a promise; `false` when its event is known.
///
/// # Errors
/// `grants_campaign_user_key` when the campaign has given to the user; when the database fails.
pub async fn insert(connection: &mut PgConnection, grant: &Grant) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into rewards.grants (id, source, external_event_id, body_hash, campaign, user_id, kind, amount, item, reason,
                                     state, created_at, due_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12) on conflict (id) do nothing",
        grant.id,
        grant.source,
        grant.external_event_id,
        grant.body_hash,
        grant.campaign,
        grant.user_id,
        grant.kind,
        grant.amount,
        grant.item,
        grant.reason,
        grant.created_at as _,
        grant.due_at as _,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// A grant.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Grant>, sqlx::Error> {
    sqlx::query_as!(
        Grant,
        r#"select id, source, external_event_id, body_hash, campaign, user_id, kind, amount, item, reason,
                  state as "state: State", refusal, posting, created_at as "created_at: jiff_sqlx::Timestamp",
                  ended_at as "ended_at: jiff_sqlx::Timestamp", due_at as "due_at: jiff_sqlx::Timestamp"
             from rewards.grants where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// Ends a pending grant; none when it has ended.
///
/// # Errors
/// When the database fails.
pub async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    ended: &Ended,
    now: Timestamp,
) -> Result<Option<Grant>, sqlx::Error> {
    let (state, posting, refusal) = match ended {
        Ended::Granted(posting) => (State::Granted, *posting, ""),
        Ended::Refused(reason) => (State::Refused, None, reason.as_str()),
    };
    sqlx::query_as!(
        Grant,
        r#"update rewards.grants set state = $2, posting = $3, refusal = $4, ended_at = $5 where id = $1 and state = 1
           returning id, source, external_event_id, body_hash, campaign, user_id, kind, amount, item, reason,
                  state as "state: State", refusal, posting, created_at as "created_at: jiff_sqlx::Timestamp",
                  ended_at as "ended_at: jiff_sqlx::Timestamp", due_at as "due_at: jiff_sqlx::Timestamp""#,
        id,
        state as i16,
        posting,
        refusal,
        now.to_sqlx() as _,
    )
    .fetch_optional(connection)
    .await
}

/// Takes up pending grants whose time has come, for as long as `until`: replicas take different ones.
///
/// # Errors
/// When the database fails.
pub async fn claim_due(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update rewards.grants set due_at = $2 where id in (
             select id from rewards.grants where state = 1 and due_at <= $1 order by due_at limit $3 for update skip locked)
         returning id",
        now.to_sqlx() as _,
        until.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await
}
