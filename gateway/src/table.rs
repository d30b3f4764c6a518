//! One row a route: everything a request needs that does not change between requests.

use std::{collections::HashMap, time::Duration};

use coreloop_service::{Link, Links, RouteName};
use coreloop_transcode::{
    options as read,
    pb::option::Level,
    router::{Body, Deprecation, Route, Router},
};
use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use prost_reflect::{FieldDescriptor, Kind, MethodDescriptor};

use crate::{Options, inbound, metrics::Families, notice::Notice};

/// `Cache-Control` of everything that may not be kept.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What one route needs.
pub(crate) struct Row {
    /// Where its service is.
    pub(crate) link: Link,
    /// gRPC path.
    pub(crate) path: PathAndQuery,
    /// Deadline when the client states none, and its header; none for streams.
    pub(crate) deadline: Option<(Duration, HeaderValue)>,
    /// Largest body.
    pub(crate) body_limit: usize,
    /// Never served to callers outside the mesh.
    pub(crate) mesh_only: bool,
    /// The body matters.
    pub(crate) reads_body: bool,
    /// Replies carry an ETag.
    pub(crate) etag: bool,
    /// Value of `Cache-Control`.
    pub(crate) cache: HeaderValue,
    /// Request headers that pass besides the usual.
    pub(crate) forward: Vec<HeaderName>,
    /// What a deprecated binding says of itself.
    pub(crate) notice: Option<Notice>,
    /// Messages of its stream are raw chunks (`google.api.HttpBody`).
    pub(crate) raw: bool,
    /// The template: the route's name in metrics.
    pub(crate) name: RouteName,
}

/// The rows, by [`Route::index`].
pub(crate) struct Table {
    rows: Vec<Row>,
    rpcs: HashMap<String, Rpc>,
    /// Largest body where no contract says another.
    pub(crate) body_limit: usize,
}

/// What is known of an RPC that is called by its gRPC path.
pub(crate) struct Rpc {
    /// Never served to callers outside the mesh.
    pub(crate) mesh_only: bool,
    /// Its answer is a stream.
    pub(crate) streaming: bool,
    /// Largest message.
    pub(crate) body_limit: usize,
    /// What a deprecated RPC says of itself.
    pub(crate) notice: Option<Notice>,
}

/// What cannot be built from the contracts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// A path is no URI path.
    #[error("{0} is not a gRPC path")]
    Path(String),
    /// A header name of `edge.forward_headers` is not one.
    #[error("{0}: {1:?} is not a header name")]
    Header(String, String),
    /// The package is not `coreloop.<module>`.
    #[error("{0} is in no package coreloop.<module>")]
    Package(String),
}

impl Table {
    /// Builds the rows of every route.
    pub(crate) fn new(
        router: &Router,
        options: &Options,
        links: &Links,
        families: &Families,
    ) -> Result<Self, TableError> {
        let rows =
            router.routes().iter().map(|route| row(route, options, links, families)).collect::<Result<_, _>>()?;
        let rpcs =
            router.rpcs().map(|(path, method)| (path.to_owned(), rpc(path, method, options, families))).collect();
        Ok(Self { rows, rpcs, body_limit: body_limit(0, options) })
    }

    /// The row of a route.
    pub(crate) fn row(&self, route: &Route) -> Option<&Row> {
        self.rows.get(route.index)
    }

    /// The RPC of a gRPC path; none for health, reflection and what nobody serves.
    pub(crate) fn rpc(&self, path: &str) -> Option<&Rpc> {
        self.rpcs.get(path)
    }
}

/// The module that serves a gRPC path: `auth` of `/coreloop.auth.v1.AuthService/Login`.
pub(crate) fn module_of(rpc_path: &str) -> Option<&str> {
    let module = rpc_path.strip_prefix("/coreloop.")?.split('.').next()?;
    (!module.is_empty() && module.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        .then_some(module)
}

fn row(route: &Route, options: &Options, links: &Links, families: &Families) -> Result<Row, TableError> {
    let rpc = route.method.full_name().to_owned();
    let module = module_of(&route.rpc_path).ok_or_else(|| TableError::Package(rpc.clone()))?;
    let header = |name: &String| HeaderName::try_from(name).map_err(|_| TableError::Header(rpc.clone(), name.clone()));
    let edge = &route.edge;
    let template = route.template.to_string();
    Ok(Row {
        link: links.to(module),
        path: PathAndQuery::try_from(route.rpc_path.as_str()).map_err(|_| TableError::Path(route.rpc_path.clone()))?,
        deadline: (!route.server_streaming).then(|| deadline(route, options)).map(|d| (d, inbound::timeout_value(d))),
        body_limit: body_limit(edge.max_body_bytes, options),
        mesh_only: route.access.as_ref().is_none_or(|access| access.mesh_only),
        reads_body: !matches!(route.body, Body::Absent),
        etag: edge.etag,
        cache: cache(route),
        forward: edge.forward_headers.iter().map(header).collect::<Result<_, _>>()?,
        notice: route
            .deprecated
            .as_ref()
            .map(|deprecated| Notice::new(deprecated, families.deprecated(&rpc, &route.http_method, &template))),
        raw: route.server_streaming && is_raw(route),
        name: RouteName(template.into()),
    })
}

fn rpc(path: &str, method: &MethodDescriptor, options: &Options, families: &Families) -> Rpc {
    Rpc {
        mesh_only: read::access(method).is_none_or(|access| access.mesh_only),
        streaming: method.is_server_streaming(),
        body_limit: body_limit(read::edge(method).unwrap_or_default().max_body_bytes, options),
        notice: Deprecation::of_rpc(method)
            .map(|deprecated| Notice::new(&deprecated, families.deprecated(method.full_name(), "gRPC", path))),
    }
}

/// What the contract says, else the setting.
fn body_limit(stated: u64, options: &Options) -> usize {
    let limit = if stated == 0 { options.body_limit_bytes } else { stated };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Only what anybody may read is kept by caches that many share.
fn cache(route: &Route) -> HeaderValue {
    let public = route.access.as_ref().is_some_and(|access| access.level() == Level::Public);
    match route.edge.max_age_secs {
        0 => NO_STORE,
        secs => {
            let who = if public { "public" } else { "private" };
            HeaderValue::try_from(format!("{who}, max-age={secs}")).unwrap_or(NO_STORE)
        }
    }
}

fn deadline(route: &Route, options: &Options) -> Duration {
    let stated = route.edge.default_deadline.as_ref();
    stated
        .and_then(|d| Some(Duration::new(u64::try_from(d.seconds).ok()?, u32::try_from(d.nanos).ok()?)))
        .filter(|d| !d.is_zero())
        .unwrap_or(Duration::from_secs(options.deadline_secs))
}

fn is_raw(route: &Route) -> bool {
    const RAW: &str = "google.api.HttpBody";
    match &route.response_body {
        Some(field) => is_message(field, RAW),
        None => route.method.output().full_name() == RAW,
    }
}

fn is_message(field: &FieldDescriptor, name: &str) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == name && !field.is_list())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_the_second_segment_of_the_package() {
        assert_eq!(module_of("/coreloop.auth.v1.AuthService/Login"), Some("auth"));
        for foreign in
            ["/grpc.health.v1.Health/Check", "/envoy.service.auth.v3.Authorization/Check", "/coreloop./x", "/"]
        {
            assert_eq!(module_of(foreign), None, "{foreign}");
        }
    }
}
