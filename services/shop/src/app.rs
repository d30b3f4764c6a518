//! What every handler works with.

use std::{collections::HashMap, sync::Arc};

use coreloop_auth_api::machine::Machine;
use coreloop_core::Clock;
use coreloop_db::Coalesced;
use coreloop_facts::Acts;
use coreloop_service::{BuildError, Ctx, Spans};
use coreloop_shop_api::v1::Product;
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    Error, Options, claim::Claims, close::Closing, keys::Keyring, metrics::Metrics, open::Opening, payment::Payments,
    purchase::Purchase, store, wallet::Wallet,
};

/// The running service.
pub struct App {
    /// Settings.
    pub options: Options,
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Products: reads that wait together are one statement.
    pub products: Coalesced<String, Arc<Product>>,
    /// Purchases as they stand.
    pub purchases: Coalesced<Uuid, Arc<Purchase>>,
    /// Who works on a key.
    pub claims: Claims,
    /// Purchases that begin.
    pub opening: Opening,
    /// Purchases that end.
    pub closing: Closing,
    /// Keys of receipts.
    pub keys: Keyring,
    /// The wallet.
    pub wallet: Wallet,
    /// The payment service.
    pub payments: Payments,
    /// What administrators do, for the audit of the mesh.
    pub acts: Acts,
    /// Metrics.
    pub metrics: Metrics,
    /// Where finished steps are exported to, if anywhere.
    pub spans: Option<Arc<dyn Spans>>,
    /// Something is to be looked after.
    pub woken: Notify,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("options", &self.options).finish_non_exhaustive()
    }
}

impl App {
    /// The service of a process.
    ///
    /// # Errors
    /// When there is no database.
    pub fn new(options: Options, ctx: &Ctx) -> Result<Self, BuildError> {
        let (db, clock) = (ctx.require_db()?, Arc::clone(&ctx.clock));
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        let keys = Keyring::new(db.clone(), Arc::clone(&clock), options.receipt_secret());
        Ok(Self {
            products: products(&db),
            purchases: purchases(&db),
            claims: Claims::new(ctx.redis.clone(), options.claim_timeout_ms),
            opening: Opening::new(db.clone(), Arc::clone(&clock), &options, metrics.clone()),
            closing: Closing::new(db.clone(), Arc::clone(&clock), keys.clone(), &options),
            keys,
            wallet: Wallet::new(Machine::of(ctx, "shop", "wallet"), &options),
            payments: Payments::new(options.payment.clone()),
            acts: Acts::of("shop", Arc::clone(&ctx.ids))?,
            metrics,
            spans: ctx.spans.clone(),
            woken: Notify::new(),
            options,
            db,
            clock,
        })
    }

    /// A purchase that is there, as it stands now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn again(&self, id: Uuid) -> Result<Purchase, Error> {
        let found = self.purchases.find(id).await?;
        found.map(|found| (*found).clone()).ok_or(Error::Corrupt("a purchase is gone"))
    }
}

fn products(db: &PgPool) -> Coalesced<String, Arc<Product>> {
    let (pool, db) = (db, db.clone());
    Coalesced::new(pool, move |ids: Vec<String>| {
        let db = db.clone();
        Box::pin(async move {
            let found = store::products::by_ids(&db, &ids).await?;
            Ok(found.into_iter().map(|product| (product.product_id.clone(), Arc::new(product))).collect())
        })
    })
}

fn purchases(db: &PgPool) -> Coalesced<Uuid, Arc<Purchase>> {
    let (pool, db) = (db, db.clone());
    Coalesced::new(pool, move |ids: Vec<Uuid>| {
        let db = db.clone();
        Box::pin(async move {
            let found = store::purchases::by_ids(&db, &ids).await?;
            Ok(found.into_iter().map(|purchase| (purchase.id, Arc::new(purchase))).collect::<HashMap<_, _>>())
        })
    })
}
