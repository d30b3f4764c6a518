//! Databases and Redis of a process.

use std::{collections::BTreeMap, time::Duration};

use coreloop_config::{Errors, Finding};
use coreloop_db::DbError;
use coreloop_service::Module;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::ExposeSecret as _;
use sqlx::{PgPool, migrate::Migrator};

use crate::{StartError, options::ProcessOptions};

/// A pool for each module that has tables. Connects on first use.
pub(crate) fn pools(
    modules: &[Box<dyn Module>],
    options: &ProcessOptions,
) -> Result<BTreeMap<&'static str, PgPool>, StartError> {
    let mut pools = BTreeMap::new();
    for module in modules.iter().filter(|module| module.migrations().is_some()) {
        if options.database.url.is_none() {
            let text = format!("is required by `{}`; set it in a file or as CORELOOP_DATABASE__URL", module.name());
            return Err(Errors(vec![Finding { origin: None, key: "database.url".to_owned(), text }]).into());
        }
        let pool = coreloop_db::connect(&options.database, module.name())
            .map_err(|error| StartError::Part { what: "setting database.url".to_owned(), source: error.into() })?;
        pools.insert(module.name(), pool);
    }
    Ok(pools)
}

/// Roles, schemas and migrations of all modules, at the same time.
pub(crate) async fn migrate(modules: &[Box<dyn Module>], options: &ProcessOptions) -> Result<(), StartError> {
    let all = modules.iter().filter_map(|module| Some((module.name(), module.migrations()?)));
    futures::future::try_join_all(all.map(|(name, migrations)| migrate_one(name, migrations, options)))
        .await
        .map(|_| ())
}

/// Role and schema are there at every start but the first, so that is tried first; it saves a connection.
async fn migrate_one(
    name: &'static str,
    migrations: &'static Migrator,
    options: &ProcessOptions,
) -> Result<(), StartError> {
    let failed = |error: DbError| StartError::Part {
        what: format!("the database of `{name}` cannot be migrated (setting database.url)"),
        source: error.into(),
    };
    let Some(admin) = &options.database.admin_url else {
        return coreloop_db::migrate(&options.database, name, migrations).await.map_err(failed);
    };
    match coreloop_db::migrate(&options.database, name, migrations).await {
        Err(DbError::Migrate { .. }) | Err(DbError::Sqlx(_)) => {}
        other => return other.map_err(failed),
    }
    coreloop_db::bootstrap(admin, name, options.database.password.as_ref()).await.map_err(|error| {
        StartError::Part {
            what: format!("the role and schema of `{name}` cannot be made (setting database.admin_url)"),
            source: error.into(),
        }
    })?;
    coreloop_db::migrate(&options.database, name, migrations).await.map_err(failed)
}

/// Redis of the process.
pub(crate) struct Redis {
    pub(crate) client: redis::Client,
    pub(crate) manager: ConnectionManager,
}

impl Redis {
    /// Connects on first use, so a process starts while its Redis is still away.
    pub(crate) fn open(options: &ProcessOptions) -> Result<Option<Self>, StartError> {
        let Some(url) = &options.redis.url else { return Ok(None) };
        let failed =
            |error: redis::RedisError| StartError::Part { what: "setting redis.url".to_owned(), source: error.into() };
        let client = redis::Client::open(url.expose_secret()).map_err(failed)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(options.redis.connect_timeout_ms)))
            .set_response_timeout(Some(Duration::from_millis(options.redis.response_timeout_ms)))
            .set_max_delay(Duration::from_secs(1));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(failed)?;
        Ok(Some(Self { client, manager }))
    }
}
