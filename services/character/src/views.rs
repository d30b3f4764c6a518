//! What Redis has: `char:ownership:{user}` (what somebody has), `char:ranking:{week}` (who acquired how many), `char:detail:{code}`
//! (the catalogue). All of it can be made anew from the database, while it serves.
//!
//! **A view takes no newer one's place.** It carries the version of the collection that it was made of, and one script looks and
//! writes; the scores of a user's weeks are set, not added, in the same script. So it does not matter who writes, how often, and in
//! which order. **A rebuild begins a generation**: what is written from then on carries its name, and takes the place of
//! whatever is of another, also of what is ahead of a database that came back from a backup. The rankings of the new
//! generation grow beside those that serve, are written by everybody meanwhile, and take their place at the end.
//!
//! Keys are made in the scripts: Redis is one server here (docs/events.md).

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use redis::{RedisResult, Script, aio::ConnectionManager};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    catalogue::Character,
    collection::{Collection, Piece},
};

/// The rebuild that last began: what it and whoever writes after it write is of its generation.
const GENERATION: &str = "char:generation";
/// The rebuild that runs, if one does.
const REBUILDING: &str = "char:rebuilding";
/// Codes of the catalogue, in their order.
const CODES: &str = "char:codes";
/// Whoever writes waits so long for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A ranking is kept for so long after its last change: ten weeks.
const KEPT_SECS: u32 = 10 * 7 * 86_400;
/// Of a closed collection its version is kept for so long: longer than the broker keeps events.
const CLOSED_SECS: u32 = 60 * 86_400;
/// A rebuild says so often at least that it still runs.
const RUNS_SECS: u32 = 3_600;

/// `KEYS`: the collection, the generation, the rebuild. `ARGV`: version, user, view (empty: closed), how long a ranking and a closed
/// one are kept, then week and score of each week. Answers whether it was newer.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local generation = redis.call('get', KEYS[2]) or ''
local kept = redis.call('hmget', KEYS[1], 'generation', 'version', 'weeks')
if kept[1] == generation and tonumber(kept[2]) >= tonumber(ARGV[1]) then return 0 end
local ends = {''}
if redis.call('exists', KEYS[3]) == 1 then ends[2] = ':next' end
local function place(week, score)
  for _, ending in ipairs(ends) do
    local key = 'char:ranking:' .. week .. ending
    if score then
      redis.call('zadd', key, score, ARGV[2])
      redis.call('expire', key, ARGV[4])
    else
      redis.call('zrem', key, ARGV[2])
    end
  end
end
for week in string.gmatch(kept[3] or '', '[^,]+') do place(week) end
local weeks = {}
for i = 6, #ARGV, 2 do
  place(ARGV[i], ARGV[i + 1])
  weeks[#weeks + 1] = ARGV[i]
end
redis.call('hset', KEYS[1], 'generation', generation, 'version', ARGV[1], 'view', ARGV[3], 'weeks', table.concat(weeks, ','))
if ARGV[3] == '' then redis.call('expire', KEYS[1], ARGV[5]) else redis.call('persist', KEYS[1]) end
return 1
",
    )
});

/// `KEYS`: a ranking. `ARGV`: most places, user or nothing. Answers how many there are, the score of the user or nothing, how many
/// have a higher one, and the first places.
static RANKING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local score, above = '', 0
if ARGV[2] ~= '' then
  score = redis.call('zscore', KEYS[1], ARGV[2]) or ''
  if score ~= '' then above = redis.call('zcount', KEYS[1], '(' .. score, '+inf') end
end
local first = redis.call('zrevrange', KEYS[1], 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
return {redis.call('zcard', KEYS[1]), score, above, first}
",
    )
});

/// `KEYS`: the generation, the rebuild. `ARGV`: who rebuilds, for how long that is believed, then weeks. Begins a generation.
static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
for i = 3, #ARGV do redis.call('del', 'char:ranking:' .. ARGV[i] .. ':next') end
redis.call('set', KEYS[1], ARGV[1])
redis.call('set', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
",
    )
});

