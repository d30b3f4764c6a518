//! `ReceivePayment`.

use coreloop_shop_api::v1::{self, ShopReason};
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, metadata::MetadataMap};

use crate::{
    App, Error, chargeback,
    error::constant,
    settle::PAID_BACK,
    store::payments::{self, Verdict},
    webhook,
};

/// `ReceivePayment`: writes what was decided, once; what follows from it is done by whoever looks after open purchases.
///
/// # Errors
/// `WEBHOOK_SIGNATURE_INVALID`, also while no secret is set; `WEBHOOK_TOO_OLD`; `WEBHOOK_REPLAYED`; `TRANSACTION_NOT_FOUND`,
/// also where the payment is another's.
pub async fn receive_payment(
    app: &App,
    request: Request<v1::ReceivePaymentRequest>,
) -> Result<Response<v1::ReceivePaymentResponse>, Error> {
    let secret = app.options.payment.webhook_secret.as_ref().map(|secret| secret.expose_secret().as_bytes());
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or(ShopReason::WebhookSignatureInvalid)?;
    let timestamp = single(request.metadata(), "x-coreloop-timestamp")?.to_owned();
    let signature = single(request.metadata(), "x-coreloop-signature")?.to_owned();
    let body = request.into_inner().payload.unwrap_or_default().data;
    let notice = webhook::read(secret, &timestamp, &signature, &body, app.clock.unix())?;
    let known = app.purchases.find(notice.reference).await?.ok_or(ShopReason::TransactionNotFound)?;
    let same = known.payment_id.is_empty() || known.payment_id == notice.payment_id;
    if known.category() != v1::Category::Conversion || !same {
        return Err(ShopReason::TransactionNotFound.into());
    }
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    if !payments::heard(&mut tx, &notice.event_id, notice.reference, &notice.status, now).await? {
        return Err(ShopReason::WebhookReplayed.into());
    }
    let mut charged_back = None;
    if let Some(state) = notice.verdict() {
        let reason = match state {
            v1::PurchaseState::Failed => constant(ShopReason::PaymentRefused),
            v1::PurchaseState::Voided => PAID_BACK,
            _ => "",
        };
        let detail: String =
            notice.reason.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        let payment_id = notice.payment_id.as_str();
        let said_by = "webhook";
        let verdict = Verdict { before: None, state, said_by, payment_id, reason, detail: &detail, next_at: now };
        // What was decided before stays so: the first word counts, unless the payment service takes it back.
        let decided = payments::decide(&mut *tx, notice.reference, &verdict).await?;
        if decided.is_none() && state != v1::PurchaseState::Confirmed {
            charged_back = chargeback::open(&mut tx, notice.reference, &verdict).await?;
        }
    }
    tx.commit().await?;
    app.woken.notify_one();
    if let Some(purchase) = &charged_back {
        chargeback::told(app, purchase);
    }
    if let (Some(said), Ok(seen)) = (notice.verdict(), app.again(notice.reference).await) {
        let first = seen.verdict.unwrap_or(seen.state);
        let paid = v1::PurchaseState::Confirmed;
        if (first == paid) != (said == paid) {
            // Points and GOLD do not agree, as where an operator has settled it: a person has to look.
            app.metrics.contradiction();
            tracing::error!(purchase = %seen.id, ?first, ?said, "the payment service said otherwise before");
        }
    }
    Ok(Response::new(v1::ReceivePaymentResponse {}))
}

/// The one value of a header; several could be read differently by different parts.
fn single<'m>(metadata: &'m MetadataMap, key: &str) -> Result<&'m str, Error> {
    let mut values = metadata.get_all(key).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(ShopReason::WebhookSignatureInvalid.into()),
    }
}
