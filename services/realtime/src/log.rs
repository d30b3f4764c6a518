//! What was said to each user, in Redis: the places, the last of it for who comes back, and the channel.
//!
//! Five keys a user, in one slot of a cluster: `rt:{user}:seq` the last place, `rt:{user}:log` a stream whose ids are the places,
//! `rt:{user}:seen:<event>` which events were said, `rt:{user}:anew` that who passes was lately told to begin anew, `rt:{user}:open` the
//! sockets. The channel is `rt:{user}`.
//!
//! **One event is one script**: known or not, numbered, kept and published together, so that a writer that dies midway, or writes
//! again what it has written, says nothing twice and leaves no number out. **Places begin at the time in milliseconds**: a Redis
//! that came back empty goes on above what anybody has seen. **Each message names the place before its own**, so that whoever
//! misses one knows it and reads the log.

mod fault;

use std::{sync::LazyLock, time::Duration};

use coreloop_core::UserId;
use coreloop_planted::{self as planted, Bug};
use redis::{RedisError, Script, aio::ConnectionManager};
use uuid::Uuid;

pub use self::fault::{Fault, LogError};
use crate::{
    Options,
    message::{Message, Said},
};

/// How long the last place of a user is known: far longer than any client asks from.
const PLACES_SECS: u64 = 7 * 86_400;
/// How long it is known that an event was said: what is older than the log is not said any more.
const SEEN_SECS: u64 = 900;
/// Redis gets this long for one answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// KEYS: seq, log, seen, anew. ARGV: seconds the log is kept, messages it keeps, seconds of `seen`, seconds of `seq`, channel, 1 to say
/// and 0 when it is too late for that, then the messages.
///
/// What is too late is a place without a message: who passes it begins anew. One in the time that the log is kept will do, for what
/// comes too late now happened before that one was put there, and the state that followed it had it all.
static SAY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if not redis.call('set', KEYS[3], '1', 'NX', 'EX', ARGV[3]) then return 0 end
local messages = {unpack(ARGV, 7)}
if ARGV[6] ~= '1' then
  if #messages == 0 or not redis.call('set', KEYS[4], '1', 'NX', 'EX', ARGV[1]) then return 1 end
  messages = {''}
end
for _, message in ipairs(messages) do
  local prev = redis.call('get', KEYS[1])
  local seq
  if prev then
    seq = string.format('%.0f', redis.call('incr', KEYS[1]))
  else
    local time = redis.call('time')
    prev = '0'
    seq = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
    redis.call('set', KEYS[1], seq)
  end
  redis.call('xadd', KEYS[2], 'MAXLEN', ARGV[2], seq .. '-1', 'p', prev, 'm', message)
  redis.call('publish', ARGV[5], seq .. ' ' .. prev .. ' ' .. message)
end
redis.call('expire', KEYS[1], ARGV[4])
redis.call('expire', KEYS[2], ARGV[1])
return 1
",
    )
});

/// KEYS: seq, log. ARGV: since, seconds of `seq`. Answers the last place and what the log has behind `since`: place, place before,
/// message. Whoever looks first begins the places, so that the first message has one before it that somebody knows.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = {}
for _, entry in ipairs(redis.call('xrange', KEYS[2], '(' .. ARGV[1] .. '-1', '+')) do
  found[#found + 1] = string.match(entry[1], '^%d+')
  found[#found + 1] = entry[2][2]
  found[#found + 1] = entry[2][4]
end
local seq = redis.call('get', KEYS[1])
if not seq then
  local time = redis.call('time')
  seq = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
  redis.call('set', KEYS[1], seq, 'EX', ARGV[2])
end
return {seq, found}
",
    )
});

/// KEYS: open. ARGV: a socket, how many there may be, milliseconds it counts. Answers whether it may be open; one that is already
/// counts anew.
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('time')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('zremrangebyscore', KEYS[1], '-inf', string.format('%.0f', now))
if not redis.call('zscore', KEYS[1], ARGV[1]) and redis.call('zcard', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('zadd', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
redis.call('pexpire', KEYS[1], ARGV[3])
return 1
",
    )
});

/// What the log answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    /// The messages behind what was asked from, in order.
    pub messages: Vec<Message>,
    /// They are all there were, as far as this version can read them.
    pub complete: bool,
    /// Some of it was not kept or cannot be read: behind the messages comes the state.
    pub anew: bool,
    /// The last place of the user.
    pub seq: i64,
}

/// The log of all users. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    redis: ConnectionManager,
    keep_secs: u64,
    keep_messages: u32,
    sockets: u32,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("keep_secs", &self.keep_secs).finish_non_exhaustive()
    }
}

impl Log {
    /// The log in `redis`.
    #[must_use]
    pub fn new(redis: ConnectionManager, options: &Options) -> Self {
        let (keep_secs, keep_messages) = (options.keep_secs, options.keep_messages);
        Self { redis, keep_secs, keep_messages, sockets: options.sockets_per_user }
    }

