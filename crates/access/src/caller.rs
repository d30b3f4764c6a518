//! Who calls, as handlers see it.

use std::sync::Arc;

use coreloop_core::{Problem, Reason, SessionId, TokenId, UserId};

use crate::{
    Roles,
    token::{Claims, Subject, TokenKind},
};

/// Who calls. Reaches handlers as an extension of the request, put there by the service layers and by nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: no token was sent or none is looked at.
    Anonymous,
    /// A person.
    User(User),
    /// A service of the mesh.
    Machine(Machine),
}

/// A person, by a verified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User.
    pub user_id: UserId,
    /// Session.
    pub session_id: SessionId,
    /// Token.
    pub token_id: TokenId,
    /// Roles.
    pub roles: Roles,
    /// The token is of the admin audience (second factor passed).
    pub admin: bool,
    /// Unix seconds at which the token ends.
    pub expires_at: i64,
}

/// A service of the mesh, by an internal token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Name of the calling service.
    pub service: Arc<str>,
    /// Token.
    pub token_id: TokenId,
    /// Unix seconds at which the token ends.
    pub expires_at: i64,
}

impl Caller {
    /// The caller of a request.
    ///
    /// # Errors
    /// A fault of ours, when the service layers did not run: a handler never serves a request nobody looked at.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, Problem> {
        request.extensions().get::<Self>().ok_or_else(|| Problem::internal("the request passed no access layer"))
    }

    /// The signed-in user.
    ///
    /// # Errors
    /// `TOKEN_MISSING` for an anonymous caller, `ROLE_REQUIRED` for a machine.
    pub fn require_user(&self) -> Result<&User, Problem> {
        match self {
            Self::User(user) => Ok(user),
            Self::Anonymous => Err(Problem::common(Reason::TokenMissing, "sign in first")),
            Self::Machine(_) => Err(Problem::common(Reason::RoleRequired, "this call is for users")),
        }
    }

    /// The user, when there is one.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::User(user) => Some(user),
            _ => None,
        }
    }

    /// The calling service.
    ///
    /// # Errors
    /// `ROLE_REQUIRED` for anybody but a machine.
    pub fn require_machine(&self) -> Result<&Machine, Problem> {
        match self {
            Self::Machine(machine) => Ok(machine),
            _ => Err(Problem::common(Reason::RoleRequired, "this call is for services of the mesh")),
        }
    }
}

impl From<&Claims> for Caller {
    fn from(claims: &Claims) -> Self {
        match &claims.subject {
            Subject::User { id, session } => Self::User(User {
                user_id: *id,
                session_id: *session,
                token_id: claims.id,
                roles: claims.roles,
                admin: claims.kind == TokenKind::Admin,
                expires_at: claims.expires_at,
            }),
            Subject::Machine(service) => Self::Machine(Machine {
                service: Arc::clone(service),
                token_id: claims.id,
                expires_at: claims.expires_at,
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_request_nobody_looked_at_is_a_fault_not_an_anonymous_call() {
        let mut request = tonic::Request::new(());
        assert_eq!(Caller::of(&request).unwrap_err().reason(), "INTERNAL");
        request.extensions_mut().insert(Caller::Anonymous);
        let caller = Caller::of(&request).unwrap();
        assert_eq!(caller.require_user().unwrap_err().reason(), "TOKEN_MISSING");
        assert_eq!(caller.require_machine().unwrap_err().reason(), "ROLE_REQUIRED");
    }
}
