//! A service's own connections: its role, its schema first, its time limits.

use std::{str::FromStr as _, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{DbError, Options, deadline, migrate::identifier};

pub(crate) fn parse(url: &SecretString) -> Result<PgConnectOptions, String> {
    let text = url.expose_secret();
    let parsed = url::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(format!("the scheme is `{}`, not `postgres`", parsed.scheme()));
    }
    // The error of the parser may quote the address, which holds a password.
    PgConnectOptions::from_str(text).map_err(|_| "it cannot be read".to_owned())
}

/// How `service` connects: as the role of its name, in the schema of its name.
///
/// # Errors
/// No or a wrong `database.url`; a name that is no identifier.
pub fn connect_options(options: &Options, service: &str) -> Result<PgConnectOptions, DbError> {
    identifier(service)?;
    let url = options.url.as_ref().ok_or_else(|| configuration("database.url is not set".to_owned()))?;
    let mut connect =
        parse(url).map_err(configuration)?.username(service).application_name(&format!("coreloop {service}"));
    if let Some(password) = &options.password {
        connect = connect.password(password.expose_secret());
    }
    Ok(connect.options([
        ("search_path", service.to_owned()),
        ("statement_timeout", options.statement_timeout_ms.to_string()),
        ("lock_timeout", options.lock_timeout_ms.to_string()),
        ("idle_in_transaction_session_timeout", options.idle_in_transaction_timeout_ms.to_string()),
        ("TimeZone", "UTC".to_owned()),
    ]))
}

fn configuration(text: String) -> DbError {
    DbError::Sqlx(sqlx::Error::Configuration(text.into()))
}

/// The pool of `service`. Connects on first use, so a process starts while its database is still away.
///
/// # Errors
/// As [`connect_options`].
pub fn connect(options: &Options, service: &str) -> Result<PgPool, DbError> {
    let connect = connect_options(options, service)?;
    Ok(PgPoolOptions::new()
        .max_connections(options.max_connections)
        .min_connections(options.min_connections)
        .acquire_timeout(options.acquire_timeout())
        .idle_timeout(Some(Duration::from_secs(options.idle_timeout_secs)))
        .max_lifetime(Some(Duration::from_secs(options.max_lifetime_secs)))
        // The ping before each use costs a round trip; a dead connection fails its first statement as transient.
        .test_before_acquire(false)
        .connect_lazy_with(connect))
}

/// The database answers: for readiness checks.
///
/// # Errors
/// Says why not, for the log.
pub async fn check(pool: &PgPool) -> Result<(), String> {
    match deadline::within(Duration::from_secs(5), sqlx::query("select 1").execute(pool)).await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("no answer in time".to_owned()),
    }
}
