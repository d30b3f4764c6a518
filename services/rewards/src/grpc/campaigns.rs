//! `PutCampaign`.

use coreloop_access::Caller;
use coreloop_rewards_api::v1;
use jiff_sqlx::ToSqlx as _;
use tonic::{Request, Response};

use super::parse::Violations;
use crate::{
    App, Error, acts,
    store::campaigns::{self, Campaign},
    times::{parse, proto_time},
};

/// `PutCampaign`.
///
/// # Errors
/// As the contract lists.
pub async fn put_campaign(
    app: &App,
    request: Request<v1::PutCampaignRequest>,
) -> Result<Response<v1::PutCampaignResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let mut wrong = Violations::default();
    let gift = wrong.gift(asked.kind, asked.amount, &asked.item);
    let (starts_at, ends_at) =
        (parse("starts_at", asked.starts_at.as_ref())?, parse("ends_at", asked.ends_at.as_ref())?);
    if starts_at.zip(ends_at).is_some_and(|(starts, ends)| ends <= starts) {
        wrong.add("ends_at", "must be after starts_at");
    }
    wrong.none()?;
    let number = |number: i32| i16::try_from(number).unwrap_or_default();
    let campaign = Campaign {
        id: asked.campaign_id,
        kind: number(gift.kind.into()),
        amount: gift.amount,
        item: gift.item,
        state: number(asked.state),
        starts_at: starts_at.map(|at| at.to_sqlx()),
        ends_at: ends_at.map(|at| at.to_sqlx()),
        max_grants: asked.max_grants,
        granted: 0,
    };
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let kept = campaigns::put(&mut tx, &campaign, &format!("user:{by}"), now).await?;
    acts::changed(app, &mut tx, by, ("campaigns", &kept.id), now).await?;
    tx.commit().await?;
    tracing::info!(campaign_id = kept.id, by = %by, "a campaign was put");
    Ok(Response::new(v1::PutCampaignResponse { campaign: Some(proto_campaign(kept)) }))
}

fn proto_campaign(campaign: Campaign) -> v1::Campaign {
    v1::Campaign {
        campaign_id: campaign.id,
        kind: campaign.kind.into(),
        amount: campaign.amount,
        item: campaign.item,
        state: campaign.state.into(),
        starts_at: campaign.starts_at.map(|at| proto_time(at.to_jiff())),
        ends_at: campaign.ends_at.map(|at| proto_time(at.to_jiff())),
        max_grants: campaign.max_grants,
        granted: campaign.granted,
    }
}
