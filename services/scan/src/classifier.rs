//! The command `scan.classify`: the model looks at a photo, and what it says is written down.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::Problem;
use coreloop_db::Transaction;
use coreloop_eventing::{Command, CommandHandler, Failure};
use coreloop_outbound::Away;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    App,
    finishing::{Ended, IMAGE_GONE, Written, finish},
    looking::outcome,
    model::{Seen, reason},
    store::tasks::{State, Task, by_id},
    tasks::Classify,
    verdict::Verdict,
    wire::Photo,
};

/// Has the model look at photos.
#[derive(Debug, Clone)]
pub struct Classifier(pub Arc<App>);

/// What a command came to, as it is kept beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    /// Nothing was to be done any more.
    Over,
    /// The photo shows something.
    Seen(Verdict),
    /// It will not be classified: a constant says why.
    Failed(String),
}

#[async_trait]
impl CommandHandler for Classifier {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        let Classify { task_id } = command.decode()?;
        // A failed one is looked at again: whoever looks after dead letters wants that.
        let found = by_id(&self.0.db, task_id).await?.filter(|task| task.state != State::Completed);
        let came = match found {
            Some(task) => self.looked_at(&task).await?,
            None => Came::Over,
        };
        serde_json::to_value(came).map_err(|error| Failure::permanent("RESULT", error.to_string()))
    }

    async fn settle(&self, tx: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure> {
        let Classify { task_id } = command.decode()?;
        let came = Came::deserialize(result).map_err(|error| Failure::permanent("RESULT", error.to_string()))?;
        let ended = match came {
            Came::Over => return Ok(()),
            Came::Seen(verdict) => Ended::Completed(verdict),
            Came::Failed(reason) => Ended::Failed(reason),
        };
        // The commit is not ours: one that fails and is done again is counted twice, none is counted too few times.
        if let Written::Now(task) = finish(&self.0, tx, task_id, ended).await? {
            self.0.metrics.ended(&task);
        }
        Ok(())
    }

    async fn died(&self, tx: &mut Transaction, command: &Command, failure: &Failure) -> Result<(), Failure> {
        let Classify { task_id } = command.decode()?;
        if let Written::Now(task) = finish(&self.0, tx, task_id, Ended::Failed(failure.reason().to_owned())).await? {
            self.0.metrics.ended(&task);
        }
        Ok(())
    }
}

impl Classifier {
    async fn looked_at(&self, task: &Task) -> Result<Came, Failure> {
        let Some(url) = self.address(task).await? else { return Ok(Came::Failed(IMAGE_GONE.to_owned())) };
        let (app, began) = (&self.0, Instant::now());
        let seen = app.looking.within(app.model.look(Photo { url: &url, hint: &task.user_input })).await;
        app.metrics.looked(outcome(&seen), began.elapsed(), app.model.is_left_alone());
        match seen {
            Ok(Seen::Verdict(verdict)) => Ok(Came::Seen(verdict)),
            Ok(Seen::Nonsense) => Ok(Came::Failed("MODEL_NONSENSE".to_owned())),
            // Storage may have been away for a moment; an address of somebody's is what it is.
            Ok(Seen::Unseen) if task.image_id.is_some() => {
                Err(Failure::retryable("IMAGE_UNSEEN", "the model could not load the photo"))
            }
            Ok(Seen::Unseen) => Ok(Came::Failed("IMAGE_UNSEEN".to_owned())),
            Err(away) => Err(failure(&away)),
        }
    }

    /// Where the photo is now; none when it is gone.
    async fn address(&self, task: &Task) -> Result<Option<String>, Failure> {
        let Some(image) = task.image_id else { return Ok(Some(task.image_url.clone())) };
        let found = self.0.images.find(image).await.map_err(|problem: Problem| {
            Failure::retryable(problem.reason().to_owned(), problem.message().to_owned())
        })?;
        Ok(found.map(|image| image.get_url))
    }
}

/// A key or a request that is wrong is mended by people, and then the dead letter is tried again; the rest may pass.
fn failure(away: &Away) -> Failure {
    match away {
        Away::Refused(_) => Failure::permanent(reason(away), away.to_string()),
        _ => Failure::retryable(reason(away), away.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_command_is_what_it_came_to() {
        let verdict = Verdict::parse(r#"{"category":"pet","confidence":0.9,"recyclable":true}"#).unwrap();
        for came in [Came::Over, Came::Seen(verdict), Came::Failed("MODEL_NONSENSE".to_owned())] {
            let kept = serde_json::to_value(came.clone()).unwrap();
            assert_eq!(Came::deserialize(&kept).unwrap(), came);
        }
    }
}
