//! `Visit`: of the caller, and of nobody else.

use std::sync::Arc;

use coreloop_access::Caller;
use coreloop_location_api::v1;
use tonic::{Request, Response};

use super::{id, place};
use crate::{App, Error, times::proto_time, visiting};

/// `Visit`.
///
/// # Errors
/// `SHOP_NOT_FOUND`, `TOO_FAR`, `USER_WITHDRAWN`.
pub async fn visit(app: &Arc<App>, request: Request<v1::VisitRequest>) -> Result<Response<v1::VisitResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let shop = id("shop_id", &asked.shop_id)?;
    let visited = visiting::visit(app, user.0, shop, place(asked.lat, asked.lng)?).await?;
    Ok(Response::new(v1::VisitResponse {
        visit_id: visited.id.to_string(),
        day: visited.day.to_string(),
        visited_at: Some(proto_time(visited.at)),
        counted: visited.counted,
    }))
}
