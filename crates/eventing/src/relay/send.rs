//! What becomes of a batch: its commands go to their queues, its events to the bus.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{MutexGuard, PoisonError},
};

use super::Relay;
use crate::{Command, CommandBroker, CommandBus, Error, Event, EventBroker, Queue, SendError, bus};

/// Commands by the numbers of their rows. It holds no more than two batches.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Those that their broker took while what else is in their batch was not taken.
    pub(super) commands: BTreeSet<i64>,
    /// Those that their broker will never take, and why.
    pub(super) refused: BTreeMap<i64, String>,
}

impl Relay {
    pub(super) fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the commands of a batch, then publishes its events. In this order: a broker that loses the last it was told, of
    /// both, then knows of a batch less, and is told again.
    pub(super) async fn publish(&self, batch: bus::Batch<'_>) -> Result<(), Error> {
        let commands: Vec<&Event> = batch.events.iter().filter(|event| event.topic.queue().is_some()).collect();
        if commands.is_empty() && self.parts.options.relay {
            return self.parts.bus.publish(batch).await;
        }
        self.send(&commands).await.inspect_err(|error| {
            if !self.keeps(error) {
                self.sent().commands.clear();
            }
        })?;
        if self.parts.options.relay {
            let events: Vec<Event> =
                batch.events.iter().filter(|event| event.topic.queue().is_none()).cloned().collect();
            self.parts.bus.publish(bus::Batch { events: &events, ..batch }).await?;
        }
        let mut sent = self.sent();
        sent.commands.retain(|number| commands.iter().all(|command| command.sequence != *number));
        sent.refused.clear();
        Ok(())
    }

    /// Forgets what was sent when its broker may have lost it. Where events go elsewhere, what their broker says tells nothing of
    /// that: commands are not sent again each time that it refuses.
    pub(super) fn forget_after(&self, error: &Error) {
        if self.parts.options.events == EventBroker::Redis && !self.keeps(error) {
            self.sent().commands.clear();
        }
    }

    /// The broker of the commands has what it has taken, whatever else it said: it answered, or has it on disk before it says so.
    fn keeps(&self, error: &Error) -> bool {
        self.parts.options.commands != CommandBroker::Redis || stands(error)
    }

    /// Sends commands, queue by queue, those of each in order; one that is full holds up no other. What was sent before an error
    /// may be sent again, and is done once.
    async fn send(&self, rows: &[&Event]) -> Result<(), Error> {
        let mut queues: Vec<(Queue, Vec<(i64, Command)>)> = Vec::new();
        for row in rows {
            if self.sent().commands.contains(&row.sequence) {
                continue;
            }
            let name = row.topic.queue().unwrap_or_default();
            let queue = Queue::named(name).ok_or_else(|| Error::Name(name.to_owned()))?;
            let command = (row.sequence, Command { source: self.parts.schema.clone(), ..Command::of(queue, row) });
            match queues.iter_mut().find(|(known, _)| *known == queue) {
                Some((_, commands)) => commands.push(command),
                None => queues.push((queue, vec![command])),
            }
        }
        let mut refused = None;
        for (queue, commands) in queues {
            let bus = self.commands.as_ref().ok_or_else(|| Error::Name(queue.name().to_owned()))?;
            let (numbers, commands): (Vec<i64>, Vec<Command>) = commands.into_iter().unzip();
            let sent = match self.send_to(&**bus, queue, &numbers, &commands).await {
                Err(Error::TooLarge(_)) => self.sift(&**bus, queue, &numbers, &commands).await,
                sent => sent,
            };
            match sent {
                Err(error) if stands(&error) => refused = Some(error),
                sent => sent?,
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends commands of one queue, and notes which of them its broker has.
    async fn send_to(
        &self,
        bus: &dyn CommandBus,
        queue: Queue,
        numbers: &[i64],
        commands: &[Command],
    ) -> Result<(), Error> {
        match bus.send(queue, commands).await {
            Ok(()) => {
                self.sent().commands.extend(numbers);
                Ok(())
            }
            Err(SendError { taken, source }) => {
                self.sent().commands.extend(taken.into_iter().filter_map(|place| numbers.get(place)));
                Err(source)
            }
        }
    }

    /// Sends commands of which some are too large one by one, and notes which: the next look sets them aside.
    async fn sift(
        &self,
        bus: &dyn CommandBus,
        queue: Queue,
        numbers: &[i64],
        commands: &[Command],
    ) -> Result<(), Error> {
        let mut too_large = None;
        for (number, command) in numbers.iter().zip(commands) {
            if self.sent().commands.contains(number) {
                continue;
            }
            match self.send_to(bus, queue, std::slice::from_ref(number), std::slice::from_ref(command)).await {
                Err(Error::TooLarge(bytes)) => {
                    let why = format!("{bytes} bytes are more than the broker of commands takes");
                    self.sent().refused.insert(*number, why);
                    too_large = Some(bytes);
                }
                sent => sent?,
            }
        }
        too_large.map_or(Ok(()), |bytes| Err(Error::TooLarge(bytes)))
    }
}

/// The broker of the commands answered, so what it has taken it has.
fn stands(error: &Error) -> bool {
    matches!(error, Error::Full | Error::TooLarge(_))
}
