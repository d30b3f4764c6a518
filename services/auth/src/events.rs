//! What happened to an account, in the transaction of the act: an [`Event`] is a row of its history and one of the outbox, a
//! [`Note`] is of the history alone.
//!
//! The history stays when the person leaves and cannot be changed, so nothing in it may tell who they are: no address, no
//! birth date, no name at a provider.

use coreloop_access::Roles;
use coreloop_core::{SessionId, UserId};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{App, Client, Error, store};

/// A fact about an account, as `coreloop.auth.v1` events say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `auth.user_registered`.
    UserRegistered {
        /// `password` or the provider.
        method: String,
    },
    /// `auth.user_logged_in`.
    UserLoggedIn {
        /// `password`, `admin` or the provider.
        method: String,
        /// Session.
        session: SessionId,
    },
    /// `auth.user_logged_out`.
    UserLoggedOut {
        /// Session; none: all of them.
        session: Option<SessionId>,
    },
    /// `auth.token_revoked`.
    TokenRevoked {
        /// Session; none: all of the user's.
        session: Option<SessionId>,
        /// Why.
        reason: &'static str,
    },
    /// `auth.role_changed`.
    RoleChanged {
        /// Roles from now on.
        roles: Roles,
    },
    /// `auth.user_withdrawn`.
    UserWithdrawn,
}

impl Event {
    /// Name of the event in the domain, as `user_registered`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UserRegistered { .. } => "user_registered",
            Self::UserLoggedIn { .. } => "user_logged_in",
            Self::UserLoggedOut { .. } => "user_logged_out",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::RoleChanged { .. } => "role_changed",
            Self::UserWithdrawn => "user_withdrawn",
        }
    }

    /// ProtoJSON of the event's message (field names as in the proto).
    #[must_use]
    pub fn payload(&self, user: UserId, at: Timestamp) -> Value {
        let session = |id: &Option<SessionId>| id.map(|id| id.to_string()).unwrap_or_default();
        let mut json = json!({ "user_id": user.to_string(), "occurred_at": at.to_string() });
        let more = match self {
            Self::UserRegistered { method } => json!({ "method": method }),
            Self::UserLoggedIn { method, session } => json!({ "method": method, "session_id": session.to_string() }),
            Self::UserLoggedOut { session: id } => json!({ "session_id": session(id) }),
            Self::TokenRevoked { session: id, reason } => json!({ "session_id": session(id), "reason": reason }),
            Self::RoleChanged { roles } => {
                json!({ "roles": roles.iter().map(|r| format!("ROLE_{}", r.as_str())).collect::<Vec<_>>() })
            }
            Self::UserWithdrawn => json!({}),
        };
        if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
            json.extend(more);
        }
        json
    }
}

/// A fact that nobody but the account's history is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// `auth.user_locked`.
    UserLocked {
        /// Administrator.
        by: UserId,
        /// Why, in their words.
        reason: String,
    },
    /// `auth.user_unlocked`.
    UserUnlocked {
        /// Administrator.
        by: UserId,
    },
    /// `auth.roles_asked`, of an administrator: they asked for somebody's roles to be set.
    RolesAsked {
        /// Whose.
        user: UserId,
        /// To what.
        roles: Roles,
    },
    /// `auth.user_looked_at`, of an administrator.
    UserLookedAt {
        /// Whom.
        user: UserId,
    },
    /// `auth.rotation_asked`, of an administrator: they asked for other signing keys.
    RotationAsked,
    /// `auth.password_changed`: by who knew the old one.
    PasswordChanged,
    /// `auth.password_reset`: by who read the mail.
    PasswordReset {
        /// Links that ended because nobody had proven their address.
        links_ended: u64,
    },
    /// `auth.second_factor_set`.
    SecondFactorSet,
    /// `auth.provider_linked`.
    ProviderLinked {
        /// Provider.
        provider: String,
    },
    /// `auth.provider_unlinked`.
    ProviderUnlinked {
        /// Provider.
        provider: String,
    },
    /// `auth.profile_set`: the shown name, or the image. Neither is in the history.
    ProfileSet,
    /// `auth.birth_date_declared`.
    BirthDateDeclared,
    /// `auth.age_decided`.
    AgeDecided {
        /// `verified` or `rejected`.
        result: String,
        /// The provider's event.
        event_id: String,
    },
}

impl Note {
    /// Name of the fact in the domain, as `user_locked`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UserLocked { .. } => "user_locked",
            Self::UserUnlocked { .. } => "user_unlocked",
            Self::RolesAsked { .. } => "roles_asked",
            Self::UserLookedAt { .. } => "user_looked_at",
            Self::RotationAsked => "rotation_asked",
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset { .. } => "password_reset",
            Self::SecondFactorSet => "second_factor_set",
            Self::ProviderLinked { .. } => "provider_linked",
            Self::ProviderUnlinked { .. } => "provider_unlinked",
            Self::ProfileSet => "profile_set",
            Self::BirthDateDeclared => "birth_date_declared",
            Self::AgeDecided { .. } => "age_decided",
        }
    }

    fn payload(&self) -> Value {
        match self {
            Self::UserLocked { by, reason } => json!({ "by": by.to_string(), "reason": reason }),
            Self::UserUnlocked { by } => json!({ "by": by.to_string() }),
            Self::RolesAsked { user, roles } => {
                let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
                json!({ "user_id": user.to_string(), "roles": names })
            }
            Self::UserLookedAt { user } => json!({ "user_id": user.to_string() }),
            Self::PasswordReset { links_ended } => json!({ "links_ended": links_ended }),
            Self::ProviderLinked { provider } | Self::ProviderUnlinked { provider } => json!({ "provider": provider }),
            Self::AgeDecided { result, event_id } => json!({ "result": result, "event_id": event_id }),
            Self::RotationAsked
            | Self::PasswordChanged
            | Self::SecondFactorSet
            | Self::ProfileSet
            | Self::BirthDateDeclared => json!({}),
        }
    }
}

/// Adds `note` to the history of `user`. Locks the account's row: call it in the transaction of the act.
///
/// # Errors
/// When the database fails or the account is not there.
pub async fn note(app: &App, conn: &mut PgConnection, user: UserId, client: &Client, note: &Note) -> Result<(), Error> {
    let row = store::events::Row { id: app.ids.uuid(), name: note.name(), payload: note.payload() };
    store::events::note(conn, user, &row, client, app.now()).await
}

/// Records `events` of `user` in order. Locks the account's row: call it in the transaction of the act.
///
/// # Errors
/// When the database fails or the account is not there.
pub async fn record(
    app: &App,
    conn: &mut PgConnection,
    user: UserId,
    client: &Client,
    events: &[Event],
) -> Result<(), Error> {
    let now = app.now();
    let rows: Vec<_> = events
        .iter()
        .map(|event| store::events::Row { id: app.ids.uuid(), name: event.name(), payload: event.payload(user, now) })
        .collect();
    store::events::append(conn, user, &rows, client, now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_the_messages_in_protojson() {
        let user = UserId(uuid::Uuid::from_u128(1));
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let event = Event::TokenRevoked { session: None, reason: "logout" };
        assert_eq!(
            event.payload(user, at),
            json!({
                "user_id": "00000000-0000-0000-0000-000000000001",
                "occurred_at": "2026-01-02T03:04:05Z",
                "session_id": "",
                "reason": "logout",
            })
        );
        let roles = [coreloop_access::Role::Standard, coreloop_access::Role::Vip].into_iter().collect();
        assert_eq!(Event::RoleChanged { roles }.payload(user, at)["roles"], json!(["ROLE_STANDARD", "ROLE_VIP"]));
    }
}
