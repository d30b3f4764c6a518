//! `GetSummary`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_my_api::v1;
use tonic::{Request, Response};

use crate::{App, Error, summary};

/// `GetSummary`.
///
/// # Errors
/// When nobody can tell any part of it.
pub async fn get_summary(
    app: &App,
    request: Request<v1::GetSummaryRequest>,
) -> Result<Response<v1::GetSummaryResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    Ok(Response::new(summary::of(app, user).await?))
}
