//! The checker: reads the databases, after everything is quiet, and compares them with the journal.
//!
//! It believes no reply and no table by itself: what was acknowledged must be there once, as it was acknowledged; what was
//! refused must not; what is there must have been asked for. The books are added up from their entries, and each entry of a
//! user must have had its effect at the witness once, in order. Purchases and redemptions must have moved what they say, once,
//! and their partners must say the same.

mod books;
mod deeds;
mod events;
mod market;
mod redemptions;
mod sales;
mod state;
pub(crate) mod story;

use std::{collections::HashSet, fs, path::Path};

use anyhow::Result;
use coreloop_testkit::StandIns;
use sqlx::PgConnection;

use crate::journal::Deed;

pub(crate) use state::State;

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Of which kind.
    pub(crate) kind: Kind,
    /// What, for people.
    pub(crate) what: String,
    /// The deed in the journal, where it is one.
    pub(crate) deed: Option<usize>,
}

/// Kinds of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was acknowledged, or committed, is not there.
    Lost,
    /// What was committed has had no effect, and never will.
    Untold,
    /// It is there twice, or there where it should not be.
    Doubled,
    /// The books do not balance, or a rule of them is broken.
    Books,
    /// Events out of order.
    Order,
    /// Nobody can tell what became of a deed, or it never ends.
    Open,
    /// A process has panicked.
    Panic,
    /// Something was never done, so nothing is proven of it.
    Idle,
}

/// What was looked at, and what does not fit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// Postings in the database.
    pub(crate) postings: usize,
    /// Entries.
    pub(crate) entries: usize,
    /// Effects at the witness.
    pub(crate) effects: usize,
    /// Purchases.
    pub(crate) sales: usize,
    /// Redemptions.
    pub(crate) redemptions: usize,
    /// Commands that were acted on.
    pub(crate) commands: usize,
    /// Photos that are registered, and whose they are.
    pub(crate) stories: usize,
    pub(crate) people: usize,
    /// Times that a socket went on, and that it began anew; and people whose socket was held against the log.
    pub(crate) resumed: u32,
    pub(crate) anew: u32,
    pub(crate) compared: usize,
    /// What does not fit.
    pub(crate) violations: Vec<Violation>,
}

impl Findings {
    fn add(&mut self, kind: Kind, what: impl Into<String>) {
        self.violations.push(Violation { kind, what: what.into(), deed: None });
    }

    fn of_deed(&mut self, kind: Kind, deed: usize, what: impl Into<String>) {
        self.violations.push(Violation { kind, what: what.into(), deed: Some(deed) });
    }

    /// How many of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    /// `25 kills, 0 lost, 0 doubled, books balance`, and what else there is to say.
    pub(crate) fn verdict(&self, kills: u32) -> String {
        let (lost, doubled) = (self.count(Kind::Lost) + self.count(Kind::Untold), self.count(Kind::Doubled));
        let books = if self.count(Kind::Books) == 0 { "books balance" } else { "books DO NOT balance" };
        self.with_more(format!("{kills} kills, {lost} lost, {doubled} doubled, {books}"))
    }

    /// `1000 stories under 100 kills: 0 lost, 0 doubled`, and what else there is to say.
    pub(crate) fn of_stories(&self, stories: usize, kills: u32) -> String {
        let (lost, doubled) = (self.count(Kind::Lost) + self.count(Kind::Untold), self.count(Kind::Doubled));
        let mut verdict = format!("{stories} stories under {kills} kills: {lost} lost, {doubled} doubled");
        if self.count(Kind::Books) > 0 {
            verdict.push_str(&format!(", {} counted wrong", self.count(Kind::Books)));
        }
        self.with_more(verdict)
    }

    fn with_more(&self, mut verdict: String) -> String {
        for (kind, what) in [
            (Kind::Order, "out of order"),
            (Kind::Open, "without an end"),
            (Kind::Panic, "panics"),
            (Kind::Idle, "never done"),
        ] {
            if self.count(kind) > 0 {
                verdict.push_str(&format!(", {} {what}", self.count(kind)));
            }
        }
        verdict
    }
}

/// Looks at everything.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn look(
    database: &mut PgConnection,
    url: &str,
    journal: &[Deed],
    others: &StandIns,
) -> Result<Findings> {
    let mut state = State::read(database).await?;
    state.market.ask(others).await;
    let mut findings = Findings {
        postings: state.postings.len(),
        entries: state.entries.len(),
        effects: state.effects.len(),
        sales: state.market.sales.len(),
        redemptions: state.market.redemptions.len(),
        commands: state.commands,
        ..Findings::default()
    };
    compare(&state, journal, &mut findings);
    books::chains(url, &mut findings).await?;
    Ok(findings)
}

fn compare(state: &State, journal: &[Deed], findings: &mut Findings) {
    deeds::look(state, journal, findings);
    books::look(state, findings);
    events::look(state, findings);
    market::look(state, journal, findings);
}

/// Looks for panics in what the processes said.
///
/// # Errors
/// When a log cannot be read.
pub(crate) fn panics(folder: &Path, findings: &mut Findings) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|kind| kind != "log") {
            continue;
        }
        let said = fs::read(&path)?;
        if let Some(line) = String::from_utf8_lossy(&said).lines().find(|line| line.contains("panicked")) {
            findings.add(Kind::Panic, format!("{}: {line}", path.display()));
        }
    }
    Ok(())
}

/// Everything that clients ask for must have been done at least once, and a third of all that they asked: of what is only
/// refused, nothing is proven.
pub(crate) fn worked(journal: &[Deed], findings: &mut Findings) {
    if findings.commands == 0 {
        findings.add(Kind::Idle, "no command was acted on");
    }
    let name = |deed: &Deed| format!("{:?}", deed.act).split(' ').next().unwrap_or_default().to_owned();
    let honest = || journal.iter().filter(|deed| !deed.forged);
    let done: HashSet<String> = honest().filter(|deed| deed.taken()).map(name).collect();
    for act in
        ["Grant", "Spend", "Transfer", "Hold", "Capture", "Release", "Reverse", "Batch", "Buy", "Redeem", "ChargeBack"]
    {
        if !done.contains(act) {
            findings.add(Kind::Idle, format!("no {act} was done"));
        }
    }
    let (taken, all) = (honest().filter(|deed| deed.taken()).count(), honest().count());
    if taken * 3 < all {
        findings.add(Kind::Idle, format!("{taken} of {all} deeds were done"));
    }
}

#[cfg(test)]
mod tests;
