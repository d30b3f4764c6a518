//! Mails of password resets: kept in the database when they are asked for, sent by whichever replica takes them.
//!
//! A row is taken for a minute ([`LEASE`]) and settled after; when the process is killed in between, another one takes it.
//! The token is made with the first try and kept, sealed, so that a mail that may or may not have gone out is sent again
//! with the same words. A provider that is away is tried again with growing pauses until the token's time is over.

use std::{sync::Arc, time::Duration};

use coreloop_core::UserId;
use coreloop_service::Worker;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Failed, token_hash};
use crate::{App, Client, Error, password, social::state, store, store::mails::Mail};

/// Mails sent at once.
const SENDERS: i64 = 4;
/// Time for which a mail is taken: longer than all that sending it takes.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// Between two looks for mails that another replica was asked for, or whose pause is over.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_PAUSE_SECS: i64 = 300;

/// Asks for a reset mail to `email`, whoever that is. It costs the same for every address. What finds too many waiting is
/// dropped: the person asks again, and the log tells us.
///
/// # Errors
/// When the database fails.
pub async fn request(app: &App, email: &str, client: &Client) -> Result<(), Error> {
    let (email, most) = (password::normalise_email(email), app.options.mail.queue);
    if email.is_empty() {
        return Ok(());
    }
    if !store::mails::insert(&app.db, app.ids.uuid(), &email, &client.request_id, most, app.now()).await? {
        tracing::warn!("too many mails wait; a password reset was dropped");
    }
    app.mail.asked.notify_one();
    Ok(())
}

/// The worker that sends what waits. A process that drains leaves the rest to the others.
#[must_use]
pub fn worker(app: Arc<App>) -> Worker {
    Worker::new("auth.mail", move |stop| pump(Arc::clone(&app), stop))
}

async fn pump(app: Arc<App>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let taken = store::mails::take(&app.db, SENDERS, after(app.now(), LEASE), app.now()).await;
        let mails = taken.unwrap_or_else(|error| {
            tracing::warn!(%error, "mails that wait could not be read");
            Vec::new()
        });
        if mails.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = app.mail.asked.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            continue;
        }
        let sending = mails.iter().map(|mail| async {
            if let Err(error) = send(&app, mail).await {
                // Its lease ends, and it is tried again.
                tracing::warn!(error = %coreloop_core::Problem::from(error), "a password reset mail was not settled");
            }
        });
        futures::future::join_all(sending).await;
    }
}

async fn send(app: &App, mail: &Mail) -> Result<(), Error> {
    let user = store::users::find_by_email(&app.db, &mail.email).await?.filter(store::users::User::active);
    let over = after(mail.asked_at, SignedDuration::from_secs(app.options.reset_ttl_secs.into())) <= app.now();
    let Some(user) = user.filter(|_| !over) else { return store::mails::settle(&app.db, mail.id).await };
    let Some(token) = token(app, mail, user.id).await? else {
        tracing::info!(user_id = %user.id, request_id = %mail.request_id, "too many password resets asked for");
        return store::mails::settle(&app.db, mail.id).await;
    };
    let address = app.mail.reset_url.replace("{token}", &token);
    let minutes = app.options.reset_ttl_secs / 60;
    let text = format!(
        "Open this address to set a new password:\n\n{address}\n\nIt works once, within {minutes} minutes. \
         If you did not ask for it, you need not do anything.\n"
    );
    match app.mail.send(&app.outside, &mail.email, "Set a new password", &text).await {
        Ok(()) => store::mails::settle(&app.db, mail.id).await,
        Err(Failed::Refused(status)) => {
            tracing::error!(status, request_id = %mail.request_id, "the mail API refused a password reset mail");
            store::mails::settle(&app.db, mail.id).await
        }
        Err(Failed::Away(failure)) => {
            tracing::warn!(failure, tries = mail.tries, "the mail API is away; the mail waits");
            store::mails::postpone(&app.db, mail.id, after(app.now(), pause(mail.tries))).await
        }
    }
}

/// The token of a mail, kept by its digest: made with the first try. None when the account was given enough of late.
async fn token(app: &App, mail: &Mail, user: UserId) -> Result<Option<String>, Error> {
    let belongs_to = mail.id.to_string();
    if let Some(sealed) = &mail.token {
        let plain = app.vault.open(&belongs_to, sealed)?;
        return Ok(Some(String::from_utf8_lossy(&plain).into_owned()));
    }
    let (token, now) = (state::secret()?, app.now());
    let sealed = app.vault.seal(&belongs_to, token.as_bytes())?;
    let expires_at = after(now, SignedDuration::from_secs(app.options.reset_ttl_secs.into()));
    let mut tx = app.begin().await?;
    if !store::resets::insert(&mut tx, &token_hash(&token), user, expires_at, now).await? {
        // A token kept beside the mail would be sent by its next try, and open nothing.
        tx.rollback().await?;
        return Ok(None);
    }
    store::mails::keep_token(&mut *tx, mail.id, &sealed).await?;
    tx.commit().await?;
    Ok(Some(token))
}

/// Pause after so many tries: 2 s, 4 s, 8 s … five minutes.
fn pause(tries: i32) -> SignedDuration {
    let doubled = 1_i64.checked_shl(u32::try_from(tries.clamp(1, 16)).unwrap_or(1)).unwrap_or(LONGEST_PAUSE_SECS);
    SignedDuration::from_secs(doubled.min(LONGEST_PAUSE_SECS))
}

fn after(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_five_minutes() {
        let secs: Vec<i64> = [0, 1, 2, 3, 8, 9, 40, i32::MAX].map(|tries| pause(tries).as_secs()).to_vec();
        assert_eq!(secs, [2, 2, 4, 8, 256, 300, 300, 300]);
    }
}
