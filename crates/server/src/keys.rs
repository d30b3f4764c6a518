//! The published keys, read from auth by a link, wherever auth runs.

use std::time::Duration;

use coreloop_access::keys::{JwkSet, KeySource, KeySourceError};
use coreloop_auth_api::v1::{GetJwksRequest, auth_service_client::AuthServiceClient};
use coreloop_service::Link;

/// Longest time one look may take.
const LOOK: Duration = Duration::from_secs(2);

/// Asks `AuthService/GetJwks`.
pub(crate) struct PublishedKeys(pub(crate) Link);

#[async_trait::async_trait]
impl KeySource for PublishedKeys {
    async fn jwks(&self) -> Result<JwkSet, KeySourceError> {
        let mut auth = AuthServiceClient::new(self.0.clone());
        let mut request = tonic::Request::new(GetJwksRequest {});
        request.set_timeout(LOOK);
        let answer = tokio::time::timeout(LOOK, auth.get_jwks(request)).await;
        let answer =
            answer.map_err(|late| KeySourceError(late.into()))?.map_err(|status| KeySourceError(status.into()))?;
        let document = answer.into_inner().body.unwrap_or_default().data;
        serde_json::from_slice(&document).map_err(|error| KeySourceError(error.into()))
    }
}
