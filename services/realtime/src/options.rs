//! Settings of the section `realtime`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use serde::Deserialize;

/// Settings of the service. Those of the sockets themselves are the edge's (`gateway.sockets`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What was said to a user is kept for so long after the last of it, in seconds, for who comes back.
    pub keep_secs: u64,
    /// Messages that are kept of each user.
    pub keep_messages: u32,
    /// Sockets that a user may have open, over all replicas.
    pub sockets_per_user: u32,
    /// Messages that may wait for one socket; from half of them on they are put together, beyond them it is closed.
    pub queue: usize,
    /// Each part of the initial state has this long, in milliseconds.
    pub part_timeout_ms: u64,
    /// Time between two messages of the stream of figures, in seconds.
    pub metrics_secs: u64,
    /// Serve the socket of games that the old app opens (`/api/games/ws`).
    pub enable_legacy_games_ws: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_secs: 300,
            keep_messages: 200,
            sockets_per_user: 8,
            queue: 64,
            part_timeout_ms: 300,
            metrics_secs: 5,
            enable_legacy_games_ws: false,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            // An event is known for fifteen minutes: what is older than the log must be older than that too.
            report.within("keep_secs", options.keep_secs, 1, 600);
            report.within("keep_messages", options.keep_messages, 1, 10_000);
            report.within("sockets_per_user", options.sockets_per_user, 1, 1_000);
            report.within("queue", options.queue, 2, 10_000);
            report.within("part_timeout_ms", options.part_timeout_ms, 1, 10_000);
            report.within("metrics_secs", options.metrics_secs, 1, 60);
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_setting_is_reported_at_once() {
        let section = Section::from_toml("realtime", "keep_secs = 0\nkeep_messages = 0\nqueue = 1\nmetrics_secs = 0\n");
        let errors = Options::read(&section.unwrap()).unwrap_err().to_string();
        for key in ["keep_secs", "keep_messages", "queue", "metrics_secs"] {
            assert!(errors.contains(key), "{key} is not in {errors}");
        }
    }
}
