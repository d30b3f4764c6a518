//! The layers around a tiny fake service, through real sockets and through a link.

mod fake;

use std::{sync::Arc, time::Duration};

use coreloop_access::{
    Keys,
    keys::JwkSet,
    token::{Algorithm, Purpose, Signer},
};
use coreloop_auth_api::v1::{
    GetJwksRequest, GetMeRequest, GetOpenIdConfigurationRequest, LoginRequest,
    auth_internal_service_client::AuthInternalServiceClient, auth_service_client::AuthServiceClient,
};
use coreloop_config::Settings;
use fake::{Door, Fake, Seen};
use futures::StreamExt as _;
use tonic::{Code, Status, body::Body, transport::Channel};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{Running, Server, StartError};

async fn start(settings: Settings) -> Result<(Running, Arc<Seen>), StartError> {
    let seen = Arc::new(Seen::default());
    let key = Signer::generate("k1", Algorithm::EdDsa, Purpose::User).unwrap().jwk().unwrap();
    let keys = Keys::fixed(&JwkSet { keys: vec![key] });
    let running = Server::builder(settings).modules(vec![Box::new(Fake(Arc::clone(&seen)))]).keys(keys).start().await?;
    Ok((running, seen))
}

fn channel(running: &Running) -> Channel {
    Channel::from_shared(format!("http://{}", running.grpc_addrs["auth"])).unwrap().connect_lazy()
}

/// What comes in any case, however busy the machine: a hang is a failure.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it comes")
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn login(email: &str) -> LoginRequest {
    LoginRequest { email: email.to_owned(), password: "long enough".to_owned(), ..LoginRequest::default() }
}

#[tokio::test]
async fn errors_are_presentable_over_the_network_and_in_memory() {
    let (running, _seen) = start(Settings::defaults()).await.unwrap();
    let (network, memory) = (channel(&running), running.links.to("auth"));
    for answers in [errors(AuthServiceClient::new(network)).await, errors(AuthServiceClient::new(memory)).await] {
        let table: Vec<(Code, String)> = answers.iter().map(|status| (status.code(), reason(status))).collect();
        assert_eq!(
            table,
            [
                (Code::Unauthenticated, "TOKEN_MISSING".to_owned()),
                (Code::InvalidArgument, "VALIDATION_FAILED".to_owned()),
                (Code::Internal, "INTERNAL".to_owned()),
                (Code::Unavailable, "DEPENDENCY_UNAVAILABLE".to_owned()),
            ]
        );
        for status in answers {
            assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
            assert!(!format!("{status:?}").contains("10.1.2.3"), "{status:?}");
            assert!(status.metadata().contains_key("x-request-id"), "{status:?}");
        }
    }
    running.abort().await;
}

async fn errors<T>(mut client: AuthServiceClient<T>) -> Vec<Status>
where
    T: tonic::client::GrpcService<Body>,
    T::Error: Into<tonic::codegen::StdError>,
    T::ResponseBody: tonic::codegen::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    vec![
        client.get_me(GetMeRequest::default()).await.unwrap_err(),
        client.login(LoginRequest::default()).await.unwrap_err(),
        client.login(login("a@example.com")).await.unwrap_err(),
        client.get_open_id_configuration(GetOpenIdConfigurationRequest::default()).await.unwrap_err(),
    ]
}

/// Modules call each other through the links that lead to them: dropped, neither keeps the other.
#[tokio::test]
async fn nothing_is_left_of_a_process_that_is_dropped() {
    let (running, seen) = start(Settings::defaults()).await.unwrap();
    let mut client = AuthServiceClient::new(running.links.to("auth"));
    client.get_me(GetMeRequest::default()).await.unwrap_err();
    let gone = Arc::clone(&seen.gone);
    drop((running, client, seen));
    soon(gone.notified()).await;
}

