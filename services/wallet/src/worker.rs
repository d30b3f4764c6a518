//! Loops: give back holds and take away value whose time is over. The books are looked at when ops asks, daily.

use std::{sync::Arc, time::Duration};

use coreloop_core::UserId;
use coreloop_service::Worker;
use coreloop_wallet_api::v1;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App, Error,
    error::Refusal,
    integrity,
    order::{Act, Cause, Key, Order, Settle},
    store,
};

/// Rows of one look.
const AT_ONCE: i64 = 200;

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let due = Arc::clone(app);
    vec![Worker::new("wallet.due", move |stop| sweep(Arc::clone(&due), stop))]
}

/// Replicas do not take turns: what two do at once is one act, by its key.
async fn sweep(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.sweep_secs.into());
    loop {
        match stop.run_until_cancelled(some(&app)).await {
            None => return,
            Some(Ok(found)) if found >= AT_ONCE => continue,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "what is over could not be looked after"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Acts on some of what is over; answers how much it was. What fails is there at the next look.
async fn some(app: &App) -> Result<i64, Error> {
    let now = app.clock.now();
    let holds = store::due::holds(&app.db, now, AT_ONCE).await?;
    let accounts = store::due::accounts(&app.db, now, AT_ONCE).await?;
    let found = holds.len().max(accounts.len());
    let mut orders: Vec<Order> = accounts.into_iter().map(of_account).collect();
    for id in holds {
        match app.posting(id, Refusal::HoldNotFound).await {
            Ok(made) => orders.push(of_hold(id, made)),
            // One that is not there or cannot be read keeps no other from being over.
            Err(error @ (Error::Corrupt(_) | Error::Refused(_))) => {
                tracing::error!(%error, hold_id = %id, "a hold cannot be given back");
            }
            Err(error) => return Err(error),
        }
    }
    for outcome in app.ledger.post_all(orders, app.options.batch).await? {
        match outcome {
            // Its maker was first.
            Ok(_) | Err(Error::Refused(Refusal::HoldSettled)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(i64::try_from(found).unwrap_or(i64::MAX))
}

fn own(key: String, reason: &str, reference: String) -> Cause {
    Cause { caller: "wallet".into(), actor: "wallet".into(), key, reason: reason.to_owned(), reference }
}

fn of_hold(id: Uuid, made: v1::Posting) -> Order {
    let cause = own(format!("expire-hold:{id}"), "wallet.hold_expired", made.reference.clone());
    let body = v1::ReleaseRequest { hold_id: id.to_string(), ..v1::ReleaseRequest::default() };
    Order::new(cause, "wallet.ExpireHold", &body, Act::Settle { made: Box::new(made), how: Settle::Expire })
}

/// Does nothing itself: every act on an account begins with taking away what is over.
fn of_account((owner, currency): Key) -> Order {
    let cause = own(format!("expire:{owner}:{currency}"), "wallet.expired", owner.to_string());
    Order::new(cause, "wallet.Expire", &v1::Part::default(), Act::Expire { user: UserId(owner), currency })
}

/// Looks at the books and says what was found, to metrics and log.
///
/// # Errors
/// When the database fails.
pub async fn checked(app: &App) -> Result<integrity::Report, Error> {
    let _one_at_a_time = app.looking.lock().await;
    let report = integrity::verify(&app.db).await?;
    app.metrics.findings.set(i64::try_from(report.findings.len()).unwrap_or(i64::MAX));
    app.metrics.verified_at.set(app.clock.unix());
    for finding in &report.findings {
        tracing::error!(%finding, "the books do not fit");
    }
    Ok(report)
}
