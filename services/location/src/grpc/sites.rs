//! `ListSites`: the same for everybody.

use std::sync::Arc;

use coreloop_location_api::v1;
use tonic::{Request, Response};

use super::place;
use crate::{App, Error, nearby, sites};

/// `ListSites`.
///
/// # Errors
/// When the database does not answer.
pub async fn list_sites(
    app: &Arc<App>,
    request: Request<v1::ListSitesRequest>,
) -> Result<Response<v1::ListSitesResponse>, Error> {
    let asked = request.get_ref();
    let sites = sites::around(app, place(asked.lat, asked.lng)?, nearby::radius(asked.radius)).await?;
    Ok(Response::new(v1::ListSitesResponse { sites }))
}
