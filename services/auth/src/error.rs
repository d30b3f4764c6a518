//! What can go wrong, closed; and what the caller is told.

use std::time::Duration;

use coreloop_auth_api::v1::AuthReason;
use coreloop_core::{Kind, Problem, Reason, Violation};

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "auth";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of the service's own reasons that carries nothing more.
    #[error("{}", .0.as_str_name())]
    Refused(AuthReason),
    /// Too many failures.
    #[error("too many failed attempts")]
    Locked {
        /// When to try again.
        retry_after: Duration,
    },
    /// The account was locked by an administrator; told only to who proved to own it.
    #[error("the account is locked by an administrator")]
    LockedByAdmin,
    /// The keys were rotated or made too short a time ago.
    #[error("the next key is not published long enough")]
    RotationTooSoon {
        /// When to try again.
        retry_after: Duration,
    },
    /// The sign-in provider answered an error or nothing.
    #[error("the provider answered {code}")]
    Provider {
        /// Provider.
        provider: String,
        /// Its error code.
        code: String,
        /// A later try may succeed (5xx, no answer).
        transient: bool,
    },
    /// The OAuth state is unknown, used or expired.
    #[error("the state is unknown, used or expired")]
    StateInvalid {
        /// Metadata where the provider is known: `fresh_authorize_path`, `state` and `authorization_url`.
        fresh: Vec<(&'static str, String)>,
    },
    /// The provider's address belongs to an account that is not linked.
    #[error("the email belongs to another account")]
    EmailBelongsToAccount {
        /// Where to link after signing in.
        link_path: String,
    },
    /// Too many failures from this address.
    #[error("too many failed attempts from this address")]
    AddressLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// More sign-ins wait than will be served in time.
    #[error("too many sign-ins at once")]
    Overloaded,
    /// The row is not there, or is not the caller's.
    #[error("not found")]
    NotFound,
    /// Fields break their rules beyond what the proto declares.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// A problem told by a shared crate.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The database failed.
    #[error("database")]
    Database(#[source] sqlx::Error),
    /// Redis failed.
    #[error("redis")]
    Redis(#[from] redis::RedisError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl From<AuthReason> for Error {
    fn from(reason: AuthReason) -> Self {
        Self::Refused(reason)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// A violated constraint becomes what it means; everything else stays a database error.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let constraint = error.as_database_error().and_then(|e| e.constraint());
        match constraint.and_then(meaning) {
            Some(reason) => Self::Refused(reason),
            None => Self::Database(error),
        }
    }
}

impl From<coreloop_db::DbError> for Error {
    fn from(error: coreloop_db::DbError) -> Self {
        match error {
            coreloop_db::DbError::Sqlx(error) => error.into(),
            other => Problem::from(other).into(),
        }
    }
}

/// An act that could not be told to the audit.
impl From<coreloop_eventing::Error> for Error {
    fn from(error: coreloop_eventing::Error) -> Self {
        match error {
            coreloop_eventing::Error::Db(error) => error.into(),
            other => Problem::from(other).into(),
        }
    }
}

/// What the violation of a named constraint means to a caller.
fn meaning(constraint: &str) -> Option<AuthReason> {
    match constraint {
        "users_email_key" => Some(AuthReason::EmailTaken),
        "social_accounts_pkey" => Some(AuthReason::SocialAccountTaken),
        "invites_use_limit" => Some(AuthReason::InviteInvalid),
        "invites_pkey" => Some(AuthReason::InviteExists),
        _ => None,
    }
}

/// Kind and developer's message of a reason that carries nothing more.
fn facts(reason: AuthReason) -> (Kind, &'static str) {
    use AuthReason as R;
    match reason {
        R::EmailTaken => (Kind::AlreadyExists, "the email is in use"),
        R::PasswordBreached => (Kind::InvalidArgument, "the password is on the list of breached passwords"),
        R::InviteRequired => (Kind::FailedPrecondition, "an invite code is required"),
        R::InviteInvalid => (Kind::InvalidArgument, "the invite code is unknown, used up or expired"),
        R::InvalidCredentials => (Kind::Unauthenticated, "account, password or code is wrong"),
        R::AccountLocked => (Kind::ResourceExhausted, "too many failed attempts"),
        R::NoPassword => (Kind::FailedPrecondition, "the account has no password"),
        R::ResetTokenInvalid => (Kind::InvalidArgument, "the reset token is unknown, used or expired"),
        R::ProviderUnknown => (Kind::NotFound, "no such provider is configured"),
        R::ProviderMismatch => (Kind::InvalidArgument, "the state belongs to another provider"),
        R::ProviderError => (Kind::Unavailable, "the provider failed"),
        R::RedirectUriNotAllowed => (Kind::InvalidArgument, "the redirect URI is not registered exactly so"),
        R::OauthStateInvalid => (Kind::FailedPrecondition, "the state is unknown, used or expired"),
        R::EmailBelongsToAccount => (Kind::AlreadyExists, "the email belongs to an account: sign in, then link"),
        R::SocialAccountTaken => (Kind::AlreadyExists, "the social account is linked to another account"),
        R::LastSignInMethod => (Kind::FailedPrecondition, "the last sign-in method cannot be removed"),
        R::LoginCodeInvalid => (Kind::InvalidArgument, "the login code is unknown, used or expired"),
        R::RefreshTokenInvalid => (Kind::Unauthenticated, "the refresh token cannot be accepted"),
        R::RefreshTokenReused => (Kind::Unauthenticated, "the refresh token was used before; the session has ended"),
        R::BirthDateAlreadySet => (Kind::FailedPrecondition, "another birth date was declared before"),
        R::WebhookSignatureInvalid => (Kind::Unauthenticated, "the signature is wrong"),
        R::WebhookTooOld => (Kind::Unauthenticated, "the timestamp is outside the tolerance"),
        R::UserNotFound => (Kind::NotFound, "no such account"),
        R::InviteExists => (Kind::AlreadyExists, "the invite code exists"),
        R::RotationTooSoon => (Kind::FailedPrecondition, "the next key is not published long enough"),
        R::MachineUnknown => (Kind::Unauthenticated, "the machine could not prove itself"),
        R::AgeVerificationRequired => (Kind::PermissionDenied, "a verified age is required"),
        R::TooManyWatches => (Kind::ResourceExhausted, "as many watches of the account are open as may be"),
        R::BirthDateInvalid => (Kind::InvalidArgument, "the birth date is not that of a living person"),
        R::Unspecified => (Kind::Internal, "internal error"),
    }
}

/// The constant on the wire.
#[must_use]
pub fn constant(reason: AuthReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("AUTH_REASON_").unwrap_or(name)
}

fn own(reason: AuthReason) -> Problem {
    let (kind, message) = facts(reason);
    Problem::new(kind, DOMAIN, constant(reason), message)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => own(reason),
            Error::Locked { retry_after } => own(AuthReason::AccountLocked).retry_after(retry_after),
            Error::LockedByAdmin => Self::new(
                Kind::PermissionDenied,
                DOMAIN,
                constant(AuthReason::AccountLocked),
                "the account is locked by an administrator",
            ),
            Error::RotationTooSoon { retry_after } => own(AuthReason::RotationTooSoon).retry_after(retry_after),
            Error::Provider { provider, code, transient } => {
                let kind = if transient { Kind::Unavailable } else { Kind::InvalidArgument };
                let problem =
                    Self::new(kind, DOMAIN, constant(AuthReason::ProviderError), "the provider did not accept this")
                        .with("provider", provider)
                        .with("error_code", code);
                if transient { problem.retry_after(Duration::from_secs(1)) } else { problem }
            }
            Error::StateInvalid { fresh } => fresh
                .into_iter()
                .fold(own(AuthReason::OauthStateInvalid), |problem, (key, value)| problem.with(key, value)),
            Error::EmailBelongsToAccount { link_path } => {
                own(AuthReason::EmailBelongsToAccount).with("link_path", link_path)
            }
            Error::AddressLimited { retry_after } => {
                Self::common(Reason::RateLimited, "too many failed attempts from this address").retry_after(retry_after)
            }
            Error::Overloaded => {
                Self::common(Reason::Overloaded, "too many sign-ins at once").retry_after(Duration::from_secs(1))
            }
            Error::NotFound => Self::common(Reason::NotFound, "not found"),
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Problem(problem) => *problem,
            Error::Database(error) => coreloop_db::problem(error),
            Error::Redis(error) => Self::unavailable("redis does not answer", error),
            Error::Internal(text) => Self::internal(text),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl Error {
    /// The stable constant, for the audit and for metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(reason) => constant(*reason),
            Self::Locked { .. } | Self::LockedByAdmin => "ACCOUNT_LOCKED",
            Self::RotationTooSoon { .. } => "ROTATION_TOO_SOON",
            Self::Provider { .. } => "PROVIDER_ERROR",
            Self::StateInvalid { .. } => "OAUTH_STATE_INVALID",
            Self::EmailBelongsToAccount { .. } => "EMAIL_BELONGS_TO_ACCOUNT",
            Self::AddressLimited { .. } => "RATE_LIMITED",
            Self::Overloaded => "OVERLOADED",
            Self::NotFound => "NOT_FOUND",
            Self::Invalid(_) => "VALIDATION_FAILED",
            Self::Database(_) | Self::Redis(_) => "DEPENDENCY_UNAVAILABLE",
            Self::Problem(_) | Self::Internal(_) => "INTERNAL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_kind_and_a_constant_without_prefix() {
        for number in 1..=29 {
            let reason = AuthReason::try_from(number).expect("reasons are numbered without a gap");
            let problem = Problem::from(Error::from(reason));
            assert!(!problem.reason().starts_with("AUTH_REASON_"), "{}", problem.reason());
            assert_ne!(problem.kind(), Kind::Internal, "{}", problem.reason());
            assert_eq!(problem.domain(), DOMAIN);
        }
        assert!(AuthReason::try_from(30).is_err(), "a new reason needs facts and this test its number");
    }

    #[test]
    fn a_locked_account_says_when_to_come_back() {
        let problem = Problem::from(Error::Locked { retry_after: Duration::from_secs(600) });
        assert_eq!((problem.kind(), problem.retry_delay()), (Kind::ResourceExhausted, Some(Duration::from_secs(600))));
    }
}
