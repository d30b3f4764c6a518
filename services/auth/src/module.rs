//! The domain as a [`Module`]: what it builds from a [`Ctx`], and the loops it runs.

use std::{sync::Arc, time::Duration};

use coreloop_access::RevocationWriter;
use coreloop_auth_api::v1::{
    auth_admin_service_server::AuthAdminServiceServer, auth_internal_service_server::AuthInternalServiceServer,
    auth_service_server::AuthServiceServer,
};
use coreloop_db::Coalesced;
use coreloop_eventing::Relay;
use coreloop_facts::Acts;
use coreloop_service::{BuildError, Built, Check, Ctx, Mode, Module, Rpcs};
use futures::future::BoxFuture;
use sqlx::{PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::{
    App, Options,
    app::Redis,
    audit::{self, Audits},
    ext_authz::ExtAuthz,
    grpc::Grpc,
    guard::Guard,
    hashing::Hasher,
    keys::KeyStore,
    mail,
    metrics::Metrics,
    outside::{Outside, Patience},
    revoke::Publisher,
    seed, social,
    store::{self, users::User},
    vault::{self, Vault},
    watch::{self, Watches},
    worker,
};

/// Migrations of the schema `auth`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Third parties get this long for one answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The auth service.
#[must_use]
pub fn module() -> Auth {
    Auth
}

/// See [`module`].
#[derive(Debug, Clone, Copy)]
pub struct Auth;

impl Module for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &["envoy.service.auth.v3.Authorization", coreloop_ops_api::host::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = app(&ctx).await?;
            if app.mode == Mode::Local && app.options.seed {
                seed::demo(&app).await?;
            }
            let grpc = Grpc(Arc::clone(&app));
            let rpcs = Rpcs::new()
                .with(AuthServiceServer::new(grpc.clone()))
                .with(AuthAdminServiceServer::new(grpc.clone()))
                .with(AuthInternalServiceServer::new(grpc))
                .with(coreloop_ops_api::host::server(&ctx, "auth")?)
                .with(
                    ExtAuthz::new(Arc::clone(&app.gate))
                        .with_cors(ctx.cors.clone())
                        .with_budget(ctx.limiter.clone(), ctx.trusted.clone()),
                );
            let mut workers = worker::all(&app);
            workers.extend(audit::workers(&app));
            workers.push(mail::resets::worker(Arc::clone(&app)));
            workers.extend(Relay::of(&ctx, "auth")?);
            if let Some(redis) = ctx.redis_client {
                workers.push(watch::news::worker(&app, redis));
            }
            Ok(Built { rpcs, http: None, workers, checks: checks(&app) })
        })
    }
}

/// The service's parts, with keys loaded (and made, where there are none). Also what tools work with: `app.keys.rotate`.
///
/// # Errors
/// Wrong settings, an unreachable database, a master key that does not open the stored keys.
pub async fn app(ctx: &Ctx) -> Result<Arc<App>, BuildError> {
    let options = Arc::new(Options::read(&ctx.settings, ctx.mode)?.with_places(ctx.max_in_flight));
    let (db, redis) = (ctx.require_db()?, ctx.require_redis()?);
    let vault = Arc::new(Vault::new(&vault::master_key(&options, ctx.mode)?)?);
    let rules = ctx.gate.rules().clone();
    let keys = Arc::new(KeyStore::new(&options, Arc::clone(&vault), rules.leeway_secs()));
    keys.start(&db, ctx.clock.now()).await?;
    // This process believes its own keys before it has asked itself for them.
    ctx.gate.keys().set(&keys.jwks());
    let metrics = Metrics::default();
    ctx.metrics.with(|registry| metrics.register(registry));
    let writer = RevocationWriter::new(redis.clone(), ctx.gate.revocations().clone(), Arc::clone(&ctx.ids));
    Ok(Arc::new(App {
        publisher: Publisher::new(db.clone(), writer, Arc::clone(&ctx.clock)),
        accounts: accounts(&db),
        db,
        redis: Redis::new(redis),
        clock: Arc::clone(&ctx.clock),
        ids: Arc::clone(&ctx.ids),
        mode: ctx.mode,
        rules,
        gate: Arc::clone(&ctx.gate),
        keys,
        vault,
        hasher: Hasher::start(&options, &metrics.argon2_kib)?,
        guard: Guard::new(&options),
        audits: Audits::new(metrics.audits_dropped.clone()),
        acts: Acts::of("auth", Arc::clone(&ctx.ids))?,
        watches: Arc::new(Watches::new(options.watches_per_user, metrics.open_watches.clone())),
        metrics,
        social: social::Registry::new(&options, &ctx.metrics),
        mail: mail::Mailer::new(&options),
        outside: Outside::new(Patience { connect: HTTP_TIMEOUT, answer: HTTP_TIMEOUT }),
        options,
    }))
}

/// Reads of accounts, many in a statement.
fn accounts(db: &PgPool) -> Coalesced<Uuid, Arc<User>> {
    let (pool, db) = (db, db.clone());
    Coalesced::new(pool, move |ids: Vec<Uuid>| {
        let db = db.clone();
        Box::pin(async move {
            let users = store::users::find_all(&db, &ids).await?;
            Ok(users.into_iter().map(|user| (user.id.0, Arc::new(user))).collect())
        })
    })
}

/// Ready means: the database answers, Redis answers, keys are loaded.
fn checks(app: &Arc<App>) -> Vec<Check> {
    let (db, redis, keys) = (app.db.clone(), app.redis.clone(), Arc::clone(&app.keys));
    vec![
        Check::new("auth/postgres", move || {
            let db = db.clone();
            async move { coreloop_db::check(&db).await }
        }),
        Check::new("auth/redis", move || {
            let redis = redis.clone();
            async move {
                let mut connection = redis.connection();
                let ping = redis::cmd("PING");
                redis.within(ping.query_async::<()>(&mut connection)).await.map_err(|error| error.to_string())
            }
        }),
        Check::new("auth/keys", move || {
            let keys = Arc::clone(&keys);
            async move { keys.standing().map(|_| ()).ok_or_else(|| "no signing key is loaded".to_owned()) }
        }),
    ]
}
