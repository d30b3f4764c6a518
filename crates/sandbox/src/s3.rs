//! An S3-compatible store: `/{bucket}/{key}` in path style, for the buckets that the settings name.
//!
//! The protocol is somebody else's work (`s3s`, `s3s-fs`), which checks Signature V4 in the header and in presigned addresses as
//! S3 does: the signature over method, path, query and every signed header, the credential's date, the expiry, and 15 minutes
//! of difference between the clocks (the machine's clock: a mesh whose clock a test has moved signs addresses that are expired
//! or too early here). What is not signed is refused: people load objects from what stands in front (`cdn.rs`). PUT keeps type,
//! cache control and `x-amz-meta-…`; HEAD and GET answer them, and an ETag that is the MD5 of the bytes. `s3s-fs` calls itself
//! experimental: rely on PUT, HEAD, GET, DELETE and lists.
//!
//! Objects live in a folder of their own below the system's temporary one, removed when the sandbox ends. One is at most 64 MiB
//! and says its length; 4 GiB are taken in all.
//!
//! Faults as everywhere: provider `s3`, endpoints `put`, `get`, `head`, `delete`, `list`.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use http::{HeaderMap, Method, StatusCode, header};
use s3s::{auth::SimpleAuth, service::S3Service, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;

use crate::{
    Error, Options,
    fault::{self, At},
    state::State,
};

/// Largest object, in bytes.
const LARGEST: u64 = 64 << 20;
/// Most bytes that are taken in all.
const MOST: u64 = 4 << 30;
/// First segments of what else the sandbox serves.
const TAKEN: &[&str] =
    &["_sandbox", "age", "cdn", "classify", "fcm", "google", "kakao", "naver", "payment", "vendor", "v1", "v3"];

/// The store.
pub(crate) struct Storage {
    service: S3Service,
    /// The same objects for who reads them without a signature.
    open: S3Service,
    taken: AtomicU64,
    /// Where objects are; removed with the store.
    folder: TempDir,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

impl Storage {
    /// An empty store with the buckets of the settings.
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("coreloop-sandbox-").tempdir().map_err(Error::Storage)?;
        for bucket in &options.s3_buckets {
            if !is_name(bucket) {
                return Err(Error::Bucket(bucket.clone()));
            }
            std::fs::create_dir_all(folder.path().join(bucket)).map_err(Error::Storage)?;
        }
        let files =
            || FileSystem::new(folder.path()).map_err(|error| Error::Storage(io::Error::other(format!("{error:?}"))));
        let open = S3ServiceBuilder::new(files()?).build();
        let mut service = S3ServiceBuilder::new(files()?);
        let (id, secret) = (options.s3_access_key_id.as_str(), options.s3_access_key_secret.as_str());
        service.set_auth(SimpleAuth::from_single(id, secret));
        Ok(Self { service: service.build(), open, taken: AtomicU64::new(0), folder })
    }

    /// What a GET or HEAD of an object is answered, whoever asks.
    pub(crate) async fn shown(&self, request: s3s::HttpRequest) -> Response {
        self.answer(&self.open, request).await
    }

    /// What a service answers. To S3 a key that others begin with is no object of its own; `s3s-fs` finds a folder and fails.
    async fn answer(&self, service: &S3Service, request: s3s::HttpRequest) -> Response {
        let folder = self.folder.path().join(request.uri().path().trim_start_matches('/')).is_dir();
        match service.call(request).await {
            Ok(response) if folder && response.status().is_server_error() => refuse(StatusCode::NOT_FOUND, "NoSuchKey"),
            Ok(response) => response.map(Body::new),
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    /// Makes room for what a PUT brings.
    fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Response> {
        if method != Method::PUT {
            return Ok(());
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let Some(length) = length.and_then(|length| length.parse::<u64>().ok()) else {
            return Err(refuse(StatusCode::LENGTH_REQUIRED, "MissingContentLength"));
        };
        if length > LARGEST {
            return Err(refuse(StatusCode::BAD_REQUEST, "EntityTooLarge"));
        }
        let taken = self.taken.fetch_add(length, Ordering::Relaxed);
        if taken.saturating_add(length) > MOST {
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
        }
        Ok(())
    }
}

/// `/{bucket}/{key}` and `/{bucket}` of every bucket.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let mut buckets = state.options.s3_buckets.clone();
    buckets.sort();
    buckets.dedup();
    buckets.into_iter().fold(Router::new(), |router, bucket| {
        let played = Arc::clone(state);
        let layer = from_fn(move |request: Request, next| {
            let at = At { provider: "s3", endpoint: endpoint(request.method(), request.uri().path()) };
            fault::play(Arc::clone(&played), at, request, next)
        });
        router
            .route(&format!("/{bucket}"), get(serve).layer(layer.clone()))
            .route(&format!("/{bucket}/"), get(serve).layer(layer.clone()))
            .route(&format!("/{bucket}/{{*key}}"), any(serve).layer(layer))
    })
}

fn endpoint(method: &Method, path: &str) -> &'static str {
    let key = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    match *method {
        _ if !key => "list",
        Method::PUT => "put",
        Method::GET => "get",
        Method::HEAD => "head",
        Method::DELETE => "delete",
        _ => "other",
    }
}

async fn serve(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    if let Err(refused) = state.storage.admit(request.method(), request.headers()) {
        return refused;
    }
    state.storage.answer(&state.storage.service, request.map(s3s::Body::http_body_unsync)).await
}

/// A refusal as S3 words it.
pub(crate) fn refuse(status: StatusCode, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

/// Whether a bucket can be called so, and is not in the way of anything else.
fn is_name(bucket: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (3..=63).contains(&bucket.len()) && bucket.chars().all(plain) && !TAKEN.contains(&bucket)
}
