//! Auth is told what a profile has become: it shows name and picture with the account. And Redis is told whom to forget.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_core::Kind;
use coreloop_db::lease::Lease;
use coreloop_eventing::{Event, Failure, PassingHandler};
use coreloop_facts::v1::{AuthUserWithdrawn, MyProfileUpdated};
use coreloop_service::Worker;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App, Error,
    hearing::user,
    store::profiles::{self, Profile},
};

/// Profiles of one look.
const PAGE: i64 = 100;

/// The consumer `my.telling`: what others are to know or to forget, outside of transactions. It does not believe the fact of a profile
/// but tells what there is by now, with its number: auth takes none that is not newer than what it has, so whatever is told again, or
/// late, changes nothing.
#[derive(Debug)]
pub struct Telling(pub Arc<App>);

#[async_trait]
impl PassingHandler for Telling {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        if event.topic.as_str() == "events.auth.user_withdrawn" {
            let fact: AuthUserWithdrawn = event.decode()?;
            self.0.cache.forget(user(&fact.user_id)?).await;
            return Ok(());
        }
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

/// Told twice is told: the lease only keeps replicas from telling the same in vain.
async fn look(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.retell_secs.into());
    loop {
        match stop.run_until_cancelled(retell(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "what auth does not know could not be told"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn retell(app: &App) -> Result<(), Error> {
    let Some(lease) = Lease::try_take(&app.db, "my.retell").await? else { return Ok(()) };
    let outcome = retell_alone(app).await;
    lease.give_up().await;
    outcome
}

/// All of them, the oldest first: what auth refuses keeps nobody else waiting, and while it is away nobody else would do better.
async fn retell_alone(app: &App) -> Result<(), Error> {
    let since = SignedDuration::from_secs(app.options.retell_secs.into());
    let before = app.now().saturating_sub(since).unwrap_or_default();
    let (mut after, mut refused) = ((Timestamp::UNIX_EPOCH, Uuid::nil()), 0_usize);
    loop {
        let page = profiles::untold(&app.db, before, after, PAGE).await?;
        let Some((last, at)) = page.last() else { break };
        after = (*at, last.user_id);
        for (profile, _) in &page {
            match tell(app, profile).await {
                Ok(()) => {}
                Err(Error::Problem(problem)) if problem.kind() == Kind::FailedPrecondition => {
                    tracing::debug!(%problem, user_id = %profile.user_id, "auth refuses a profile");
                    refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
    if refused > 0 {
        tracing::warn!(profiles = refused, "auth refuses profiles as they are");
    }
    Ok(())
}
