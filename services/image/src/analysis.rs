//! What a photo shows, as scan says it. Whoever looks at an image is answered without it when scan is away.

use std::time::Duration;

use coreloop_auth_api::machine::Machine;
use coreloop_db::deadline;
use coreloop_image_api::v1::Analysis;
use coreloop_scan_api::v1::{FindByImageRequest, Task, scan_internal_service_client::ScanInternalServiceClient};
use coreloop_service::Ctx;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// Longest time of the question: an image without its analysis is better than none.
const PATIENCE: Duration = Duration::from_secs(1);

/// The scan service. Clones share its token.
#[derive(Debug, Clone)]
pub struct Scans(Machine);

/// Scan did not answer.
#[derive(Debug, thiserror::Error)]
#[error("scan does not answer: {0}")]
pub struct Away(String);

impl Scans {
    /// The scan service of this mesh. There may be none: image does not require it.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        Self(Machine::of(ctx, "image", "scan"))
    }

    /// What scan has of an image; none when it has nothing, or nothing yet.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn find(&self, image: Uuid) -> Result<Option<Analysis>, Away> {
        let asked = async {
            let request = self.0.request(FindByImageRequest { image_id: image.to_string() }).await?;
            ScanInternalServiceClient::new(self.0.link()).find_by_image(request).await
        };
        match deadline::within(PATIENCE, asked).await {
            Some(Ok(found)) => Ok(found.into_inner().task.map(said)),
            Some(Err(status)) if is_none(&status) => Ok(None),
            Some(Err(status)) => Err(Away(status.to_string())),
            None => Err(Away("it takes too long".to_owned())),
        }
    }
}

/// The same in the contract of images, which knows no other.
fn said(task: Task) -> Analysis {
    let (state, category) = (task.state().as_str_name(), task.category().as_str_name());
    Analysis {
        state: state.to_owned(),
        category: category.to_owned(),
        reward_status: task.reward_status().as_str_name().to_owned(),
        task_id: task.task_id,
        sub_category: task.sub_category,
        confidence: task.confidence,
        guidance: task.guidance,
        recyclable: task.recyclable,
        reward_eligible: task.reward_eligible,
        failure: task.failure,
    }
}

/// It says itself that there is none: not a mesh without such a service.
fn is_none(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.domain == "scan" && info.reason == "TASK_NOT_FOUND")
}
