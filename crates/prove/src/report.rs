//! What is said at the end: the figures, what contradicts them with its line of the journal, and the verdict.

use std::time::Duration;

use anyhow::{Result, bail};
use coreloop_planted::Bug;

use crate::{
    bugs,
    carried::Over,
    chaos::Done,
    check::Findings,
    journal::{self, Deed, Said},
    run::Outcome,
};

/// Violations that are shown of one run.
const SHOWN: usize = 25;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    kills: u32,
    /// Photos whose story was told, and the kills under which it was.
    told: (usize, u32),
    all: Findings,
    caught: usize,
    missed: Vec<Bug>,
}

impl Report {
    /// A run of the product.
    pub(crate) fn leg(&mut self, outcome: &Outcome) {
        let findings = &outcome.findings;
        self.kills += outcome.done.kills;
        println!(
            "over {}: {} kills and {} other disturbances in {:.0} s: {} deeds, {} postings, {} entries, {} effects, {} purchases, \
             {} redemptions by {} commands, caught up in {:.1} s",
            outcome.over.name(),
            outcome.done.kills,
            outcome.done.others,
            outcome.took.as_secs_f64(),
            outcome.deeds.len(),
            findings.postings,
            findings.entries,
            findings.effects,
            findings.sales,
            findings.redemptions,
            findings.commands,
            outcome.caught_up.as_secs_f64(),
        );
        ended(&outcome.done);
        for what in ["redis", "kafka", "rabbitmq", "postgres"] {
            if outcome.over == Over::Brokers || matches!(what, "redis" | "postgres") {
                println!("{}", while_away(outcome, what));
            }
        }
        show(findings, &outcome.deeds);
        println!("{}", findings.verdict(outcome.done.kills));
        self.all.violations.extend(findings.violations.iter().cloned());
    }

    /// A run of stories.
    pub(crate) fn story(&mut self, outcome: &Outcome) {
        let (findings, done) = (&outcome.findings, &outcome.done);
        println!(
            "over {}: {} stories under {} kills and {} other disturbances in {:.0} s: sockets of {} people went on {} times, began \
             anew {} times, {} held against the log, caught up in {:.1} s",
            outcome.over.name(),
            findings.stories,
            done.kills,
            done.others,
            outcome.took.as_secs_f64(),
            findings.people,
            findings.resumed,
            findings.anew,
            findings.compared,
            outcome.caught_up.as_secs_f64(),
        );
        ended(done);
        show(findings, &outcome.deeds);
        println!("{}", findings.of_stories(findings.stories, done.kills));
        self.told = (self.told.0 + findings.stories, self.told.1 + done.kills);
        self.all.violations.extend(findings.violations.iter().cloned());
    }

    /// A run that has a bug; answers whether it was caught. The last attempt decides.
    pub(crate) fn bug(&mut self, bug: Bug, outcome: Result<Outcome>, attempt: u32) -> bool {
        let what = format!("planted {bug} ({})", bug.what());
        match outcome {
            Ok(outcome) => {
                let (found, took) = (&outcome.findings.violations, outcome.took.as_secs_f64());
                let told = format!("in {took:.0} s and {} deeds, {} violations", outcome.deeds.len(), found.len());
                match found.iter().find(|one| bugs::signs(bug).contains(&one.kind)) {
                    Some(sign) => {
                        let tries = if attempt > 1 { format!(" at attempt {attempt}") } else { String::new() };
                        println!("{what}: caught{tries} {told}: {}", of(sign, &outcome.deeds));
                        self.caught += 1;
                        return true;
                    }
                    None => {
                        println!("{what}: NOT CAUGHT at attempt {attempt} {told}");
                        show(&outcome.findings, &outcome.deeds);
                    }
                }
            }
            Err(error) => println!("{what}: NOT CAUGHT at attempt {attempt}, the run failed: {error:#}"),
        }
        if attempt == bugs::ATTEMPTS {
            self.missed.push(bug);
        }
        false
    }

    /// The verdict.
    ///
    /// # Errors
    /// When anything does not fit, or a bug was not caught.
    pub(crate) fn end(&self) -> Result<()> {
        let planted = self.caught + self.missed.len();
        if self.kills > 0 {
            println!("{}", self.all.verdict(self.kills));
        }
        if self.told.0 > 0 {
            println!("{}", self.all.of_stories(self.told.0, self.told.1));
        }
        if planted > 0 {
            println!("{} of {planted} planted bugs caught", self.caught);
        }
        if !self.all.violations.is_empty() {
            bail!("{} violations (above)", self.all.violations.len());
        }
        if !self.missed.is_empty() {
            let names: Vec<_> = self.missed.iter().map(ToString::to_string).collect();
            bail!("not caught: {}", names.join(", "));
        }
        Ok(())
    }
}

fn show(findings: &Findings, deeds: &[Deed]) {
    for violation in findings.violations.iter().take(SHOWN) {
        println!("  {}", of(violation, deeds));
    }
    if findings.violations.len() > SHOWN {
        println!("  and {} more", findings.violations.len() - SHOWN);
    }
}

fn of(violation: &crate::check::Violation, deeds: &[Deed]) -> String {
    let line = violation.deed.map(|number| format!("\n    {}", journal::line(number, &deeds[number])));
    format!("{:?}: {}{}", violation.kind, violation.what, line.unwrap_or_default())
}

fn ended(done: &Done) {
    println!("  {} times a process ended by itself", done.ended.len());
    for last in &done.ended {
        println!("    {last}");
    }
}

/// What clients were told of calls that began and ended while a part was away: a cell of the table of what still works.
fn while_away(outcome: &Outcome, what: &str) -> String {
    let outages: Vec<_> = outcome.done.outages.iter().filter(|outage| outage.what == what).collect();
    let (mut done, mut refused, mut unknown) = (0, 0, 0);
    for reply in outcome.deeds.iter().flat_map(|deed| &deed.replies) {
        if outages.iter().any(|outage| reply.asked >= outage.from && reply.heard <= outage.to) {
            match reply.said {
                Said::Done(_) | Said::Taken { .. } => done += 1,
                Said::Refused(_) => refused += 1,
                Said::Unknown(_) => unknown += 1,
            }
        }
    }
    let away = outages.iter().map(|outage| outage.to - outage.from).sum::<Duration>().as_secs_f64();
    format!(
        "  {what} away {} times, {away:.1} s in all: {done} acknowledged, {refused} refused, {unknown} unknown",
        outages.len()
    )
}
