//! What others say: a photo that was registered becomes a task, one that was removed ends it; what a result earned was given, or could
//! not be; whoever leaves takes everything along.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler, Topic};
use coreloop_facts::v1::{AuthUserWithdrawn, CharacterAcquireFailed, CharacterAcquired, ImageDeleted, ImageRegistered};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    finishing::{Ended, IMAGE_GONE, Written, finish},
    rewarding,
    store::{
        tasks::{New, of_image},
        users,
    },
    tasks::begin,
    times,
};

/// What facts of characters call a scan; what others gave is told by the same facts.
const FOR_SCANS: &str = "scan";

/// The consumer `scan.facts`.
#[derive(Debug)]
pub struct Hearing(pub Arc<App>);

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        if event.topic == Topic::of::<AuthUserWithdrawn>()? {
            let fact: AuthUserWithdrawn = event.decode()?;
            users::forget(tx, id("user_id", &fact.user_id)?, self.0.clock.now()).await?;
            return Ok(());
        }
        if event.topic == Topic::of::<ImageDeleted>()? {
            let fact: ImageDeleted = event.decode()?;
            return Ok(removed(&self.0, tx, id("image_id", &fact.image_id)?).await?);
        }
        if event.topic == Topic::of::<CharacterAcquired>()? {
            let fact: CharacterAcquired = event.decode()?;
            if fact.source == FOR_SCANS {
                rewarding::granted(tx, id("source_event_id", &fact.source_event_id)?).await?;
            }
            return Ok(());
        }
        if event.topic == Topic::of::<CharacterAcquireFailed>()? {
            let fact: CharacterAcquireFailed = event.decode()?;
            if fact.source == FOR_SCANS {
                let task = id("source_event_id", &fact.source_event_id)?;
                rewarding::compensated(&self.0, tx, task, &fact.reason).await?;
            }
            return Ok(());
        }
        let fact: ImageRegistered = event.decode()?;
        if self.0.options.auto_classify {
            // An image that somebody asked for meanwhile has its task.
            let _new = begin(&self.0, tx, &task(&self.0, event, &fact)?).await?;
        }
        Ok(())
    }
}

/// A photo was removed: what waits for it, or is under way, comes to nothing; a result stays. One that is heard of before its
/// registration has no task yet, which comes to nothing by itself.
async fn removed(app: &App, connection: &mut PgConnection, image: Uuid) -> Result<(), Error> {
    let Some(task) = of_image(&mut *connection, image).await? else { return Ok(()) };
    if let Written::Now(task) = finish(app, connection, task, Ended::Failed(IMAGE_GONE.to_owned())).await? {
        app.metrics.ended(&task);
    }
    Ok(())
}

fn task(app: &App, event: &Event, fact: &ImageRegistered) -> Result<New, Failure> {
    let created_at = times::of_fact(fact.occurred_at.as_ref()).unwrap_or(event.created_at);
    Ok(New {
        id: app.ids.uuid(),
        user_id: id("user_id", &fact.user_id)?,
        image_id: Some(id("image_id", &fact.image_id)?),
        image_url: String::new(),
        etag: fact.etag.clone(),
        user_input: String::new(),
        key: None,
        day: times::day_of(created_at),
        created_at,
    })
}

fn id(field: &str, text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", format!("{field} is no UUID")))
}
