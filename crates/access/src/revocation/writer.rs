//! Making a revocation known everywhere. Used by auth alone, after its transaction has committed.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{Script, aio::ConnectionManager};
use tokio::time::Instant;

use super::{
    Revocation, Revocations,
    wire::{self, StreamId},
};

/// Entries the stream keeps, about; a replica further behind loads the snapshot.
const STREAM_LENGTH: usize = 100_000;
/// Revocations put in one script call.
const CHUNK: usize = 500;
/// Redis gets this long for one script.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// KEYS: stream, live set, epoch. ARGV: now (s), now (ms), stream length or 0 for none, then per revocation: member, key,
/// value, expiry (s). Answers the id of the last entry and whether an epoch of this run is there.
static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local id = ''
redis.call('zremrangebyscore', KEYS[2], '-inf', '(' .. ARGV[1])
for i = 4, #ARGV, 4 do
  redis.call('set', ARGV[i + 1], ARGV[i + 2], 'EXAT', ARGV[i + 3])
  redis.call('zadd', KEYS[2], 'GT', ARGV[i + 3], ARGV[i])
  if ARGV[3] ~= '0' then
    id = redis.call('xadd', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'm', ARGV[i], 'x', ARGV[i + 3], 't', ARGV[2])
  end
end
local run = string.match(redis.call('info', 'server'), 'run_id:(%w*)') or ''
local epoch = redis.call('get', KEYS[3]) or ''
return {id, run ~= '' and string.sub(epoch, 1, #run + 1) == run .. '/' and 1 or 0}
",
    )
});

/// KEYS: replicas. ARGV: own name, id (ms, sequence), prefix of the replicas' keys. Answers how many attentive replicas have
/// not read as far. One whose word has lapsed is dropped in the same step, so none that comes back is dropped by mistake.
static LAGGING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local lagging = 0
for _, name in ipairs(redis.call('smembers', KEYS[1])) do
  if name ~= ARGV[1] then
    local word = redis.call('get', ARGV[4] .. name)
    if not word then
      redis.call('srem', KEYS[1], name)
    else
      local ms, seq = string.match(word, '^(%d+)-(%d+)$')
      ms, seq = tonumber(ms), tonumber(seq)
      if ms < tonumber(ARGV[2]) or (ms == tonumber(ARGV[2]) and seq < tonumber(ARGV[3])) then
        lagging = lagging + 1
      end
    end
  end
end
return lagging
",
    )
});

