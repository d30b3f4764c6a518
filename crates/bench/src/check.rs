//! P1 and P2: the ext_authz check of a known and of a new token, beside the empty call.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair},
};
use bytes::Bytes;
use coreloop_access::{Gate, HeaderView, token::Algorithm};
use coreloop_auth::ext_authz::ExtAuthz;
use coreloop_auth_api::envoy::{
    config::core::v3::{Address, SocketAddress, address, socket_address},
    service::auth::v3::{AttributeContext, CheckRequest, attribute_context},
};
use prost::Message as _;
use tonic::{service::Routes, transport::Channel};

use crate::{
    cpu, empty, load,
    report::{Row, median, spread},
    tokens::Mint,
};

/// Path of the check.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Calls of one turn, a fraction of a second: a shared machine changes its pace within a round, and what is compared must
/// run at the same pace.
const CALLS: u64 = 5_000;
/// Turns that each of those compared has in a round.
pub(crate) const TURNS: u64 = 8;
/// Calls in flight.
const IN_FLIGHT: usize = 32;

/// What Envoy sends for `GET /api/v1/auth/me` from a phone, with `token`.
pub(crate) fn request(token: &str) -> Bytes {
    let headers: HashMap<String, String> = [
        (":authority", "api.example.com"),
        (":method", "GET"),
        (":path", "/api/v1/auth/me"),
        (":scheme", "https"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("accept-language", "ko-KR,ko;q=0.9"),
        ("user-agent", "eco/3.2.1 (iPhone; iOS 18.1)"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6f0c1a52-9f0e-4b57-9f3f-0d5d4a2c7e10"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain([("authorization".to_owned(), format!("Bearer {token}"))])
    .collect();
    let peer = |port| attribute_context::Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: "203.0.113.7".into(),
                port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
                ..SocketAddress::default()
            })),
        }),
        ..attribute_context::Peer::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(51234)),
            destination: Some(peer(443)),
            request: Some(attribute_context::Request {
                http: Some(attribute_context::HttpRequest {
                    id: "1234567890".into(),
                    method: "GET".into(),
                    headers,
                    path: "/api/v1/auth/me".into(),
                    host: "api.example.com".into(),
                    scheme: "https".into(),
                    protocol: "HTTP/1.1".into(),
                    ..attribute_context::HttpRequest::default()
                }),
                ..attribute_context::Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
    .encode_to_vec()
    .into()
}

/// Serves the check beside the empty call.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn serve(gate: Arc<Gate>) -> Result<Vec<Channel>> {
    let mut routes = Routes::builder();
    routes.add_service(ExtAuthz::new(gate)).add_service(empty::Empty);
    let address = empty::serve(routes.routes()).await?;
    load::connect(&format!("http://{address}"), 2).await
}

/// Serves the empty call alone.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn nothing() -> Result<Vec<Channel>> {
    let mut routes = Routes::builder();
    routes.add_service(empty::Empty);
    let address = empty::serve(routes.routes()).await?;
    load::connect(&format!("http://{address}"), 2).await
}

/// CPU microseconds a call of this process, server and client together.
///
/// # Errors
/// When a call fails.
pub(crate) async fn round<F>(channels: &[Channel], path: &'static str, calls: u64, request: F) -> Result<f64>
where
    F: Fn(u64) -> Bytes + Send + Sync + 'static,
{
    let turn = cpu::Turn::mine()?;
    let seen = load::grpc(channels, path, IN_FLIGHT, calls, None, request).await;
    anyhow::ensure!(seen.errors == 0, "{} of {calls} calls of {path} failed", seen.errors);
    turn.each(calls)
}

/// P1 at `live` tokens: the gate has seen them all; the calls go round the last ten thousand.
///
/// # Errors
/// When anything fails: a wrong answer is no figure.
pub(crate) async fn known(live: usize, rounds: usize) -> Result<Row> {
    // EdDSA, so that a million tokens can be made and seen in a minute; a hit never looks at the algorithm.
    let mint = Mint::new(Algorithm::EdDsa)?;
    let gate = mint.gate()?;
    let mut sample = Vec::new();
    let mut left = live;
    while left > 0 {
        let batch = mint.tokens(left.min(50_000))?;
        left -= batch.len();
        for token in &batch {
            let headers = HeaderView::Token(Some(token));
            gate.decide_http("GET", "/api/v1/auth/me", &headers).await;
        }
        sample = batch;
        sample.truncate(10_000);
    }
    anyhow::ensure!(gate.remembered() >= live * 99 / 100, "{} of {live} tokens are remembered", gate.remembered());
    let requests: Arc<[Bytes]> = sample.iter().map(|token| request(token)).collect();
    let channels = serve(Arc::clone(&gate)).await?;
    probe(&channels, &requests).await?;
    let (mut ratios, mut alike, mut checks, mut empties) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        let (mut nothing, mut same_bytes, mut check) = (0.0, 0.0, 0.0);
        for turn in 0..TURNS {
            nothing += round(&channels, empty::PATH, CALLS, |_| Bytes::new()).await?;
            same_bytes += round(&channels, empty::PATH, CALLS, from(&requests, turn * CALLS)).await?;
            check += round(&channels, CHECK, CALLS, from(&requests, turn * CALLS)).await?;
        }
        ratios.push(nothing / check);
        alike.push(same_bytes / check);
        checks.push(check / TURNS as f64);
        empties.push(nothing / TURNS as f64);
    }
    // The first round warms up.
    let (ratios, checks, empties) = (tail(&ratios), tail(&checks), tail(&empties));
    let (ratio, alike) = (median(ratios), median(tail(&alike)));
    Ok(Row {
        id: "P1",
        what: format!("Check of a known token, {live} live, of an empty call"),
        measured: format!("{ratio:.2}"),
        aim: "≥ 0.85",
        met: ratio >= 0.85,
        detail: format!(
            "CPU {:.1} µs beside {:.1} µs, client included; {alike:.2} of an empty call that is sent the same bytes; {}",
            median(checks),
            median(empties),
            spread(ratios)
        ),
    })
}

