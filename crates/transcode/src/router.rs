//! The one matcher: from method and raw path to the RPC that serves them.
//!
//! Works on the path as it was sent. Literals are compared byte for byte, so no spelling of a path (`//`, `%2F`, dot
//! segments, case, trailing slash) reaches an RPC other than the spelling that access judged.

mod build;
mod deprecation;
mod path;
mod trie;

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{DescriptorPool, FieldDescriptor, MethodDescriptor};

pub(crate) use self::path::decode as decoded;
use self::trie::Trie;
pub use self::{build::RouteError, deprecation::Deprecation, path::Vars};
use crate::{descriptor, pb::option, shape::Shapes, template::Template};

/// What of the request or nothing the HTTP body is.
#[derive(Debug, Clone)]
pub enum Body {
    /// The body is ignored; unbound fields are query parameters.
    Absent,
    /// `*`: the whole message, no query parameters.
    Whole,
    /// One top-level field; the rest are query parameters.
    Field(FieldDescriptor),
}

/// One REST binding of an RPC.
#[derive(Debug)]
pub struct Route {
    /// Place in [`Router::routes`].
    pub index: usize,
    /// The RPC.
    pub method: MethodDescriptor,
    /// `/package.Service/Rpc`.
    pub rpc_path: String,
    /// HTTP method in upper case, or `*` for any.
    pub http_method: String,
    /// Path template.
    pub template: Template,
    /// What the HTTP body is.
    pub body: Body,
    /// The response field that is sent instead of the whole response.
    pub response_body: Option<FieldDescriptor>,
    /// What callers are told when this binding or the RPC is deprecated.
    pub deprecated: Option<Deprecation>,
    /// The RPC answers a stream.
    pub server_streaming: bool,
    /// Who may call; none is denied to everybody.
    pub access: Option<option::Access>,
    /// How often.
    pub rate_limit: Option<option::RateLimit>,
    /// How the edge treats the RPC.
    pub edge: option::Edge,
    pub(crate) plan: build::Plan,
}

/// What [`Router::find`] found.
#[derive(Debug)]
pub enum Match<'r, 'p> {
    /// This route serves it.
    Found {
        /// The route.
        route: &'r Route,
        /// What its variables captured.
        vars: Vars<'p>,
    },
    /// The path is served, by other methods only.
    WrongMethod {
        /// Value of the `Allow` header, sorted.
        allow: String,
    },
    /// Nothing is at this path.
    NotFound,
    /// A percent escape of a served path is malformed or its value is not UTF-8.
    BadEscape,
}

/// The routes of every service of `coreloop.*`.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Route>,
    trie: Trie,
    rpcs: HashMap<String, MethodDescriptor>,
    pub(crate) shapes: Shapes,
    pub(crate) pool: DescriptorPool,
}

/// The router of the committed descriptors, built once.
///
/// A test builds it, so committed contracts that cannot be routed do not ship.
#[must_use]
pub fn router() -> &'static Router {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "a unit test builds it from the same committed descriptors")]
        Router::new(descriptor::pool()).expect("the committed contracts route")
    });
    &ROUTER
}

impl Router {
    /// Compiles every http rule of every `coreloop.*` service of the pool.
    ///
    /// # Errors
    /// Every binding that cannot be served as written, each naming its method.
    pub fn new(pool: &DescriptorPool) -> Result<Self, Vec<RouteError>> {
        let shapes = Shapes::new(pool);
        let (routes, rpcs) = build::routes(pool, &shapes)?;
        let mut trie = Trie::default();
        for route in &routes {
            trie.insert(route);
        }
        Ok(Self { routes, trie, rpcs, shapes, pool: pool.clone() })
    }

    /// All routes in declaration order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The RPC of `/package.Service/Rpc`, also when it has no REST path.
    #[must_use]
    pub fn rpc(&self, rpc_path: &str) -> Option<&MethodDescriptor> {
        self.rpcs.get(rpc_path)
    }

    /// All RPCs by path, in no particular order.
    pub fn rpcs(&self) -> impl Iterator<Item = (&str, &MethodDescriptor)> {
        self.rpcs.iter().map(|(path, method)| (path.as_str(), method))
    }

    /// Finds the route of a request. `raw_path` is the still encoded request target; what follows `?` is ignored.
    #[must_use]
    pub fn find<'r, 'p>(&'r self, http_method: &str, raw_path: &'p str) -> Match<'r, 'p> {
        let Some(segments) = path::segments(raw_path) else { return Match::NotFound };
        if let Some((index, verb_len)) = self.trie.find(http_method, segments) {
            let Some(route) = self.routes.get(index) else { return Match::NotFound };
            let captured = segments.get(..segments.len() - verb_len).unwrap_or_default();
            return match Vars::capture(&route.template, captured) {
                Some(vars) => Match::Found { route, vars },
                None => Match::BadEscape,
            };
        }
        match self.trie.allowed(segments) {
            Some(allow) => Match::WrongMethod { allow },
            None => Match::NotFound,
        }
    }
}