    /// Says what an event means to a user, once by the event's id. With `old` it is too late to be said: open sockets are told to
    /// begin anew instead, and so is who resumes; once in the time that the log is kept, and the log stays. Answers whether it
    /// was news.
    ///
    /// # Errors
    /// When Redis did not take it; it may have.
    pub async fn say(&self, user: UserId, event: Uuid, said: &[Said], old: bool) -> Result<bool, LogError> {
        let mut call = SAY.prepare_invoke();
        call.key(key(user, "seq"))
            .key(key(user, "log"))
            .key(key(user, &format!("seen:{event}")))
            .key(key(user, "anew"));
        call.arg(self.keep_secs)
            .arg(self.keep_messages)
            .arg(SEEN_SECS)
            .arg(PLACES_SECS)
            .arg(channel(user))
            .arg(u8::from(!old));
        for said in said {
            call.arg(serde_json::to_string(said).unwrap_or_default());
        }
        let mut redis = self.redis.clone();
        let news: u8 = timely(call.invoke_async(&mut redis)).await?;
        Ok(news == 1)
    }

    /// Says something on another channel, to whoever listens just now.
    ///
    /// # Errors
    /// When Redis did not take it.
    pub async fn publish(&self, channel: &str, word: &str) -> Result<(), LogError> {
        let mut redis = self.redis.clone();
        let mut call = redis::cmd("PUBLISH");
        call.arg(channel).arg(word);
        timely(call.query_async::<()>(&mut redis)).await
    }

    /// What a user missed since `since`; without it nothing but the last place.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn missed(&self, user: UserId, since: Option<i64>) -> Result<Missed, LogError> {
        let mut call = READ.prepare_invoke();
        call.key(key(user, "seq")).key(key(user, "log")).arg(since.unwrap_or(i64::MAX)).arg(PLACES_SECS);
        let mut redis = self.redis.clone();
        let (seq, found): (i64, Vec<String>) = timely(call.invoke_async(&mut redis)).await?;
        Ok(missed(since, seq, &found))
    }

    /// Opens a socket of a user, or says that it is still open. False: the user has as many as they may.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn open(&self, user: UserId, socket: Uuid, counts: Duration) -> Result<bool, LogError> {
        let mut call = OPEN.prepare_invoke();
        call.key(key(user, "open")).arg(socket.to_string()).arg(self.sockets);
        call.arg(u64::try_from(counts.as_millis()).unwrap_or(u64::MAX));
        let mut redis = self.redis.clone();
        let open: u8 = timely(call.invoke_async(&mut redis)).await?;
        Ok(open == 1)
    }

    /// A socket of a user is closed.
    ///
    /// # Errors
    /// When Redis does not answer; then it stops counting by itself.
    pub async fn close(&self, user: UserId, socket: Uuid) -> Result<(), LogError> {
        let mut redis = self.redis.clone();
        let mut call = redis::cmd("ZREM");
        call.arg(key(user, "open")).arg(socket.to_string());
        timely(call.query_async::<()>(&mut redis)).await
    }

    /// Forgets what was said to a user, their places and their sockets: the account is closed. What was seen forgets itself.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn forget(&self, user: UserId) -> Result<(), LogError> {
        let mut redis = self.redis.clone();
        let mut call = redis::cmd("DEL");
        for what in ["seq", "log", "anew", "open"] {
            call.arg(key(user, what));
        }
        timely(call.query_async::<()>(&mut redis)).await
    }
}

/// An entry of the log.
struct Entry {
    seq: i64,
    prev: i64,
    /// None where nothing was kept, and for what a newer version wrote.
    said: Option<Said>,
}

impl Entry {
    fn read([seq, prev, said]: &[String; 3]) -> Option<Self> {
        Some(Self { seq: seq.parse().ok()?, prev: prev.parse().ok()?, said: serde_json::from_str(said).ok() })
    }
}

/// What the log answers to who asks from `since`.
fn missed(since: Option<i64>, seq: i64, found: &[String]) -> Missed {
    let entries: Vec<_> = found.as_chunks::<3>().0.iter().filter_map(Entry::read).collect();
    // Nought is the place before the first of a user whom nobody has listened to.
    let since = since.filter(|since| *since > 0);
    let whole = |since| entries.len() * 3 == found.len() && complete(since, seq, &entries);
    let complete = since.is_some_and(|since| planted::on(Bug::LostGap) || whole(since));
    let anew = !complete || entries.iter().any(|entry| entry.said.is_none());
    let told = |entry: Entry| Some(Message { seq: entry.seq, prev: entry.prev, said: entry.said?.into() });
    Missed { messages: entries.into_iter().filter_map(told).collect(), complete, anew, seq }
}