#[tokio::test]
async fn an_unknown_call_is_refused() {
    let (running, _seen) = start(Settings::defaults()).await.unwrap();
    // An RPC of the contract that the fake does not have.
    let mut internal = AuthInternalServiceClient::new(channel(&running));
    let status = internal.check_token(coreloop_auth_api::v1::CheckTokenRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), "TOKEN_MISSING");
    let mut other = tonic::client::Grpc::new(channel(&running));
    other.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<GetJwksRequest, GetJwksRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/coreloop.auth.v1.AuthService/Nothing");
    let status = other.unary(tonic::Request::new(GetJwksRequest {}), path, codec).await.unwrap_err();
    assert_eq!(reason(&status), "ROUTE_NOT_FOUND");
    running.abort().await;
}

#[tokio::test]
async fn a_message_is_as_large_as_its_rpc_says_or_a_mebibyte() {
    let (running, _seen) = start(Settings::defaults()).await.unwrap();
    let method = coreloop_transcode::descriptor::pool()
        .get_service_by_name("coreloop.auth.v1.AuthService")
        .and_then(|service| service.methods().find(|method| method.name() == "Login"))
        .unwrap();
    let stated = coreloop_transcode::options::edge(&method).map(|edge| edge.max_body_bytes as usize);
    let most = stated.filter(|most| *most > 0).unwrap_or(1 << 20);
    let mut client = AuthServiceClient::new(channel(&running));
    for (bytes, expected) in [(most, "BODY_TOO_LARGE"), (most - 256, "VALIDATION_FAILED")] {
        let status = client.login(login(&"a".repeat(bytes))).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{bytes} of {most}");
    }
    running.abort().await;
}

/// A message that never ends takes no place, whatever deadline its sender states.
#[tokio::test]
async fn a_message_that_does_not_arrive_takes_no_place() {
    let settings = Settings::defaults()
        .with("server.max_in_flight", 1)
        .with("server.max_waiting", 0)
        .with("server.body_timeout_ms", 1_000)
        .with("limit.enabled", false);
    let (running, _seen) = start(settings).await.unwrap();
    let slow = http::Request::post("/coreloop.auth.v1.AuthService/GetJwks")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "1H")
        .body(Body::new(http_body_util::StreamBody::new(
            futures::stream::iter([Ok::<_, Status>(http_body::Frame::data(bytes::Bytes::from_static(&[0; 3])))])
                .chain(futures::stream::pending()),
        )))
        .unwrap();
    let began = std::time::Instant::now();
    let slow = tokio::spawn(channel(&running).oneshot(slow));
    let mut client = AuthServiceClient::new(channel(&running));
    while !slow.is_finished() {
        assert_eq!(reason(&client.get_me(GetMeRequest::default()).await.unwrap_err()), "TOKEN_MISSING");
    }
    let status = Status::from_header_map(slow.await.unwrap().unwrap().headers()).unwrap();
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
    assert!(began.elapsed() < Duration::from_secs(20));
    running.abort().await;
}

