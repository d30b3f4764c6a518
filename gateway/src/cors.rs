//! CORS: which web pages may call, by an allow-list of origins; none by default.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::options;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
/// What a page may read beside the safe-listed headers; the gRPC ones are how gRPC-Web fails without a body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, ratelimit-limit, ratelimit-remaining, \
     ratelimit-reset, retry-after, etag, deprecation, link, location",
);
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
const YES: HeaderValue = HeaderValue::from_static("true");

/// The allow-list, ready to compare.
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
    any: bool,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    /// Takes the settings.
    pub(crate) fn new(options: &options::Cors) -> Self {
        Self {
            origins: options.origins.iter().filter_map(|o| HeaderValue::try_from(o).ok()).collect(),
            any: options.origins.iter().any(|origin| origin == "*"),
            credentials: options.credentials,
            max_age: HeaderValue::from(options.max_age_secs),
        }
    }

    /// The origin of a request that may read the reply; none for requests that are no page's or not admitted.
    pub(crate) fn admitted(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        (self.any || self.origins.contains(origin)).then(|| origin.clone())
    }

    /// The reply to a preflight. A page that is not admitted gets one without permission, which the browser enforces.
    pub(crate) fn preflight(&self, request: &Parts) -> Option<Response<Body>> {
        let asked = request.method == Method::OPTIONS
            && request.headers.contains_key(header::ORIGIN)
            && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asked {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let out = response.headers_mut();
        out.insert(header::VARY, VARY_PREFLIGHT);
        if let Some(origin) = self.admitted(&request.headers) {
            self.permit(origin, out);
            out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            out.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if let Some(names) = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
        }
        Some(response)
    }

    /// Lets the page of `origin` read the reply.
    pub(crate) fn expose(&self, origin: HeaderValue, out: &mut HeaderMap) {
        self.permit(origin, out);
        out.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        out.append(header::VARY, HeaderValue::from_static("origin"));
    }

    fn permit(&self, origin: HeaderValue, out: &mut HeaderMap) {
        let any = self.any && !self.credentials;
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, if any { HeaderValue::from_static("*") } else { origin });
        if self.credentials {
            out.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, YES);
        }
    }
}
