//! Links to peers: a slot in this process or a remote channel, under the stock generated client.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

/// A service in this process, with the server's layers around it.
pub type Local = BoxCloneSyncService<Request<Body>, Response<Body>, std::convert::Infallible>;

#[derive(Clone)]
enum Peer {
    Local(Local),
    Remote(Channel),
}

/// The peers of a process. A link is looked up when it is called, so start-up needs no order. Clones share the table.
#[derive(Clone, Default)]
pub struct Links {
    peers: Arc<RwLock<HashMap<String, Peer>>>,
}

impl Links {
    /// Puts a module of this process in its slot.
    pub fn set_local(&self, name: &str, service: Local) {
        self.set(name, Peer::Local(service));
    }

    /// Names the channel of a peer elsewhere.
    pub fn set_remote(&self, name: &str, channel: Channel) {
        self.set(name, Peer::Remote(channel));
    }

    fn set(&self, name: &str, peer: Peer) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), peer);
    }

    /// The peer is local or has an address.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// A link to `name`, to be given to a generated client: `AuthServiceClient::new(links.to("auth"))`.
    #[must_use]
    pub fn to(&self, name: &str) -> Link {
        Link { name: name.into(), links: self.clone() }
    }

    fn get(&self, name: &str) -> Option<Peer> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(peers.keys()).finish()
    }
}

/// A peer, wherever it runs. Implements the service that generated clients need.
#[derive(Clone, Debug)]
pub struct Link {
    name: Arc<str>,
    links: Links,
}

impl Link {
    /// Name of the peer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = self.links.get(&self.name);
        let name = Arc::clone(&self.name);
        Box::pin(async move {
            match peer {
                Some(Peer::Local(service)) => {
                    let Ok(response) = service.oneshot(request).await;
                    Ok(response)
                }
                Some(Peer::Remote(channel)) => channel.oneshot(request).await,
                None => {
                    tracing::error!(peer = %name, "peer is neither local nor has an address");
                    Ok(Status::unavailable("a part that this call needs is away").into_http())
                }
            }
        })
    }
}
