//! The command `image.process`: the smaller copies of a photo are made, put into storage, and told.
//!
//! A few are commands on their way ([`Options::thumbnails_ahead`](crate::Options)), the others rows that wait: whoever ends one sends what
//! there is room for then. So a crowd of photos fills no queue, and holds up nothing that is told.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Command, CommandHandler, Facts, Failure, Queue};
use coreloop_facts::v1::ImageProcessed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use crate::{
    App, Error,
    removing::remove_thumbnails,
    store::{
        images::{self, Image, Thumbnails},
        owners,
        unprocessed::{self, Due},
    },
    thumbnails::{self, SIZES, Thumbnail, Unmade},
    times::proto_time,
};

/// What a command may take beside storage's time: waiting for its turn, the picture, writing.
const BESIDE: Duration = Duration::from_secs(30);
/// Times that storage is asked for bytes, or given some.
const TRANSFERS: u32 = 1 + SIZES.len() as u32;

/// What the command says. The object's key is in it for when there is no row any more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    /// Which image.
    pub image_id: Uuid,
    /// Where storage has it.
    pub object_key: String,
}

/// What a command came to, as it is kept beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    /// Nothing was to be done any more.
    Over,
    /// The copies are there.
    Made,
    /// There will be none: a constant says why.
    Unmade(String),
}

/// Makes copies, one photo at a time.
#[derive(Debug, Clone)]
pub struct Processor {
    app: Arc<App>,
    turn: Arc<Semaphore>,
}

/// How long one command may take.
#[must_use]
pub fn longest(app: &App) -> Duration {
    Duration::from_millis(app.options.s3_bytes_timeout_ms).saturating_mul(TRANSFERS) + BESIDE
}

impl Processor {
    /// The processor of a process.
    #[must_use]
    pub fn of(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app), turn: Arc::new(Semaphore::new(1)) }
    }

    /// The image, where it has copies to be made.
    async fn waiting(&self, id: Uuid) -> Result<Option<Image>, Failure> {
        let found = images::by_id(&self.app.db, id).await?.filter(Image::is_there);
        // What failed is tried again: whoever looks after dead letters wants that.
        Ok(found.filter(|image| matches!(image.thumbnails, Thumbnails::Pending | Thumbnails::Failed)))
    }

    async fn made(&self, image: &Image) -> Result<Came, Failure> {
        let app = &self.app;
        let loaded = app.storage.load(&image.object_key, &image.etag, app.clock.now()).await;
        let photo = loaded.map_err(|away| app.storage_failed("get", &away))?;
        // Its owner may have sent something else to its place since: that is not what was registered.
        let Some(photo) = photo else { return Ok(Came::Unmade("CONTENT_GONE".to_owned())) };
        match self.shrunk(photo, image.mime_type.clone()).await? {
            Ok(copies) => self.put(image, copies).await,
            Err(why) => Ok(Came::Unmade(why.to_string())),
        }
    }

    /// The copies of one photo; of another when this one is done, wherever whoever asked has gone: a picture takes memory.
    async fn shrunk(&self, photo: Vec<u8>, mime_type: String) -> Result<Result<Vec<Thumbnail>, Unmade>, Failure> {
        let interrupted = |error: &dyn std::error::Error| Failure::retryable("INTERRUPTED", error.to_string());
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| interrupted(&error))?;
        let work = move || {
            let _until_it_is_done = turn;
            thumbnails::of(&photo, &mime_type)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(copies) => Ok(copies),
            // What a decoder stumbles over is no picture, today and tomorrow.
            Err(error) if error.is_panic() => Ok(Err(Unmade::Unreadable)),
            Err(error) => Err(interrupted(&error)),
        }
    }

    async fn put(&self, image: &Image, copies: Vec<Thumbnail>) -> Result<Came, Failure> {
        let app = &self.app;
        for Thumbnail { max_px, bytes } in copies {
            let key = thumbnails::key_of(&image.object_key, max_px);
            let put = app.storage.put_jpeg(&key, image.user_id, bytes, app.clock.now()).await;
            put.map_err(|away| app.storage_failed("put", &away))?;
        }
        Ok(Came::Made)
    }

    async fn is_there(&self, id: Uuid) -> Result<bool, Failure> {
        Ok(images::by_id(&self.app.db, id).await?.is_some_and(|image| image.is_there()))
    }
}

