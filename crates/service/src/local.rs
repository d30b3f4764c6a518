//! A service in this process, and the gRPC services of a module by name.
//!
//! Both are called for every request, so neither is cloned for one: a clone of a boxed service is an allocation, and the
//! routers that take any service make three or four.

use std::{collections::HashMap, convert::Infallible, fmt, sync::Arc};

use coreloop_core::{Problem, Reason};
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// The answer that is to come; every failure is a response.
pub type Answering = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// A service in this process. It must always be ready, as those that tonic generates are.
#[derive(Clone)]
pub struct Local(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>);

impl Local {
    /// Shares `service`; what its clones cost, each call pays.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answering>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(move |request| service.clone().call(request)))
    }

    /// Answers a request.
    #[must_use]
    pub fn call(&self, request: Request<Body>) -> Answering {
        (self.0)(request)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Local")
    }
}

/// gRPC services, by their full names.
#[derive(Clone, Debug, Default)]
pub struct Rpcs(HashMap<&'static str, Local>);

impl Rpcs {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These and `service`, which is as tonic generates them.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answering>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.0.insert(S::NAME, Local::new(service));
        self
    }

    /// Answers a call by the service that its path names; `UNIMPLEMENTED` when none is named so.
    #[must_use]
    pub fn call(&self, request: Request<Body>) -> Answering {
        match service_of(request.uri().path()).and_then(|name| self.0.get(name)) {
            Some(service) => service.call(request),
            None => {
                let unknown = Problem::common(Reason::Unimplemented, "there is no such service");
                Box::pin(std::future::ready(Ok(Status::from(unknown).into_http())))
            }
        }
    }
}

/// The service in `/service/Method` (gRPC over HTTP/2, `Path`).
fn service_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(service, _)| service)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::task::{Context, Poll};

    use super::*;

    #[derive(Clone)]
    struct Echo;

    impl NamedService for Echo {
        const NAME: &'static str = "test.v1.Echo";
    }

    impl Service<Request<Body>> for Echo {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Answering;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Answering {
            let path = request.uri().path().to_owned();
            Box::pin(async move { Ok(Response::builder().header("path", path).body(Body::empty()).unwrap()) })
        }
    }

    #[tokio::test]
    async fn a_call_goes_to_the_service_that_its_path_names() {
        let rpcs = Rpcs::new().with(Echo);
        for (path, known) in [
            ("/test.v1.Echo/Say", true),
            ("/test.v1.Echo/Say/More", true),
            ("/test.v1.Echo", false),
            ("/test.v1.echo/Say", false),
            ("//Say", false),
            ("/test.v1.Echo2/Say", false),
            ("/", false),
        ] {
            let Ok(answer) = rpcs.call(Request::builder().uri(path).body(Body::empty()).unwrap()).await;
            let status = Status::from_header_map(answer.headers());
            assert_eq!(answer.headers().get("path").is_some(), known, "{path}");
            assert_eq!(status.map(|status| status.code()), (!known).then_some(tonic::Code::Unimplemented), "{path}");
        }
    }
}
