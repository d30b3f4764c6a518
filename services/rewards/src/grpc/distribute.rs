//! `Distribute`, `DistributeTo`, `Grant`: one promise, asked by three kinds of callers.

use coreloop_access::Caller;
use coreloop_rewards_api::v1;
use tonic::{Request, Response};

use super::parse::{Violations, proto_grant};
use crate::{
    App, Error,
    grants::{self, Ask, What},
};

/// `Distribute`: people fetch for themselves alone, what the campaign gives.
///
/// # Errors
/// As the contract lists.
pub async fn distribute(
    app: &App,
    request: Request<v1::DistributeRequest>,
) -> Result<Response<v1::DistributeResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let own = format!("user:{user}");
    let ask = Ask {
        source: own.clone(),
        actor: own,
        external_event_id: asked.external_event_id,
        user,
        reason: format!("campaign.{}", asked.campaign_id),
        what: What::Campaign(asked.campaign_id),
    };
    let grant = grants::give(app, &ask).await?;
    Ok(Response::new(v1::DistributeResponse { grant: Some(proto_grant(grant)) }))
}

/// `DistributeTo`: an administrator's events are their own, so one cannot be answered what another did.
///
/// # Errors
/// As the contract lists.
pub async fn distribute_to(
    app: &App,
    request: Request<v1::DistributeToRequest>,
) -> Result<Response<v1::DistributeToResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let mut wrong = Violations::default();
    let ask = Ask {
        source: format!("admin:{by}"),
        actor: format!("user:{by}"),
        external_event_id: asked.external_event_id,
        user: wrong.user("user_id", &asked.user_id),
        what: What::Gift(wrong.gift(asked.kind, asked.amount, &asked.item)),
        reason: asked.reason,
    };
    wrong.none()?;
    let grant = grants::give(app, &ask).await?;
    tracing::info!(grant_id = %grant.id, user_id = %grant.user_id, by = %by, "a reward was given by hand");
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