#[async_trait]
impl CommandHandler for Processor {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        let Process { image_id, object_key } = command.decode()?;
        let began = Instant::now();
        let mut came = match self.waiting(image_id).await? {
            Some(image) => self.made(&image).await?,
            None => Came::Over,
        };
        // It was removed meanwhile, or before: what was put, now or by whoever was killed at it, goes too. What is removed after this look
        // takes its copies along.
        if !self.is_there(image_id).await? {
            remove_thumbnails(&self.app, &object_key).await?;
            came = Came::Over;
        }
        if came == Came::Made {
            self.app.metrics.thumbnail_secs.observe(began.elapsed().as_secs_f64());
        }
        serde_json::to_value(came).map_err(|error| Failure::permanent("RESULT", error.to_string()))
    }

    async fn settle(&self, tx: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure> {
        let Process { image_id, .. } = command.decode()?;
        let came = Came::deserialize(result).map_err(|error| Failure::permanent("RESULT", error.to_string()))?;
        let (state, why) = match came {
            Came::Over => return Ok(send_next(&self.app, tx, self.app.clock.now()).await?),
            Came::Made => (Thumbnails::Done, String::new()),
            Came::Unmade(why) if why == Unmade::Unsupported.to_string() => (Thumbnails::Unsupported, why),
            Came::Unmade(why) => (Thumbnails::Failed, why),
        };
        Ok(end(&self.app, tx, (image_id, state), &why).await?)
    }

    async fn died(&self, tx: &mut Transaction, command: &Command, failure: &Failure) -> Result<(), Failure> {
        let Process { image_id, .. } = command.decode()?;
        Ok(end(&self.app, tx, (image_id, Thumbnails::Failed), failure.reason()).await?)
    }
}

/// Writes what came of a photo, tells it, and sends the next that waits.
async fn end(
    app: &App,
    connection: &mut PgConnection,
    (id, state): (Uuid, Thumbnails),
    why: &str,
) -> Result<(), Error> {
    let now = app.clock.now();
    if let Some(image) = images::by_id(&mut *connection, id).await?.filter(Image::is_there) {
        owners::hold(connection, image.user_id).await?;
        if unprocessed::end(connection, id, state).await? {
            let mut facts = Facts::new();
            facts.add(&*app.ids, image.user_id.to_string(), &fact_of(&image, state, why, now))?;
            app.outbox.write(connection, &facts, now).await?;
            app.metrics.processed(if state == Thumbnails::Done { "done" } else { why });
        }
    }
    send_next(app, connection, now).await
}

/// What is told of the copies of an image.
#[must_use]
pub fn fact_of(image: &Image, state: Thumbnails, why: &str, now: Timestamp) -> ImageProcessed {
    let sizes = SIZES.iter().map(|px| px.cast_signed());
    ImageProcessed {
        image_id: image.id.to_string(),
        user_id: image.user_id.to_string(),
        thumbnails: if state == Thumbnails::Done { sizes.collect() } else { Vec::new() },
        failure: why.to_owned(),
        occurred_at: Some(proto_time(now)),
    }
}

/// Whether the command for one more image is sent at once; else it waits.
///
/// # Errors
/// When the database fails.
pub async fn has_room(app: &App, connection: &mut PgConnection) -> Result<bool, Error> {
    let ahead = i64::from(app.options.thumbnails_ahead);
    Ok(app.sends && unprocessed::on_their_way(connection, ahead).await? < ahead)
}

/// Sends what there is room for of what waits.
///
/// # Errors
/// When the database fails.
pub async fn send_next(app: &App, connection: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
    if !app.sends {
        return Ok(());
    }
    let ahead = i64::from(app.options.thumbnails_ahead);
    let room = ahead - unprocessed::on_their_way(&mut *connection, ahead).await?;
    if room <= 0 {
        return Ok(());
    }
    let due = unprocessed::take(connection, now, room).await?;
    send(app, connection, due, now).await
}

/// Writes commands. The key is the image: none waits for another. Sent again, one is done once.
///
/// # Errors
/// When the database fails.
pub async fn send(app: &App, connection: &mut PgConnection, due: Vec<Due>, now: Timestamp) -> Result<(), Error> {
    let mut facts = Facts::new();
    for Due { id, object_key } in due {
        add_command(app, &mut facts, id, object_key)?;
    }
    Ok(app.outbox.write(connection, &facts, now).await?)
}

/// Adds the command for an image to what is written.
///
/// # Errors
/// None that can be: it is small and JSON.
pub fn add_command(app: &App, facts: &mut Facts, image_id: Uuid, object_key: String) -> Result<(), Error> {
    let command = Process { image_id, object_key };
    Ok(facts.command(&*app.ids, Queue::IMAGE_PROCESS, image_id.to_string(), image_id, &command)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_command_is_what_it_came_to() {
        for came in [Came::Over, Came::Made, Came::Unmade("UNREADABLE".to_owned())] {
            let kept = serde_json::to_value(came.clone()).unwrap();
            assert_eq!(Came::deserialize(&kept).unwrap(), came);
        }
    }
}
