//! P20: what a million remembered tokens and a million revocations cost in memory. Runs in a process of its own, so that
//! nothing else is counted.

use anyhow::Result;
use coreloop_access::{HeaderView, Revocation, Revocations, revocation::Revoked, token::Algorithm};
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};

use crate::{child::Part, cpu, report::Row, tokens::Mint};

const COUNT: usize = 1_000_000;

/// P20: two rows.
///
/// # Errors
/// When a part fails.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let tokens: u64 = Part::start("remember", &[])?.address.parse()?;
    let revocations: u64 = Part::start("revocations", &[])?.address.parse()?;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let row = |what: &str, bytes: u64, most: f64, aim| Row {
        id: "P20",
        what: what.into(),
        measured: format!("{:.0} MiB", mib(bytes)),
        aim,
        met: mib(bytes) <= most,
        detail: format!("growth of a fresh process's memory (PSS), {} bytes each", bytes / COUNT as u64),
    };
    Ok(vec![
        row("1 M remembered tokens", tokens, 200.0, "≤ 200 MiB"),
        row("1 M revocations", revocations, 48.0, "≤ 48 MiB"),
    ])
}

/// Remembers a million tokens and answers the growth in bytes.
///
/// # Errors
/// When a token is not believed.
pub(crate) async fn remember() -> Result<u64> {
    let mint = Mint::new(Algorithm::EdDsa)?;
    let gate = mint.gate()?;
    let before = cpu::memory(std::process::id())?;
    for _ in 0..COUNT / 10_000 {
        // Tokens go as soon as they were seen, and are few at a time.
        for token in mint.tokens(10_000)? {
            gate.decide_http("GET", "/api/v1/auth/me", &HeaderView::Token(Some(&token))).await;
        }
    }
    anyhow::ensure!(gate.remembered() >= COUNT * 99 / 100, "only {} are remembered", gate.remembered());
    Ok(cpu::memory(std::process::id())? - before)
}

/// Learns a million revocations and answers the growth in bytes.
///
/// # Errors
/// When they are not all held.
pub(crate) fn revocations() -> Result<u64> {
    let known = Revocations::alone(std::sync::Arc::new(SystemClock));
    let before = cpu::memory(std::process::id())?;
    let expires_at = SystemClock.unix() + 900;
    for _ in 0..COUNT {
        known.learn(&Revocation { what: Revoked::Token(SystemIds.uuid().into()), expires_at });
    }
    anyhow::ensure!(known.len() == COUNT, "{} are held", known.len());
    Ok(cpu::memory(std::process::id())? - before)
}
