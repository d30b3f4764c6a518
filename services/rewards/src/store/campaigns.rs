//! `rewards.campaigns`.

use coreloop_rewards_api::v1::{RewardKind, RewardsReason};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use crate::{Error, grants::Gift};

/// A campaign.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Name.
    pub id: String,
    /// What each gets, as the contract numbers it.
    pub kind: i16,
    /// How much.
    pub amount: i64,
    /// Which item or character.
    pub item: String,
    /// Whether it is open, as the contract numbers it.
    pub state: i16,
    /// From when.
    pub starts_at: Option<jiff_sqlx::Timestamp>,
    /// Until when.
    pub ends_at: Option<jiff_sqlx::Timestamp>,
    /// How many may have it; 0: no limit.
    pub max_grants: i64,
    /// How many have it.
    pub granted: i64,
}

/// Takes one of what an open campaign has to give. Locks it: the last one is given once.
///
/// # Errors
/// Why there is nothing to take; when the database fails.
pub async fn take(connection: &mut PgConnection, id: &str, now: Timestamp) -> Result<Gift, Error> {
    let taken = sqlx::query!(
        "update rewards.campaigns set granted = granted + 1
          where id = $1 and state = 1 and (starts_at is null or starts_at <= $2) and (ends_at is null or ends_at > $2)
            and (max_grants = 0 or granted < max_grants)
         returning kind, amount, item",
        id,
        now.to_sqlx() as _,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(taken) = taken {
        let kind = RewardKind::try_from(i32::from(taken.kind)).unwrap_or_default();
        return Ok(Gift { kind, amount: taken.amount, item: taken.item });
    }
    let left = sqlx::query_scalar!(
        r#"select (max_grants = 0 or granted < max_grants) as "left!" from rewards.campaigns where id = $1"#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    Err(match left {
        None => RewardsReason::CampaignNotFound.into(),
        Some(false) => RewardsReason::CampaignExhausted.into(),
        Some(true) => RewardsReason::CampaignClosed.into(),
    })
}

/// Gives back what was taken and could not be given.
///
/// # Errors
/// When the database fails.
pub async fn give_back(connection: &mut PgConnection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update rewards.campaigns set granted = granted - 1 where id = $1", id).execute(connection).await?;
    Ok(())
}

/// Opens a campaign or changes it; how much it has given is left alone.
///
/// # Errors
/// When the database fails.
pub async fn put(
    connection: &mut PgConnection,
    campaign: &Campaign,
    by: &str,
    now: Timestamp,
) -> Result<Campaign, sqlx::Error> {
    sqlx::query_as!(
        Campaign,
        r#"insert into rewards.campaigns as mine (id, kind, amount, item, state, starts_at, ends_at, max_grants, updated_at,
                                                  updated_by)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
           on conflict on constraint campaigns_pkey do update
              set kind = $2, amount = $3, item = $4, state = $5, starts_at = $6, ends_at = $7, max_grants = $8,
                  updated_at = $9, updated_by = $10
           returning id, kind, amount, item, state, starts_at as "starts_at: jiff_sqlx::Timestamp",
                     ends_at as "ends_at: jiff_sqlx::Timestamp", max_grants, granted"#,
        campaign.id,
        campaign.kind,
        campaign.amount,
        campaign.item,
        campaign.state,
        campaign.starts_at as _,
        campaign.ends_at as _,
        campaign.max_grants,
        now.to_sqlx() as _,
        by,
    )
    .fetch_one(connection)
    .await
}
