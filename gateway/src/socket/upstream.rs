//! The stream behind a socket: opened as any server stream, when it is known who asks; or as one in both directions, where the RPC's
//! client streams, too.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use coreloop_core::{Problem, Reason};
use coreloop_service::{Link, call::once, frame};
use http::{HeaderMap, HeaderValue, header, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, body::Body};

use crate::{
    call::{self, Messages},
    edge::Shared,
    fail::Failure,
    passing::restarting,
};

/// Messages of a client that its service has not taken yet.
const UNTAKEN: usize = 16;
/// Time in which a service opens a stream, or says why not: nobody hears the client meanwhile, and its place is held.
const OPENING: Duration = Duration::from_secs(10);
/// When the client of a service that did not is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// A call that is ready to be made.
pub(crate) struct Opening {
    pub(crate) link: Link,
    pub(crate) path: PathAndQuery,
    pub(crate) metadata: HeaderMap,
    /// Of path and query: the message, or the first where the client streams and they say anything.
    pub(crate) message: Bytes,
    /// The client streams, too.
    pub(crate) both_ways: bool,
}

/// A stream that is open.
pub(crate) struct Line {
    /// What the service says.
    pub(crate) messages: Messages,
    /// What the client says; none where it has nothing to say.
    pub(crate) said: Option<Telling>,
}

/// The way of a client's messages. Dropped, the service hears that there are no more.
pub(crate) struct Telling(mpsc::Sender<Bytes>);

/// The service takes messages more slowly than they come.
pub(crate) struct TooMany;

impl Telling {
    /// Hands a message on. One that a service takes no more has no effect: it is about to say why.
    pub(crate) fn tell(&self, message: Bytes) -> Result<(), TooMany> {
        match self.0.try_send(message) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(TooMany),
        }
    }
}

impl Opening {
    /// Says who asks.
    pub(crate) fn authorize(&mut self, token: HeaderValue) {
        self.metadata.insert(header::AUTHORIZATION, once(token));
    }

    /// Opens it. Its metadata, and the way of its messages.
    ///
    /// # Errors
    /// The status of the service, UNAVAILABLE when it is away, does not answer in time, or the edge drains.
    pub(crate) async fn open(self: Box<Self>, shared: &Shared) -> Result<(HeaderMap, Line), Failure> {
        let Self { link, path, metadata, message, both_ways } = *self;
        let limit = shared.options.reply_limit_bytes;
        let opening = async {
            if !both_ways {
                let (told, messages) = call::open(link, path, metadata, &message, limit).await?;
                return Ok((told, Line { messages, said: None }));
            }
            let (said, taken) = mpsc::channel(UNTAKEN);
            let telling = Telling(said);
            if !message.is_empty() {
                // There is room for the first.
                let _taken = telling.tell(message);
            }
            let (told, messages) = call::open_both_ways(link, path, metadata, body(taken), limit).await?;
            Ok::<_, Status>((told, Line { messages, said: Some(telling) }))
        };
        in_time(shared, opening).await
    }

    /// Whether the service would open it: with a client that says nothing and goes.
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub(crate) async fn admitted(self, shared: &Shared) -> Result<(), Failure> {
        let limit = shared.options.reply_limit_bytes;
        let opening = call::open_both_ways(self.link, self.path, self.metadata, Body::empty(), limit);
        in_time(shared, opening).await.map(|_| ())
    }
}

/// What comes of opening a stream within [`OPENING`], unless the edge drains.
async fn in_time<T>(shared: &Shared, opening: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match shared.stopping.run_until_cancelled(timeout(OPENING, opening)).await {
        Some(Ok(opened)) => opened.map_err(Failure::from),
        Some(Err(_)) => {
            let problem =
                Problem::common(Reason::DependencyUnavailable, "the service does not open the stream in time");
            Err(problem.retry_after(COME_BACK).into())
        }
        None => Err(restarting().into()),
    }
}

/// Messages as they are said, framed; it ends when nobody can say any more.
fn body(taken: mpsc::Receiver<Bytes>) -> Body {
    let frames = futures::stream::unfold(taken, |mut taken| async move {
        let message = taken.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(frame::write(&message))), taken))
    });
    Body::new(StreamBody::new(frames))
}
