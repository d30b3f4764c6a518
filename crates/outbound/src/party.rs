//! Somebody on the internet, as one service knows them.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, Response, header::RETRY_AFTER};
use tokio::time::Instant;

use crate::{Away, Breaker, Pauses};

/// Somebody on the internet.
#[derive(Debug)]
pub struct Party {
    /// How often they are asked.
    pub pauses: Pauses,
    /// Whether they are asked at all.
    pub breaker: Breaker,
    /// Longest time for a connection.
    connecting: Duration,
    // Made at first use: reading the system's certificates takes long.
    client: OnceLock<Client>,
}

impl Party {
    /// Somebody whom nobody has asked yet; a connection to them is given up after `connecting`.
    #[must_use]
    pub fn new(pauses: Pauses, breaker: Breaker, connecting: Duration) -> Self {
        Self { pauses, breaker, connecting, client: OnceLock::new() }
    }

    /// The time left for a question that is to be answered `until` then. Who is admitted tells what came of it ([`Party::hear`]).
    ///
    /// # Errors
    /// [`Away::Late`] when there is none; [`Away::LeftAlone`].
    pub fn admit(&self, until: Instant) -> Result<Duration, Away> {
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        match () {
            () if left.is_zero() => Err(Away::Late),
            () if !self.breaker.admits(now) => Err(Away::LeftAlone),
            () => Ok(left),
        }
    }

    /// What came of a question. A refusal for good is an answer.
    pub fn hear<T>(&self, told: &Result<T, Away>) {
        match told {
            Ok(_) | Err(Away::Refused(_)) => self.breaker.succeeded(),
            Err(_) => self.breaker.failed(Instant::now()),
        }
    }

    /// The client; it follows no redirect, for whoever redirects is not the party that was given the secrets.
    ///
    /// # Errors
    /// [`Away::Silent`] when none can be made.
    pub fn client(&self) -> Result<&Client, Away> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .connect_timeout(self.connecting)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Away::of)?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// When they are to be asked again, as they say. Seconds alone: a date would need a clock that agrees with theirs.
#[must_use]
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body of an answer, of `most` bytes.
///
/// # Errors
/// [`Away::Broken`] for more, or when it breaks off; [`Away::Late`].
pub async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, Away> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Away::cut(&error))? {
        if bytes.len().saturating_add(chunk.len()) > most {
            return Err(Away::Broken);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_without_time_or_while_they_go_on_failing() {
        let pauses = Pauses { first: Duration::from_millis(1), tries: 1 };
        let party = Party::new(pauses, Breaker::new(1, Duration::from_secs(30)), Duration::from_secs(1));
        assert!(matches!(party.admit(Instant::now()), Err(Away::Late)));
        let until = Instant::now() + Duration::from_secs(20);
        assert!(party.admit(until).is_ok_and(|left| left <= Duration::from_secs(20)));
        party.hear(&Err::<(), _>(Away::Refused(reqwest::StatusCode::UNAUTHORIZED)));
        assert!(party.admit(until).is_ok(), "whoever refuses is there");
        party.hear(&Err::<(), _>(Away::Broken));
        assert!(matches!(party.admit(until), Err(Away::LeftAlone)));
    }
}