#[tokio::test]
async fn refusals_draw_on_the_budget_of_the_address() {
    let (running, _seen) = start(Settings::defaults().with("limit.anonymous_per_minute", 3)).await.unwrap();
    let mut client = AuthServiceClient::new(channel(&running));
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(reason(&client.get_me(GetMeRequest::default()).await.unwrap_err()));
    }
    assert_eq!(told, ["TOKEN_MISSING", "TOKEN_MISSING", "TOKEN_MISSING", "RATE_LIMITED"]);
    running.abort().await;
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_is_told() {
    let (running, seen) = start(Settings::defaults()).await.unwrap();
    let mut client = AuthServiceClient::new(channel(&running));
    tokio::select! {
        _ = client.get_jwks(GetJwksRequest {}) => panic!("it waits"),
        () = seen.began.notified() => {}
    }
    let line =
        "coreloop_rpc_requests_total{service=\"coreloop.auth.v1.AuthService\",method=\"GetJwks\",code=\"CANCELLED\"} 1";
    told(&running, line).await;
    running.abort().await;
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_told() {
    let seen = Arc::new(Seen::default());
    let keys = Keys::fixed(&JwkSet { keys: Vec::new() });
    let door = Box::new(Door(Arc::clone(&seen)));
    let running = Server::builder(Settings::defaults()).modules(vec![door]).keys(keys).start().await.unwrap();
    tokio::select! {
        _ = get(running.gateway_addr.unwrap(), "/wait") => panic!("it waits"),
        () = seen.began.notified() => {}
    }
    told(&running, "coreloop_http_requests_total{method=\"GET\",route=\"unknown\",status=\"499\"} 1").await;
    running.abort().await;
}

/// Waits for a line of the metrics.
async fn told(running: &Running, line: &str) {
    let found = async {
        while !running.metrics.encode().contains(line) {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), found).await.is_ok(), "{}", running.metrics.encode());
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_full_houses_shed() {
    let settings = Settings::defaults().with("server.max_in_flight", 1).with("server.max_waiting", 0);
    let (running, seen) = start(settings).await.unwrap();
    let mut waiting = AuthServiceClient::new(channel(&running));
    let mut refused = waiting.clone();
    let first = async {
        let mut request = tonic::Request::new(GetJwksRequest {});
        // Long enough to connect, to begin, and for the other one to be sent away meanwhile.
        request.set_timeout(Duration::from_secs(5));
        waiting.get_jwks(request).await.unwrap_err()
    };
    let second = async {
        soon(seen.began.notified()).await;
        refused.get_jwks(GetJwksRequest {}).await.unwrap_err()
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first.code(), Code::DeadlineExceeded | Code::Cancelled), "{first:?}");
    assert_eq!(reason(&second), "OVERLOADED");
    assert!(running.metrics.encode().contains("coreloop_rpc_shed_total{module=\"auth\"} 1"));
    running.abort().await;
}

#[tokio::test]
async fn nobody_holds_a_place_longer_than_the_setting_says() {
    let short = Settings::defaults().with("server.max_deadline_ms", 200).with("server.default_deadline_ms", 200);
    let (running, _seen) = start(short).await.unwrap();
    let mut client = AuthServiceClient::new(channel(&running));
    let mut request = tonic::Request::new(GetJwksRequest {});
    request.set_timeout(Duration::from_secs(3_600));
    assert_eq!(reason(&soon(client.get_jwks(request)).await.unwrap_err()), "DEADLINE_EXCEEDED");
    running.abort().await;
}

#[tokio::test]
async fn a_drain_lets_running_calls_end_and_takes_no_new_ones() {
    let (running, seen) = start(Settings::defaults()).await.unwrap();
    running.ready().await;
    let (readiness, address) = (running.readiness.clone(), running.grpc_addrs["auth"]);
    let mut client = AuthServiceClient::new(channel(&running));
    let call = async { client.get_jwks(GetJwksRequest {}).await };
    let drain = async {
        soon(seen.began.notified()).await;
        let stop = running.shutdown();
        let watch = async {
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            assert!(readiness.components().await.iter().any(|component| !component.ready()));
            seen.go.notify_one();
        };
        tokio::join!(stop, watch);
    };
    let (answer, ()) = soon(async { tokio::join!(call, drain) }).await;
    assert!(answer.is_ok(), "{answer:?}");
    soon(seen.worker_ended.notified()).await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = Settings::defaults().with("server.ports.auth", i64::from(port));
    let error = start(settings).await.err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("server.ports.auth"), "{error}");
}

#[tokio::test]
async fn probes_and_metrics_are_on_the_admin_port() {
    let (running, _seen) = start(Settings::defaults()).await.unwrap();
    running.ready().await;
    for (path, expected) in [("/livez", "\"ok\""), ("/readyz", "\"ready\""), ("/metrics", "coreloop_rpc_requests")] {
        let text = get(running.admin_addr, path).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.contains(expected), "{path}: {text}");
    }
    assert!(get(running.admin_addr, "/nothing").await.starts_with("HTTP/1.1 404"));
    running.abort().await;
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
