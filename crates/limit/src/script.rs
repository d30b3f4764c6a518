//! The decision in Redis: every window of a call in one atomic script.

use std::{sync::LazyLock, time::Duration};

use redis::{RedisResult, Script, aio::ConnectionManager};

use crate::{limiter::Measure, plan::Window};

/// A budget that a call draws from: a key and its windows.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    pub(crate) key: String,
    pub(crate) windows: &'a [Window],
}

/// KEYS: one sorted set a budget; members are admitted calls, scores their times in microseconds by Redis's clock.
/// ARGV: a nonce that makes the member unique, then for each key the number of its windows and max and length (µs) of each.
/// Answers admitted (0 or 1), then limit, remaining, reset (µs) of the tightest window, and the wait (µs) until a retry.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('time')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number) return string.format('%.0f', number) end
local wait, limit, remaining, reset = 0, 0, nil, 0
local at, longest = 2, {}
for index, key in ipairs(KEYS) do
  local windows = tonumber(ARGV[at])
  at = at + 1
  longest[index] = 0
  for _ = 1, windows do
    local max, per = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    at = at + 2
    if per > longest[index] then longest[index] = per end
    local since = '(' .. text(now - per)
    local count = redis.call('zcount', key, since, '+inf')
    local left = max - count - 1
    local ends = per
    local oldest = redis.call('zrange', key, since, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if oldest[2] then ends = tonumber(oldest[2]) + per - now end
    if left < 0 then
      local free = redis.call('zrange', key, since, '+inf', 'BYSCORE', 'LIMIT', count - max, 1, 'WITHSCORES')
      local after = per
      if free[2] then after = tonumber(free[2]) + per - now end
      if after > wait then wait = after end
    end
    if remaining == nil or left < remaining then limit, remaining, reset = max, left, ends end
  end
end
if wait > 0 then return {0, limit, 0, text(reset), text(wait)} end
for index, key in ipairs(KEYS) do
  redis.call('zremrangebyscore', key, '-inf', text(now - longest[index]))
  redis.call('zadd', key, text(now), text(now) .. ':' .. ARGV[1])
  redis.call('pexpire', key, math.ceil(longest[index] / 1000) + 1000)
end
return {1, limit, remaining, text(reset), '0'}
",
    )
});

/// Decides a call over its budgets.
pub(crate) async fn decide(redis: &ConnectionManager, budgets: &[Budget<'_>], nonce: u64) -> RedisResult<Measure> {
    let mut call = SCRIPT.prepare_invoke();
    call.arg(nonce);
    for budget in budgets {
        call.key(&budget.key).arg(budget.windows.len());
        for window in budget.windows {
            call.arg(window.max.get()).arg(u64::try_from(window.per.as_micros()).unwrap_or(u64::MAX));
        }
    }
    let mut redis = redis.clone();
    let (admitted, limit, remaining, reset, wait): (u8, u32, u32, u64, u64) = call.invoke_async(&mut redis).await?;
    Ok(Measure {
        admitted: admitted == 1,
        limit,
        remaining,
        reset: Duration::from_micros(reset),
        wait: Duration::from_micros(wait),
    })
}