/// `KEYS`: the rebuild. `ARGV`: who rebuilds, for how long that is believed. Answers whether it is still theirs.
static RUNS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('expire', KEYS[1], ARGV[2])",
    )
});

/// `KEYS`: the rebuild. `ARGV`: who rebuilds, then weeks. The new rankings take the place of the old; answers whether the rebuild was
/// still theirs to end.
static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV do
  local key = 'char:ranking:' .. ARGV[i]
  if redis.call('exists', key .. ':next') == 1 then redis.call('rename', key .. ':next', key) else redis.call('del', key) end
end
redis.call('del', KEYS[1])
return 1
",
    )
});

/// `KEYS`: the generation, then collections. Removes those of a generation before; answers how many.
static DROP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local generation, dropped = redis.call('get', KEYS[1]) or '', 0
for i = 2, #KEYS do
  if redis.call('hget', KEYS[i], 'generation') ~= generation then dropped = dropped + redis.call('del', KEYS[i]) end
end
return dropped
",
    )
});

/// What somebody has, as Redis has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Of the collection that it was made of.
    pub version: i64,
    /// What is in it.
    pub owned: BTreeMap<String, Piece>,
}

/// A ranking as Redis has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    /// The first places: user, score.
    pub first: Vec<(String, i32)>,
    /// How many there are.
    pub total: i32,
    /// Score and place of who asked.
    pub mine: Option<(i32, i32)>,
}

/// Redis did not say what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// There is none.
    #[error("no Redis is configured")]
    Unset,
    /// It answered an error, or is away.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// It took too long.
    #[error("redis did not answer in time")]
    TimedOut,
}

/// The views.
#[derive(Clone)]
pub struct Views {
    redis: Option<ConnectionManager>,
    /// For who reads.
    patience: Duration,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

impl Views {
    /// In this Redis, where there is one.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms) }
    }

