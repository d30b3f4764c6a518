//! Kakao Local over HTTP: asked within bounds, left alone while it goes on failing, never more often in a day than it allows.
//!
//! Nothing is asked twice here: somebody waits, and the shops that are kept answer instead. Every request counts in the day's quota
//! before it is made, whatever comes of it, as it does at Kakao. The key is in no error and no log.

use std::time::Duration;

use coreloop_outbound::{self as outbound, Breaker, Party, Pauses, read};
use futures::future::join_all;
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    Options,
    globe::Point,
    metrics::Metrics,
    quota::{Quota, Spent},
    shop::Place,
    wire::{self, Found},
};

/// Largest answer that is read, in bytes.
const MOST: usize = 512 << 10;
/// Documents of one page: as many as Kakao has on one.
const PAGE: u32 = 15;
/// Farthest that Kakao searches, in metres.
pub const FARTHEST_M: u32 = 20_000;

/// The provider.
#[derive(Debug)]
pub struct Kakao {
    base: String,
    key: Option<SecretString>,
    keywords: Vec<String>,
    categories: Vec<String>,
    patience: Duration,
    party: Party,
    quota: Quota,
    metrics: Metrics,
}

/// Nothing is known of what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// There is no key.
    #[error("no provider is set (location.kakao_key)")]
    Unset,
    /// It was asked as often as it allows in a day.
    #[error("the provider's calls of the day are used up")]
    Spent,
    /// Nobody can tell how often it was asked.
    #[error("it is not known how many calls are left of the day")]
    Uncounted,
    /// It did not answer what was asked, or is left alone.
    #[error(transparent)]
    Party(#[from] outbound::Away),
}

impl Away {
    /// A word for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Spent => "quota",
            Self::Uncounted => "quota_unknown",
            Self::Party(outbound::Away::LeftAlone) => "left_alone",
            Self::Party(outbound::Away::Late) => "timeout",
            Self::Party(outbound::Away::Silent(_)) => "unavailable",
            Self::Party(outbound::Away::Broken) => "nonsense",
            Self::Party(outbound::Away::Busy { status: StatusCode::TOO_MANY_REQUESTS, .. }) => "rate_limited",
            Self::Party(outbound::Away::Busy { .. }) => "failed",
            Self::Party(outbound::Away::Refused(_)) => "refused",
        }
    }

    /// A request that makes no sense to it says nothing about the next; a key that it refuses does.
    fn is_an_answer(&self) -> bool {
        matches!(self, Self::Party(outbound::Away::Refused(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)))
    }
}

/// What is asked: the path after the base, what it is called in metrics, and its parameters.
struct Question {
    path: &'static str,
    endpoint: &'static str,
    parameters: Vec<(&'static str, String)>,
}

impl Kakao {
    /// The provider of the settings.
    #[must_use]
    pub fn of(options: &Options, quota: Quota, metrics: Metrics) -> Self {
        let patience = Duration::from_millis(options.kakao_timeout_ms);
        let breaker = Breaker::new(options.breaker_failures, Duration::from_secs(options.breaker_secs.into()));
        Self {
            base: options.kakao_url.trim_end_matches('/').to_owned(),
            key: options.kakao_key.clone(),
            keywords: options.keywords.clone(),
            categories: options.categories.clone(),
            patience,
            party: Party::new(Pauses { first: patience, tries: 1 }, breaker, patience),
            quota,
            metrics,
        }
    }

    /// Shops within `radius_m` of a place, by every keyword and every category side by side; each once, in no order.
    ///
    /// # Errors
    /// When not all of it is known: half an answer would be kept as a whole one.
    pub async fn around(&self, center: Point, radius_m: u32) -> Result<Vec<Place>, Away> {
        let near = |(name, value): (&'static str, &String)| {
            let mut parameters = vec![(name, value.clone()), ("radius", radius_m.min(FARTHEST_M).to_string())];
            parameters.extend([("x", center.lng.to_string()), ("y", center.lat.to_string())]);
            parameters.extend([("sort", "distance".to_owned()), ("page", "1".to_owned()), ("size", PAGE.to_string())]);
            parameters
        };
        let words = self.keywords.iter().map(|word| keyword(near(("query", word))));
        let codes = self.categories.iter().map(|code| Question {
            path: "/v2/local/search/category.json",
            endpoint: "category",
            parameters: near(("category_group_code", code)),
        });
        let found: Vec<Found> = self.ask(words.chain(codes).collect()).await?;
        Ok(wire::places(found))
    }

    /// Shops that words name, the best first.
    ///
    /// # Errors
    /// When nothing is known.
    pub async fn search(&self, words: &str) -> Result<Vec<Place>, Away> {
        let parameters = vec![("query", words.to_owned()), ("page", "1".to_owned()), ("size", PAGE.to_string())];
        Ok(wire::places(self.ask(vec![keyword(parameters)]).await?))
    }

