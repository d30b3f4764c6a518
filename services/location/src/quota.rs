//! How often the provider may be asked in a day: counted in Redis, kept in Postgres, never exceeded by all replicas together.
//!
//! Postgres grants calls in blocks, before they are made; Redis counts what is used and what is left of what was granted
//! (`location:quota:{day}`), by one script. A block is handed to Redis once, by whoever it was granted to, so nothing is left there that
//! was not granted; a Redis that forgets costs what was left, and a Postgres that is away costs nothing until that is used up. Where Redis does not answer each call is granted by itself. **Where neither answers nobody is asked**: what is not
//! counted could be one too many. Days are Korea's, as the provider's are.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use coreloop_core::Clock;
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

/// `KEYS`: the day's count. `ARGV`: calls, what was granted just now, all that had been granted before, how long it is kept. Answers how
/// many are used with these calls; -1 when fewer are left, and nothing is used.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local calls, more = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('hmget', KEYS[1], 'used', 'left')
local used, left = tonumber(kept[1] or ARGV[3]), tonumber(kept[2] or 0) + more
local enough = left >= calls
if enough then
  used, left = used + calls, left - calls
end
if enough or more > 0 then
  redis.call('hset', KEYS[1], 'used', used, 'left', left)
  redis.call('expire', KEYS[1], ARGV[4])
end
if enough then return used end
return -1
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
    patience: Duration,
    database: Duration,
    daily: i64,
    block: i64,
    metrics: Metrics,
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
    /// Fewer are left: more must be granted first.
    Short,
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
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let patience = Duration::from_millis(options.redis_timeout_ms);
        let database = Duration::from_millis(options.database_timeout_ms);
        let (daily, block) = (i64::from(options.quota_daily), i64::from(options.quota_block));
        Self { db, redis, clock, patience, database, daily, block, metrics }
    }

    /// Takes `calls` of today's.
    ///
    /// # Errors
    /// When there are none left, or nobody can tell.
    pub async fn take(&self, calls: u32) -> Result<(), Spent> {
        let (day, calls) = (self.today(), i64::from(calls));
        match self.count(day, calls, Granted::default()).await {
            Counted::Used(used) => self.took(used),
            Counted::Away => self.one_by_one(day, calls).await,
            Counted::Short => self.next_block(day, calls).await,
        }
    }

    /// A block more, and then of that. Others may be faster and use it: then there is another.
    async fn next_block(&self, day: Date, calls: i64) -> Result<(), Spent> {
        loop {
            let Some(granted) = self.grant(day, self.block.max(calls)).await? else {
                tracing::warn!(daily = self.daily, "the provider's calls of the day are used up");
                self.metrics.quota.set(self.daily);
                return Err(Spent::Used);
            };
            match self.count(day, calls, granted).await {
                Counted::Used(used) => return self.took(used),
                // Counted or not: these were granted to nobody else.
                Counted::Away if granted.more >= calls => return Ok(()),
                Counted::Short | Counted::Away => {}
            }
        }
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

    async fn count(&self, day: Date, calls: i64, granted: Granted) -> Counted {
        let Some(mut redis) = self.redis.clone() else { return Counted::Away };
        let mut call = TAKE.prepare_invoke();
        call.key(format!("location:quota:{day}")).arg(calls).arg(granted.more).arg(granted.before).arg(KEPT_SECS);
        match tokio::time::timeout(self.patience, call.invoke_async::<i64>(&mut redis)).await {
            Ok(Ok(-1)) => Counted::Short,
            Ok(Ok(used)) => Counted::Used(used),
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