    /// Tells what a collection has become, with the scores of its weeks from `oldest` on; `false` when as much, or more, was known.
    /// Nothing where there is no Redis.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn put(&self, user: Uuid, version: i64, collection: &Collection, oldest: &str) -> Result<bool, Away> {
        let Some(mut redis) = self.redis.clone() else { return Ok(false) };
        let view = View { version, owned: collection.owned.clone() };
        let text = if collection.closed { String::new() } else { serde_json::to_string(&view).unwrap_or_default() };
        let mut call = PUT.prepare_invoke();
        call.key(own(&user.to_string())).key(GENERATION).key(REBUILDING);
        call.arg(version).arg(user.to_string()).arg(text).arg(KEPT_SECS).arg(CLOSED_SECS);
        for (week, score) in collection.weeks.iter().filter(|(week, _)| week.as_str() >= oldest) {
            call.arg(week).arg(*score);
        }
        let newer: i64 = within(PATIENCE, call.invoke_async(&mut redis)).await?;
        Ok(newer == 1)
    }

    /// What somebody has; none where Redis does not know.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn find(&self, user: Uuid) -> Result<Option<View>, Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let mut command = redis::cmd("HMGET");
        command.arg(own(&user.to_string())).arg("version").arg("view");
        let (version, view): (Option<i64>, Option<String>) =
            within(self.patience, command.query_async(&mut redis)).await?;
        let (Some(version), Some(view)) = (version, view) else { return Ok(None) };
        let closed = View { version, ..View::default() };
        Ok(if view.is_empty() { Some(closed) } else { serde_json::from_str(&view).ok() })
    }

    /// The ranking of a week.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn ranking(&self, week: &str, user: Option<Uuid>, most: i32) -> Result<Ranking, Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let mut call = RANKING.prepare_invoke();
        call.key(format!("char:ranking:{week}")).arg(most);
        call.arg(user.map(|user| user.to_string()).unwrap_or_default());
        let (total, score, above, first): (i32, String, i32, Vec<(String, i32)>) =
            within(self.patience, call.invoke_async(&mut redis)).await?;
        let mine = score.parse().ok().map(|score: i32| (score, above.saturating_add(1)));
        Ok(Ranking { first, total, mine })
    }

    /// Tells the catalogue.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn tell(&self, shelf: &[Character]) -> Result<(), Away> {
        let Some(mut redis) = self.redis.clone() else { return Ok(()) };
        let codes: Vec<&str> = shelf.iter().map(|character| character.code.as_str()).collect();
        let mut pipe = redis::pipe();
        pipe.atomic().set(CODES, codes.join(",")).ignore();
        for character in shelf {
            pipe.set(detail(&character.code), serde_json::to_string(character).unwrap_or_default()).ignore();
        }
        within(PATIENCE, pipe.query_async(&mut redis)).await
    }

    /// The catalogue, where Redis knows all of it.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn details(&self) -> Result<Option<Vec<Character>>, Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let mut command = redis::cmd("GET");
        command.arg(CODES);
        let codes: Option<String> = within(self.patience, command.query_async(&mut redis)).await?;
        let Some(codes) = codes.filter(|codes| !codes.is_empty()) else { return Ok(None) };
        let mut command = redis::cmd("MGET");
        for code in codes.split(',') {
            command.arg(detail(code));
        }
        let texts: Vec<Option<String>> = within(self.patience, command.query_async(&mut redis)).await?;
        Ok(texts.into_iter().map(|text| serde_json::from_str(&text?).ok()).collect())
    }

    /// Begins to make the views anew: what is written from now on is of a new generation. `who` names the rebuild.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn begin(&self, who: Uuid, weeks: &[String]) -> Result<(), Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let mut call = BEGIN.prepare_invoke();
        call.key(GENERATION).key(REBUILDING).arg(who.to_string()).arg(RUNS_SECS);
        for week in weeks {
            call.arg(week);
        }
        let _begun: i64 = within(PATIENCE, call.invoke_async(&mut redis)).await?;
        Ok(())
    }

    /// Goes on; `false` when another began meanwhile, or nobody was heard of for too long.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn go_on(&self, who: Uuid) -> Result<bool, Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let mut call = RUNS.prepare_invoke();
        call.key(REBUILDING).arg(who.to_string()).arg(RUNS_SECS);
        let runs: i64 = within(PATIENCE, call.invoke_async(&mut redis)).await?;
        Ok(runs == 1)
    }

    /// The new rankings take the place of the old; `false` as [`Views::go_on`].
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn end(&self, who: Uuid, weeks: &[String]) -> Result<bool, Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let mut call = END.prepare_invoke();
        call.key(REBUILDING).arg(who.to_string());
        for week in weeks {
            call.arg(week);
        }
        let ended: i64 = within(PATIENCE, call.invoke_async(&mut redis)).await?;
        Ok(ended == 1)
    }

    /// Removes the collections of generations before, of which the database knows nothing; answers how many.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn sweep(&self) -> Result<i64, Away> {
        let mut redis = self.redis.clone().ok_or(Away::Unset)?;
        let (mut place, mut dropped) = ("0".to_owned(), 0);
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(&place).arg("MATCH").arg(own("*")).arg("COUNT").arg(1_000);
            let (next, keys): (String, Vec<String>) = within(PATIENCE, command.query_async(&mut redis)).await?;
            if !keys.is_empty() {
                let mut call = DROP.prepare_invoke();
                call.key(GENERATION);
                for key in keys {
                    call.key(key);
                }
                let some: i64 = within(PATIENCE, call.invoke_async(&mut redis)).await?;
                dropped += some;
            }
            if next == "0" {
                return Ok(dropped);
            }
            place = next;
        }
    }
}

fn own(user: &str) -> String {
    format!("char:ownership:{user}")
}

fn detail(code: &str) -> String {
    format!("char:detail:{code}")
}

async fn within<T>(patience: Duration, call: impl Future<Output = RedisResult<T>>) -> Result<T, Away> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Away::TimedOut),
    }
}
