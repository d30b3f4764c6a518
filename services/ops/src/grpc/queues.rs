//! `ListQueues`.

use coreloop_ops_api::v1;
use serde_json::json;
use tonic::{Request, Response};

use super::actor;
use crate::{App, Error, queues};

/// Counts what every queue of the mesh has set aside.
///
/// # Errors
/// When the audit cannot be written.
pub async fn list_queues(
    app: &App,
    request: Request<v1::ListQueuesRequest>,
) -> Result<Response<v1::ListQueuesResponse>, Error> {
    let act = (actor(&request)?, "ops.queues.list", "");
    let work = async { Ok(queues::all(app).await) };
    let (queues, unreachable) =
        app.book().audited(act, json!({}), work, |(found, _)| json!({ "count": found.len() })).await?;
    Ok(Response::new(v1::ListQueuesResponse { queues, unreachable }))
}
