//! The tail at a steady pace that leaves the machine time to spare: batching must add no wait.

use std::{fs, time::Duration};

use anyhow::Result;

use super::{PEOPLE, Place, QUIET, SECONDS, SPEND, one, spend};
use crate::{load, report::Row};

impl Place {
    /// P11: the tails of both kinds of purchases, of the one statement's.
    pub(super) async fn tails(&self) -> Result<Vec<Row>> {
        // What a service does first (connections, statements, plans) is no part of a steady pace; Spend had its rounds.
        self.spread(usize::MAX).await?;
        let (spend, purchase, one) = (self.quiet().await?, self.quiet_shop().await?, self.quiet_raw()?);
        let row = |what: &str, tail: f64, commits: &str| Row {
            id: "P11",
            what: format!("{what} p99 at {QUIET}/s, of the one statement's"),
            measured: format!("{:.2}", tail / one),
            aim: "≤ 1.3",
            met: tail / one <= 1.3,
            detail: format!("{:.1} ms beside {:.1} ms{commits}", tail / 1e3, one / 1e3),
        };
        Ok(vec![row("Spend", spend, ""), row("Purchase", purchase, "; three commits beside one")])
    }

    /// p99 of purchases that come at a steady pace, whatever became of those before.
    pub(super) async fn quiet(&self) -> Result<f64> {
        let pause = Duration::from_secs(1) / QUIET;
        let mut pace = tokio::time::interval(pause);
        let mut calls = Vec::new();
        for call in 0..u64::from(QUIET * 2 * SECONDS) {
            pace.tick().await;
            let (channels, machine) = (self.channels.clone(), self.at.machine.clone());
            calls.push(tokio::spawn(async move {
                load::grpc(&channels, SPEND, 1, 1, Some(&machine), move |_| {
                    spend(call % PEOPLE, format!("quiet-{call}"))
                })
                .await
            }));
        }
        let mut micros = Vec::new();
        for call in calls {
            let seen = call.await?;
            anyhow::ensure!(seen.errors == 0, "a purchase failed");
            micros.extend(seen.micros);
        }
        Ok(p99(micros))
    }

    /// The same of the one statement.
    pub(super) fn quiet_raw(&self) -> Result<f64> {
        let log = self.folder.join("quiet");
        let rate = QUIET.to_string();
        let prefix = log.to_string_lossy().into_owned();
        let seconds = (2 * SECONDS).to_string();
        self.pgbench(&one(PEOPLE), &["-R", &rate, "-c", "32", "-T", &seconds, "-l", "--log-prefix", &prefix])?;
        let mut micros = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("quiet.")) {
                let text = fs::read_to_string(path)?;
                micros.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u32>().ok()));
            }
        }
        Ok(p99(micros))
    }
}

pub(super) fn p99(mut micros: Vec<u32>) -> f64 {
    micros.sort_unstable();
    micros.get(micros.len() * 99 / 100).copied().map_or(f64::NAN, f64::from)
}
