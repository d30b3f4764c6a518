//! CORS at the edge: the rule is [`coreloop_access::Cors`]'s, here is the reply to a preflight.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use tonic::body::Body;

use crate::options;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// The allow-list, ready to compare.
pub(crate) struct Cors {
    rule: coreloop_access::Cors,
    max_age: HeaderValue,
}

impl Cors {
    /// Takes the settings.
    pub(crate) fn new(options: &options::Cors) -> Self {
        Self { rule: coreloop_access::Cors::new(options), max_age: HeaderValue::from(options.max_age_secs) }
    }

    /// The origin of a request that may read the reply; none for requests that are no page's or not admitted.
    pub(crate) fn admitted(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.rule.admits(origin.as_bytes()).then(|| origin.clone())
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
            self.rule.permit(origin, out);
            out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            out.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if let Some(names) = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
        }
        Some(response)
    }

    /// Lets the page of `origin` read the reply, and says that the reply depends on it.
    pub(crate) fn expose(&self, origin: Option<HeaderValue>, out: &mut HeaderMap) {
        self.rule.expose(origin, out);
    }
}
