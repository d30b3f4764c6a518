//! Settings of the process: sections `server`, `redis`, `peers`, `log`, `otlp`.

use std::{collections::BTreeMap, time::Duration};

use coreloop_config::{Errors, Section, Settings};
use coreloop_service::{Mode, ctx::LOCAL_MESH_SECRET};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::IgnoredAny};

/// The section `server`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ServerOptions {
    /// Address that every listener binds.
    pub host: String,
    /// Port of the admin HTTP server; 0 takes a free one.
    pub admin_port: u16,
    /// Deadline of a call whose caller states none, in milliseconds.
    pub default_deadline_ms: u64,
    /// Longest deadline of a call with one answer, whatever its caller states, in milliseconds.
    pub max_deadline_ms: u64,
    /// Calls of one service that may run at once, of each kind: without a token, with one, decisions for Envoy.
    pub max_in_flight: usize,
    /// Calls of one service that may wait for their turn.
    pub max_waiting: usize,
    /// Longest wait for a turn, in milliseconds.
    pub max_wait_ms: u64,
    /// Streams of one service that may be open at once; they hold no place of `max_in_flight`.
    pub max_open_streams: usize,
    /// Largest request message of an RPC that states none (`edge.max_body_bytes`), in bytes.
    pub max_request_bytes: usize,
    /// Largest sum of the request messages that one service holds at once, in bytes; one without room is OVERLOADED.
    pub bodies_limit_bytes: usize,
    /// Time in which a request message must have arrived, in milliseconds.
    pub body_timeout_ms: u64,
    /// Largest header list, in bytes.
    pub max_header_bytes: u32,
    /// Streams one HTTP/2 connection may hold open; a peer's has room for all that may be open beside its calls.
    pub max_streams: u32,
    /// Time between two HTTP/2 pings, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// Time without an answer to a ping after which a connection is given up, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// HTTP/2 connections to each remote peer; 0 is one per core.
    pub peer_connections: usize,
    /// Longest time to connect to a peer, in milliseconds.
    pub peer_connect_timeout_ms: u64,
    /// Time that running calls are given at stop, in milliseconds.
    pub drain_ms: u64,
    /// Time between "not ready" and closing the listeners at stop, in milliseconds.
    pub drain_lead_ms: u64,
    /// Longest time of one readiness check, in milliseconds.
    pub check_timeout_ms: u64,
    /// Time for which the outcome of the readiness checks is kept, in milliseconds.
    pub check_cache_ms: u64,
    /// Port of each service's listener; one that is not named takes a free one.
    pub ports: BTreeMap<String, u16>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            admin_port: 0,
            default_deadline_ms: 10_000,
            max_deadline_ms: 300_000,
            max_in_flight: 512,
            max_waiting: 512,
            max_wait_ms: 200,
            max_open_streams: 16_384,
            max_request_bytes: 1024 * 1024,
            bodies_limit_bytes: 64 * 1024 * 1024,
            body_timeout_ms: 10_000,
            max_header_bytes: 16 * 1024,
            max_streams: 1024,
            keepalive_interval_ms: 1000,
            keepalive_timeout_ms: 1000,
            peer_connections: 0,
            peer_connect_timeout_ms: 1000,
            drain_ms: 10_000,
            drain_lead_ms: 0,
            check_timeout_ms: 800,
            check_cache_ms: 500,
            ports: BTreeMap::new(),
        }
    }
}

impl ServerOptions {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("max_deadline_ms", options.max_deadline_ms, 1, 3_600_000);
            // A caller who states none would hold a place for longer than one who asks for all there is.
            report.within("default_deadline_ms", options.default_deadline_ms, 1, options.max_deadline_ms.max(1));
            report.within("max_in_flight", options.max_in_flight, 1, 1_000_000);
            report.within("max_waiting", options.max_waiting, 0, 1_000_000);
            report.within("max_wait_ms", options.max_wait_ms, 0, 60_000);
            report.within("max_open_streams", options.max_open_streams, 0, 1_000_000);
            report.within("max_request_bytes", options.max_request_bytes, 1024, 1 << 30);
            report.within("bodies_limit_bytes", options.bodies_limit_bytes, options.max_request_bytes, 1 << 40);
            report.within("body_timeout_ms", options.body_timeout_ms, 1, 600_000);
            report.within("max_header_bytes", options.max_header_bytes, 1024, 1 << 20);
            report.within("max_streams", options.max_streams, 1, 1 << 20);
            report.within("keepalive_interval_ms", options.keepalive_interval_ms, 100, 600_000);
            report.within("keepalive_timeout_ms", options.keepalive_timeout_ms, 100, 600_000);
            report.within("peer_connections", options.peer_connections, 0, 256);
            report.within("peer_connect_timeout_ms", options.peer_connect_timeout_ms, 1, 60_000);
            report.within("drain_ms", options.drain_ms, 0, 3_600_000);
            report.within("drain_lead_ms", options.drain_lead_ms, 0, 600_000);
            report.within("check_timeout_ms", options.check_timeout_ms, 1, 60_000);
            report.within("check_cache_ms", options.check_cache_ms, 0, 60_000);
            if options.host.parse::<std::net::IpAddr>().is_err() {
                report.refuse("host", "must be an IP address, as 127.0.0.1 or 0.0.0.0");
            }
        })
    }

    /// Streams that the connection of a peer may hold: open ones must leave room for calls, for peers have few connections.
    pub(crate) fn peer_streams(&self) -> u32 {
        let calls = self.max_in_flight.saturating_add(self.max_waiting);
        u32::try_from(self.max_open_streams.saturating_add(calls)).unwrap_or(u32::MAX).max(self.max_streams)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    pub(crate) fn keepalive(&self) -> (Duration, Duration) {
        (Duration::from_millis(self.keepalive_interval_ms), Duration::from_millis(self.keepalive_timeout_ms))
    }

    pub(crate) fn connections(&self) -> usize {
        match self.peer_connections {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        }
    }
}

