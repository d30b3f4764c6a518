//! P7, P21: a whole mesh on real Postgres and Redis, in one process of its own as local installs run it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use argon2::{Algorithm, Argon2, Params, Version};
use bytes::Bytes;
use coreloop_auth_api::v1::LoginRequest;
use coreloop_testkit::{PASSWORD, TestMesh};
use prost::Message as _;

use crate::{
    check,
    child::Part,
    cpu, edge, load,
    report::{Row, median, spread},
};

const LOGIN: &str = "/coreloop.auth.v1.AuthService/Login";
const PEOPLE: usize = 16;

/// Where a started mesh is, as its process prints it in one line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Where {
    gateway: String,
    auth: String,
    token: String,
    emails: Vec<String>,
}

/// Starts a mesh with a few people, limits off, and tells where it is. It lives as long as what is returned.
///
/// # Errors
/// When it does not start.
pub(crate) async fn start() -> Result<(TestMesh, Where)> {
    let mesh = TestMesh::builder().setting("limit.enabled", false).start().await;
    let (mut token, mut emails) = (String::new(), Vec::new());
    for number in 0..PEOPLE {
        let persona = mesh.persona(&format!("bench{number}")).await;
        emails.push(persona.visitor.email.clone());
        token = persona.access_token;
    }
    let at = Where {
        gateway: mesh.gateway().trim_start_matches("http://").to_owned(),
        auth: mesh.address_on(0, "auth"),
        token,
        emails,
    };
    Ok((mesh, at))
}

/// P7: what one request of the read path costs: edge, service and the check that Envoy asks for, with a database read.
///
/// # Errors
/// When a call fails.
pub(crate) async fn read_path(rounds: usize) -> Result<Row> {
    const CALLS: u64 = 3_000;
    let mut part = Part::start("mesh", &[])?;
    let at: Where = serde_json::from_str(&part.address)?;
    part.address.clone_from(&at.gateway);
    let channels = load::connect(&at.auth, 2).await?;
    let (request, checked) = (edge::request(&at.token), check::request(&at.token));
    let empty = check::nothing().await?;
    let (mut sums, mut checks, mut reads, mut paces) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (mut read, mut check, mut pace) = (0.0, 0.0, 0.0);
        for _ in 0..check::TURNS {
            read += edge::round(&part, None, &request).await?.0;
            let turn = cpu::Turn::of(&[part.pid()])?;
            let asked = checked.clone();
            let seen = load::grpc(&channels, check::CHECK, 32, CALLS, None, move |_| asked.clone()).await;
            anyhow::ensure!(seen.errors == 0, "{} checks failed", seen.errors);
            check += turn.each(CALLS)?;
            pace += check::round(&empty, crate::empty::PATH, CALLS, |_| Bytes::new()).await?;
        }
        if round > 0 {
            let turns = check::TURNS as f64;
            sums.push((read + check) / turns);
            reads.push(read / turns);
            checks.push(check / turns);
            paces.push(pace / turns);
        }
    }
    let sum = median(&sums);
    Ok(Row {
        id: "P7",
        what: "read path: edge + Check + service, CPU of the mesh process".into(),
        measured: format!("{sum:.0} µs"),
        aim: "≤ 70 µs",
        met: sum <= 70.0,
        detail: format!(
            "edge + service with its database read {:.0} µs, check {:.0} µs; {}; the machine's pace: {:.0} µs an empty call, \
             both ends",
            median(&reads),
            median(&checks),
            spread(&sums),
            median(&paces)
        ),
    })
}

