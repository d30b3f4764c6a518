//! How often the provider may be asked in a day: counted in Redis, kept in Postgres, never exceeded by all replicas together.
//!
//! Postgres grants calls in blocks, before they are made; Redis counts what is used and what is left of what was granted
//! (`location:quota:{day}`), by one script. A block is handed to Redis once, by whoever it was granted to, so nothing is left there that
//! was not granted; a Redis that forgets costs what was left, and a Postgres that is away costs nothing until that is used up. Where
//! Redis does not answer each call is granted by itself. **Where neither answers nobody is asked**: what is not counted could be one too
//! many. Days are Korea's, as the provider's are.
//!
//! A Redis that does not say whether it took a block may have it or not, so the block is handed over again later. It is taken once: it has
//! a name there, what was granted before it; and where Redis has forgotten the day since, nobody knows what became of the block, and it
//! is lost.

use std::{
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coreloop_core::{Clock, Ids};
use jiff::{civil::Date, tz::TimeZone};
use redis::{Script, aio::ConnectionManager};
use sqlx::PgPool;

use crate::{
    Options,
    hours::KOREA,
    metrics::Metrics,
    store::{self, quota::Granted},
};

/// A day's count is kept for so long.
const KEPT_SECS: u32 = 2 * 86_400;

/// Blocks that wait for Redis; more are lost.
const MOST_OWED: usize = 64;

/// `KEYS`: the day's count. `ARGV`: calls, what was granted, all that had been granted before, how long it is kept, a new name for a count
/// that begins, the name of the count that a block was handed to before (empty: to none). Answers how many are used with these calls (-1
/// when fewer are left, and none is used), and the name of the count (empty: there is none).
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local calls, more = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('hmget', KEYS[1], 'used', 'left', 'name')
local used, left, name = tonumber(kept[1] or ARGV[3]), tonumber(kept[2] or 0), kept[3] or ''
if ARGV[6] ~= '' and ARGV[6] ~= name then more = 0 end
if more > 0 and redis.call('hsetnx', KEYS[1], 'block:' .. ARGV[3], 1) == 0 then more = 0 end
if more > 0 and name == '' then
  name = ARGV[5]
  redis.call('hset', KEYS[1], 'name', name)
end
left = left + more
local enough = left >= calls
if enough then
  used, left = used + calls, left - calls
end
if enough or more > 0 then
  redis.call('hset', KEYS[1], 'used', used, 'left', left)
  redis.call('expire', KEYS[1], ARGV[4])
end
if enough then return {used, name} end
return {-1, name}
",
    )
});

/// No call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// All of the day's are used.
    Used,
    /// Nobody can tell.
    Unknown,
}

/// The calls of a day.
#[derive(Clone)]
pub struct Quota {
    db: PgPool,
    redis: Option<ConnectionManager>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    patience: Duration,
    database: Duration,
    daily: i64,
    block: i64,
    owed: Arc<Mutex<Vec<(Date, Block)>>>,
    metrics: Metrics,
}

/// What is handed to Redis.
#[derive(Debug, Clone, Default)]
struct Block {
    granted: Granted,
    /// The count that it was handed to before; empty: to none.
    to: String,
}

impl std::fmt::Debug for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quota").field("daily", &self.daily).finish_non_exhaustive()
    }
}

/// What Redis says.
enum Counted {
    /// So many are used, with these.
    Used(i64),
    /// Fewer are left: more must be granted first. The name of the count.
    Short(String),
    /// Nothing.
    Away,
}

impl Quota {
    /// The calls of the settings.
    #[must_use]
    pub fn of(
        options: &Options,
        db: PgPool,
        redis: Option<ConnectionManager>,
        (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>),
        metrics: Metrics,
    ) -> Self {
        let patience = Duration::from_millis(options.redis_timeout_ms);
        let database = Duration::from_millis(options.database_timeout_ms);
        let (daily, block) = (i64::from(options.quota_daily), i64::from(options.quota_block));
        Self { db, redis, clock, ids, patience, database, daily, block, owed: Arc::default(), metrics }
    }

