//! What follows from the death of a command: its handler's hook, in the transaction that makes it a dead letter.

use coreloop_db::Transaction;

use super::{Kind, turn::Turn};
use crate::{Command, Event, Failure, consumer::turn, store::inbox::Standing};

/// A hook that has refused so often is left out.
const TRIES: u32 = 5;

/// The hook of one death.
pub(super) struct Hook {
    /// What it died of; none when there is nothing to call.
    failure: Option<Failure>,
    refusals: u32,
}

impl Hook {
    /// Nothing is called.
    pub(super) fn none() -> Self {
        Self { failure: None, refusals: 0 }
    }

    /// Takes in why the transaction was not committed; true when it may be for the hook and is worth another try. After the last
    /// the hook is left out, and the letter says so.
    pub(super) fn refused(&mut self, refused: &Failure, standing: &mut Standing) -> bool {
        if self.failure.is_none() || standing.state != "dead" || matches!(refused, Failure::Transient(_)) {
            return false;
        }
        self.refusals += 1;
        if self.refusals < TRIES {
            return true;
        }
        tracing::error!(%refused, "what follows from the death of a command is not written");
        standing.error = format!("{}; its hook: {}", standing.error, super::aside::text(&refused.to_string()));
        self.failure = None;
        true
    }
}

impl Turn<'_> {
    /// The hook of a death of `failure`. What cannot be read is no command, and has none.
    pub(super) fn hook(&self, failure: &Failure) -> Hook {
        let commands = matches!(self.consumer.work, Kind::Commands(..)) && failure.reason() != "UNREADABLE";
        Hook { failure: commands.then(|| failure.clone()), refusals: 0 }
    }

    /// Calls it.
    pub(super) async fn mourn(&self, transaction: &mut Transaction, event: &Event, hook: &Hook) -> Result<(), Failure> {
        let (Kind::Commands(queue, _, handler), Some(failure)) = (&self.consumer.work, &hook.failure) else {
            return Ok(());
        };
        let command = Command::of(*queue, event);
        turn::bounded(self.consumer.within, &self.call(event), handler.died(transaction, &command, failure)).await
    }
}
