//! Loops: do the runs that were asked for; look what is due and what lies about.

use std::{sync::Arc, time::Duration};

use coreloop_service::Worker;
use tokio_util::sync::CancellationToken;

use crate::{App, Error, alerts, checks, queues, runs, store};

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let (running, looking) = (Arc::clone(app), Arc::clone(app));
    vec![
        Worker::new("ops.runs", move |stop| run(Arc::clone(&running), stop)),
        Worker::new("ops.rounds", move |stop| rounds(Arc::clone(&looking), stop)),
    ]
}

async fn run(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.runs_secs.into());
    loop {
        match stop.run_until_cancelled(runs::work(&app)).await {
            None => return,
            Some(Ok(ended)) if ended > 0 => continue,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "runs could not be done"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.asked.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Every replica looks, for its own metrics; what is due is asked for once, whoever finds it.
async fn rounds(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.round_secs.into());
    loop {
        // First after a whole pause: a start is not the time to ask everybody.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match stop.run_until_cancelled(round(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "the round could not be made"),
        }
    }
}

async fn round(app: &App) -> Result<(), Error> {
    let (queues, unreachable) = queues::all(app).await;
    let now = app.clock.unix();
    app.metrics.queues(&queues, now);
    app.metrics.unreachable(unreachable.len());
    alerts::tell(&queues);
    for queue in queues {
        let age = queue.oldest_at.map(|at| now - at.seconds).unwrap_or_default();
        if age >= i64::from(app.options.dead_letter_secs) {
            tracing::error!(
                queue = queue.queue,
                dead = queue.dead + queue.archived,
                age,
                "dead letters are not looked after"
            );
        }
    }
    let (known, unreachable) = checks::all(app).await;
    runs::ask_for_due(app, &known).await?;
    let mut subjects = store::runs::subjects(&app.db, runs::INTEGRITY).await?;
    // One that is not there any more, or never was, is nothing to be woken by; of one that cannot be asked that is not known.
    let may_be = |check: &str| unreachable.iter().any(|service| check.split('.').next() == Some(service));
    subjects.retain(|check| known.contains(check) || may_be(check));
    app.metrics.forget_checks_but(&subjects);
    for run in store::runs::last_ended(&app.db, runs::INTEGRITY, &subjects).await? {
        let ended_at = run.ended_at.map(|at| at.to_jiff().as_second()).unwrap_or_default();
        app.metrics.checked(&run.subject, run.sound == Some(true), ended_at);
    }
    Ok(())
}
