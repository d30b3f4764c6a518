//! `ReceiveCampaign`: what a campaign gives, once by its event.

use coreloop_access::Caller;
use coreloop_character_api::v1;
use tonic::{Request, Response};

use super::mine::user;
use crate::{
    App, Error,
    granting::{self, Ask, Want},
    times::parse,
};

/// `ReceiveCampaign`. What is refused is kept as well, so the same event is refused again.
///
/// # Errors
/// As the contract lists.
pub async fn receive_campaign(
    app: &App,
    request: Request<v1::ReceiveCampaignRequest>,
) -> Result<Response<v1::ReceiveCampaignResponse>, Error> {
    let source = format!("campaign:{}", Caller::of(&request)?.require_machine()?.service);
    let asked = request.into_inner();
    let expires_at = parse("expires_at", asked.expires_at.as_ref())?;
    let user = user("user_id", &asked.user_id)?;
    let want = Want::Gift { code: asked.code, expires_at };
    let (ask, now) = (Ask { source, event_id: asked.external_event_id, user, want }, app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    let decided = granting::decide(app, &mut tx, &ask, now).await?;
    tx.commit().await?;
    Ok(Response::new(v1::ReceiveCampaignResponse { code: decided? }))
}
