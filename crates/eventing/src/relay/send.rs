//! What becomes of a batch: its commands go to their queues, its events to the bus.

use super::Relay;
use crate::{Command, Error, Event, Queue, bus};

impl Relay {
    /// Sends the commands of a batch, then publishes its events. In this order: a broker that loses the last it was told, of
    /// both, then knows of a batch less, and is told again.
    pub(super) async fn publish(&self, batch: bus::Batch<'_>) -> Result<(), Error> {
        let commands: Vec<&Event> = batch.events.iter().filter(|event| event.topic.queue().is_some()).collect();
        if commands.is_empty() && self.parts.options.relay {
            return self.parts.bus.publish(batch).await;
        }
        self.send(&commands).await?;
        if !self.parts.options.relay {
            return Ok(());
        }
        let events: Vec<Event> = batch.events.iter().filter(|event| event.topic.queue().is_none()).cloned().collect();
        self.parts.bus.publish(bus::Batch { events: &events, ..batch }).await
    }

    /// Sends commands, queue by queue, those of each in order. What was sent before an error is sent again, and done once.
    async fn send(&self, rows: &[&Event]) -> Result<(), Error> {
        let mut queues: Vec<(Queue, Vec<Command>)> = Vec::new();
        for row in rows {
            let name = row.topic.queue().unwrap_or_default();
            let queue = Queue::named(name).ok_or_else(|| Error::Name(name.to_owned()))?;
            let command = Command { source: self.parts.schema.clone(), ..Command::of(queue, row) };
            match queues.iter_mut().find(|(known, _)| *known == queue) {
                Some((_, commands)) => commands.push(command),
                None => queues.push((queue, vec![command])),
            }
        }
        for (queue, commands) in queues {
            let bus = self.commands.as_ref().ok_or_else(|| Error::Name(queue.name().to_owned()))?;
            bus.send(queue, &commands).await?;
        }
        Ok(())
    }
}