/// The requests from `first` on, and round again.
fn from(requests: &Arc<[Bytes]>, first: u64) -> impl Fn(u64) -> Bytes + Send + Sync + use<> {
    let requests = Arc::clone(requests);
    move |call| requests.get((first + call) as usize % requests.len()).cloned().unwrap_or_default()
}

/// The check must say yes before its speed means anything.
async fn probe(channels: &[Channel], requests: &[Bytes]) -> Result<()> {
    use coreloop_auth_api::envoy::service::auth::v3::{CheckResponse, check_response::HttpResponse};
    let channel = channels.first().context("no channel")?.clone();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let message = requests.first().context("no token")?.clone();
    let path = http::uri::PathAndQuery::from_static(CHECK);
    let reply = client.unary(tonic::Request::new(message), path, load::Raw).await?.into_inner();
    let reply = CheckResponse::decode(reply)?;
    anyhow::ensure!(matches!(reply.http_response, Some(HttpResponse::OkResponse(_))), "the check denies: {reply:?}");
    Ok(())
}

fn tail(values: &[f64]) -> &[f64] {
    values.get(1..).unwrap_or(values)
}

/// P2: every call brings a token never seen before.
///
/// # Errors
/// When anything fails.
pub(crate) async fn first(rounds: usize) -> Result<Row> {
    const FRESH: usize = 12_000;
    let mint = Mint::new(Algorithm::Rs256)?;
    let channels = serve(mint.gate()?).await?;
    let (mut ratios, mut alike, mut checks, mut limits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        let tokens = minted(&mint, FRESH)?;
        let requests: Arc<[Bytes]> = tokens.iter().map(|token| request(token)).collect();
        let (mut bare, mut nothing, mut same_bytes, mut check) = (0.0, 0.0, 0.0, 0.0);
        for turn in 0..TURNS {
            let calls = FRESH as u64 / TURNS;
            bare += bare_verify(&tokens)?;
            nothing += round(&channels, empty::PATH, calls, |_| Bytes::new()).await?;
            same_bytes += round(&channels, empty::PATH, calls, from(&requests, turn * calls)).await?;
            check += round(&channels, CHECK, calls, from(&requests, turn * calls)).await?;
        }
        alike.push(check / (bare + same_bytes));
        ratios.push(check / (bare + nothing));
        checks.push(check / TURNS as f64);
        limits.push((bare + nothing) / TURNS as f64);
    }
    let (ratios, checks, limits) = (tail(&ratios), tail(&checks), tail(&limits));
    let (ratio, alike) = (median(ratios), median(tail(&alike)));
    Ok(Row {
        id: "P2",
        what: "first sight of a token, of bare RS256 verify + empty call".into(),
        measured: format!("{ratio:.2}"),
        aim: "≤ 1.15",
        met: ratio <= 1.15,
        detail: format!(
            "CPU {:.1} µs beside {:.1} µs; {alike:.2} × when the empty call is sent the same bytes; {}",
            median(checks),
            median(limits),
            spread(ratios)
        ),
    })
}

/// `count` tokens, signed on every core.
fn minted(mint: &Mint, count: usize) -> Result<Vec<String>> {
    let cores = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let signing: Vec<_> = (0..cores).map(|_| scope.spawn(|| mint.tokens(count.div_ceil(cores)))).collect();
        let mut tokens = Vec::with_capacity(count + cores);
        for thread in signing {
            tokens.extend(thread.join().ok().context("a signing thread ended")??);
        }
        Ok(tokens)
    })
}

/// CPU microseconds of the bare signature check, with a key of the same size parsed before, over the tokens' own text.
fn bare_verify(tokens: &[String]) -> Result<f64> {
    let refused = |_| anyhow::anyhow!("the bare limit cannot be measured");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
    let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
        .map_err(|_| anyhow::anyhow!("the bare limit cannot be measured"))?;
    let random = SystemRandom::new();
    let mut signed = Vec::with_capacity(tokens.len());
    for token in tokens.iter().take(1_000) {
        let (message, _) = token.rsplit_once('.').context("no token")?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).map_err(refused)?;
        signed.push((message.as_bytes(), signature));
    }
    let turn = cpu::Turn::mine()?;
    for (message, signature) in &signed {
        public.verify_sig(message, signature).map_err(refused)?;
    }
    turn.each(signed.len() as u64)
}
