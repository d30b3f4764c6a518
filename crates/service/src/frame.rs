//! The one message of a unary call, as bytes in its frame (gRPC over HTTP/2, `Length-Prefixed-Message`).

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use coreloop_core::{Problem, Reason};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tonic::Status;

/// Bytes of flag and length before a message (gRPC over HTTP/2).
pub const HEADER: usize = 5;

/// A message and the frame it came in; both share their bytes.
#[derive(Debug)]
pub struct Unary {
    /// The message with its five bytes of flag and length.
    pub frame: Bytes,
    /// The message.
    pub message: Bytes,
}

/// Reads a body that must be exactly one uncompressed message of at most `most` bytes.
///
/// # Errors
/// `BODY_TOO_LARGE` as soon as more has come, `UNIMPLEMENTED` for a compressed message, `MALFORMED_REQUEST` for anything
/// that is not one whole message.
pub async fn read<B>(body: B, most: usize) -> Result<Unary, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    read_with(body, most, |_| Ok(())).await
}

/// As [`read`]. `grow` is told of the bytes of each part before they are kept, and may refuse them.
///
/// # Errors
/// As [`read`], and those of `grow`.
pub async fn read_with<B>(
    body: B,
    most: usize,
    mut grow: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Unary, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    // Nearly every message comes in one part, which is then not copied.
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| malformed("the request was cut off").because(error))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > most + HEADER {
            return Err(too_large(most));
        }
        grow(data.len())?;
        whole = if whole.is_empty() { data } else { joined(whole, &data) };
    }
    let message = message(whole.clone(), most)?;
    Ok(Unary { frame: whole, message })
}

/// Grows in place after the first join, so that many small parts cost no more than one large one.
fn joined(first: Bytes, second: &[u8]) -> Bytes {
    let mut both = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    both.put_slice(second);
    both.freeze()
}

fn message(mut frame: Bytes, most: usize) -> Result<Bytes, Problem> {
    if frame.len() < HEADER {
        return Err(malformed("the request holds no message"));
    }
    let compressed = frame.get_u8();
    let length = usize::try_from(frame.get_u32()).unwrap_or(usize::MAX);
    if length > most {
        return Err(too_large(most));
    }
    if length != frame.len() {
        return Err(malformed("the message is not as long as it says, or is not the only one"));
    }
    // What cannot be looked at here would reach the handler unvalidated.
    if compressed != 0 {
        return Err(Problem::common(Reason::Unimplemented, "compressed requests are not accepted"));
    }
    Ok(frame)
}

/// The message as a frame.
#[must_use]
pub fn write(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + HEADER);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// A unary answer with its one message, for a service that has it as bytes already: no codec, no copy beyond the frame.
#[must_use]
pub fn answer(message: &[u8]) -> Response<tonic::body::Body> {
    let mut response = Response::new(tonic::body::Body::new(Answer { frame: write(message), ended: false }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Largest part that h2 copies into the buffer that it is about to write. A longer one is handed to the system in place,
/// and ends the write: then each answer pays for two writes of its own, which costs more than everything else about it.
const GATHERED: usize = 255;
/// Longest frame that is given in such parts; what a longer one would save is used up by the number of parts.
const PARTED: usize = 4 * GATHERED;

/// A frame and the trailers of success. Its length is not told: gRPC has no use for `content-length`.
struct Answer {
    frame: Bytes,
    ended: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.frame.len() {
            0 if self.ended => return Poll::Ready(None),
            0 => {
                self.ended = true;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Frame::trailers(trailers)
            }
            GATHERED..=PARTED => Frame::data(self.frame.split_to(GATHERED)),
            _ => Frame::data(std::mem::take(&mut self.frame)),
        };
        Poll::Ready(Some(Ok(next)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

fn malformed(text: &'static str) -> Problem {
    Problem::common(Reason::MalformedRequest, text)
}

fn too_large(most: usize) -> Problem {
    Problem::common(Reason::BodyTooLarge, format!("the request is larger than {most} bytes"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;

    use super::*;

    async fn read_parts(parts: &[&[u8]]) -> Result<Bytes, Problem> {
        let frames: Vec<Result<Frame<Bytes>, std::io::Error>> =
            parts.iter().map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect();
        read(StreamBody::new(stream::iter(frames)), 8).await.map(|unary| unary.message)
    }

    #[tokio::test]
    async fn one_message_in_any_number_of_parts() {
        for parts in [vec![&b"\0\0\0\0\x03abc"[..]], vec![b"\0\0", b"\0\0\x03a", b"bc"], vec![b"", b"\0\0\0\0\x03abc"]]
        {
            assert_eq!(read_parts(&parts).await.unwrap(), "abc");
        }
        assert_eq!(write(b"abc"), &b"\0\0\0\0\x03abc"[..]);
    }

    #[tokio::test]
    async fn an_answer_is_its_frame_and_the_trailers_of_success() {
        for length in [0, 250, 251, 600, 1_015, 1_016, 70_000] {
            let message = vec![b'x'; length];
            let (mut largest, mut seen, mut body) = (0, Vec::new(), answer(&message).into_body());
            let trailers = loop {
                match body.frame().await.unwrap().unwrap().into_data() {
                    Ok(data) => {
                        largest = largest.max(data.len());
                        seen.extend_from_slice(&data);
                    }
                    Err(frame) => break frame.into_trailers().unwrap(),
                }
            };
            assert!(body.is_end_stream() && body.frame().await.is_none(), "{length}");
            assert_eq!(seen, write(&message), "{length}");
            assert_eq!(trailers["grpc-status"], "0");
            assert!(largest <= GATHERED || length + HEADER > PARTED, "{length}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let table: [(&[u8], &str); 7] = [
            (b"", "MALFORMED_REQUEST"),
            (b"\0\0\0", "MALFORMED_REQUEST"),
            (b"\0\0\0\0\x04abc", "MALFORMED_REQUEST"),
            (b"\0\0\0\0\x02abc", "MALFORMED_REQUEST"),
            (b"\x01\0\0\0\x03abc", "UNIMPLEMENTED"),
            (b"\0\0\0\0\x09123456789", "BODY_TOO_LARGE"),
            (b"\0\xff\xff\xff\xffabc", "BODY_TOO_LARGE"),
        ];
        for (bytes, reason) in table {
            assert_eq!(read_parts(&[bytes]).await.unwrap_err().reason(), reason, "{bytes:?}");
        }
    }
}
