//! Errors on their way to a caller: a [`Kind`], a stable reason, and what `google.rpc` details carry.

use std::{borrow::Cow, collections::HashMap, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::Reason;

/// Domain of the reasons that any RPC may answer.
pub const COMMON_DOMAIN: &str = "coreloop";

/// What kind of failure it is; decides the gRPC code and who must react.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request breaks a rule that no state changes.
    InvalidArgument,
    /// Who calls is not known.
    Unauthenticated,
    /// The caller may not.
    PermissionDenied,
    /// What is asked for is not there, or is not the caller's.
    NotFound,
    /// What is to be made exists.
    AlreadyExists,
    /// The state of things does not admit it; a retry alone will not help.
    FailedPrecondition,
    /// Another call got in between; a retry may help.
    Aborted,
    /// A limit or quota is used up.
    ResourceExhausted,
    /// The RPC does not exist.
    Unimplemented,
    /// A part is away; a retry will help.
    Unavailable,
    /// The deadline passed.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// A fault of ours.
    Internal,
}

impl Kind {
    /// The gRPC code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::Aborted => Code::Aborted,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::Unimplemented => Code::Unimplemented,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Cancelled => Code::Cancelled,
            Self::Internal => Code::Internal,
        }
    }

    /// The kind that goes with a common reason.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::ValidationFailed
            | Reason::MalformedRequest
            | Reason::PageTokenInvalid
            | Reason::HeadersTooLarge
            | Reason::UnsupportedMediaType
            | Reason::UpgradeRequired
            | Reason::BodyTooLarge => Self::InvalidArgument,
            Reason::RouteNotFound | Reason::NotFound => Self::NotFound,
            Reason::MethodNotAllowed | Reason::Unimplemented => Self::Unimplemented,
            Reason::TokenMissing | Reason::TokenInvalid | Reason::TokenExpired | Reason::TokenRevoked => {
                Self::Unauthenticated
            }
            Reason::RoleRequired | Reason::AccessDenied => Self::PermissionDenied,
            Reason::RevocationUnknown | Reason::DependencyUnavailable | Reason::Overloaded => Self::Unavailable,
            Reason::RateLimited => Self::ResourceExhausted,
            Reason::IdempotencyKeyReused => Self::AlreadyExists,
            Reason::InProgress | Reason::Conflict => Self::Aborted,
            Reason::DeadlineExceeded => Self::DeadlineExceeded,
            Reason::Unspecified | Reason::Internal => Self::Internal,
        }
    }
}

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in proto names, as `items[2].name`.
    pub field: String,
    /// What is wrong, without the value.
    pub description: String,
}

/// A failure as the caller will see it. Crates keep their own error enums and convert at the edge of the crate.
///
/// The message is for developers, carries no secret and no internal name. The source, when there is one, is logged and
/// never sent.
pub struct Problem {
    kind: Kind,
    domain: Cow<'static, str>,
    reason: Cow<'static, str>,
    message: Cow<'static, str>,
    metadata: HashMap<String, String>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Problem {
    /// A problem of a domain's own: `reason` is the enum value's name without its prefix.
    #[must_use]
    pub fn new(
        kind: Kind,
        domain: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            domain: domain.into(),
            reason: reason.into(),
            message: message.into(),
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry_after: None,
            source: None,
        }
    }

    /// A problem with one of the common reasons.
    #[must_use]
    pub fn common(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let name = reason.as_str_name();
        Self::new(Kind::of(reason), COMMON_DOMAIN, name.strip_prefix("REASON_").unwrap_or(name), message)
    }

    /// All fields that break their rules, at once.
    #[must_use]
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let mut problem = Self::common(Reason::ValidationFailed, "the request breaks the rules of its fields");
        problem.violations = violations;
        problem
    }

    /// A fault of ours: the caller learns only that; `source` is logged.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::common(Reason::Internal, "internal error").because(source)
    }

    /// A part that does not answer; the caller may retry soon.
    #[must_use]
    pub fn unavailable(
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::common(Reason::DependencyUnavailable, message).retry_after(Duration::from_secs(1)).because(source)
    }

    /// Adds metadata to the ErrorInfo.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Says when a retry makes sense (RetryInfo; the edge answers `Retry-After`).
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Stable reason constant.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Domain of the reason.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Message for developers.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When a retry makes sense.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("kind", &self.kind)
            .field("reason", &self.reason)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(problem.reason, problem.domain, problem.metadata);
        for violation in problem.violations {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        if let Some(after) = problem.retry_after {
            details.set_retry_info(Some(after));
        }
        let mut status = Self::with_error_details(problem.kind.code(), problem.message, details);
        if let Some(source) = problem.source {
            // The server's layer logs the chain once; it is never sent.
            status.set_source(source.into());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_carries_every_detail() {
        let status = Status::from(
            Problem::invalid(vec![Violation { field: "email".into(), description: "must be an address".into() }])
                .with("k", "v")
                .retry_after(Duration::from_secs(3)),
        );
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|i| i.reason.as_str()), Some("VALIDATION_FAILED"));
        assert_eq!(details.error_info().and_then(|i| i.metadata.get("k")).map(String::as_str), Some("v"));
        assert_eq!(details.bad_request().map(|b| b.field_violations.len()), Some(1));
        assert_eq!(details.retry_info().and_then(|r| r.retry_delay), Some(Duration::from_secs(3)));
    }

    #[test]
    fn internal_never_sends_its_source() {
        let status = Status::from(Problem::internal("password=hunter2"));
        assert_eq!(status.message(), "internal error");
        assert!(!String::from_utf8_lossy(status.details()).contains("hunter2"));
    }
}
