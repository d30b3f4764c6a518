//! The fronts that P6 sets side by side, each a process of its own: the REST edge, an axum handler written by hand for one
//! RPC, and Envoy's transcoder; and the backend that all of them call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use axum::{Json, Router, extract::State, http::HeaderMap, routing::get};
use bytes::Bytes;
use coreloop_auth_api::v1::{
    AgeState, GetMeRequest, GetMeResponse, Role, User, UserStatus, auth_service_client::AuthServiceClient,
};
use coreloop_config::Settings;
use coreloop_server::Server;
use futures::future::BoxFuture;
use prost::Message as _;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    service::Routes,
    transport::{Channel, Endpoint},
};
use tower::Service;

use crate::{empty, load::Raw};

/// Path that every front answers.
pub(crate) const PATH: &str = "/api/v1/auth/me";

/// Answers every RPC of the auth service with the same account, without any work.
#[derive(Debug, Clone)]
struct Backend(Bytes);

impl NamedService for Backend {
    const NAME: &'static str = "coreloop.auth.v1.AuthService";
}

impl UnaryService<Bytes> for Backend {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl Service<http::Request<Body>> for Backend {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(service, request).await) })
    }
}

/// Serves the backend.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn backend() -> Result<SocketAddr> {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let me = GetMeResponse {
        user: Some(User {
            id: "0192f3a4-5b6c-7d8e-9f01-23456789abcd".into(),
            nickname: "초록별 alice".into(),
            email: "alice@example.com".into(),
            email_verified: true,
            profile_image_url: "https://cdn.example.com/u/alice.png".into(),
            roles: vec![Role::Standard.into(), Role::Premium.into()],
            status: UserStatus::Active.into(),
            age_state: AgeState::Verified.into(),
            age_verified: true,
            created_at: time(1_763_000_000),
            last_login_at: time(1_763_600_000),
        }),
    };
    empty::serve(Routes::new(Backend(me.encode_to_vec().into()))).await
}

/// Serves the product's edge before the backend at `peer`.
///
/// # Errors
/// When it cannot start.
pub(crate) async fn edge(peer: &str) -> Result<(coreloop_server::Running, SocketAddr)> {
    let settings = Settings::defaults().with("mode", "local").with("peers.auth", peer).with("limit.enabled", false);
    let running = Server::builder(settings).modules(vec![Box::new(coreloop_gateway::module())]).start().await?;
    let address = running.gateway_addr.context("the edge has no address")?;
    Ok((running, address))
}

#[derive(serde::Serialize)]
struct MeJson {
    user: UserJson,
}

#[derive(serde::Serialize)]
struct UserJson {
    id: String,
    nickname: String,
    email: String,
    email_verified: bool,
    profile_image_url: String,
    roles: Vec<&'static str>,
    status: &'static str,
    age_state: &'static str,
    age_verified: bool,
    created_at: Option<String>,
    last_login_at: Option<String>,
}

/// Serves the handler that somebody would write by hand: typed client, typed JSON, the token passed on.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn by_hand(peer: &str) -> Result<SocketAddr> {
    let channel = Endpoint::from_shared(peer.to_owned())?.tcp_nodelay(true).connect_lazy();
    let app = Router::new().route(PATH, get(me)).with_state(AuthServiceClient::new(channel));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let served = axum::serve(
            axum::serve::ListenerExt::tap_io(listener, |io| {
                let _ = io.set_nodelay(true);
            }),
            app,
        )
        .await;
        if let Err(error) = served {
            tracing::error!(%error, "the handler ended");
        }
    });
    Ok(address)
}

async fn me(
    State(mut client): State<AuthServiceClient<Channel>>,
    headers: HeaderMap,
) -> Result<Json<MeJson>, http::StatusCode> {
    let mut request = Request::new(GetMeRequest {});
    let token = headers.get("authorization").ok_or(http::StatusCode::UNAUTHORIZED)?;
    let token = token.to_str().ok().and_then(|token| token.parse().ok()).ok_or(http::StatusCode::UNAUTHORIZED)?;
    request.metadata_mut().insert("authorization", token);
    let reply = client.get_me(request).await.map_err(|_| http::StatusCode::BAD_GATEWAY)?;
    let user = reply.into_inner().user.ok_or(http::StatusCode::BAD_GATEWAY)?;
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok()).map(|at| at.to_string())
    };
    Ok(Json(MeJson {
        user: UserJson {
            roles: user.roles().map(|role| role.as_str_name()).collect(),
            status: user.status().as_str_name(),
            age_state: user.age_state().as_str_name(),
            created_at: time(&user.created_at),
            last_login_at: time(&user.last_login_at),
            id: user.id,
            nickname: user.nickname,
            email: user.email,
            email_verified: user.email_verified,
            profile_image_url: user.profile_image_url,
            age_verified: user.age_verified,
        },
    }))
}

/// Starts Envoy's own JSON transcoder before the backend.
///
/// # Errors
/// When Envoy is not there or does not start.
pub(crate) fn transcoder(envoy: &str, peer: SocketAddr, folder: &std::path::Path) -> Result<crate::child::Part> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let descriptors = folder.join("descriptors.binpb");
    std::fs::write(&descriptors, coreloop_transcode::descriptor::ENCODED)?;
    let config = folder.join("transcoder.yaml");
    std::fs::write(&config, transcoder_config(port, peer, &descriptors.display().to_string()))?;
    let log = std::fs::File::create(folder.join("transcoder.log"))?;
    let child = std::process::Command::new(envoy)
        .args(["--concurrency", "2", "--use-dynamic-base-id", "--log-level", "warn", "-c"])
        .arg(&config)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {envoy}"))?;
    let part = crate::child::Part::adopt(child, format!("127.0.0.1:{port}"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(&part.address).is_err() {
        anyhow::ensure!(std::time::Instant::now() < deadline, "Envoy did not start; see {}", config.display());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(part)
}

fn transcoder_config(port: u16, peer: SocketAddr, descriptors: &str) -> String {
    format!(
        r#"
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    enable_reuse_port: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: backend}}}}]
          http_filters:
          - name: envoy.filters.http.grpc_json_transcoder
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
              proto_descriptor: {descriptors}
              services: [coreloop.auth.v1.AuthService]
              print_options: {{preserve_proto_field_names: true, always_print_primitive_fields: true}}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: backend
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: backend
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {to}}}}}}}}}]}}]
"#,
        ip = peer.ip(),
        to = peer.port(),
    )
}
