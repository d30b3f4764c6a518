//! Tokens of machines: good for a few minutes, for one service.

use coreloop_access::token::{Claims, Purpose, is_service};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::TokenId;

use crate::{App, Error};

/// A token of a machine. It has no `Debug`: it is a secret.
pub struct Minted {
    /// The token (JWT).
    pub token: String,
    /// Its id, which is no secret.
    pub id: TokenId,
    /// Its life, in seconds.
    pub ttl_secs: u32,
}

/// A token by which `service` calls `audience`. Whoever asks has proven who they are, or holds the database and the key of its keys. No token
/// is made that nobody would believe: the names are held to the rule of those who verify.
///
/// # Errors
/// `MACHINE_UNKNOWN` for what is no name.
pub fn mint(app: &App, service: &str, audience: &str) -> Result<Minted, Error> {
    if !is_service(service) || !is_service(audience) {
        return Err(AuthReason::MachineUnknown.into());
    }
    let (id, ttl_secs) = (TokenId(app.ids.uuid()), app.options.internal_ttl_secs);
    let claims = Claims::internal(app.rules.issuer().clone(), service, audience, id, app.clock.unix(), ttl_secs.into());
    let token = app.keys.signer(Purpose::Internal)?.sign(&claims)?;
    Ok(Minted { token, id, ttl_secs })
}
