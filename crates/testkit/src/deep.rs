//! How much a test proves: the short form that every run has time for, or the figures of chapter 09.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

/// Time that the short form of a test of many rounds takes, about.
const SHORT: Duration = Duration::from_secs(10);
/// What the other tests may cost this one.
const NOISE: Duration = Duration::from_secs(12);
/// Most rounds of the short form: what is wrong one time in ten is found by these.
const SHORT_ROUNDS: usize = 30;
/// Fewest, however slow the machine is: one is no round after another.
const LEAST_ROUNDS: usize = 3;

/// The run is a deep one: `CORELOOP_TEST_DEEP` is set, as `cargo xtask prove` does.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "tests are told by their environment how much to prove")]
pub fn deep() -> bool {
    std::env::var_os("CORELOOP_TEST_DEEP").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Time that a promise allows: the figure itself when [`deep`], one test at a time; else with room for the other tests, which
/// two cores run at once with this one.
#[must_use]
pub fn figure(time: Duration) -> Duration {
    if deep() { time } else { time + NOISE }
}

/// The seed of a test of `name`: `CORELOOP_TEST_SEED` to run again what failed, else another each time. It is printed,
/// and cargo shows what a failed test printed.
///
/// # Panics
/// When `CORELOOP_TEST_SEED` is no number.
#[must_use]
#[allow(clippy::print_stderr, reason = "the seed of a failed test is needed to repeat it")]
#[allow(clippy::disallowed_methods, reason = "tests are told by their environment what to repeat")]
pub fn seed(name: &str) -> u64 {
    let given = std::env::var("CORELOOP_TEST_SEED").ok();
    let seed = given.map_or_else(
        || RandomState::new().hash_one(name),
        |given| given.trim().parse().expect("CORELOOP_TEST_SEED is a number"),
    );
    eprintln!("{name}: CORELOOP_TEST_SEED={seed}");
    seed
}

/// Rounds of a test: `all` of them when [`deep`], otherwise what about ten seconds allow, and three at least or as many as
/// [`Rounds::at_least`] says.
#[derive(Debug)]
pub struct Rounds {
    all: usize,
    least: usize,
    done: usize,
    began: Instant,
}

impl Rounds {
    /// `all` rounds when [`deep`].
    #[must_use]
    pub fn of(all: usize) -> Self {
        let all = if deep() { all } else { all.min(SHORT_ROUNDS) };
        Self { all, least: LEAST_ROUNDS.min(all), done: 0, began: Instant::now() }
    }

    /// However slow the machine is, so many: fewer would find too little.
    #[must_use]
    pub fn at_least(self, least: usize) -> Self {
        Self { least: least.min(self.all), ..self }
    }

    /// Rounds that were begun.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.done
    }
}

impl Iterator for Rounds {
    type Item = usize;

    /// Number of the next round.
    fn next(&mut self) -> Option<usize> {
        let time_is_up = !deep() && self.done >= self.least && self.began.elapsed() >= SHORT;
        if self.done == self.all || time_is_up {
            return None;
        }
        self.done += 1;
        Some(self.done - 1)
    }
}
