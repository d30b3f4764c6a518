//! Following the stream.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, RedisResult,
    aio::MultiplexedConnection,
    streams::{StreamId as Entry, StreamRangeReply, StreamReadReply},
};
use tokio_util::sync::CancellationToken;

use super::{
    Revocation, Revocations, Standing,
    wire::{self, StreamId},
};

/// Longest wait for news; also how often a replica shows that it is attentive.
const BLOCK_MS: u64 = 200;
/// A read that takes longer is lost, and so is its connection.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(800);
/// Entries read at once.
const BATCH: usize = 1_000;
/// Members of the snapshot read at once.
const PAGE: usize = 2_000;
/// How long a replica's word outlives the moment until which it may believe its own set. See [`Tail::read`].
const ATTENTION_MARGIN_MS: u64 = 200;
/// How often expired entries are dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Where a follower is.
#[derive(Default)]
struct Position {
    last: Option<StreamId>,
    /// Epoch of the snapshot that was loaded.
    epoch: Option<String>,
}

impl Revocations {
    /// Follows the stream over connections of its own until `stop`. Never gives up; while it cannot read, the standing
    /// falls by itself because no read is good.
    pub async fn follow(&self, client: redis::Client, stop: CancellationToken) {
        let mut position = Position::default();
        let mut pause = Duration::from_millis(50);
        while !stop.is_cancelled() {
            let attempt = stop.run_until_cancelled(self.follow_once(&client, &mut position));
            let Some(Err(error)) = attempt.await else { break };
            let standing = self.standing();
            self.show(standing);
            tracing::warn!(%error, ?standing, "the revocation stream cannot be read; trying again");
            // Having been live means the connection was good: begin the backoff anew.
            pause = if standing == Standing::Live {
                Duration::from_millis(50)
            } else {
                (pause * 2).min(Duration::from_millis(500))
            };
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn follow_once(&self, client: &redis::Client, position: &mut Position) -> RedisResult<()> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A connection ends with the run of Redis that it is to.
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let mut tail = Tail { set: self, connection, run: wire::run_of(&info).to_owned(), position };
        tail.resume().await?;
        let mut swept = tokio::time::Instant::now();
        loop {
            tail.step().await?;
            self.show(self.standing());
            if swept.elapsed() >= SWEEP_EVERY {
                swept = tokio::time::Instant::now();
                self.0.known.sweep(self.0.clock.unix());
            }
        }
    }

    fn show(&self, standing: Standing) {
        self.0.metrics.known.set(i64::try_from(self.len()).unwrap_or(i64::MAX));
        self.0.metrics.standing.set(match standing {
            Standing::Live => 0,
            Standing::Behind => 1,
            Standing::Blind(_) => 2,
        });
        #[cfg(test)]
        self.0.looked.send_replace(());
    }
}

struct Tail<'a> {
    set: &'a Revocations,
    connection: MultiplexedConnection,
    /// The run of Redis that is read.
    run: String,
    position: &'a mut Position,
}

