//! What a call answered, by protocol.

/// What a call answered, by protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Grpc(tonic::Code),
    Http(http::StatusCode),
}
