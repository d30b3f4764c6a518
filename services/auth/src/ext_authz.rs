//! `envoy.service.auth.v3.Authorization/Check`: Envoy asks about every request, the gate decides.
//!
//! The decision is [`Gate::decide_http`], the one that every service makes again for itself. What is particular here is
//! cost: each request of the mesh pays for this one. Envoy's `CheckRequest` carries every header in a map; decoding it into
//! owned maps costs more than the decision. So the message is scanned where it lies ([`request::Scan`]) for the six fields
//! that matter, and the reply is written as bytes ([`reply`]), its constant parts ready; frames are read and written without
//! a codec between ([`frame`]). A differential test holds scan and reply against the generated types.
//!
//! On admission the client's own identity headers are removed in any spelling and ours are set; services do not believe them
//! either way, they are for logs and for backends that are not ours. On denial the client gets the very error that the edge
//! would give: `google.rpc.Status` as JSON, or for gRPC the status with its details. It costs the client's address what it
//! would there: a request that is denied here is counted by nobody behind.

mod reply;
mod request;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use coreloop_access::{
    Cors, Decision, Denied, Gate, HeaderView,
    address::{PeerAddress, TrustedProxies},
};
use coreloop_auth_api::envoy::service::auth::v3::authorization_server;
use coreloop_core::{Problem, Reason};
use coreloop_limit::Limiter;
use coreloop_service::frame;
use futures::future::BoxFuture;
use tonic::{Status, body::Body};

use self::{reply::Refusal, request::Scan};

/// Largest `CheckRequest` read: Envoy bounds headers to 60 KiB and sends no body.
const LARGEST: usize = 256 * 1024;

/// The service, to be added to the routes. Clones share the gate.
#[derive(Debug, Clone)]
pub struct ExtAuthz {
    gate: Arc<Gate>,
    cors: Arc<Cors>,
    budget: Option<Arc<Budget>>,
}

/// What refusals cost, and whom.
#[derive(Debug)]
struct Budget {
    limiter: Arc<Limiter>,
    trusted: TrustedProxies,
}

impl ExtAuthz {
    /// The service over the process's gate.
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, cors: Arc::default(), budget: None }
    }

    /// Refusals can be read by the pages that `cors` admits, as those of the edge.
    #[must_use]
    pub fn with_cors(self, cors: Cors) -> Self {
        Self { cors: Arc::new(cors), ..self }
    }

    /// Refusals count in the budget of the client's address, as those of the edge.
    #[must_use]
    pub fn with_budget(self, limiter: Arc<Limiter>, trusted: TrustedProxies) -> Self {
        Self { budget: Some(Arc::new(Budget { limiter, trusted })), ..self }
    }

    async fn answer(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
            return Err(Problem::common(Reason::Unimplemented, "the service has no such method").into());
        }
        // Not the client of this call: what Envoy calls itself may be none of the addresses that are trusted.
        let asker = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let unary = frame::read(request.into_body(), LARGEST).await?;
        Ok(frame::answer(&self.check(&unary.message, asker).await?))
    }

    /// Decides an encoded `CheckRequest`; answers an encoded `CheckResponse`. `asker` is where the question comes from: its
    /// word about the client's address counts when it is a trusted proxy's.
    ///
    /// # Errors
    /// When the message cannot be read; Envoy then refuses the request (fail closed).
    pub async fn check(&self, message: &[u8], asker: Option<IpAddr>) -> Result<Bytes, Status> {
        let Some(scan) = Scan::of(message) else {
            return Err(Problem::common(Reason::MalformedRequest, "the CheckRequest cannot be read").into());
        };
        let decision = match scan.path() {
            Some((method, path)) => self.gate.decide_http(method, path, &HeaderView::Picked(&scan.picked)).await,
            None => Decision::Deny(Denied::MalformedPath),
        };
        Ok(match decision {
            Decision::Allow(allowed) => reply::admitted(&allowed, &scan),
            // Boxed: most requests are admitted, and their future has no room for it.
            Decision::Deny(denied) => {
                reply::refused(Box::pin(self.charged(denied, &scan, asker)).await, &scan, &self.cors)
            }
        })
    }

    /// The refusal of a request, counted in the budget of the client's address; when that is used up, it is what the client
    /// hears. What cannot be told just now is nobody's fault and costs nothing; neither does what somebody asks whose word
    /// about the client is not trusted: the address would be the asker's, and all its clients would share one budget.
    async fn charged(&self, denied: Denied, scan: &Scan<'_>, asker: Option<IpAddr>) -> Refusal {
        let ours = matches!(denied, Denied::RevocationUnknown | Denied::KeysUnknown);
        let (Some(budget), Some(asker), false) = (&self.budget, asker, ours) else { return denied.into() };
        if !budget.trusted.trusts(asker) {
            return denied.into();
        }
        let client = budget.trusted.client(asker, scan.external, scan.forwarded.into_iter());
        match budget.limiter.check_address(client).await {
            Ok(_) => denied.into(),
            Err(limited) => limited.into(),
        }
    }
}

impl tonic::server::NamedService for ExtAuthz {
    const NAME: &'static str = authorization_server::SERVICE_NAME;
}

impl tonic::codegen::Service<http::Request<Body>> for ExtAuthz {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await.unwrap_or_else(Status::into_http)) })
    }
}
