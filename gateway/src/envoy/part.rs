//! The parts of the configuration that repeat.

use std::fmt::Write as _;

use super::Endpoint;

/// Matches calls that speak gRPC and not gRPC-Web.
pub(super) const GRPC_CONTENT: &str =
    r#"{name: content-type, string_match: {safe_regex: {regex: "application/grpc(\\+proto)?"}}}"#;

/// Access-log filter: the caller speaks gRPC.
pub(super) const IS_GRPC: &str = r#"{header_filter: {header: {name: content-type, string_match: {safe_regex: {regex: "application/grpc(\\+proto)?"}}}}}"#;

/// Access-log filter: ext_authz answered and refused. A check that failed has other details, so its reply is Envoy's own.
pub(super) const IS_DENIAL: &str = r#"{extension_filter: {name: envoy.access_loggers.extension_filters.cel, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter, expression: "response.code_details == 'ext_authz_denied'"}}}"#;

/// What Envoy answers itself: HTTP status, gRPC code, reason, message.
const STATUSES: &[(u16, u8, &str, &str)] = &[
    (400, 3, "MALFORMED_REQUEST", "the request cannot be read"),
    (404, 5, "ROUTE_NOT_FOUND", "no route answers this path"),
    (408, 4, "DEADLINE_EXCEEDED", "the request did not arrive in time"),
    (413, 3, "BODY_TOO_LARGE", "the body is larger than admitted"),
    (429, 14, "OVERLOADED", "more work than can be done"),
    (431, 3, "HEADERS_TOO_LARGE", "the headers are larger than admitted"),
    (500, 13, "INTERNAL", "internal error"),
    (502, 14, "DEPENDENCY_UNAVAILABLE", "a part that this call needs is away"),
    (504, 4, "DEADLINE_EXCEEDED", "the deadline passed"),
];

/// Access-log filter: the reply has this status.
pub(super) fn is_status(status: u16) -> String {
    format!(
        "{{status_code_filter: {{comparison: {{op: EQ, value: {{default_value: {status}, runtime_key: coreloop.never}}}}}}}}"
    )
}

/// `google.rpc.Status` as a body.
fn body(code: u8, reason: &str, message: &str) -> String {
    format!(
        "{{json_format: {{code: {code}, message: \"{message}\", details: [{{\"@type\": type.googleapis.com/google.rpc.ErrorInfo, \
         reason: {reason}, domain: coreloop}}]}}, content_type: application/json}}"
    )
}

/// The reply when nobody answers, ext_authz included.
pub(super) fn unavailable() -> String {
    body(14, "DEPENDENCY_UNAVAILABLE", "a part that this call needs is away")
}

/// A mapper for each status.
pub(super) fn status_mappers() -> String {
    let mut text = String::new();
    for (status, code, reason, message) in STATUSES {
        let _ = write!(
            text,
            "                    - filter: {}\n                      body_format_override: {}\n",
            is_status(*status),
            body(*code, reason, message),
        );
    }
    text
}

/// The route of a module's gRPC calls.
pub(super) fn grpc_route(module: &str) -> String {
    format!(
        "                        - name: grpc-{module}
                          match: {{prefix: \"/coreloop.{module}.\", headers: [{GRPC_CONTENT}]}}
                          route:
                            cluster: service_{module}
                            # The client's grpc-timeout, and none where it states none: streams live long. The service
                            # has its own default.
                            timeout: 0s
                            max_stream_duration: {{grpc_timeout_header_max: 0s}}
                            idle_timeout: 3600s
"
    )
}

/// The cluster of a module, with its name.
pub(super) fn service_cluster(module: &str, at: &[Endpoint]) -> String {
    let name = format!("service_{module}");
    format!("    - name: {name}\n{}", grpc_backend(&name, at))
}

/// A gRPC backend, below its name.
pub(super) fn grpc_backend(name: &str, at: &[Endpoint]) -> String {
    backend(name, at, &GRPC)
}

/// The gateway, below its name. Its health is asked by gRPC, which no rate limit counts.
pub(super) fn gateway_backend(at: &[Endpoint]) -> String {
    backend("gateway", at, &GRPC)
}

/// The gateway as WebSockets reach it, below its name. A connection each: there is room for as many as streams.
pub(super) fn sockets_backend(at: &[Endpoint]) -> String {
    backend("gateway_sockets", at, &SOCKETS)
}

/// How a backend is spoken to.
struct Way {
    most_connections: u32,
    check: &'static str,
    protocol: &'static str,
}

const GRPC: Way = Way { most_connections: 1024, check: "grpc_health_check: {}", protocol: HTTP2 };
const SOCKETS: Way = Way { most_connections: 32_768, check: "http_health_check: {path: \"/readyz\"}", protocol: HTTP1 };

/// The cluster `otlp`. Without a collector it has no host: spans are dropped, trace context is still started and handed on.
pub(super) fn otlp_cluster(at: Option<&Endpoint>) -> String {
    let hosts = match at {
        Some(at) => assignment("otlp", std::slice::from_ref(at)),
        None => "      load_assignment: {cluster_name: otlp}\n".to_owned(),
    };
    format!("    - name: otlp\n      type: STRICT_DNS\n      connect_timeout: 1s\n{HTTP2}{hosts}")
}

fn backend(name: &str, at: &[Endpoint], way: &Way) -> String {
    let Way { most_connections, check, protocol } = way;
    format!(
        "      type: STRICT_DNS
      connect_timeout: 0.5s
      lb_policy: LEAST_REQUEST
      per_connection_buffer_limit_bytes: 65536
      circuit_breakers:
        thresholds:
          # An open stream is a request all its life: room for all that a service admits, and for calls beside them.
          - {{max_connections: {most_connections}, max_pending_requests: 1024, max_requests: 32768, max_retries: 32}}
      # A host that does not answer is left out; when all do not, all are tried (panic mode), so one host is never lost.
      health_checks:
        - timeout: 1s
          interval: 2s
          interval_jitter: 0.2s
          no_traffic_interval: 2s
          unhealthy_interval: 0.5s
          unhealthy_threshold: 2
          healthy_threshold: 1
          {check}
      outlier_detection:
        consecutive_gateway_failure: 5
        enforcing_consecutive_gateway_failure: 100
        enforcing_consecutive_5xx: 0
        enforcing_success_rate: 0
        interval: 1s
        base_ejection_time: 2s
        max_ejection_percent: 50
{protocol}{}",
        assignment(name, at),
    )
}

/// HTTP/2 with keepalive: a connection that a cut left dead is noticed within three seconds and made again.
const HTTP2: &str = "      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              connection_keepalive: {interval: 1s, timeout: 2s}
              max_concurrent_streams: 1024
              initial_stream_window_size: 262144
              initial_connection_window_size: 4194304
";

/// HTTP/1.1, whose connections have no ping: what a cut left dead is noticed by the system's.
const HTTP1: &str = "      upstream_connection_options:
        tcp_keepalive: {keepalive_probes: 3, keepalive_time: 15, keepalive_interval: 5}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http_protocol_options: {}
";

fn assignment(name: &str, at: &[Endpoint]) -> String {
    let mut text = format!(
        "      load_assignment:
        cluster_name: {name}
        endpoints:
          - lb_endpoints:
"
    );
    for Endpoint { host, port } in at {
        let _ = writeln!(
            text,
            "              - endpoint: {{address: {{socket_address: {{address: \"{host}\", port_value: {port}}}}}}}"
        );
    }
    text
}
