//! Settings of the section `database`.

use std::time::Duration;

use coreloop_config::{Errors, Section};
use secrecy::SecretString;
use serde::Deserialize;

/// The section `database`. Every service has its own pool with these limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Address; the role in it is replaced by each service's own.
    pub url: Option<SecretString>,
    /// Address with a role that may create roles and schemas.
    pub admin_url: Option<SecretString>,
    /// Password of the services' roles.
    pub password: Option<SecretString>,
    /// Largest number of connections of a service.
    pub max_connections: u32,
    /// Connections kept open while idle.
    pub min_connections: u32,
    /// Longest wait for a connection, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// Longest run of one statement, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Longest wait for a lock, in milliseconds.
    pub lock_timeout_ms: u64,
    /// Longest time a transaction may sit idle, in milliseconds.
    pub idle_in_transaction_timeout_ms: u64,
    /// Idle time after which a connection is closed, in seconds.
    pub idle_timeout_secs: u64,
    /// Age after which a connection is replaced, in seconds.
    pub max_lifetime_secs: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: None,
            admin_url: None,
            password: None,
            max_connections: 10,
            min_connections: 0,
            acquire_timeout_ms: 3000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 3000,
            idle_in_transaction_timeout_ms: 10_000,
            idle_timeout_secs: 300,
            max_lifetime_secs: 1800,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("max_connections", options.max_connections, 1, 1000);
            report.within("min_connections", options.min_connections, 0, options.max_connections);
            report.within("acquire_timeout_ms", options.acquire_timeout_ms, 1, 60_000);
            report.within("statement_timeout_ms", options.statement_timeout_ms, 1, 600_000);
            report.within("lock_timeout_ms", options.lock_timeout_ms, 1, 600_000);
            report.within("idle_in_transaction_timeout_ms", options.idle_in_transaction_timeout_ms, 1, 600_000);
            for (key, url) in [("url", &options.url), ("admin_url", &options.admin_url)] {
                if let Some(url) = url
                    && let Err(error) = crate::pool::parse(url)
                {
                    report.refuse(key, format!("is not an address of a Postgres database: {error}"));
                }
            }
        })
    }

    pub(crate) fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.acquire_timeout_ms)
    }
}
