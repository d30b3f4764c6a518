//! Protobuf over gRPC, with an answer's buffer of the size that answers have.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// First size of the buffer a message is written to. tonic takes 8 KiB, and an open stream keeps them for as long as it
/// lives; nearly every message of ours fits in this, and a larger one grows it.
const WRITTEN: usize = 512;
/// Bytes after which a burst of messages is handed on, as tonic has it.
const BURST: usize = 32 * 1024;

/// The codec of every stub (`cargo xtask codegen`): prost's, but for the buffer.
#[derive(Debug, Clone)]
pub struct Protobuf<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Protobuf<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Protobuf<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(WRITTEN, BURST))
    }

    fn decoder(&mut self) -> Self::Decoder {
        // A request's is let go as soon as it is read.
        ProstCodec::<T, U>::default().decoder()
    }
}
