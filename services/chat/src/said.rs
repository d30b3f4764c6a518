//! What the model has just said, on its way from where it is asked to where that is written down.
//!
//! The result of a command is kept beside it for a week; an answer is not to outlive its conversation, so it goes this way. It is lost
//! with the process, and then the model is asked again.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the model read and said, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// What it read.
    pub prompt: i64,
    /// What it said.
    pub answer: i64,
}

impl Took {
    /// All of it.
    #[must_use]
    pub fn total(self) -> i64 {
        self.prompt.saturating_add(self.answer)
    }

    /// This and `more`.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self { prompt: self.prompt.saturating_add(more.prompt), answer: self.answer.saturating_add(more.answer) }
    }

    /// As much of it as `most`.
    #[must_use]
    pub fn at_most(self, most: i64) -> Self {
        let prompt = self.prompt.min(most);
        Self { prompt, answer: self.answer.min(most.saturating_sub(prompt)) }
    }
}

/// An answer of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// What it said.
    pub text: String,
    /// It ends before its end.
    pub truncated: bool,
    /// What that took, with all that was asked for it and came to nothing.
    pub took: Took,
}

/// The last answers, by the commands that asked for them.
#[derive(Debug)]
pub struct Memory {
    most: usize,
    kept: Mutex<VecDeque<(Uuid, Said)>>,
}

impl Memory {
    /// Keeps so many.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self { most: most.max(1), kept: Mutex::default() }
    }

    /// Keeps an answer, and forgets the oldest where there are too many.
    pub fn keep(&self, command: Uuid, said: Said) {
        let mut kept = self.kept();
        kept.retain(|(known, _)| *known != command);
        while kept.len() >= self.most {
            kept.pop_front();
        }
        kept.push_back((command, said));
    }

    /// The answer that a command came to, if it is known.
    #[must_use]
    pub fn find(&self, command: Uuid) -> Option<Said> {
        self.kept().iter().find(|(known, _)| *known == command).map(|(_, said)| said.clone())
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Uuid, Said)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said { text: text.to_owned(), ..Said::default() }
    }

    #[test]
    fn what_was_taken_is_cut_to_what_may_be() {
        let took = Took { prompt: 30, answer: 20 };
        assert_eq!((took.at_most(50), took.at_most(i64::MAX)), (took, took));
        for most in 0..50 {
            assert_eq!(took.at_most(most).total(), most);
        }
        assert_eq!(took.and(took), Took { prompt: 60, answer: 40 });
    }

    #[test]
    fn the_last_answers_are_known() {
        let memory = Memory::of(2);
        for (number, text) in [(1, "a"), (2, "b"), (2, "c"), (3, "d")] {
            memory.keep(Uuid::from_u128(number), said(text));
        }
        assert_eq!(memory.find(Uuid::from_u128(1)), None);
        assert_eq!(memory.find(Uuid::from_u128(2)), Some(said("c")));
        assert_eq!(memory.find(Uuid::from_u128(3)), Some(said("d")));
    }
}
