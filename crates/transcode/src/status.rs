//! Failures: HTTP status of a gRPC code, and `google.rpc.Status` as JSON.

use bytes::Bytes;

/// The answer of a failed RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// HTTP status.
    pub http_status: u16,
    /// `google.rpc.Status` as JSON.
    pub body: Bytes,
    /// `Retry-After`, whole seconds, rounded up.
    pub retry_after_secs: Option<u64>,
    /// Domain of the ErrorInfo; empty when there is none.
    pub domain: String,
    /// Reason of the ErrorInfo; empty when there is none.
    pub reason: String,
}

/// HTTP status of a gRPC code. A few common reasons have a status of their own.
#[must_use]
pub fn http_status(code: i32, reason: &str) -> u16 {
    match (code, reason) {
        (12, "METHOD_NOT_ALLOWED") => 405,
        (3, "BODY_TOO_LARGE") => 413,
        (3, "UNSUPPORTED_MEDIA_TYPE") => 415,
        (3, "UPGRADE_REQUIRED") => 426,
        (3, "HEADERS_TOO_LARGE") => 431,
        (0, _) => 200,
        (1, _) => 499,
        (3 | 9 | 11, _) => 400,
        (4, _) => 504,
        (5, _) => 404,
        (6 | 10, _) => 409,
        (7, _) => 403,
        (8, _) => 429,
        (12, _) => 501,
        (14, _) => 503,
        (16, _) => 401,
        _ => 500,
    }
}
