//! Auth is told what a profile has become: it shows name and picture with the account.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_eventing::{Event, Failure, PassingHandler};
use coreloop_facts::v1::MyProfileUpdated;
use coreloop_service::Worker;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::{
    App, Error,
    hearing::user,
    store::profiles::{self, Profile},
};

/// Profiles of one look.
const PAGE: i64 = 100;

/// The consumer `my.telling`. It does not believe the fact but tells what there is by now, with its number: auth takes none that is
/// not newer than what it has, so whatever is told again, or late, changes nothing.
#[derive(Debug)]
pub struct Telling(pub Arc<App>);

#[async_trait]
impl PassingHandler for Telling {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        let fact: MyProfileUpdated = event.decode()?;
        // None: somebody closed the account meanwhile.
        if let Some(profile) = profiles::find(&self.0.db, user(&fact.user_id)?).await? {
            tell(&self.0, &profile).await?;
        }
        Ok(())
    }
}

async fn tell(app: &App, profile: &Profile) -> Result<(), Error> {
    let known = app.peers.tell(profile).await?;
    profiles::told(&app.db, profile.user_id, profile.version).await?;
    tracing::debug!(known, version = profile.version, "auth was told of a profile");
    Ok(())
}

/// The loop that tells again what auth was away for, for longer than events are tried.
#[must_use]
pub fn again(app: &Arc<App>) -> Worker {
    let app = Arc::clone(app);
    Worker::new("my.telling_again", move |stop| look(Arc::clone(&app), stop))
}

/// Replicas may look at the same: told twice is told.
async fn look(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.retell_secs.into());
    loop {
        match stop.run_until_cancelled(retell(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "what auth does not know could not be looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn retell(app: &App) -> Result<(), Error> {
    let since = SignedDuration::from_secs(app.options.retell_secs.into());
    let before = app.now().saturating_sub(since).unwrap_or_default();
    for profile in profiles::untold(&app.db, before, PAGE).await? {
        // It is found again; the others need not wait for it.
        if let Err(error) = tell(app, &profile).await {
            tracing::warn!(%error, user_id = %profile.user_id, "auth does not know a profile as it is");
        }
    }
    Ok(())
}
