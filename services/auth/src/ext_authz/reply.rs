//! `CheckResponse` as bytes.
//!
//! Admission is written field by field into one buffer; denial, which is rare and long, through the generated types.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use coreloop_access::{Allowed, Caller, Cors, Denied};
use coreloop_auth_api::envoy::{
    config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
    service::auth::v3::{CheckResponse, DeniedHttpResponse, check_response::HttpResponse},
    r#type::v3::HttpStatus,
};
use coreloop_core::Problem;
use coreloop_limit::{Headers as Window, Limited};
use coreloop_transcode::{options::Lang, response::Encoder, router};
use prost::{
    Message as _,
    encoding::{encode_varint, encoded_len_varint},
};
use prost_types::{Struct, Value, value::Kind};
use tonic::Status;
use uuid::Uuid;

use super::request::Scan;

const USER: &str = "x-user-id";
const ROLES: &str = "x-user-roles";
const SESSION: &str = "x-session-id";
const TOKEN: &str = "x-token-jti";

/// An admission. Envoy sets headers first and removes after, so a header that is set is never among the removed.
pub(super) fn admitted(allowed: &Allowed, scan: &Scan<'_>) -> Bytes {
    let mut ok = Vec::with_capacity(384);
    let mut facts = Vec::with_capacity(256);
    match &allowed.caller {
        Caller::Anonymous => [USER, ROLES, SESSION, TOKEN].iter().for_each(|name| remove(&mut ok, name)),
        Caller::User(user) => {
            let mut buffers = [Uuid::encode_buffer(); 3];
            let [id, session, token] = &mut buffers;
            let id = user.user_id.0.hyphenated().encode_lower(id);
            let session = user.session_id.0.hyphenated().encode_lower(session);
            let token = user.token_id.0.hyphenated().encode_lower(token);
            set(&mut ok, USER, id);
            set_roles(&mut ok, user.roles);
            set(&mut ok, SESSION, session);
            set(&mut ok, TOKEN, token);
            fact(&mut facts, "user_id", id);
            fact(&mut facts, "jti", token);
        }
        Caller::Machine(machine) => {
            let mut buffer = Uuid::encode_buffer();
            let token = machine.token_id.0.hyphenated().encode_lower(&mut buffer);
            [USER, SESSION].iter().for_each(|name| remove(&mut ok, name));
            set(&mut ok, ROLES, "INTERNAL");
            set(&mut ok, TOKEN, token);
            fact(&mut facts, "service", &machine.service);
            fact(&mut facts, "jti", token);
        }
    }
    for name in &scan.strange {
        remove(&mut ok, name);
    }
    if allowed.degraded {
        // OkHttpResponse.response_headers_to_add = 6
        field(&mut ok, 6, &option("x-auth-degraded", "revocation"));
    }
    fact(&mut facts, "rpc", &allowed.rpc.path);
    fact(&mut facts, "decision", if allowed.degraded { "allow-degraded" } else { "allow" });

    let mut out = Vec::with_capacity(ok.len() + facts.len() + 16);
    // CheckResponse.status = 1: code OK is the default, so the message is empty, but it must be there.
    out.extend_from_slice(&[0x0a, 0x00]);
    field(&mut out, 3, &ok);
    field(&mut out, 4, &facts);
    out.into()
}

/// A length-delimited field.
fn field(to: &mut Vec<u8>, tag: u8, content: &[u8]) {
    begin(to, tag, content.len());
    to.extend_from_slice(content);
}

/// Tag and length of such a field; the content is to follow.
fn begin(to: &mut Vec<u8>, tag: u8, length: usize) {
    to.push(tag << 3 | 2);
    encode_varint(length as u64, to);
}

/// OkHttpResponse.headers = 2.
fn set(to: &mut Vec<u8>, name: &str, value: &str) {
    // HeaderValue { key = 1, value = 2 } in HeaderValueOption { header = 1, append_action = 3 }; all lengths are below 128.
    let (key, content) = (name.len() as u8, value.len() as u8);
    let header = key + content + 4;
    to.extend_from_slice(&[0x12, header + 4, 0x0a, header, 0x0a, key]);
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(&[0x12, content]);
    to.extend_from_slice(value.as_bytes());
    to.extend_from_slice(&[0x18, HeaderAppendAction::OverwriteIfExistsOrAdd as u8]);
}