    /// Takes `calls` of today's.
    ///
    /// # Errors
    /// When there are none left, or nobody can tell.
    pub async fn take(&self, calls: u32) -> Result<(), Spent> {
        let (day, calls) = (self.today(), i64::from(calls));
        let owed = self.owed_of(day).unwrap_or_default();
        match self.count(day, calls, &owed).await {
            Counted::Used(used) => self.took(used),
            Counted::Away => {
                self.owe(day, owed);
                self.one_by_one(day, calls).await
            }
            Counted::Short(count) => self.next_block(day, calls, count).await,
        }
    }

    /// A block more, and then of that. Others may be faster and use it: then there is another.
    async fn next_block(&self, day: Date, calls: i64, mut count: String) -> Result<(), Spent> {
        loop {
            let Some(granted) = self.grant(day, self.block.max(calls)).await? else {
                tracing::warn!(daily = self.daily, "the provider's calls of the day are used up");
                self.metrics.quota.set(self.daily);
                return Err(Spent::Used);
            };
            match self.count(day, calls, &Block { granted, to: String::new() }).await {
                Counted::Used(used) => return self.took(used),
                Counted::Short(now) => count = now,
                Counted::Away => {
                    // Counted or not: these were granted to nobody else.
                    let ours = granted.more >= calls;
                    let more = if ours { granted.more - calls } else { granted.more };
                    self.owe(day, Block { granted: Granted { more, ..granted }, to: count.clone() });
                    if ours {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A block of which Redis has not said that it has it.
    fn owed_of(&self, day: Date) -> Option<Block> {
        let mut owed = self.owed();
        owed.retain(|(of, _)| *of == day);
        owed.pop().map(|(_, block)| block)
    }

    /// Hands a block over later: to the count that it was handed to, or never.
    fn owe(&self, day: Date, block: Block) {
        let mut owed = self.owed();
        if block.granted.more > 0 && !block.to.is_empty() && owed.len() < MOST_OWED {
            owed.push((day, block));
        }
    }

    fn owed(&self) -> MutexGuard<'_, Vec<(Date, Block)>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn one_by_one(&self, day: Date, calls: i64) -> Result<(), Spent> {
        match self.grant(day, calls).await? {
            Some(granted) if granted.more >= calls => Ok(()),
            _ => Err(Spent::Used),
        }
    }

    /// One that comes too late is granted and not used.
    async fn grant(&self, day: Date, calls: i64) -> Result<Option<Granted>, Spent> {
        let grant = store::quota::grant(&self.db, day, calls, self.daily);
        match tokio::time::timeout(self.database, grant).await {
            Ok(Ok(granted)) => Ok(granted),
            failed => {
                let error = failed.ok().and_then(Result::err).map(|error| error.to_string());
                tracing::warn!(error, "it is not known how many calls of the provider are left");
                Err(Spent::Unknown)
            }
        }
    }

    fn took(&self, used: i64) -> Result<(), Spent> {
        self.metrics.quota.set(used);
        Ok(())
    }

    async fn count(&self, day: Date, calls: i64, block: &Block) -> Counted {
        let Some(mut redis) = self.redis.clone() else { return Counted::Away };
        let Block { granted, to } = block;
        let mut call = TAKE.prepare_invoke();
        call.key(format!("location:quota:{day}")).arg(calls).arg(granted.more).arg(granted.before).arg(KEPT_SECS);
        call.arg(self.ids.uuid().to_string()).arg(to);
        match tokio::time::timeout(self.patience, call.invoke_async::<(i64, String)>(&mut redis)).await {
            Ok(Ok((-1, count))) => Counted::Short(count),
            Ok(Ok((used, _))) => Counted::Used(used),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not count calls of the provider");
                Counted::Away
            }
        }
    }

    fn today(&self) -> Date {
        self.clock.now().to_zoned(TimeZone::fixed(KOREA)).date()
    }
}