    /// Places that an address may stand for, the likeliest first.
    ///
    /// # Errors
    /// When nothing is known.
    pub async fn geocode(&self, address: &str) -> Result<Vec<wire::Address>, Away> {
        let parameters = vec![("query", address.to_owned()), ("page", "1".to_owned()), ("size", "10".to_owned())];
        let asked = Question { path: "/v2/local/search/address.json", endpoint: "address", parameters };
        let found: Vec<wire::Addresses> = self.ask(vec![asked]).await?;
        Ok(found.into_iter().flat_map(wire::Addresses::read).collect())
    }

    /// The address of a place; none where there is none.
    ///
    /// # Errors
    /// When nothing is known.
    pub async fn address(&self, place: Point) -> Result<Option<wire::Address>, Away> {
        let parameters = vec![("x", place.lng.to_string()), ("y", place.lat.to_string())];
        let asked = Question { path: "/v2/local/geo/coord2address.json", endpoint: "coord2address", parameters };
        let found: Vec<wire::AddressesOf> = self.ask(vec![asked]).await?;
        Ok(found.into_iter().find_map(|found| found.read(place)))
    }

    /// Asks everything at once, and tells the breaker of the whole.
    async fn ask<T: DeserializeOwned>(&self, questions: Vec<Question>) -> Result<Vec<T>, Away> {
        let key = self.key.as_ref().ok_or(Away::Unset)?;
        if !self.party.breaker.admits(Instant::now()) {
            return Err(outbound::Away::LeftAlone.into());
        }
        match self.quota.take(u32::try_from(questions.len()).unwrap_or(u32::MAX)).await {
            Ok(()) => {}
            Err(Spent::Used) => return Err(Away::Spent),
            Err(Spent::Unknown) => return Err(Away::Uncounted),
        }
        let answers: Vec<_> = join_all(questions.iter().map(|question| self.timed(key, question))).await;
        let found: Result<Vec<T>, Away> = answers.into_iter().collect();
        match &found {
            Err(away) if !away.is_an_answer() => {
                tracing::warn!(error = away as &dyn std::error::Error, "the provider of places does not answer");
                self.party.breaker.failed(Instant::now());
            }
            _ => self.party.breaker.succeeded(),
        }
        self.metrics.left_alone.set(i64::from(self.party.breaker.is_open()));
        found
    }

    async fn timed<T: DeserializeOwned>(&self, key: &SecretString, question: &Question) -> Result<T, Away> {
        let began = Instant::now();
        let said = self.send(key, question).await;
        let outcome = said.as_ref().err().map_or("ok", Away::word);
        self.metrics.asked(question.endpoint, outcome, began.elapsed());
        said
    }

    async fn send<T: DeserializeOwned>(&self, key: &SecretString, question: &Question) -> Result<T, Away> {
        let asked = self
            .party
            .client()?
            .get(format!("{}{}", self.base, question.path))
            .timeout(self.patience)
            .header("authorization", format!("KakaoAK {}", key.expose_secret()))
            .query(&question.parameters);
        // What was looked for stands in the address, which is in no error.
        let response = asked.send().await.map_err(outbound::Away::of)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(outbound::Away::by_status(status, None).into());
        }
        let body = read(response, MOST).await?;
        serde_json::from_slice(&body).map_err(|_| outbound::Away::Broken.into())
    }
}

fn keyword(parameters: Vec<(&'static str, String)>) -> Question {
    Question { path: "/v2/local/search/keyword.json", endpoint: "keyword", parameters }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(status: StatusCode) -> Away {
        outbound::Away::by_status(status, None).into()
    }

    #[test]
    fn what_is_wrong_with_a_request_is_no_fault_of_the_providers() {
        assert!(by(StatusCode::BAD_REQUEST).is_an_answer() && by(StatusCode::NOT_FOUND).is_an_answer());
        for fault in [
            by(StatusCode::UNAUTHORIZED),
            by(StatusCode::FORBIDDEN),
            by(StatusCode::TOO_MANY_REQUESTS),
            outbound::Away::Late.into(),
            outbound::Away::Broken.into(),
        ] {
            assert!(!fault.is_an_answer(), "{fault}");
        }
    }

    #[test]
    fn a_failure_has_a_word_of_its_own() {
        assert_eq!(by(StatusCode::TOO_MANY_REQUESTS).word(), "rate_limited");
        assert_eq!(by(StatusCode::BAD_GATEWAY).word(), "failed");
        assert_eq!(by(StatusCode::UNAUTHORIZED).word(), "refused");
    }
}
