//! `GetCatalog`, `GetTransaction`, `ListEffects`, `VerifyReceipt`.

use coreloop_access::Caller;
use coreloop_shop_api::v1::{self, ShopReason};
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{App, Error, purchase::Purchase, receipt::Receipt, store, time, worker};

/// `GetCatalog`.
///
/// # Errors
/// When the database fails.
pub async fn get_catalog(
    app: &App,
    request: Request<v1::GetCatalogRequest>,
) -> Result<Response<v1::GetCatalogResponse>, Error> {
    let (wanted, now) = (request.into_inner().category, app.clock.now());
    let mut products = store::products::all(&app.db).await?;
    products.retain(|product| {
        product.active
            && wanted.is_none_or(|category| category == product.category)
            && time::within(now, product.starts_at.as_ref(), product.ends_at.as_ref())
    });
    Ok(Response::new(v1::GetCatalogResponse { products }))
}

/// `GetTransaction`.
///
/// # Errors
/// `TRANSACTION_NOT_FOUND`, also for those of others.
pub async fn get_transaction(
    app: &App,
    request: Request<v1::GetTransactionRequest>,
) -> Result<Response<v1::GetTransactionResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let id = id(&request.get_ref().receipt_id)?;
    let found = app.purchases.find(id).await?.filter(|purchase| purchase.user == user.0);
    let purchase = found.ok_or(ShopReason::TransactionNotFound)?;
    Ok(Response::new(v1::GetTransactionResponse { transaction: Some(purchase.transaction()) }))
}

/// `ListEffects`.
///
/// # Errors
/// When the database fails.
pub async fn list_effects(
    app: &App,
    request: Request<v1::ListEffectsRequest>,
) -> Result<Response<v1::ListEffectsResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let effects = store::effects::active(&app.db, user.0, app.clock.now()).await?;
    Ok(Response::new(v1::ListEffectsResponse { effects }))
}

/// `VerifyReceipt`.
///
/// # Errors
/// When the database fails.
pub async fn verify_receipt(
    app: &App,
    request: Request<v1::VerifyReceiptRequest>,
) -> Result<Response<v1::VerifyReceiptResponse>, Error> {
    let sent = request.into_inner().receipt.unwrap_or_default();
    let unknown = v1::VerifyReceiptResponse { valid: false, state: None };
    let (Ok(id), Some(receipt)) = (id(&sent.receipt_id), read(&sent)) else { return Ok(Response::new(unknown)) };
    let Some(purchase) = app.purchases.find(id).await? else { return Ok(Response::new(unknown)) };
    let issued = |at: Option<Timestamp>| sent.issued_at == at.map(time::proto);
    let valid = purchase.receipt.as_ref() == Some(&receipt)
        && issued(purchase.closed_at)
        && worker::fits(app, &purchase).await?;
    if !valid {
        // One that was handed out before the purchase was charged back is ours, and what it says is so no more.
        let before = store::receipts::before(&app.db, id).await?;
        let ours = before.is_some_and(|(before, at)| before == receipt && issued(Some(at)));
        if !ours || !app.keys.of(receipt.key_version).await?.is_some_and(|key| key.signed(&receipt)) {
            return Ok(Response::new(unknown));
        }
    }
    Ok(Response::new(v1::VerifyReceiptResponse { valid, state: Some(purchase.state.into()) }))
}

fn read(sent: &v1::Receipt) -> Option<Receipt> {
    Some(Receipt {
        hash_version: sent.hash_algo_version.try_into().ok()?,
        hash: hex::decode(&sent.integrity_hash).ok()?,
        key_version: sent.receipt_signature_version,
        signature: hex::decode(&sent.receipt_signature).ok()?,
    })
}

/// The id of a transaction.
pub(super) fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| ShopReason::TransactionNotFound.into())
}

/// A purchase by its id.
pub(super) async fn found(app: &App, text: &str) -> Result<Purchase, Error> {
    let found = app.purchases.find(id(text)?).await?;
    Ok((*found.ok_or(ShopReason::TransactionNotFound)?).clone())
}
