//! How a service calls another as itself: an internal token, asked of auth for the mesh secret.

use std::sync::Arc;

use aws_lc_rs::hmac;
use coreloop_core::{Clock, Problem, Reason};
use coreloop_service::{Ctx, Link, Links};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
};

use crate::v1::{MintInternalTokenRequest, auth_internal_service_client::AuthInternalServiceClient};

/// Part of a token's life after which the next call asks for another.
const FRESH: i64 = 2;
/// Time until auth is asked again after it gave none, in seconds.
const AGAIN_SECS: i64 = 5;
/// A token that is over in so many seconds is not sent any more.
const SPARE_SECS: i64 = 10;

/// This service, towards one other. Clones share the token.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    links: Links,
    clock: Arc<dyn Clock>,
    secret: Option<SecretString>,
    service: &'static str,
    audience: Arc<str>,
    kept: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    bearer: MetadataValue<Ascii>,
    renew_at: i64,
    over_at: i64,
}

impl Machine {
    /// The machine `service`, that calls `audience`. Both name modules; `service` requires `auth` and `audience`.
    #[must_use]
    pub fn of(ctx: &Ctx, service: &'static str, audience: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Inner {
            links: ctx.links.clone(),
            clock: Arc::clone(&ctx.clock),
            secret: ctx.mesh_secret.clone(),
            service,
            audience: audience.into(),
            kept: Mutex::default(),
        }))
    }

    /// The other service.
    #[must_use]
    pub fn link(&self) -> Link {
        self.0.links.to(&self.0.audience)
    }

    /// A request to it in the name of this service. Whoever finds the token old asks for another; who comes meanwhile
    /// waits for that one. While auth is away the old one is sent as long as it is good.
    ///
    /// # Errors
    /// When auth does not give a token.
    pub async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut kept = self.0.kept.lock().await;
        let now = self.0.clock.unix();
        let token = match kept.clone() {
            Some(token) if now < token.renew_at => token,
            old => match self.0.ask().await {
                Ok(token) => token,
                // Auth is away, and what it gave before is still good.
                Err(status) => match old.filter(|token| now < token.over_at) {
                    Some(token) => Token { renew_at: now + AGAIN_SECS, ..token },
                    None => return Err(status),
                },
            },
        };
        let bearer = kept.insert(token).bearer.clone();
        drop(kept);
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", bearer);
        Ok(request)
    }
}

impl Inner {
    async fn ask(&self) -> Result<Token, Status> {
        let secret = self.secret.as_ref().ok_or_else(|| {
            Problem::common(Reason::DependencyUnavailable, "this service cannot prove itself (auth.mesh_secret)")
        })?;
        let timestamp = self.clock.unix();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let proof = hmac::sign(&key, format!("{}\n{}\n{timestamp}", self.service, self.audience).as_bytes());
        let asked = MintInternalTokenRequest {
            service: self.service.to_owned(),
            audience: self.audience.to_string(),
            timestamp,
            proof: hex::encode(proof),
        };
        let mut auth = AuthInternalServiceClient::new(self.links.to("auth"));
        let minted = auth.mint_internal_token(asked).await?.into_inner();
        let mut bearer: MetadataValue<Ascii> =
            format!("Bearer {}", minted.token).parse().map_err(|_| Problem::internal("a token that is no header"))?;
        bearer.set_sensitive(true);
        let life = i64::from(minted.expires_in);
        Ok(Token { bearer, renew_at: timestamp + life / FRESH, over_at: timestamp + life - SPARE_SECS })
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("service", &self.0.service)
            .field("audience", &self.0.audience)
            .finish_non_exhaustive()
    }
}
