//! `coreloop migrate` and `coreloop seed`.

use anyhow::{Context as _, bail};
use coreloop_config::Settings;
use coreloop_service::Mode;

use crate::{modules, tool};

/// Makes role and schema of every service that has tables (with `database.admin_url`) and brings the tables up to date.
/// Each service's migrations run under a lock of their own, so replicas may all try.
pub(crate) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let options: coreloop_db::Options = settings.section("database").read()?;
    anyhow::ensure!(options.url.is_some(), "database.url is not set");
    for module in modules::of(&["all".to_owned()])? {
        let (name, Some(migrations)) = (module.name(), module.migrations()) else { continue };
        if let Some(admin) = &options.admin_url {
            coreloop_db::bootstrap(admin, name, options.password.as_ref()).await.with_context(|| {
                format!("the role and schema of `{name}` cannot be made (setting database.admin_url)")
            })?;
        }
        coreloop_db::migrate(&options, name, migrations)
            .await
            .with_context(|| format!("the database of `{name}` cannot be migrated (setting database.url)"))?;
        println!("{name}: {} migrations are applied", migrations.iter().count());
    }
    Ok(())
}

/// Puts the seed of local mode in; what is there stays.
pub(crate) async fn seed(settings: &Settings) -> anyhow::Result<()> {
    if settings.read::<Mode>("mode")? != Mode::Local {
        bail!("the seed holds publicly known passwords: it is for local mode only (setting mode)");
    }
    let app = tool::auth(settings).await?;
    coreloop_auth::seed::demo(&app).await.context("the seed cannot be put in")?;
    println!("auth: the local seed is there");
    Ok(())
}
