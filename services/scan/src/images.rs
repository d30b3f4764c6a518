//! Photos, as this service asks the image service for them.

use std::time::Duration;

use coreloop_auth_api::machine::Machine;
use coreloop_core::{Problem, Reason};
use coreloop_db::deadline;
use coreloop_image_api::v1::{FindImageRequest, image_internal_service_client::ImageInternalServiceClient};
use coreloop_service::Ctx;
use jiff::Timestamp;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::times;

/// Longest time of one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// The image service. Clones share its token.
#[derive(Debug, Clone)]
pub struct Images(Machine);

/// An image that is there. It has no `Debug`: where to load it from is a secret.
pub struct Found {
    /// Whose.
    pub user_id: Uuid,
    /// Where storage has it.
    pub object_key: String,
    /// What storage calls its content.
    pub etag: String,
    /// Where to load it from, for an hour; a secret.
    pub get_url: String,
    /// Where people load it from.
    pub cdn_url: String,
    /// When it was registered.
    pub created_at: Option<Timestamp>,
}

impl Images {
    /// The image service of this mesh.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        Self(Machine::of(ctx, "scan", "image"))
    }

    /// An image; none when there is none, or none any more.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn find(&self, id: Uuid) -> Result<Option<Found>, Problem> {
        let asked = async {
            let request = self.0.request(FindImageRequest { image_id: id.to_string() }).await?;
            ImageInternalServiceClient::new(self.0.link()).find_image(request).await
        };
        let found = match deadline::within(PATIENCE, asked).await {
            Some(Ok(found)) => found.into_inner(),
            Some(Err(status)) if is_gone(&status) => return Ok(None),
            Some(Err(status)) => return Err(Problem::unavailable("the image service does not answer", status)),
            None => return Err(Problem::common(Reason::DeadlineExceeded, "the image service takes too long")),
        };
        let unreadable = || Problem::common(Reason::DependencyUnavailable, "the image service makes no sense");
        let image = found.image.ok_or_else(unreadable)?;
        Ok(Some(Found {
            user_id: found.user_id.parse().map_err(|_| unreadable())?,
            object_key: image.object_key,
            etag: image.etag,
            get_url: found.get_url,
            cdn_url: image.cdn_url,
            created_at: times::of_fact(image.created_at.as_ref()),
        }))
    }
}

/// It says itself that there is none: not a mesh without such a service.
fn is_gone(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.domain == "image" && info.reason == "IMAGE_NOT_FOUND")
}
