//! What a token says, once believed.

use std::sync::Arc;

use coreloop_core::{SessionId, TokenId, UserId};

use super::Purpose;
use crate::{Role, Roles};

/// What a token is for. Each kind has its own `typ` header, `typ` claim and audience, so none passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Calls the API as a user; minutes of life.
    Access,
    /// Buys the next access token; only the auth service reads it.
    Refresh,
    /// Calls the API as an administrator.
    Admin,
    /// Calls one service as another.
    Internal,
}

impl TokenKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Access, Self::Refresh, Self::Admin, Self::Internal];

    /// The `typ` of the JOSE header (RFC 8725 section 3.11; `at+jwt` is RFC 9068).
    #[must_use]
    pub fn header_typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "refresh+jwt",
            Self::Admin => "admin+jwt",
            Self::Internal => "internal+jwt",
        }
    }

    /// The `typ` claim.
    #[must_use]
    pub fn claim_typ(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
            Self::Admin => "admin",
            Self::Internal => "internal",
        }
    }

    /// The kind of a `typ` header.
    #[must_use]
    pub fn of_header(typ: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.header_typ() == typ)
    }

    /// What a key must be for to sign this kind.
    #[must_use]
    pub fn purpose(self) -> Purpose {
        match self {
            Self::Access | Self::Refresh => Purpose::User,
            Self::Admin => Purpose::Admin,
            Self::Internal => Purpose::Internal,
        }
    }
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user in a session.
    User {
        /// `sub`.
        id: UserId,
        /// `sid`.
        session: SessionId,
    },
    /// A service of the mesh (`sub` is its name; there is no `sid`).
    Machine(Arc<str>),
}

/// The claims of a token. Times are whole seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Kind: the `typ` header and claim.
    pub kind: TokenKind,
    /// `iss`.
    pub issuer: Arc<str>,
    /// `aud`, one string: `coreloop`, `coreloop-admin` or the target service.
    pub audience: Arc<str>,
    /// `sub` and `sid`.
    pub subject: Subject,
    /// `jti`, a UUIDv7.
    pub id: TokenId,
    /// `roles`.
    pub roles: Roles,
    /// `iat`.
    pub issued_at: i64,
    /// `nbf`.
    pub not_before: i64,
    /// `exp`.
    pub expires_at: i64,
}

impl Claims {
    /// The user, unless the token is a machine's.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self.subject {
            Subject::User { id, .. } => Some(id),
            Subject::Machine(_) => None,
        }
    }

    /// The session, unless the token is a machine's.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        match self.subject {
            Subject::User { session, .. } => Some(session),
            Subject::Machine(_) => None,
        }
    }

    /// The claims of an internal token, by which `service` calls `target`.
    #[must_use]
    pub fn internal(issuer: Arc<str>, service: &str, target: &str, id: TokenId, now: i64, ttl_secs: i64) -> Self {
        Self {
            kind: TokenKind::Internal,
            issuer,
            audience: target.into(),
            subject: Subject::Machine(service.into()),
            id,
            roles: Roles::NONE.with(Role::Internal),
            issued_at: now,
            not_before: now,
            expires_at: now.saturating_add(ttl_secs),
        }
    }

    /// The payload as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let (sub, sid) = match &self.subject {
            Subject::User { id, session } => (id.to_string(), Some(session.to_string())),
            Subject::Machine(name) => (name.to_string(), None),
        };
        let mut json = serde_json::json!({
            "iss": &*self.issuer,
            "sub": sub,
            "aud": &*self.audience,
            "exp": self.expires_at,
            "iat": self.issued_at,
            "nbf": self.not_before,
            "jti": self.id.to_string(),
            "roles": self.roles.iter().map(Role::as_str).collect::<Vec<_>>(),
            "typ": self.kind.claim_typ(),
        });
        if let (Some(sid), Some(map)) = (sid, json.as_object_mut()) {
            map.insert("sid".to_owned(), sid.into());
        }
        json
    }
}