impl Tail<'_> {
    /// After a new connection: what was trimmed away while nobody read is not in the stream any more, so the snapshot is
    /// loaded again unless the stream reaches back to the last entry read.
    async fn resume(&mut self) -> RedisResult<()> {
        let Some(last) = self.position.last else { return Ok(()) };
        let first: StreamRangeReply = redis::cmd("XRANGE")
            .arg(wire::STREAM)
            .arg("-")
            .arg("+")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut self.connection)
            .await?;
        let reaches_back = first.ids.first().and_then(|entry| StreamId::parse(&entry.id)).is_some_and(|id| id <= last);
        if !reaches_back {
            self.position.epoch = None;
        }
        Ok(())
    }

    /// One read: waits for news, applies it, and loads the snapshot when the epoch is not the one loaded.
    async fn step(&mut self) -> RedisResult<()> {
        let last = match self.position.last {
            Some(last) => last,
            None => self.newest().await?,
        };
        self.position.last = Some(last);
        let sent = self.set.tick();
        let (epoch, entries) = self.read(last).await?;
        for entry in &entries {
            self.apply(entry);
        }
        let full = entries.len() >= BATCH;
        match epoch {
            None => {
                // Redis lost data, or may have. What is known stays; its silence is not believed until auth has rebuilt it.
                self.position.epoch = None;
                if entries.is_empty() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            }
            Some(epoch) if self.position.epoch.as_deref() == Some(epoch.as_str()) => {
                if full {
                    // Far behind: the stream may be trimmed under the reader's feet.
                    return self.resume().await;
                }
                self.set.read(sent);
                Ok(())
            }
            Some(epoch) => self.load(epoch, sent).await,
        }
    }

    /// Says how far this replica is, and reads on. The word is kept until after the moment up to which the replica may
    /// believe this very read (`sent` + stale, and `sent` is before Redis saw it), so a writer that finds no word knows
    /// that the replica asks Redis itself.
    async fn read(&mut self, last: StreamId) -> RedisResult<(Option<String>, Vec<Entry>)> {
        let shared = &self.set.0;
        let mut pipe = redis::pipe();
        pipe.cmd("SET").arg(wire::replica_key(&shared.replica)).arg(last.to_string());
        pipe.arg("PX").arg(shared.stale_ms + ATTENTION_MARGIN_MS).ignore();
        pipe.cmd("SADD").arg(wire::REPLICAS).arg(&shared.replica).ignore();
        pipe.cmd("GET").arg(wire::EPOCH);
        pipe.cmd("XREAD").arg("COUNT").arg(BATCH);
        // Without a snapshot there is no news to wait for: it is loaded at once.
        if self.position.epoch.is_some() {
            pipe.arg("BLOCK").arg(BLOCK_MS);
        }
        pipe.arg("STREAMS").arg(wire::STREAM).arg(last.to_string());
        let (epoch, reply): (Option<String>, Option<StreamReadReply>) = pipe.query_async(&mut self.connection).await?;
        let streams = reply.map(|reply| reply.keys).unwrap_or_default();
        let epoch = epoch.filter(|epoch| wire::holds_for(epoch, &self.run));
        Ok((epoch, streams.into_iter().flat_map(|stream| stream.ids).collect()))
    }

    fn apply(&mut self, entry: &Entry) {
        let shared = &self.set.0;
        if let Some(id) = StreamId::parse(&entry.id) {
            self.position.last = Some(id);
        }
        let member = entry.get::<String>("m").unwrap_or_default();
        if member == wire::KEYS_CHANGED {
            shared.keys_changed.send_replace(());
            return;
        }
        let expires_at = entry.get::<i64>("x").unwrap_or(i64::MAX);
        let Some(revocation) = Revocation::parse(&member, expires_at) else {
            tracing::error!(entry = %entry.id, "an entry of the revocation stream cannot be read");
            return;
        };
        self.set.learn(&revocation);
        if let Some(at) = entry.get::<i64>("t") {
            let lag_ms = (shared.clock.now().as_millisecond() - at).max(0);
            shared.metrics.lag_secs.observe(lag_ms as f64 / 1_000.0);
        }
    }

    /// Id of the newest entry, to read on from.
    async fn newest(&mut self) -> RedisResult<StreamId> {
        let newest: StreamRangeReply = redis::cmd("XREVRANGE")
            .arg(wire::STREAM)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut self.connection)
            .await?;
        Ok(newest.ids.first().and_then(|entry| StreamId::parse(&entry.id)).unwrap_or_default())
    }

    /// Loads everything live. The position is taken first: what is written meanwhile comes by the stream. What was written
    /// until `sent`, which is before, is then known.
    async fn load(&mut self, epoch: String, sent: u64) -> RedisResult<()> {
        self.position.last = Some(self.newest().await?);
        let mut cursor = String::from("0");
        let mut count = 0_usize;
        loop {
            let (next, members): (String, Vec<(String, f64)>) = redis::cmd("ZSCAN")
                .arg(wire::LIVE)
                .arg(&cursor)
                .arg("COUNT")
                .arg(PAGE)
                .query_async(&mut self.connection)
                .await?;
            for (member, expires_at) in &members {
                if let Some(revocation) = Revocation::parse(member, *expires_at as i64) {
                    self.set.learn(&revocation);
                    count += 1;
                }
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        // The set may have been lost while it was read.
        let now: Option<String> = redis::cmd("GET").arg(wire::EPOCH).query_async(&mut self.connection).await?;
        if now.as_deref() == Some(epoch.as_str()) {
            tracing::info!(revocations = count, "the revocation snapshot is loaded");
            self.position.epoch = Some(epoch);
            self.set.read(sent);
        }
        Ok(())
    }
}
