//! Settings of the edge: the section `[gateway]`.

use coreloop_config::{Errors, Section};
use serde::Deserialize;

pub use coreloop_access::CorsOptions as Cors;

/// Settings of the edge, all with defaults that are safe on the open internet.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Largest request body in bytes; an RPC's `edge.max_body_bytes` replaces it.
    pub body_limit_bytes: u64,
    /// Largest sum of the request bodies held at once, in bytes; one that finds no room is refused as OVERLOADED.
    pub bodies_limit_bytes: u64,
    /// Time in which a request body must have arrived, in seconds.
    pub body_timeout_secs: u64,
    /// Largest path with query, in bytes.
    pub path_limit_bytes: usize,
    /// Largest sum of header names and values, in bytes. Below `server.max_header_bytes`, so that the refusal is ours.
    pub header_limit_bytes: usize,
    /// Largest reply of a service, in bytes.
    pub reply_limit_bytes: usize,
    /// Time a unary call may take when neither the client nor the RPC states one, in seconds.
    pub deadline_secs: u64,
    /// Longest deadline a client may ask for, in seconds.
    pub deadline_max_secs: u64,
    /// Compress replies (zstd, gzip) of clients that accept it.
    pub compression: bool,
    /// Smallest reply that is compressed, in bytes.
    pub compression_floor_bytes: u64,
    /// Refuse unknown JSON fields and query parameters everywhere, not only where an RPC's `edge.strict` says so.
    pub strict_unknown_fields: bool,
    /// Serve `/docs` and `/openapi.json`.
    pub docs: bool,
    /// Seconds between heartbeats on an idle stream of events or lines.
    pub heartbeat_secs: u64,
    /// Which web pages may call.
    pub cors: Cors,
    /// WebSockets.
    pub sockets: Sockets,
}

/// The section `[gateway.sockets]`: WebSockets, of all routes alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Sockets {
    /// Sockets of one process that may be open; one more is refused as OVERLOADED.
    pub max_open: usize,
    /// Largest message of a client, in bytes.
    pub message_limit_bytes: usize,
    /// Messages that a client may send of a stream in both directions, by second, over the time between two pings; more close it (1008).
    pub messages_per_sec: u32,
    /// Seconds between two pings. A client that takes nothing for as long is closed (4410).
    pub ping_secs: u64,
    /// Seconds after which a client that was not heard is closed (4408); pongs are heard.
    pub idle_secs: u64,
    /// Time in which the first message must bring the token that no header brought, in milliseconds.
    pub first_message_ms: u64,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            max_open: 20_000,
            message_limit_bytes: 16 * 1024,
            messages_per_sec: 20,
            ping_secs: 30,
            idle_secs: 90,
            first_message_ms: 5_000,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_limit_bytes: 1024 * 1024,
            bodies_limit_bytes: 64 * 1024 * 1024,
            body_timeout_secs: 10,
            path_limit_bytes: 8 * 1024,
            header_limit_bytes: 12 * 1024,
            reply_limit_bytes: 16 * 1024 * 1024,
            deadline_secs: 10,
            deadline_max_secs: 300,
            compression: true,
            compression_floor_bytes: 1024,
            strict_unknown_fields: false,
            docs: true,
            heartbeat_secs: 15,
            cors: Cors::default(),
            sockets: Sockets::default(),
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every unknown key, wrong type and value out of range at once.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with::<Self>(|o, report| {
            report.within("body_limit_bytes", o.body_limit_bytes, 1024, 256 * 1024 * 1024);
            // A body of the largest size must fit.
            report.within("bodies_limit_bytes", o.bodies_limit_bytes, o.body_limit_bytes, 1 << 40);
            report.within("body_timeout_secs", o.body_timeout_secs, 1, 600);
            report.within("path_limit_bytes", o.path_limit_bytes, 256, 32 * 1024);
            report.within("header_limit_bytes", o.header_limit_bytes, 1024, 256 * 1024);
            report.within("reply_limit_bytes", o.reply_limit_bytes, 1024, 1 << 30);
            report.within("deadline_max_secs", o.deadline_max_secs, 1, 3600);
            report.within("deadline_secs", o.deadline_secs, 1, o.deadline_max_secs.max(1));
            report.within("heartbeat_secs", o.heartbeat_secs, 1, 300);
            let sockets = &o.sockets;
            report.within("sockets.max_open", sockets.max_open, 1, 1_000_000);
            report.within("sockets.message_limit_bytes", sockets.message_limit_bytes, 1024, 1024 * 1024);
            report.within("sockets.messages_per_sec", sockets.messages_per_sec, 1, 10_000);
            report.within("sockets.ping_secs", sockets.ping_secs, 1, 300);
            // A client must have had a ping to answer.
            report.within("sockets.idle_secs", sockets.idle_secs, sockets.ping_secs + 1, 3600);
            report.within("sockets.first_message_ms", sockets.first_message_ms, 100, 60_000);
            let any = o.cors.origins.iter().any(|origin| origin == "*");
            if any && o.cors.credentials {
                report.refuse("cors.credentials", "cannot go with the origin `*`: name the origins");
            }
            for origin in &o.cors.origins {
                if origin != "*" && !is_origin(origin) {
                    report.refuse("cors.origins", "an origin is scheme://host[:port], without path or trailing slash");
                }
            }
        })
    }
}

fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_setting_is_reported_at_once() {
        let section = Section::from_toml(
            "gateway",
            "body_limit_bytes = 1\nbodies_limit_bytes = 0\nheartbeat_secs = 0\ndeadline_secs = 9\ndeadline_max_secs = 8\n[cors]\norigins = [\"*\", \"https://x/y\"]\ncredentials = true\n[sockets]\nping_secs = 30\nidle_secs = 30\nmax_open = 0\n",
        );
        let errors = Options::read(&section.unwrap()).unwrap_err().to_string();
        for key in [
            "body_limit_bytes",
            "bodies_limit_bytes",
            "heartbeat_secs",
            "deadline_secs: must be 1 to 8, is 9",
            "cors.origins",
            "cors.credentials",
            "sockets.idle_secs: must be 31 to 3600, is 30",
            "sockets.max_open",
        ] {
            assert!(errors.contains(key), "{key} is not in {errors}");
        }
    }

    #[test]
    fn an_empty_section_is_the_defaults() {
        let read = Options::read(&Section::default()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
    }
}
