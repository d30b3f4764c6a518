//! `Distribute`, `DistributeTo`, `Grant`: one promise, asked by three kinds of callers.

use coreloop_access::{Caller, Role};
use coreloop_core::{Problem, Reason, UserId};
use coreloop_rewards_api::v1;
use tonic::{Request, Response};

use super::parse::{Violations, proto_grant};
use crate::{
    App, Error,
    grants::{self, Ask, What},
    store::grants::Grant,
};

/// `Distribute`: people fetch for themselves alone, what the campaign gives; administrators give to others.
///
/// # Errors
/// As the contract lists.
pub async fn distribute(
    app: &App,
    request: Request<v1::DistributeRequest>,
) -> Result<Response<v1::DistributeResponse>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    let asked = request.into_inner();
    let grant = if caller.admin {
        by_hand(app, caller.user_id, asked).await?
    } else {
        grants::give(app, &of_their_own(caller.user_id, asked)?).await?
    };
    Ok(Response::new(v1::DistributeResponse { grant: Some(proto_grant(grant)) }))
}

/// What somebody asks for themselves: a campaign, and whatever else is named is for administrators.
fn of_their_own(user: UserId, asked: v1::DistributeRequest) -> Result<Ask, Error> {
    let v1::DistributeRequest { campaign_id, external_event_id, user_id, kind, amount, item, reason } = asked;
    if kind != 0 || amount != 0 || [user_id, item, reason].iter().any(|named| !named.is_empty()) {
        let refused =
            Problem::common(Reason::RoleRequired, "users name a campaign: who is given what is for administrators");
        return Err(refused.with("role", Role::Admin.as_str()).into());
    }
    if campaign_id.is_empty() {
        return Err(Error::invalid("campaign_id", "must say which"));
    }
    let own = format!("user:{user}");
    Ok(Ask {
        source: own.clone(),
        actor: own,
        external_event_id,
        user,
        reason: format!("campaign.{campaign_id}"),
        what: What::Campaign(campaign_id),
    })
}

/// What an administrator gives, on whichever path: their events are their own, so one cannot be answered what another did.
async fn by_hand(app: &App, by: UserId, asked: v1::DistributeRequest) -> Result<Grant, Error> {
    let mut wrong = Violations::default();
    let user = wrong.user("user_id", &asked.user_id);
    if asked.reason.is_empty() {
        wrong.add("reason", "must say why");
    }
    let what = if asked.campaign_id.is_empty() {
        if asked.kind == 0 {
            wrong.add("kind", "must say what, where no campaign does");
        }
        if asked.amount == 0 {
            wrong.add("amount", "must say how much, where no campaign does");
        }
        What::Gift(wrong.gift(asked.kind, asked.amount, &asked.item))
    } else {
        if asked.kind != 0 || asked.amount != 0 || !asked.item.is_empty() {
            wrong.add("campaign_id", "must be empty where kind, amount or item say what is given");
        }
        What::Campaign(asked.campaign_id)
    };
    wrong.none()?;
    let ask = Ask {
        source: format!("admin:{by}"),
        actor: format!("user:{by}"),
        external_event_id: asked.external_event_id,
        user,
        what,
        reason: asked.reason,
    };
    let grant = grants::give(app, &ask).await?;
    tracing::info!(grant_id = %grant.id, user_id = %grant.user_id, by = %by, "a reward was given by hand");
    Ok(grant)
}

/// `DistributeTo`: what `Distribute` does for administrators, without campaigns.
///
/// # Errors
/// As the contract lists.
pub async fn distribute_to(
    app: &App,
    request: Request<v1::DistributeToRequest>,
) -> Result<Response<v1::DistributeToResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let v1::DistributeToRequest { user_id, kind, amount, item, external_event_id, reason } = request.into_inner();
    let campaign_id = String::new();
    let asked = v1::DistributeRequest { campaign_id, external_event_id, user_id, kind, amount, item, reason };
    let grant = by_hand(app, by, asked).await?;
    Ok(Response::new(v1::DistributeToResponse { grant: Some(proto_grant(grant)) }))
}

/// `Grant`.
///
/// # Errors
/// As the contract lists.
pub async fn grant(app: &App, request: Request<v1::GrantRequest>) -> Result<Response<v1::GrantResponse>, Error> {
    let source = format!("service:{}", Caller::of(&request)?.require_machine()?.service);
    let asked = request.into_inner();
    let mut wrong = Violations::default();
    let ask = Ask {
        actor: source.clone(),
        source,
        external_event_id: asked.external_event_id,
        user: wrong.user("user_id", &asked.user_id),
        what: What::Gift(wrong.gift(asked.kind, asked.amount, &asked.item)),
        reason: asked.reason,
    };
    wrong.none()?;
    let grant = grants::give(app, &ask).await?;
    Ok(Response::new(v1::GrantResponse { grant: Some(proto_grant(grant)) }))
}
