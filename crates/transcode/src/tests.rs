//! The golden table of transcoding, and what hostile input may not do.

mod described;
mod hostile;
mod matching;
mod parameters;
mod replies;
mod requests;
mod starting;
mod values;

use std::{path::Path, sync::LazyLock};

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use tonic_types::StatusExt as _;

use crate::{
    request::{Decoder, Input},
    router::{Match, Router},
};

/// Compiles proto text beside our own protos.
fn compile(text: &'static str) -> DescriptorPool {
    struct Text(&'static str);
    impl FileResolver for Text {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            if name == "test.proto" {
                File::from_source(name, self.0)
            } else {
                Err(protox::Error::file_not_found(name))
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut files = ChainFileResolver::new();
    files.add(Text(text));
    files.add(IncludeFileResolver::new(root.clone()));
    files.add(IncludeFileResolver::new(root.join("third_party")));
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("test.proto").unwrap_or_else(|e| panic!("{e}"));
    for file in ["google/rpc/error_details.proto", "google/rpc/status.proto"] {
        compiler.open_file(file).unwrap();
    }
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

/// The pool of the odd shapes.
fn odd_pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| compile(include_str!("../tests-data/shapes.proto")));
    &POOL
}

/// The router of the odd shapes.
fn odd() -> &'static Router {
    static ROUTER: LazyLock<Router> =
        LazyLock::new(|| Router::new(odd_pool()).unwrap_or_else(|errors| panic!("{errors:#?}")));
    &ROUTER
}

/// The request whose body is its message.
const ECHO: &str = "POST /v1/echo";

/// A request, method and target as in the request line.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    content_type: Option<&'a str>,
    body: &'a [u8],
    key: Option<&'a str>,
}

fn request<'a>(line: &'a str, body: &'a str) -> Request<'a> {
    let (method, target) = line.split_once(' ').unwrap();
    Request { method, target, content_type: None, body: body.as_bytes(), key: None }
}

/// The request as our message, or `reason field: description`.
fn decode(request: Request<'_>) -> Result<DynamicMessage, String> {
    let Match::Found { route, vars } = odd().find(request.method, request.target) else {
        return Err(format!("no route for {} {}", request.method, request.target));
    };
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let Request { content_type, body, key, .. } = request;
    let input = Input { vars: &vars, query, content_type, body, idempotency_key: key };
    match Decoder::new(odd()).decode(route, &input) {
        Ok(encoded) => Ok(DynamicMessage::decode(route.method.input(), encoded).expect("wire bytes decode")),
        Err(problem) => {
            let reason = problem.reason().to_owned();
            let message = problem.message().to_owned();
            let status = tonic::Status::from(problem);
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            let details = status.get_error_details();
            let violations = details.bad_request().map(|b| b.field_violations.clone()).unwrap_or_default();
            Err(match violations.first() {
                Some(violation) => format!("{reason} {}: {}", violation.field, violation.description),
                None => format!("{reason} {message}"),
            })
        }
    }
}

/// The message that prost-reflect, an implementation of its own, reads from canonical JSON.
fn reference(message: &str, json: &str) -> DynamicMessage {
    let descriptor = odd_pool().get_message_by_name(message).unwrap();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = DynamicMessage::deserialize(descriptor, &mut deserializer);
    read.unwrap_or_else(|error| panic!("reference refuses {json}: {error}"))
}

/// The request is read as this canonical JSON.
#[track_caller]
fn reads(asked: Request<'_>, expected: &str) {
    let what = format!("{} {} {}", asked.method, asked.target, String::from_utf8_lossy(asked.body));
    let found = decode(asked).unwrap_or_else(|error| panic!("{what}: {error}"));
    let expected = reference(found.descriptor().full_name(), expected);
    assert_eq!(text(&found), text(&expected), "{what}");
}

/// The request is refused with this text.
#[track_caller]
fn refuses(asked: Request<'_>, expected: &str) {
    let what = format!("{} {} {}", asked.method, asked.target, String::from_utf8_lossy(asked.body));
    match decode(asked) {
        Ok(message) => panic!("{what}: read as {}", text(&message)),
        Err(error) => assert!(error.starts_with(expected), "{what}: expected `{expected}`, got `{error}`"),
    }
}

/// Maps compare without regard to order.
fn text(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}
