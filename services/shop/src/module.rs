//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::Relay;
use coreloop_ops_api::integrity::Checks;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs};
use coreloop_shop_api::v1::{
    shop_admin_service_server::ShopAdminServiceServer, shop_service_server::ShopServiceServer,
};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, Options, grpc::Grpc, integrity, worker};

/// The schema `shop`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Shop;

/// The shop service.
#[must_use]
pub fn module() -> impl Module {
    Shop
}

impl Module for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth", "wallet"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::integrity::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let options = Options::read(&ctx.settings, ctx.mode)?;
            let app = Arc::new(App::new(options, &ctx)?);
            let mut workers = worker::all(&app);
            workers.extend(Relay::of(&ctx, "shop")?);
            let grpc = Grpc(Arc::clone(&app));
            let shelf = Arc::clone(&app);
            let purchases = move || {
                let app = Arc::clone(&shelf);
                async move { Ok(integrity::checked(&app).await?) }
            };
            let rpcs = Rpcs::new()
                .with(ShopServiceServer::new(grpc.clone()))
                .with(ShopAdminServiceServer::new(grpc))
                .with(Checks::of("shop").with("purchases", purchases).server());
            let db = app.db.clone();
            let postgres = Check::new("shop/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}
