//! Bugs that are planted on purpose, so that a proof which would not find them is not taken for one.
//!
//! Each is the smallest change that brings back a mistake which others have made in that place: one line
//! `if planted::on(Bug::…)` in the room where it would live. Without the feature `on` the answer is a constant `false`, and
//! nothing of the bug is compiled. With it a process has at most one bug, chosen when it starts
//! (`coreloop serve --planted <name>`), and refuses to start outside local mode.
//!
//! `cargo xtask prove` runs its harness against each and fails when one of them is not found.

use std::{fmt, str::FromStr};

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// The wallet does not lock the account that orders the events of its owner.
    NoRowLock = 1,
    /// The wallet does not know a key again: who asks twice is served twice.
    KeyForgotten,
    /// The wallet's keys are not told apart by who uses them.
    SharedKey,
    /// The wallet tells of a change in a transaction of its own, before the change is committed.
    EarlyEvent,
    /// The wallet answers before its commit is on disk.
    EarlyReply,
    /// The wallet forgets its events when it tries a batch a second time.
    LostRow,
    /// The wallet changes accounts without writing their entries.
    NoEntry,
    /// The wallet releases a hold that was settled before.
    DoubleRelease,
    /// The wallet captures a hold whose time is over.
    LateCapture,
    /// The relay goes on from the highest number it has seen and never looks back for what commits late.
    IdOrder,
    /// A consumer acknowledges an event before its effect is committed.
    EarlyAck,
    /// A consumer acts on an event that it has acted on before.
    NoInbox,
    /// The shop looks at its stock in one transaction and takes from it in another.
    CheckThenAct,
    /// The shop knows a purchase by product and key, whoever asks.
    UnscopedKey,
    /// Rewards puts a piece back into its stock with the points, though it was put back before.
    PieceTwice,
    /// A reader of Kafka commits the offset of all that it was given, whatever of it is done.
    EarlyOffset,
    /// The wallet does not keep that it refused: the key is asked again as if for the first time.
    RefusalForgotten,
    /// My counts a scan whether or not it was counted.
    CountTwice,
    /// Notification tells of an event that it has told of.
    ToldTwice,
    /// Realtime goes on behind what it has not kept, as if nothing were missing.
    LostGap,
}

/// All bugs with their names and what each is, for people.
pub const ALL: &[(Bug, &str, &str)] = &[
    (Bug::NoRowLock, "no-row-lock", "no lock on the row that orders the events of a user"),
    (Bug::KeyForgotten, "key-forgotten", "no deduplication of a key"),
    (Bug::SharedKey, "shared-key", "a key without its scope: two services' same key is one act"),
    (Bug::EarlyEvent, "early-event", "publish before commit"),
    (Bug::EarlyReply, "early-reply", "reply before the commit is on disk"),
    (Bug::LostRow, "lost-row", "outbox row lost on retry"),
    (Bug::NoEntry, "no-entry", "balance updated without an entry"),
    (Bug::DoubleRelease, "double-release", "a hold is released twice"),
    (Bug::LateCapture, "late-capture", "a hold is captured after its time"),
    (Bug::IdOrder, "id-order", "a relay ordered by id, which skips late commits"),
    (Bug::EarlyAck, "early-ack", "acknowledge before commit, in a consumer"),
    (Bug::NoInbox, "no-inbox", "no deduplication of an event"),
    (Bug::CheckThenAct, "check-then-act", "stock is looked at, let go of, and then taken"),
    (Bug::UnscopedKey, "unscoped-key", "what is known of a key is looked up without the user"),
    (Bug::PieceTwice, "piece-twice", "compensated twice: a piece goes back to the stock once too often"),
    (Bug::EarlyOffset, "early-offset", "acknowledge before commit, in Kafka: an offset goes past what is not done"),
    (Bug::RefusalForgotten, "refusal-forgotten", "a refusal is not kept: its key, asked again, is done"),
    (Bug::CountTwice, "count-twice", "a scan counts without being claimed"),
    (Bug::ToldTwice, "told-twice", "a notification is not known by its event"),
    (Bug::LostGap, "lost-gap", "a socket goes on where messages are missing"),
];

impl Bug {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(bug, ..)| *bug == self).map_or("", |(_, name, _)| name)
    }

    /// What it is, for people.
    #[must_use]
    pub fn what(self) -> &'static str {
        ALL.iter().find(|(bug, ..)| *bug == self).map_or("", |(.., what)| what)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|(_, name, _)| *name == text);
        found.map(|(bug, ..)| *bug).ok_or_else(|| format!("no bug is called `{text}`"))
    }
}

/// Whether this process has the bug: never, in a build without the feature.
#[cfg(not(feature = "on"))]
#[inline(always)]
#[must_use]
pub const fn on(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "on")]
pub use chosen::{again, on, plant, tried};

/// A second try begins, in a process with [`Bug::LostRow`].
#[cfg(not(feature = "on"))]
#[inline(always)]
pub const fn again() {}

/// Whether a second try has begun that was not yet asked about, in a process with [`Bug::LostRow`].
#[cfg(not(feature = "on"))]
#[inline(always)]
#[must_use]
pub const fn tried() -> bool {
    false
}

#[cfg(feature = "on")]
mod chosen {
    use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

    use super::Bug;

    static CHOSEN: AtomicU8 = AtomicU8::new(0);
    static AGAIN: AtomicBool = AtomicBool::new(false);

    /// Plants a bug in this process.
    pub fn plant(bug: Bug) {
        CHOSEN.store(bug as u8, Ordering::SeqCst);
    }

    /// Whether this process has the bug.
    #[must_use]
    pub fn on(bug: Bug) -> bool {
        CHOSEN.load(Ordering::Relaxed) == bug as u8
    }

    /// A second try begins, in a process with [`Bug::LostRow`].
    pub fn again() {
        AGAIN.store(on(Bug::LostRow), Ordering::SeqCst);
    }

    /// Whether a second try has begun that was not yet asked about, in a process with [`Bug::LostRow`].
    #[must_use]
    pub fn tried() -> bool {
        AGAIN.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        for (index, (bug, name, what)) in ALL.iter().enumerate() {
            assert_eq!(usize::from(*bug as u8), index + 1);
            assert_eq!(name.parse::<Bug>().unwrap(), *bug);
            assert!(!what.is_empty() && bug.what() == *what);
        }
        assert!("none".parse::<Bug>().is_err());
    }

    #[cfg(not(feature = "on"))]
    #[test]
    fn what_is_shipped_has_none() {
        assert!(ALL.iter().all(|(bug, ..)| !on(*bug)));
        again();
        assert!(!tried());
    }
}
