//! `MintInternalToken`, `CheckToken`: tokens of machines.

use aws_lc_rs::hmac;
use coreloop_access::{Caller, Decision, HeaderView, token::is_service};
use coreloop_auth_api::v1::{self, AuthReason};
use coreloop_core::Problem;
use secrecy::ExposeSecret as _;
use tonic::{Request, Response};

use crate::{App, Error, minting, store::users::proto_role};

/// A proof is good for this long around its time.
const PROOF_SECS: u64 = 30;
/// The RPC whose policy a checked token must satisfy: any user's.
const ANY_USER: &str = "/coreloop.auth.v1.AuthService/GetMe";

/// Mints a token by which one service calls another.
///
/// # Errors
/// `MACHINE_UNKNOWN`.
pub async fn mint_internal_token(
    app: &App,
    request: Request<v1::MintInternalTokenRequest>,
) -> Result<Response<v1::MintInternalTokenResponse>, Error> {
    let asked = request.into_inner();
    let secret = app.options.mesh_secret(app.mode).ok_or(AuthReason::MachineUnknown)?;
    if !proven(secret.expose_secret().as_bytes(), &asked, app.clock.unix()) {
        return Err(AuthReason::MachineUnknown.into());
    }
    let minted = minting::mint(app, &asked.service, &asked.audience)?;
    let expires_in = i32::try_from(minted.ttl_secs).unwrap_or(i32::MAX);
    Ok(Response::new(v1::MintInternalTokenResponse { token: minted.token, expires_in }))
}

/// The proof is the HMAC of what is asked, by the mesh secret, made within 30 s. Names that nobody would believe prove nothing.
fn proven(secret: &[u8], asked: &v1::MintInternalTokenRequest, now: i64) -> bool {
    if secret.is_empty() || !is_service(&asked.service) || !is_service(&asked.audience) {
        return false;
    }
    if now.abs_diff(asked.timestamp) > PROOF_SECS {
        return false;
    }
    let Ok(proof) = hex::decode(&asked.proof) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let message = format!("{}\n{}\n{}", asked.service, asked.audience, asked.timestamp);
    hmac::verify(&key, message.as_bytes(), &proof).is_ok()
}

/// Tells whether a user's access token is live and whose it is, by the same gate that every service has.
///
/// # Errors
/// `TOKEN_INVALID`, `TOKEN_EXPIRED`, `TOKEN_REVOKED`.
pub async fn check_token(
    app: &App,
    request: Request<v1::CheckTokenRequest>,
) -> Result<Response<v1::CheckTokenResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    let decision = app.gate.decide_rpc(ANY_USER, &HeaderView::Token(Some(&request.get_ref().token)), false).await;
    let user = match decision {
        Decision::Allow(allowed) => *allowed.caller.require_user()?,
        Decision::Deny(denied) => return Err(Problem::from(denied).into()),
    };
    Ok(Response::new(v1::CheckTokenResponse {
        user_id: user.user_id.to_string(),
        roles: user.roles.iter().map(|role| proto_role(role).into()).collect(),
        session_id: user.session_id.to_string(),
        expires_at: Some(prost_types::Timestamp { seconds: user.expires_at, nanos: 0 }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(secret: &[u8], service: &str, timestamp: i64) -> v1::MintInternalTokenRequest {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let proof = hex::encode(hmac::sign(&key, format!("{service}\nauth\n{timestamp}").as_bytes()));
        v1::MintInternalTokenRequest { service: service.into(), audience: "auth".into(), timestamp, proof }
    }

    #[test]
    fn a_machine_proves_itself_by_the_mesh_secret_within_thirty_seconds() {
        assert!(proven(b"s", &asked(b"s", "edge", 1_000), 1_030));
        assert!(!proven(b"s", &asked(b"s", "edge", 1_000), 1_031));
        assert!(!proven(b"s", &asked(b"s", "edge", 1_031), 1_000));
        assert!(!proven(b"s", &asked(b"t", "edge", 1_000), 1_000));
        assert!(!proven(b"", &asked(b"", "edge", 1_000), 1_000), "no secret proves nothing");
        assert!(!proven(b"s", &asked(b"s", "edge\nauth", 1_000), 1_000), "names cannot shift the parts");
        for nobody in ["", "edge.v1", "Edge", &"e".repeat(64)] {
            assert!(!proven(b"s", &asked(b"s", nobody, 1_000), 1_000), "nobody would believe a token of {nobody}");
        }
        assert!(proven(b"s", &asked(b"s", &"e".repeat(63), 1_000), 1_000));
        let stolen = v1::MintInternalTokenRequest { audience: "wallet".into(), ..asked(b"s", "edge", 1_000) };
        assert!(!proven(b"s", &stolen, 1_000), "a proof is for one audience");
        assert!(!proven(b"s", &asked(b"s", "edge", i64::MIN), i64::MAX));
    }
}