/// The section `redis`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct RedisOptions {
    /// Address.
    pub url: Option<SecretString>,
    /// Longest time to connect, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest wait for an answer, in milliseconds.
    pub response_timeout_ms: u64,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { url: None, connect_timeout_ms: 2000, response_timeout_ms: 1000 }
    }
}

impl RedisOptions {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("connect_timeout_ms", options.connect_timeout_ms, 1, 60_000);
            report.within("response_timeout_ms", options.response_timeout_ms, 1, 60_000);
            if let Some(url) = &options.url
                && redis::Client::open(url.expose_secret()).is_err()
            {
                report.refuse("url", "is not an address of Redis, as redis://127.0.0.1:6379/0");
            }
        })
    }
}

/// The section `log`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// A tracing filter.
    pub filter: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, with the fields of chapter 08.
    #[default]
    Json,
    /// For people.
    Text,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Json }
    }
}

impl LogOptions {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            if let Err(error) = options.filter.parse::<tracing_subscriber::EnvFilter>() {
                report.refuse("filter", format!("is not a filter: {error}"));
            }
        })
    }
}

/// The section `otlp`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct OtlpOptions {
    /// OTLP/gRPC receiver of traces; none exports nothing.
    pub endpoint: Option<String>,
    /// Share of traces without an error that is exported, 0 to 1.
    pub ratio: f64,
    /// Longest time an export may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        Self { endpoint: None, ratio: 0.1, timeout_ms: 2000 }
    }
}

impl OtlpOptions {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("ratio", options.ratio, 0.0, 1.0);
            report.within("timeout_ms", options.timeout_ms, 1, 60_000);
            if let Some(endpoint) = &options.endpoint
                && !matches!(url::Url::parse(endpoint), Ok(url) if matches!(url.scheme(), "http" | "https"))
            {
                report.refuse("endpoint", "must be an http or https address");
            }
        })
    }
}

/// Everything the process itself reads.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// Where it runs.
    pub mode: Mode,
    /// Section `server`.
    pub server: ServerOptions,
    /// Section `database`.
    pub database: coreloop_db::Options,
    /// Section `redis`.
    pub redis: RedisOptions,
    /// Section `log`.
    pub log: LogOptions,
    /// Section `otlp`.
    pub otlp: OtlpOptions,
    /// Section `access`.
    pub access: coreloop_access::Options,
    /// Section `limit`.
    pub limit: coreloop_limit::Options,
    /// Section `gateway.cors`: the edge answers with it, and so does auth where it refuses before the edge is reached.
    pub cors: coreloop_access::CorsOptions,
    /// Section `peers`.
    pub peers: BTreeMap<String, String>,
    /// `auth.mesh_secret`: what a service proves itself with. In local mode there is always one.
    pub mesh_secret: Option<SecretString>,
}

/// What every process reads of the section `auth`; the rest is auth's.
#[derive(Deserialize)]
struct OfAuth {
    mesh_secret: Option<SecretString>,
    #[serde(flatten)]
    _rest: BTreeMap<String, IgnoredAny>,
}

