//! Request messages on their way: bounded in time, each in size, all of a service in sum.
//!
//! A call takes its place ([`crate::admission`]) only once its message is here. So clients that send slowly, or never end,
//! hold no place that others need; what they hold is memory, and that is bounded here. The first kilobyte of a message is
//! no more than the call costs anyway and is not counted: when the room is full of large messages, small calls go on.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use coreloop_core::{Problem, Reason};
use coreloop_service::frame::{self, Unary};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;

use crate::options::ServerOptions;

/// Bytes of each message that take no room.
const FREE: usize = 1024;

/// The messages of one service.
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    patience: Duration,
    shed: Counter,
}

/// A message that is here, and the room it takes until dropped.
pub(crate) struct Arrived {
    pub(crate) unary: Unary,
    _room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(options: &ServerOptions, shed: Counter) -> Self {
        let room = options.bodies_limit_bytes.min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(room)), patience: Duration::from_millis(options.body_timeout_ms), shed }
    }

    /// Reads a body that must be one message of at most `most` bytes.
    ///
    /// # Errors
    /// Those of [`frame::read`]; `DEADLINE_EXCEEDED` when it does not arrive in time, `OVERLOADED` when there is no room.
    pub(crate) async fn read(&self, body: Body, most: usize) -> Result<Arrived, Problem> {
        let (mut bytes, mut taken, mut room) = (0, 0, None);
        let grow = |more: usize| {
            bytes += more;
            let want = usize::saturating_sub(bytes, FREE) - taken;
            taken += want;
            self.take(want, &mut room)
        };
        let unary = {
            let mut reading = pin!(frame::read_with(body, most, grow));
            match futures::poll!(&mut reading) {
                Poll::Ready(read) => read?,
                // Most messages are here already: no timer for those, and no room for one in their future.
                Poll::Pending => {
                    Box::pin(tokio::time::timeout(self.patience, reading)).await.unwrap_or_else(|_| Err(too_slow()))?
                }
            }
        };
        Ok(Arrived { unary, _room: room })
    }

    fn take(&self, bytes: usize, room: &mut Option<OwnedSemaphorePermit>) -> Result<(), Problem> {
        if bytes == 0 {
            return Ok(());
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|_| self.full())?;
        match room {
            Some(room) => room.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    fn full(&self) -> Problem {
        self.shed.inc();
        Problem::common(Reason::Overloaded, "more messages are being read than can be held")
            .retry_after(Duration::from_secs(1))
    }
}

fn too_slow() -> Problem {
    Problem::common(Reason::DeadlineExceeded, "the request did not arrive in time")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Status;

    use super::*;

    fn bodies(bodies_limit_bytes: usize) -> Bodies {
        let options = ServerOptions { bodies_limit_bytes, body_timeout_ms: 3_000, ..ServerOptions::default() };
        Bodies::new(&options, Counter::default())
    }

    /// A message of `length` bytes in parts of a kilobyte; without its last one when it never ends.
    fn message(length: usize, ends: bool) -> Body {
        let frame = frame::write(&vec![b'x'; length]);
        let parts: Vec<_> =
            frame.chunks(1024).map(|part| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(part)))).collect();
        match ends {
            true => Body::new(StreamBody::new(stream::iter(parts))),
            false => {
                let sent = parts.len() - 1;
                Body::new(StreamBody::new(stream::iter(parts).take(sent).chain(stream::pending())))
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_ends_is_waited_for_a_while_and_gives_its_room_back() {
        let bodies = bodies(10_000);
        let began = tokio::time::Instant::now();
        let refused = bodies.read(message(8_000, false), 10_000).await.err().unwrap();
        assert_eq!((refused.reason(), began.elapsed()), ("DEADLINE_EXCEEDED", Duration::from_secs(3)));
        assert_eq!(bodies.room.available_permits(), 10_000);
    }

    #[tokio::test]
    async fn large_messages_share_the_room_and_small_ones_need_none() {
        let bodies = bodies(9_000);
        let first = bodies.read(message(6_000, true), 10_000).await.unwrap();
        assert_eq!(first.unary.message.len(), 6_000);
        let refused = bodies.read(message(6_000, true), 10_000).await.err().unwrap();
        assert_eq!((refused.reason(), bodies.shed.get()), ("OVERLOADED", 1));
        assert!(bodies.read(message(1_000, true), 10_000).await.is_ok());
        drop(first);
        assert!(bodies.read(message(6_000, true), 10_000).await.is_ok());
    }
}