/// A revocation could not be put in Redis. It holds in this process already; auth must try again until it is in Redis,
/// from what Postgres says.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Redis answered an error or is away.
    #[error("the revocation could not be written to Redis")]
    Redis(#[from] redis::RedisError),
    /// Redis did not answer in time. The write may have happened; writing again is harmless.
    #[error("Redis did not take the revocation in time")]
    TimedOut,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Written {
    /// Every attentive replica has it. False: one did not read on in time; it asks Redis itself from now on.
    pub everywhere: bool,
    /// Redis has lost data, or may have, and must be rebuilt ([`RevocationWriter::rebuild`]).
    pub needs_rebuild: bool,
}

/// One run of a Redis, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run(String);

/// Writes revocations. Cloning shares the connection.
#[derive(Clone)]
pub struct RevocationWriter {
    redis: ConnectionManager,
    local: Revocations,
    ids: Arc<dyn coreloop_core::Ids>,
}

impl RevocationWriter {
    /// A writer beside the set of its own process, which is told first.
    #[must_use]
    pub fn new(redis: ConnectionManager, local: Revocations, ids: Arc<dyn coreloop_core::Ids>) -> Self {
        Self { redis, local, ids }
    }

    /// Revokes. When it returns with `everywhere`, no replica accepts what was revoked; without, the replicas that did not
    /// answer have lost their right to judge by memory and ask Redis. Writing the same again is harmless.
    ///
    /// # Errors
    /// When Redis did not take it: this process refuses already, the others do not know. Call after the commit, and again
    /// (a worker over what Postgres holds) until it succeeds.
    pub async fn revoke(&self, revocations: &[Revocation]) -> Result<Written, WriteError> {
        for revocation in revocations {
            self.local.learn(revocation);
        }
        let mut written = Written { everywhere: true, needs_rebuild: false };
        let mut last = None;
        for chunk in revocations.chunks(CHUNK) {
            let (id, complete) = self.write(chunk, STREAM_LENGTH).await?;
            last = StreamId::parse(&id).or(last);
            written.needs_rebuild |= !complete;
        }
        if written.needs_rebuild {
            // The words of replicas may be lost with it: one that reads no more is waited for until it believes its memory no
            // more either.
            tokio::time::sleep(Duration::from_millis(self.local.0.stale_ms)).await;
        }
        if let Some(id) = last {
            written.everywhere = self.all_have_read(id).await?;
        }
        Ok(written)
    }

    /// Redis holds no snapshot that is surely complete: it is new, has lost its data, or was started again with what it had
    /// on disk, which may lack what was written last. Answers the run of Redis to [`rebuild`](Self::rebuild).
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn needs_rebuild(&self) -> Result<Option<Run>, WriteError> {
        let (run, epoch) = self.run().await?;
        Ok((!epoch.is_some_and(|epoch| wire::holds_for(&epoch, &run.0))).then_some(run))
    }

    /// Puts every live revocation in Redis and begins a new epoch of that run, so that replicas load it. `all` must be read
    /// after the run was asked for, and hold everything that was committed by then; what is revoked meanwhile adds to it. A
    /// Redis that is started again on the way has an epoch that does not hold for it, and needs a rebuild again. Only one
    /// replica of auth should (a lease), though two do no harm.
    ///
    /// # Errors
    /// When Redis fails on the way; there is no epoch then, and it must be tried again.
    pub async fn rebuild(&self, run: &Run, all: &[Revocation]) -> Result<(), WriteError> {
        for revocation in all {
            self.local.learn(revocation);
        }
        for chunk in all.chunks(CHUNK) {
            self.write(chunk, 0).await?;
        }
        let mut redis = self.redis.clone();
        let command = redis::cmd("SET").arg(wire::EPOCH).arg(wire::epoch(&run.0, self.ids.uuid())).to_owned();
        bounded(command.query_async::<()>(&mut redis)).await
    }

    /// Tells every replica to read the published keys again, and answers whether every attentive one was told; one that
    /// was not notices within `keys_refresh_secs`. A key that must be refused from a certain moment on needs the
    /// revocation of what it signed.
    ///
    /// # Errors
    /// When Redis does not take it; replicas notice within `keys_refresh_secs`.
    pub async fn announce_keys(&self) -> Result<bool, WriteError> {
        let mut redis = self.redis.clone();
        let mut command = redis::cmd("XADD");
        command.arg(wire::STREAM).arg("MAXLEN").arg("~").arg(STREAM_LENGTH).arg("*").arg("m").arg(wire::KEYS_CHANGED);
        let id: String = bounded(command.query_async(&mut redis)).await?;
        match StreamId::parse(&id) {
            Some(id) => self.all_have_read(id).await,
            None => Ok(false),
        }
    }

    /// The run of Redis, and the epoch it has.
    async fn run(&self) -> Result<(Run, Option<String>), WriteError> {
        let mut redis = self.redis.clone();
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg("server").cmd("GET").arg(wire::EPOCH);
        let (info, epoch): (String, Option<String>) = bounded(pipe.query_async(&mut redis)).await?;
        let run = wire::run_of(&info);
        if run.is_empty() {
            tracing::error!("redis tells no run_id (INFO server); no snapshot of it is believed");
        }
        Ok((Run(run.to_owned()), epoch))
    }

    async fn write(&self, chunk: &[Revocation], stream_length: usize) -> Result<(String, bool), WriteError> {
        let now = self.local.0.clock.now();
        let mut call = WRITE.prepare_invoke();
        call.key(wire::STREAM).key(wire::LIVE).key(wire::EPOCH);
        call.arg(now.as_second()).arg(now.as_millisecond()).arg(stream_length);
        for revocation in chunk {
            let (key, value) = revocation.blacklist();
            // Redis refuses an expiry in the past; such an entry harms nobody for a minute. Leeway is added for all.
            let expires_at = revocation.expires_at.max(now.as_second()) + 60;
            call.arg(revocation.member()).arg(key).arg(value).arg(expires_at);
        }
        let mut redis = self.redis.clone();
        let (id, complete): (String, i64) = bounded(call.invoke_async(&mut redis)).await?;
        Ok((id, complete == 1))
    }

    /// Waits until every replica that is attentive has read as far as `id`. A replica's word lapses soon after it stops
    /// reading, which bounds the wait.
    async fn all_have_read(&self, id: StreamId) -> Result<bool, WriteError> {
        let deadline = Instant::now() + Duration::from_millis(self.local.0.stale_ms + 400);
        let mut pause = Duration::from_millis(1);
        loop {
            if self.lagging(id).await? == 0 {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Number of attentive replicas, this one aside, that have not read as far as `id`.
    async fn lagging(&self, id: StreamId) -> Result<usize, WriteError> {
        let mut redis = self.redis.clone();
        let mut call = LAGGING.prepare_invoke();
        call.key(wire::REPLICAS).arg(&self.local.0.replica).arg(id.ms).arg(id.seq).arg(wire::replica_key(""));
        bounded(call.invoke_async(&mut redis)).await
    }
}

async fn bounded<T>(call: impl Future<Output = redis::RedisResult<T>>) -> Result<T, WriteError> {
    tokio::time::timeout(WRITE_TIMEOUT, call).await.map_err(|_| WriteError::TimedOut)?.map_err(WriteError::from)
}

impl std::fmt::Debug for RevocationWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationWriter").finish_non_exhaustive()
    }
}
