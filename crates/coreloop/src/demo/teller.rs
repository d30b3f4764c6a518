//! What is printed while a story goes on: a line a step, with the time since it began.

use std::{fmt::Display, time::Instant};

/// Prints steps.
#[derive(Debug)]
pub(crate) struct Teller {
    began: Instant,
}

impl Teller {
    /// From now on.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// A step that has happened.
    pub(crate) fn step(&self, step: &str, seen: impl Display) {
        println!("{}", line(self.began.elapsed().as_millis(), step, &seen.to_string()));
    }
}

/// Milliseconds, the step, what was seen of it.
fn line(ms: u128, step: &str, seen: &str) -> String {
    format!("{ms:>7} ms  {step:<14}  {seen}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_below_each_other() {
        assert_eq!(line(7, "uploaded", "as 1"), "      7 ms  uploaded        as 1");
        assert_eq!(line(61_234, "notification", "x"), "  61234 ms  notification    x");
    }
}
