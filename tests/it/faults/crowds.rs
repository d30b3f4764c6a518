//! Callers who would take every place of auth: the mesh, which waits for auth's decisions, does not notice.

use std::time::{Duration, Instant};

use bytes::Bytes;
use coreloop_auth_api::v1::LoginRequest;
use coreloop_testkit::{alone, raw, rpc, wait::PATIENCE, wait_until};
use futures::{StreamExt as _, future::join_all, stream};
use prost::Message as _;
use tonic::{Code, Status, body::Body, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceExt as _;

use super::hostile::Stage;

/// So few that a crowd takes them all at once.
const PLACES: &str = "[server]\nmax_in_flight = 32\nbody_timeout_ms = 3000\n\
                      [auth]\nlockout_failures = 100\naddress_failures = 100000\n";
const LOGIN: &str = "/coreloop.auth.v1.AuthService/Login";
/// How long a crowd stays.
const STAY: Duration = Duration::from_secs(6);

/// Signs in as somebody who does not exist.
async fn try_as_nobody(channel: &Channel, number: usize) -> Status {
    let email = format!("crowd-{number}@example.com");
    let login = LoginRequest { email, password: "correct horse".to_owned(), ..LoginRequest::default() };
    rpc::call(channel, LOGIN, &login.encode_to_vec(), &[]).await.expect_err("nobody is called so")
}

/// Signs in until the crowd goes; answers how often it was sent away.
async fn sign_in(channel: &Channel, number: usize) -> u32 {
    let (began, mut shed) = (Instant::now(), 0);
    // Who is sent away is told to come again in a second, and is less polite than that.
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while began.elapsed() < STAY {
        pace.tick().await;
        let status = try_as_nobody(channel, number).await;
        match status.code() {
            Code::Unavailable => shed += 1,
            // Passwords are hashed where nothing else runs: a machine that is busy throughout lets a sign-in be too late.
            Code::Unauthenticated | Code::DeadlineExceeded => {}
            _ => panic!("{status}"),
        }
    }
    shed
}

#[test]
fn a_storm_of_sign_ins_takes_nothing_from_who_is_signed_in() {
    alone(async {
        let stage = Stage::with(PLACES).await;
        let [envoy, _, auth] = stage.fronts.each_ref().map(|front| rpc::channel(&format!("http://{front}")));
        let crowd = (0..128).map(|number| sign_in(if number % 2 == 0 { &envoy } else { &auth }, number));
        let shed: u32 = stage.goes_on(join_all(crowd)).await.into_iter().sum();
        assert!(shed > 0, "nobody was sent away: this was no storm");
        wait_until("a sign-in is heard after the storm", PATIENCE, || async {
            try_as_nobody(&envoy, 0).await.code() == Code::Unauthenticated
        })
        .await;
    });
}

/// Begins a message and never ends it; answers the status and how long that took.
async fn unfinished(channel: Channel) -> (Option<Code>, Duration) {
    let began = Instant::now();
    let part = Ok::<_, Status>(Bytes::from_static(b"\0\0\0"));
    let body = Body::new(axum::body::Body::from_stream(stream::iter([part]).chain(stream::pending())));
    let request = http::Request::post(LOGIN)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "300S")
        .body(body)
        .unwrap();
    let answer = channel.oneshot(request).await;
    let status = answer.ok().and_then(|answer| Status::from_header_map(answer.headers()));
    (status.map(|status| status.code()), began.elapsed())
}

#[test]
fn messages_that_never_end_take_no_place() {
    alone(async {
        let stage = Stage::with(PLACES).await;
        let crowd = (0..16).flat_map(|number| {
            let front = &stage.fronts[if number % 2 == 0 { 0 } else { 2 }];
            let channel = rpc::channel(&format!("http://{front}"));
            std::iter::repeat_n((front, channel), 50)
        });
        let crowd = join_all(crowd.map(async |(front, channel)| {
            let mut ends = vec![unfinished(channel.clone()).await];
            ends.push(unfinished(channel).await);
            (front, ends)
        }));
        for (front, ends) in stage.goes_on(crowd).await {
            for (code, took) in ends {
                assert_eq!(code, Some(Code::DeadlineExceeded), "{front}: after {took:?}");
                assert!(took < Duration::from_secs(6), "{front}: waited for {took:?}");
            }
        }
    });
}

#[test]
fn watches_of_health_are_counted_and_bounded() {
    alone(async {
        let stage = Stage::with("[server]\nmax_open_streams = 40\n").await;
        let mut client = HealthClient::new(rpc::channel(&format!("http://{}", stage.fronts[0])));
        let mut watches = Vec::new();
        for _ in 0..40 {
            let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
            watch.message().await.unwrap().unwrap();
            watches.push(watch);
        }
        let refused = client.watch(HealthCheckRequest::default()).await.unwrap_err();
        assert_eq!(rpc::reason(&refused), "OVERLOADED");
        // Asking once, and everything else, goes on.
        client.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(raw_status(&stage.fronts[0]).await, 200);
        watches.clear();
        wait_until("a place among the streams is free again", PATIENCE, || {
            let mut client = client.clone();
            async move { client.watch(HealthCheckRequest::default()).await.is_ok() }
        })
        .await;
    });
}

async fn raw_status(front: &str) -> u16 {
    raw::send(front, b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.status
}
