//! A backend that answers everything and remembers what reached it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Json, Router, extract::Request, extract::State};
use http::{HeaderMap, Method, Uri};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// A request that reached the backend.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: Method,
    /// Path and query as they arrived.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
}

impl Seen {
    /// Every value of a header.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// A running backend; speaks HTTP/1.1 and HTTP/2 without TLS.
#[derive(Debug)]
pub struct Probe {
    address: SocketAddr,
    log: Log,
    serving: JoinHandle<()>,
}

impl Probe {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address");
        let log = Log::default();
        let app = Router::new().fallback(remember).with_state(Arc::clone(&log));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self { address, log, serving }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What reached it so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what reached it and answers it.
    #[must_use]
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn remember(State(log): State<Log>, request: Request) -> Json<serde_json::Value> {
    let (parts, _) = request.into_parts();
    // Envoy's own health checks are no requests of anybody.
    if parts.headers.get("user-agent").is_some_and(|agent| agent == "Envoy/HC") {
        return Json(json!({"status": "ok"}));
    }
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push(Seen { method: parts.method, uri: parts.uri, headers: parts.headers });
    Json(json!({"reached": "backend"}))
}
