//! What was decided of a request, and how a denial looks to the caller.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Problem, Reason};

use crate::{Caller, Role, RpcPolicy, token::Invalid};

/// The outcome for one request.
#[derive(Debug, Clone)]
pub enum Decision {
    /// The RPC may be called.
    Allow(Allowed),
    /// It may not.
    Deny(Denied),
}

/// An admitted call.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// Who calls.
    pub caller: Caller,
    /// What is called.
    pub rpc: Arc<RpcPolicy>,
    /// The revocations known are older than they should be; the answer carries `x-auth-degraded: revocation`.
    pub degraded: bool,
}

/// Why a call is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No RPC answers the path.
    #[error("nothing is at this address")]
    UnknownPath,
    /// RPCs answer the path by other methods, named here.
    #[error("the address knows other methods")]
    UnknownMethod {
        /// Methods for the `Allow` header, upper case, joined by `, `.
        allow: String,
    },
    /// The path cannot be read (a broken percent escape, too long).
    #[error("the path cannot be read")]
    MalformedPath,
    /// The RPC exists and states no access, or belongs to nobody.
    #[error("no policy admits this call")]
    NoPolicy,
    /// The RPC is for the mesh and the call came from outside.
    #[error("no policy admits this call from outside")]
    MeshOnly,
    /// A token is needed and none was sent.
    #[error("a token is needed")]
    TokenMissing,
    /// The token, or the header that should carry it, cannot be accepted. The cause is for logs and `explain`.
    #[error("the token is not accepted")]
    TokenInvalid(Invalid),
    /// The token is past its time.
    #[error("the token has expired")]
    TokenExpired,
    /// The token was revoked.
    #[error("the token was revoked")]
    TokenRevoked,
    /// The caller is known and may not.
    #[error("the role {} is required", role.as_str())]
    RoleRequired {
        /// The least role that may.
        role: Role,
    },
    /// Whether the token was revoked cannot be told, and the call needs to know.
    #[error("whether the token was revoked cannot be told now")]
    RevocationUnknown,
    /// The keys cannot be read, so nobody can be known.
    #[error("tokens cannot be verified now")]
    KeysUnknown,
}

impl Denied {
    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::UnknownPath => Reason::RouteNotFound,
            Self::UnknownMethod { .. } => Reason::MethodNotAllowed,
            Self::MalformedPath => Reason::MalformedRequest,
            Self::NoPolicy | Self::MeshOnly => Reason::AccessDenied,
            Self::TokenMissing => Reason::TokenMissing,
            Self::TokenInvalid(_) => Reason::TokenInvalid,
            Self::TokenExpired => Reason::TokenExpired,
            Self::TokenRevoked => Reason::TokenRevoked,
            Self::RoleRequired { .. } => Reason::RoleRequired,
            Self::RevocationUnknown => Reason::RevocationUnknown,
            Self::KeysUnknown => Reason::DependencyUnavailable,
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let problem = Self::common(denied.reason(), denied.to_string());
        match denied {
            Denied::RoleRequired { role } => problem.with("role", role.as_str()),
            Denied::UnknownMethod { allow } => problem.with("allow", allow),
            Denied::RevocationUnknown | Denied::KeysUnknown => problem.retry_after(Duration::from_secs(1)),
            _ => problem,
        }
    }
}
