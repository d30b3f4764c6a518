//! Settings of the section `character`: defaulted, documented, checked before the process starts.

use std::time::Duration;

use coreloop_config::{Errors, Section};
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How many characters one may have.
    pub max_owned: u32,
    /// Time between two looks for characters whose time is over, in seconds.
    pub expire_secs: u32,
    /// Redis gets this long for one answer to somebody who reads, in milliseconds; what it does not say the database does.
    pub redis_timeout_ms: u64,
    /// The database gets this long for one answer to somebody who reads, in milliseconds; then what Redis has is shown.
    pub database_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_owned: 15, expire_secs: 60, redis_timeout_ms: 100, database_timeout_ms: 1_000 }
    }
}

impl Options {
    /// How long the database may take for who reads.
    #[must_use]
    pub fn database_patience(&self) -> Duration {
        Duration::from_millis(self.database_timeout_ms)
    }

    /// How many one may have.
    #[must_use]
    pub fn most(&self) -> usize {
        usize::try_from(self.max_owned).unwrap_or(usize::MAX)
    }

    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("max_owned", options.max_owned, 1, 10_000);
            report.within("expire_secs", options.expire_secs, 1, 86_400);
            report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 25_000);
            report.within("database_timeout_ms", options.database_timeout_ms, 1, 25_000);
        })
    }
}