/// P21: sign-ins beside bare hashes, and the check's tail meanwhile.
///
/// # Errors
/// When a sign-in fails.
pub(crate) async fn sign_in(rounds: usize) -> Result<Vec<Row>> {
    const LOGINS: u64 = 400;
    let part = Part::start("mesh", &[])?;
    let at: Where = serde_json::from_str(&part.address)?;
    let channels = load::connect(&at.auth, 2).await?;
    let bodies: Arc<[Bytes]> = at
        .emails
        .iter()
        .map(|email| {
            let request = LoginRequest { email: email.clone(), password: PASSWORD.into(), ..LoginRequest::default() };
            Bytes::from(request.encode_to_vec())
        })
        .collect();
    let (mut ratios, mut tails) = (Vec::new(), Vec::new());
    let checked = check::request(&at.token);
    for round in 0..=rounds {
        let bare = bare_hashes(Duration::from_secs(3))?;
        let idle = check_tail(&channels, &checked, None).await?;
        let bodies = Arc::clone(&bodies);
        let begun = Instant::now();
        let seen = load::grpc(&channels, LOGIN, 8, LOGINS, None, move |call| {
            bodies.get(call as usize % bodies.len()).cloned().unwrap_or_default()
        })
        .await;
        anyhow::ensure!(seen.errors == 0, "{} of {LOGINS} sign-ins failed", seen.errors);
        let rate = LOGINS as f64 / begun.elapsed().as_secs_f64();
        let busy = storm(&at, &channels, &checked).await?;
        if round > 0 {
            ratios.push(rate / bare);
            tails.push(busy / idle);
        }
    }
    let (ratio, tail) = (median(&ratios), median(&tails));
    Ok(vec![
        Row {
            id: "P21",
            what: "sign-ins, of bare Argon2id hashes on the same cores".into(),
            measured: format!("{ratio:.2}"),
            aim: "≥ 0.95",
            met: ratio >= 0.95,
            detail: format!("client, Postgres and Redis on the same cores; {}", spread(&ratios)),
        },
        Row {
            id: "P21",
            what: "Check p99 in a sign-in storm, times idle".into(),
            measured: format!("{tail:.1} ×"),
            aim: "≤ 2 ×",
            met: tail <= 2.0,
            detail: spread(&tails),
        },
    ])
}

/// Hashes a second of every core, with the parameters the service hashes with and memory kept between hashes.
fn bare_hashes(time: Duration) -> Result<f64> {
    let options = coreloop_auth::Options::default();
    let params = Params::new(options.argon2_memory_kib, options.argon2_passes, 1, Some(32))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let cores = std::thread::available_parallelism()?.get();
    let begun = Instant::now();
    let done: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                let params = params.clone();
                scope.spawn(move || {
                    let mut memory = vec![argon2::Block::default(); params.block_count()];
                    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                    let (mut out, mut done) = ([0; 32], 0_u64);
                    while begun.elapsed() < time {
                        let hashed = argon2.hash_password_into_with_memory(
                            PASSWORD.as_bytes(),
                            b"0123456789abcdef",
                            &mut out,
                            &mut memory,
                        );
                        done += u64::from(hashed.is_ok());
                    }
                    done
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// p99 of checks at a modest rate; until `stop` when given.
async fn check_tail(
    channels: &[tonic::transport::Channel],
    request: &Bytes,
    stop: Option<Arc<AtomicBool>>,
) -> Result<f64> {
    const CALLS: u64 = 2_000;
    let asked = request.clone();
    let seen = load::grpc(channels, check::CHECK, 2, CALLS, None, move |_| asked.clone()).await;
    anyhow::ensure!(seen.errors == 0, "{} checks failed", seen.errors);
    if let Some(stop) = stop {
        stop.store(true, Ordering::Release);
    }
    Ok(seen.at(0.99))
}

/// The check's p99 while sign-ins queue on every hashing thread.
async fn storm(at: &Where, channels: &[tonic::transport::Channel], request: &Bytes) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let own = load::connect(&at.auth, 1).await?.pop().context("no channel")?;
    let emails = at.emails.clone();
    let storming = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            while !stop.load(Ordering::Acquire) {
                let emails = emails.clone();
                load::grpc(std::slice::from_ref(&own), LOGIN, 8, 16, None, move |call| {
                    let email = emails.get(call as usize % emails.len()).cloned().unwrap_or_default();
                    LoginRequest { email, password: PASSWORD.into(), ..LoginRequest::default() }.encode_to_vec().into()
                })
                .await;
            }
        }
    });
    let tail = check_tail(channels, request, Some(stop)).await?;
    storming.await?;
    Ok(tail)
}
