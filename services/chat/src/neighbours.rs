//! The services that know what a conversation is about: image, scan, character, asked as a machine of the mesh.

use std::time::Duration;

use coreloop_auth_api::machine::Machine;
use coreloop_character_api::v1::{
    GetOwnedRequest, OwnedCharacter, character_internal_service_client::CharacterInternalServiceClient,
};
use coreloop_core::{Problem, Reason};
use coreloop_db::deadline;
use coreloop_image_api::v1::{FindImageRequest, image_internal_service_client::ImageInternalServiceClient};
use coreloop_scan_api::v1::{FindByImageRequest, Task, scan_internal_service_client::ScanInternalServiceClient};
use coreloop_service::Ctx;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{Options, metrics::Metrics, store::messages::Message};

/// The neighbours. Clones share their tokens.
#[derive(Debug, Clone)]
pub struct Neighbours {
    image: Machine,
    scan: Machine,
    character: Machine,
    patience: Duration,
}

/// An image that is there. It has no `Debug`: where to load it from is a secret.
pub struct Found {
    /// Whose.
    pub user_id: Uuid,
    /// Where to load it from, for an hour; a secret.
    pub get_url: String,
}

/// What is known around a question. It has no `Debug`: where to load the image from is a secret.
#[derive(Default)]
pub struct Around {
    /// Where the model may load the image from; a secret.
    pub picture: Option<String>,
    /// The image is gone.
    pub image_gone: bool,
    /// What scan says of the image; none where there is no image, or scan does not say.
    pub scan: Option<Task>,
    /// The characters of the user; none where nobody says.
    pub characters: Option<Vec<OwnedCharacter>>,
}

impl Neighbours {
    /// Those of this mesh.
    #[must_use]
    pub fn of(ctx: &Ctx, options: &Options) -> Self {
        Self {
            image: Machine::of(ctx, "chat", "image"),
            scan: Machine::of(ctx, "chat", "scan"),
            character: Machine::of(ctx, "chat", "character"),
            patience: Duration::from_millis(options.neighbour_timeout_ms),
        }
    }

    /// An image; none when there is none, or none any more.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn image(&self, id: Uuid) -> Result<Option<Found>, Problem> {
        let asked = async {
            let request = self.image.request(FindImageRequest { image_id: id.to_string() }).await?;
            ImageInternalServiceClient::new(self.image.link()).find_image(request).await
        };
        let Some(found) = self.told(asked, ("image", "IMAGE_NOT_FOUND")).await? else { return Ok(None) };
        let unreadable = |_| Problem::common(Reason::DependencyUnavailable, "the image service makes no sense");
        let user_id = found.user_id.parse().map_err(unreadable)?;
        Ok(Some(Found { user_id, get_url: found.get_url }))
    }

    /// What is known around a question that came with an image. What nobody says in time is done without, and counted; whether the
    /// model sees the image is `sees`.
    pub async fn around(&self, question: &Message, sees: bool, metrics: &Metrics) -> Around {
        let Some(image) = question.image_id else { return self.beside(question, metrics).await };
        let (found, scan, beside) =
            tokio::join!(self.image(image), self.scanned(image), self.beside(question, metrics));
        let (picture, image_gone) = match found {
            Ok(Some(found)) => (Some(found.get_url).filter(|_| sees), false),
            Ok(None) => (None, true),
            Err(problem) => {
                missed(metrics, "image", &problem);
                (None, false)
            }
        };
        let scan = scan.unwrap_or_else(|problem| {
            missed(metrics, "scan", &problem);
            None
        });
        Around { picture, image_gone, scan, ..beside }
    }

    /// What is known around any question.
    pub async fn beside(&self, question: &Message, metrics: &Metrics) -> Around {
        match self.owned(question.user_id).await {
            Ok(characters) => Around { characters: Some(characters), ..Around::default() },
            Err(problem) => {
                missed(metrics, "character", &problem);
                Around::default()
            }
        }
    }

    async fn scanned(&self, image: Uuid) -> Result<Option<Task>, Problem> {
        let asked = async {
            let request = self.scan.request(FindByImageRequest { image_id: image.to_string() }).await?;
            ScanInternalServiceClient::new(self.scan.link()).find_by_image(request).await
        };
        Ok(self.told(asked, ("scan", "TASK_NOT_FOUND")).await?.and_then(|found| found.task))
    }

    async fn owned(&self, user: Uuid) -> Result<Vec<OwnedCharacter>, Problem> {
        let asked = async {
            let request = self.character.request(GetOwnedRequest { user_id: user.to_string() }).await?;
            CharacterInternalServiceClient::new(self.character.link()).get_owned(request).await
        };
        Ok(self.told(asked, ("character", "")).await?.map(|found| found.characters).unwrap_or_default())
    }

    /// What a neighbour says in time; none where it says itself, by a reason of its own, that there is none.
    async fn told<T>(
        &self,
        asked: impl Future<Output = Result<Response<T>, Status>>,
        (of, none): (&'static str, &str),
    ) -> Result<Option<T>, Problem> {
        match deadline::within(self.patience, asked).await {
            Some(Ok(told)) => Ok(Some(told.into_inner())),
            Some(Err(status)) if says(&status, of, none) => Ok(None),
            Some(Err(status)) => Err(Problem::unavailable(format!("the {of} service does not answer"), status)),
            None => Err(Problem::common(Reason::DependencyUnavailable, format!("the {of} service takes too long"))),
        }
    }
}

fn missed(metrics: &Metrics, of: &'static str, problem: &Problem) {
    metrics.missed(of);
    tracing::info!(%problem, of, "an answer does without what a neighbour knows");
}

/// It says itself that there is none: not a mesh without such a service.
fn says(status: &Status, domain: &str, reason: &str) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.domain == domain && info.reason == reason)
}
