//! Why nothing is known of what was asked.

use std::time::Duration;

use reqwest::StatusCode;

/// Somebody on the internet did not answer what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// Others have found them failing; nobody was asked.
    #[error("it goes on failing and is left alone for a while")]
    LeftAlone,
    /// No answer in time.
    #[error("it does not answer in time")]
    Late,
    /// No answer.
    #[error("it cannot be asked: {0}")]
    Silent(reqwest::Error),
    /// An answer that is none.
    #[error("its answer breaks off, or is none of such a party")]
    Broken,
    /// They refuse for the moment.
    #[error("it answered {status}")]
    Busy {
        /// Their status.
        status: StatusCode,
        /// When they are to be asked again, as they say.
        after: Option<Duration>,
    },
    /// They refuse, and will: the key or the request is wrong.
    #[error("it refuses: {0}")]
    Refused(StatusCode),
}

impl Away {
    /// What a connection that failed is, without the address.
    #[must_use]
    pub fn of(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Late } else { Self::Silent(error.without_url()) }
    }

    /// What an answer is that broke off.
    #[must_use]
    pub fn cut(error: &reqwest::Error) -> Self {
        if error.is_timeout() { Self::Late } else { Self::Broken }
    }

    /// What a status says that is no success; `after` as they say it ([`crate::retry_after`]).
    #[must_use]
    pub fn by_status(status: StatusCode, after: Option<Duration>) -> Self {
        let for_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        if for_now || status.is_server_error() { Self::Busy { status, after } } else { Self::Refused(status) }
    }

    /// A constant, to be put behind the name of the party: `MODEL_` and this.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::LeftAlone => "LEFT_ALONE",
            Self::Late => "TIMEOUT",
            Self::Busy { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => "RATE_LIMITED",
            Self::Silent(_) | Self::Broken | Self::Busy { .. } => "UNAVAILABLE",
            Self::Refused(_) => "REFUSED",
        }
    }

    /// Asking again now may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Broken | Self::Busy { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_word_of_its_own() {
        let by = |status| Away::by_status(status, None);
        assert_eq!(by(StatusCode::TOO_MANY_REQUESTS).word(), "RATE_LIMITED");
        assert_eq!(by(StatusCode::BAD_GATEWAY).word(), "UNAVAILABLE");
        assert_eq!(by(StatusCode::UNAUTHORIZED).word(), "REFUSED");
        assert_eq!((Away::Late.word(), Away::LeftAlone.word()), ("TIMEOUT", "LEFT_ALONE"));
        assert!(by(StatusCode::REQUEST_TIMEOUT).may_pass() && !by(StatusCode::BAD_REQUEST).may_pass());
        assert!(!Away::Late.may_pass() && !Away::LeftAlone.may_pass());
    }
}
