//! The pieces of an answer while it is given: a Redis stream `chat:pieces:{message}`, kept for some minutes after the last, and a word to
//! every replica on the channel [`CHANNEL`] that there are more.
//!
//! Each time that the model is asked is a run with an id of its own; its first entry has no text, and the others say behind how many
//! characters of the run they stand. So a reader notices that an answer began anew, that another process still writes what nobody wants
//! any more, and that something is missing. A Redis that is away costs pieces and no answer.

mod follow;

use std::{fmt, time::Duration};

use coreloop_core::Ids;
use redis::{aio::ConnectionManager, streams::StreamRangeReply};
use tokio::time::Instant;
use uuid::Uuid;

pub use self::follow::{Follower, Step};

/// Channel of conversations of which there is something new: `p` (pieces) or `m` (a message), a space, the conversation.
pub const CHANNEL: &str = "chat:changed";
/// Entries of a stream, about; far more than one answer has.
const MOST: usize = 4_096;
/// After Redis did not answer nothing is told for so long.
const REST: Duration = Duration::from_secs(1);

/// Where pieces are.
pub struct Pieces {
    redis: Option<ConnectionManager>,
    patience: Duration,
    every: Duration,
    keep_secs: u32,
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id in the stream.
    pub id: String,
    /// The run, 32 hex digits.
    pub run: String,
    /// Characters of the run before it.
    pub at: usize,
    /// What it says; empty: the run begins.
    pub text: String,
}

impl Pieces {
    /// In this Redis, where there is one: told at most once in `every`, kept for `keep_secs`.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64, every: Duration, keep_secs: u32) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms), every, keep_secs }
    }

    /// The entries of an answer behind one (empty: all); none when Redis does not say.
    pub async fn read(&self, message: Uuid, after: &str) -> Option<Vec<Entry>> {
        let mut command = redis::cmd("XRANGE");
        let from = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
        command.arg(key(message)).arg(from).arg("+").arg("COUNT").arg(MOST * 2);
        let mut redis = self.redis.clone()?;
        match tokio::time::timeout(self.patience, command.query_async::<StreamRangeReply>(&mut redis)).await {
            Ok(Ok(reply)) => Some(reply.ids.iter().filter_map(entry).collect()),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say the pieces of an answer");
                None
            }
        }
    }

    /// Says that a message of a conversation is not what it was. What cannot be said is found out later.
    pub async fn changed(&self, conversation: Uuid) {
        let mut command = redis::cmd("PUBLISH");
        command.arg(CHANNEL).arg(format!("m {conversation}"));
        self.ask(&command).await;
    }

    /// Forgets the pieces of answers. Where it cannot, and of what the model still says, they go by themselves.
    pub async fn forget(&self, messages: &[Uuid]) {
        if messages.is_empty() {
            return;
        }
        let mut command = redis::cmd("DEL");
        for message in messages {
            command.arg(key(*message));
        }
        self.ask(&command).await;
    }

    async fn ask(&self, command: &redis::Cmd) {
        let Some(mut redis) = self.redis.clone() else { return };
        let done = tokio::time::timeout(self.patience, command.query_async::<redis::Value>(&mut redis)).await;
        if !matches!(done, Ok(Ok(_))) {
            tracing::debug!("redis was not told what became of an answer");
        }
    }

    async fn tell(&self, of: (Uuid, Uuid), run: &str, at: usize, text: &str) -> bool {
        let (conversation, message) = of;
        let Some(mut redis) = self.redis.clone() else { return true };
        let mut pipe = redis::pipe();
        pipe.cmd("XADD").arg(key(message)).arg("MAXLEN").arg("~").arg(MOST).arg("*");
        pipe.arg("r").arg(run).arg("a").arg(at).arg("t").arg(text).ignore();
        pipe.cmd("EXPIRE").arg(key(message)).arg(self.keep_secs).ignore();
        pipe.cmd("PUBLISH").arg(CHANNEL).arg(format!("p {conversation}")).ignore();
        let told = tokio::time::timeout(self.patience, pipe.query_async::<()>(&mut redis)).await;
        matches!(told, Ok(Ok(())))
    }
}

fn key(message: Uuid) -> String {
    format!("chat:pieces:{message}")
}

fn entry(of: &redis::streams::StreamId) -> Option<Entry> {
    Some(Entry { id: of.id.clone(), run: of.get("r")?, at: of.get("a")?, text: of.get("t")? })
}

/// Where the pieces of an answer are told.
#[derive(Debug, Clone, Copy)]
pub struct Voice<'a> {
    /// By whom.
    pub pieces: &'a Pieces,
    /// Conversation.
    pub conversation: Uuid,
    /// The answer.
    pub message: Uuid,
}

impl<'a> Voice<'a> {
    /// Begins anew.
    pub async fn begin(&self, ids: &dyn Ids) -> Writer<'a> {
        let run = ids.uuid().simple().to_string();
        let now = Instant::now();
        let mut writer =
            Writer { voice: *self, run, held: String::new(), at: 0, due: now, told_at: None, rest_until: None };
        writer.say("").await;
        writer
    }
}

/// Tells the pieces of one run, a few together.
#[derive(Debug)]
pub struct Writer<'a> {
    voice: Voice<'a>,
    run: String,
    held: String,
    /// Characters before what is held.
    at: usize,
    due: Instant,
    told_at: Option<Instant>,
    rest_until: Option<Instant>,
}

impl Writer<'_> {
    /// Something waits to be told.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// When what waits is to be told.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Tells more of the answer, now or soon.
    pub async fn piece(&mut self, text: &str) {
        let now = Instant::now();
        if self.held.is_empty() {
            self.due = self.told_at.map_or(now, |told| told + self.voice.pieces.every);
        }
        self.held.push_str(text);
        if self.due <= now {
            self.flush().await;
        }
    }

    /// Tells what waits.
    pub async fn flush(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.held);
        self.say(&text).await;
        self.at += text.chars().count();
        self.told_at = Some(Instant::now());
    }

    async fn say(&mut self, text: &str) {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let Voice { pieces, conversation, message } = self.voice;
        let told = pieces.tell((conversation, message), &self.run, self.at, text).await;
        self.rest_until = (!told).then(|| Instant::now() + REST);
        if !told {
            tracing::debug!("a piece of an answer could not be told");
        }
    }
}
