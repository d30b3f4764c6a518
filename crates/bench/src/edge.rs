//! P6: the REST edge beside the handler written by hand and Envoy's transcoder, by CPU of all processes that do the work.

use anyhow::Result;
use bytes::Bytes;

use crate::{
    check::TURNS,
    child::Part,
    cpu, front, load,
    report::{Row, median, spread},
    tokens::Mint,
};

/// Requests of one turn.
const CALLS: u64 = 3_750;
const CONNECTIONS: usize = 32;

/// The request that every front gets.
pub(crate) fn request(token: &str) -> Bytes {
    format!(
        "GET {} HTTP/1.1\r\nhost: api.example.com\r\naccept: application/json\r\nuser-agent: eco/3.2.1\r\n\
         authorization: Bearer {token}\r\n\r\n",
        front::PATH
    )
    .into()
}

/// CPU microseconds a request: of the front alone, and of the front with the backend.
pub(crate) async fn round(part: &Part, backend: Option<&Part>, request: &Bytes) -> Result<(f64, f64)> {
    let pids: Vec<u32> = backend.iter().map(|part| part.pid()).chain([part.pid()]).collect();
    let (own, all) = (cpu::Turn::of(&[part.pid()])?, cpu::Turn::of(&pids)?);
    let seen = load::http1(&part.address, CONNECTIONS, CALLS, request.clone()).await?;
    anyhow::ensure!(seen.errors == 0, "{} of {CALLS} requests failed", seen.errors);
    Ok((own.each(CALLS)?, all.each(CALLS)?))
}

/// P6: two rows.
///
/// # Errors
/// When a front does not start or answers an error.
pub(crate) async fn rows(rounds: usize, envoy: &str) -> Result<Vec<Row>> {
    let folder = std::env::temp_dir().join(format!("coreloop-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let backend = Part::start("backend", &[])?;
    let peer = format!("http://{}", backend.address);
    let ours = Part::start("edge", &[&peer])?;
    let by_hand = Part::start("by-hand", &[&peer])?;
    let transcoder = front::transcoder(envoy, backend.address.parse()?, &folder)?;
    let token = Mint::new(coreloop_access::token::Algorithm::Rs256)?.token()?;
    let request = request(&token);
    let (mut to_hand, mut to_envoy, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for warm in (0..=rounds).map(|round| round > 0) {
        let (mut edge, mut hand, mut envoy) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
        for _ in 0..TURNS {
            for (sum, part) in [(&mut edge, &ours), (&mut hand, &by_hand), (&mut envoy, &transcoder)] {
                let turn = round(part, Some(&backend), &request).await?;
                *sum = (sum.0 + turn.0 / TURNS as f64, sum.1 + turn.1 / TURNS as f64);
            }
        }
        if warm {
            to_hand.push(hand.1 / edge.1);
            to_envoy.push(envoy.0 / edge.0);
            own.push([edge.0, hand.0, envoy.0]);
        }
    }
    std::fs::remove_dir_all(&folder)?;
    let each = |index: usize| median(&own.iter().filter_map(|row| row.get(index)).copied().collect::<Vec<_>>());
    let detail = format!("CPU a request: edge {:.1} µs, by hand {:.1} µs, Envoy {:.1} µs", each(0), each(1), each(2));
    let (hand, transcode) = (median(&to_hand), median(&to_envoy));
    Ok(vec![
        Row {
            id: "P6",
            what: "REST edge, of a hand-written axum handler".into(),
            measured: format!("{hand:.2}"),
            aim: "≥ 1.0",
            met: hand >= 1.0,
            detail: format!("{detail}; with the backend counted; {}", spread(&to_hand)),
        },
        Row {
            id: "P6",
            what: "REST edge, times Envoy's transcoder".into(),
            measured: format!("{transcode:.1} ×"),
            aim: "≥ 4 ×",
            met: transcode >= 4.0,
            detail: format!("front processes alone; {}", spread(&to_envoy)),
        },
    ])
}