/// Nothing is missing between `since`, the entries, and the last place.
fn complete(since: i64, seq: i64, entries: &[Entry]) -> bool {
    let mut last = since;
    for entry in entries {
        if entry.prev != last {
            return false;
        }
        last = entry.seq;
    }
    last == seq
}

/// A word on the channel of a user: its place, the place before and the message; without a message something was not kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// A message.
    Message(Message),
    /// Something was not kept: the log says so too.
    Broken,
}

impl Word {
    /// Reads what was published; none for nonsense.
    #[must_use]
    pub fn read(payload: &str) -> Option<Self> {
        let mut parts = payload.splitn(3, ' ');
        let (seq, prev, said) = (parts.next()?, parts.next()?, parts.next()?);
        let (seq, prev): (i64, i64) = (seq.parse().ok()?, prev.parse().ok()?);
        // What this version cannot read is a gap to it, and the state that comes then has it all.
        let said: Option<Said> = serde_json::from_str(said).ok();
        Some(said.map_or(Self::Broken, |said| Self::Message(Message { seq, prev, said: said.into() })))
    }
}

/// The channel of a user.
#[must_use]
pub fn channel(user: UserId) -> String {
    format!("rt:{{{user}}}")
}

/// The user of a channel.
#[must_use]
pub fn user_of(channel: &str) -> Option<UserId> {
    channel.strip_prefix("rt:{")?.strip_suffix('}')?.parse().ok()
}

fn key(user: UserId, what: &str) -> String {
    format!("rt:{{{user}}}:{what}")
}

async fn timely<T>(work: impl Future<Output = Result<T, RedisError>>) -> Result<T, LogError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LogError::Late),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::message::Kind;

    const SAID: &str = r#"{"type":"notification","data":{"title":"a b"},"timestamp":"2026-01-02T03:04:05Z"}"#;

    /// What is missed of a log with these places, each behind the place before it: places, complete, anew.
    fn of(since: i64, seq: i64, log: &[(i64, i64, &str)]) -> (Vec<i64>, bool, bool) {
        let found: Vec<_> =
            log.iter().flat_map(|(prev, seq, said)| [seq.to_string(), prev.to_string(), (*said).into()]).collect();
        let missed = missed(Some(since), seq, &found);
        assert_eq!(missed.seq, seq);
        (missed.messages.iter().map(|message| message.seq).collect(), missed.complete, missed.anew)
    }

    #[test]
    fn what_is_between_is_complete_or_not() {
        assert_eq!(of(7, 7, &[]), (vec![], true, false), "nothing was missed");
        assert_eq!(of(7, 9, &[]), (vec![], false, true), "it is not kept any more");
        assert_eq!(of(9, 7, &[]), (vec![], false, true), "places of another Redis");
        assert_eq!(of(7, 9, &[(7, 8, SAID), (8, 9, SAID)]), (vec![8, 9], true, false));
        assert!(!of(6, 9, &[(7, 8, SAID), (8, 9, SAID)]).1, "the first is not kept any more");
        assert!(!of(7, 9, &[(7, 8, SAID)]).1, "the last is not kept");
        assert!(!of(0, 0, &[(0, 5, SAID)]).1);
    }

    #[test]
    fn a_place_without_a_message_begins_anew_and_takes_nothing_from_who_resumes() {
        let newer = r#"{"type":"newer","data":{},"timestamp":"2026-01-02T03:04:05Z"}"#;
        for unsaid in ["", newer] {
            let log = [(7, 8, SAID), (8, 9, unsaid), (9, 10, SAID)];
            assert_eq!(of(7, 10, &log), (vec![8, 10], true, true), "{unsaid}");
            assert_eq!(of(9, 10, &log[2..]), (vec![10], true, false), "behind it nobody knows of it: {unsaid}");
        }
    }

    #[test]
    fn a_word_is_read_and_nonsense_is_none() {
        let Some(Word::Message(message)) = Word::read(&format!("8 7 {SAID}")) else { panic!("no message") };
        assert_eq!((message.seq, message.prev, message.said.kind), (8, 7, Kind::Notification));
        assert_eq!(Word::read("8 0 "), Some(Word::Broken));
        assert_eq!(
            Word::read(r#"8 7 {"type":"newer","data":{},"timestamp":"2026-01-02T03:04:05Z"}"#),
            Some(Word::Broken)
        );
        for nonsense in ["", "8", "8 7", "x 7 {}", "8 x {}"] {
            assert_eq!(Word::read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_channel_says_whose_it_is() {
        let user = UserId(Uuid::from_u128(7));
        assert_eq!(user_of(&channel(user)), Some(user));
        for other in ["", "rt:", "rt:{x}", "rt:7", &format!("rt:{{{user}")] {
            assert_eq!(user_of(other), None, "{other}");
        }
    }
}
