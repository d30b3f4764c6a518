//! A payment that is taken back after it was confirmed: by a webhook, or found out later. Its purchase is opened again, and whoever
//! looks after it takes back what was given.

use coreloop_shop_api::v1::PurchaseState;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    purchase::Purchase,
    settle::CHARGED_BACK,
    store::{
        payments::{self, Verdict},
        receipts,
    },
};

/// Opens a purchase again that is CONFIRMED, and keeps the receipt that it was handed out with. None where there is nothing to be
/// taken back, or an operator has settled it.
///
/// # Errors
/// When the database fails.
pub async fn open(conn: &mut PgConnection, id: Uuid, said: &Verdict<'_>) -> Result<Option<Purchase>, Error> {
    payments::lock(conn, id).await?;
    receipts::keep(&mut *conn, id, said.payment_id).await?;
    let (before, state) = (Some(PurchaseState::Confirmed), PurchaseState::Voided);
    let back = Verdict { before, state, reason: CHARGED_BACK, ..*said };
    Ok(payments::decide(conn, id, &back).await?)
}

/// Tells of one that was opened, once that is committed.
pub fn told(app: &App, purchase: &Purchase) {
    app.metrics.charged_back();
    app.woken.notify_one();
    tracing::warn!(purchase = %purchase.id, "a payment is taken back, and with it what was given");
}