impl ProcessOptions {
    /// Reads every section the process itself needs.
    ///
    /// # Errors
    /// Everything wrong with any of them.
    pub fn read(settings: &Settings) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mode = errors.absorb(settings.read("mode"));
        let server = errors.absorb(ServerOptions::read(&settings.section("server")));
        let database = errors.absorb(coreloop_db::Options::read(&settings.section("database")));
        let redis = errors.absorb(RedisOptions::read(&settings.section("redis")));
        let log = errors.absorb(LogOptions::read(&settings.section("log")));
        let otlp = errors.absorb(OtlpOptions::read(&settings.section("otlp")));
        let access = errors.absorb(read_access(&settings.section("access")));
        let limit = errors.absorb(read_limit(&settings.section("limit")));
        let cors = errors.absorb(settings.section("gateway").sub("cors").read());
        let peers = errors.absorb(settings.section("peers").read_with(|peers: &BTreeMap<String, String>, report| {
            for (name, address) in peers {
                if address.parse::<http::Uri>().ok().and_then(|uri| uri.authority().cloned()).is_none() {
                    report.refuse(name, "must be an address, as http://auth:7001");
                }
            }
        }));
        let of_auth: Option<OfAuth> = errors.absorb(settings.section("auth").read());
        errors.into_result()?;
        let all = (|| {
            let mode = mode?;
            let local = || (mode == Mode::Local).then(|| LOCAL_MESH_SECRET.to_owned().into());
            Some(Self {
                mode,
                server: server?,
                database: database?,
                redis: redis?,
                log: log?,
                otlp: otlp?,
                access: access?,
                limit: limit?,
                cors: cors?,
                peers: peers?,
                mesh_secret: of_auth?.mesh_secret.or_else(local),
            })
        })();
        // Nothing was found wrong, so everything was read.
        all.ok_or_else(Errors::default)
    }
}

fn read_access(section: &Section) -> Result<coreloop_access::Options, Errors> {
    section.read_with(|options: &coreloop_access::Options, report| {
        report.within("leeway_secs", options.leeway_secs, 0, 300);
        report.within("max_token_bytes", options.max_token_bytes, 512, 65_536);
        report.within("cache_entries", options.cache_entries, 1, 100_000_000);
        report.within("keys_refresh_secs", options.keys_refresh_secs, 1, 3600);
        report.within("stale_ms", options.stale_ms, 1, 600_000);
        report.within("ask_timeout_ms", options.ask_timeout_ms, 1, 60_000);
        report.within("blind_after_secs", options.blind_after_secs, 0, 86_400);
        report.within("blind_limit_secs", options.blind_limit_secs, 0, 86_400);
        if let Err(error) = coreloop_access::address::TrustedProxies::parse(&options.trusted_proxies) {
            report.refuse("trusted_proxies", error.to_string());
        }
    })
}

/// Limits are switched off by `enabled` alone, never by a figure.
fn read_limit(section: &Section) -> Result<coreloop_limit::Options, Errors> {
    section.read_with(|options: &coreloop_limit::Options, report| {
        report.within("anonymous_per_minute", options.anonymous_per_minute, 1, 1_000_000_000);
        report.within("scale", options.scale, 0.001, 1_000_000.0);
        report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 10_000);
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn no_call_has_longer_by_default_than_it_could_ask_for() {
        let read = |default: i64, most: i64| {
            let settings = Settings::defaults();
            let settings = settings.with("server.default_deadline_ms", default).with("server.max_deadline_ms", most);
            ServerOptions::read(&settings.section("server"))
        };
        assert!(read(10_000, 10_000).is_ok());
        let found = read(10_001, 10_000).unwrap_err().to_string();
        assert!(found.contains("server.default_deadline_ms: must be 1 to 10000, is 10001"), "{found}");
        assert_eq!(read(0, 0).unwrap_err().0.len(), 2, "each is told");
    }

    /// A figure out of range is refused where it stands, NaN included: it would switch the limit off.
    #[test]
    fn figures_out_of_range_are_all_told_at_once() {
        let text = "[limit]\nscale = nan\nanonymous_per_minute = 0\nredis_timeout_ms = 0\n\
                    [otlp]\nratio = nan\n\
                    [access]\nstale_ms = 0\ncache_entries = 0\n\
                    [server]\ndrain_ms = 4000000\ndrain_lead_ms = 700000\nmax_wait_ms = 70000\n\
                    check_cache_ms = 70000\npeer_connect_timeout_ms = 0\n";
        let settings = Settings::defaults().with_toml("x", text).unwrap();
        let found = ProcessOptions::read(&settings).unwrap_err();
        let keys: std::collections::BTreeSet<_> = found.0.iter().map(|finding| finding.key.as_str()).collect();
        let expected = "limit.scale limit.anonymous_per_minute limit.redis_timeout_ms otlp.ratio access.stale_ms \
                        access.cache_entries server.drain_ms server.drain_lead_ms server.max_wait_ms \
                        server.check_cache_ms server.peer_connect_timeout_ms";
        assert_eq!(keys, expected.split_whitespace().collect(), "{found}");
    }
}