fn set_roles(to: &mut Vec<u8>, roles: coreloop_access::Roles) {
    use std::fmt::Write as _;
    // All five names and their commas are 38 characters.
    let mut text = String::with_capacity(40);
    let _ = write!(text, "{roles}");
    set(to, ROLES, &text);
}

/// OkHttpResponse.headers_to_remove = 5.
fn remove(to: &mut Vec<u8>, name: &str) {
    field(to, 5, name.as_bytes());
}

/// One entry of Struct.fields = 1: { key = 1, value = 2 { string_value = 3 } }.
fn fact(to: &mut Vec<u8>, name: &str, value: &str) {
    let sized = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    let text = sized(value.len());
    begin(to, 1, sized(name.len()) + sized(text));
    field(to, 1, name.as_bytes());
    begin(to, 2, text);
    field(to, 3, value.as_bytes());
}

fn option(name: &str, value: &str) -> Vec<u8> {
    overwrite(name, value.to_owned()).encode_to_vec()
}

fn overwrite(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}

/// Why a request is refused, and what the answer says beside.
pub(super) struct Refusal {
    problem: Problem,
    /// Methods that there are at the path.
    allow: Option<String>,
    /// The budget that is used up.
    window: Option<Window>,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let allow = match &denied {
            Denied::UnknownMethod { allow } => Some(allow.clone()),
            _ => None,
        };
        Self { problem: denied.into(), allow, window: None }
    }
}

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        Self { problem: limited.into(), allow: None, window: Some(limited.headers) }
    }
}

/// A denial, with the error that the edge would give.
pub(super) fn refused(refusal: Refusal, scan: &Scan<'_>, cors: &Cors) -> Bytes {
    let Refusal { problem, allow, window } = refusal;
    let code = problem.kind().code();
    let reason = problem.reason().to_owned();
    let status = Status::from(problem);
    let lang = Lang::from_accept_language(scan.accept_language);
    let error = Encoder::new(router::router()).error(code as i32, status.message(), status.details(), lang);

    let mut headers = Vec::new();
    let body = if scan.is_grpc() {
        // Envoy makes a trailers-only answer of it: the body becomes grpc-message, the headers stand beside and over its own.
        headers.push(overwrite("grpc-status", (code as i32).to_string()));
        headers.push(overwrite("grpc-status-details-bin", STANDARD_NO_PAD.encode(status.details())));
        status.message().to_owned()
    } else {
        headers.push(overwrite("content-type", "application/json".to_owned()));
        headers.push(overwrite("cache-control", "no-store".to_owned()));
        if error.http_status == 401 {
            headers.push(overwrite("www-authenticate", "Bearer".to_owned()));
        }
        if let Some(allow) = allow {
            headers.push(overwrite("allow", allow));
        }
        String::from_utf8_lossy(&error.body).into_owned()
    };
    if let Some(secs) = error.retry_after_secs {
        headers.push(overwrite("retry-after", secs.to_string()));
    }
    if let Some(window) = window {
        headers.push(overwrite("ratelimit-limit", window.limit.to_string()));
        headers.push(overwrite("ratelimit-remaining", window.remaining.to_string()));
        headers.push(overwrite("ratelimit-reset", window.reset_secs.to_string()));
    }
    headers.extend(readable(scan.picked.origin, cors));
    let denied_response =
        DeniedHttpResponse { status: Some(HttpStatus { code: error.http_status.into() }), headers, body };
    let response = CheckResponse {
        status: Some(tonic_types::pb::Status { code: code as i32, ..Default::default() }),
        dynamic_metadata: Some(facts(&[("decision", "deny"), ("reason", &reason)])),
        http_response: Some(HttpResponse::DeniedResponse(denied_response)),
    };
    response.encode_to_vec().into()
}

/// What lets the page of an admitted origin read the refusal, and says that it depends on the origin.
fn readable(origin: Option<&str>, cors: &Cors) -> Vec<HeaderValueOption> {
    let admitted =
        origin.filter(|origin| cors.admits(origin.as_bytes())).and_then(|o| http::HeaderValue::try_from(o).ok());
    let mut headers = http::HeaderMap::new();
    cors.expose(admitted, &mut headers);
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| overwrite(name.as_str(), text(value))).collect()
}

fn facts(pairs: &[(&str, &str)]) -> Struct {
    let fields = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value { kind: Some(Kind::StringValue((*value).to_owned())) }));
    Struct { fields: fields.collect() }
}
