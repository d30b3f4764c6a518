//! `google.rpc.Status` as JSON.

use coreloop_core::Reason;

use super::{scalar, special, writer::Writer};
use crate::{
    options::{self, Lang},
    shape::Shapes,
    status::{ErrorReply, http_status},
    wire::{self, Malformed, Raw, Reader},
};

const ERROR_INFO: &str = "google.rpc.ErrorInfo";
const LOCALIZED: &str = "google.rpc.LocalizedMessage";
const RETRY_INFO: &str = "google.rpc.RetryInfo";
const TYPE_PREFIX: &str = "type.googleapis.com/";

/// What the edge itself needs of the details.
#[derive(Default)]
struct Known {
    reason: String,
    domain: String,
    retry_after_secs: Option<u64>,
    localized: bool,
}

/// The answer of a failed RPC.
pub(super) fn reply(shapes: &Shapes, code: i32, message: &str, details: &[u8], lang: Option<Lang>) -> ErrorReply {
    let code = if (1..=16).contains(&code) { code } else { 2 };
    let mut known = Known::default();
    let mut list = Vec::with_capacity(details.len() * 2);
    // Details that cannot be read leave the error as it is.
    let _ = each_detail(details, |url, content| {
        let before = list.len();
        separate(&mut list);
        if special::known_any(&mut Writer::new(shapes), url, content, &mut list).is_err() {
            list.truncate(before);
            return;
        }
        known.read(url.rsplit('/').next().unwrap_or_default(), content);
    });
    let mut message = message;
    if known.reason.is_empty()
        && let Some((reason, text)) = foreign(code)
    {
        message = text;
        known.reason = reason.as_str_name().trim_start_matches("REASON_").to_owned();
        known.domain = coreloop_core::problem::COMMON_DOMAIN.to_owned();
        append(shapes, &mut list, ERROR_INFO, [known.reason.as_str(), known.domain.as_str()]);
    }
    if let Some(lang) = lang.filter(|_| !known.localized)
        && let Some(text) = options::reason_text(&known.domain, &known.reason, lang)
    {
        append(shapes, &mut list, LOCALIZED, [lang.tag(), text]);
    }
    let mut body = format!("{{\"code\":{code},\"message\":").into_bytes();
    let _ = scalar::string(message.as_bytes(), &mut body);
    body.extend_from_slice(b",\"details\":[");
    body.extend_from_slice(&list);
    // A purchase that still runs is answered as chapter 03 says, besides.
    let end: &[u8] = if known.reason == "IN_PROGRESS" { b"],\"success\":false}" } else { b"]}" };
    body.extend_from_slice(end);
    ErrorReply {
        http_status: http_status(code, &known.reason),
        body: body.into(),
        retry_after_secs: known.retry_after_secs,
        domain: known.domain,
        reason: known.reason,
    }
}

impl Known {
    fn read(&mut self, name: &str, content: &[u8]) {
        let text = |number| match super::last(content, number) {
            Ok(Some(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
            _ => String::new(),
        };
        match name {
            ERROR_INFO => (self.reason, self.domain) = (text(1), text(2)),
            LOCALIZED => self.localized = true,
            RETRY_INFO => {
                let delay = super::last(content, 1).ok().flatten().and_then(|delay| special::parts(&delay));
                self.retry_after_secs = delay.and_then(|(secs, nanos)| {
                    let whole = u64::try_from(secs).ok()?;
                    Some(whole + u64::from(nanos > 0))
                });
            }
            _ => {}
        }
    }
}

/// Calls with each detail of an encoded Status.
fn each_detail<'a>(details: &'a [u8], mut call: impl FnMut(&'a str, &'a [u8])) -> Result<(), Malformed> {
    let mut reader = Reader(details);
    while let Some((number, raw)) = reader.field()? {
        if let (3, Raw::Bytes(any)) = (number, raw)
            && let Ok((url, content)) = special::any_parts(any)
        {
            call(url, content);
        }
    }
    Ok(())
}

/// Appends a detail whose first two fields are text.
fn append(shapes: &Shapes, list: &mut Vec<u8>, name: &str, texts: [&str; 2]) {
    let mut content = Vec::new();
    for (number, text) in (1..).zip(texts) {
        wire::bytes(&mut content, number, text.as_bytes());
    }
    let before = list.len();
    separate(list);
    let url = format!("{TYPE_PREFIX}{name}");
    if special::known_any(&mut Writer::new(shapes), &url, &content, list).is_err() {
        list.truncate(before);
    }
}

fn separate(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.push(b',');
    }
}

/// Reason and text of a failure that none of our services gave a reason for.
fn foreign(code: i32) -> Option<(Reason, &'static str)> {
    Some(match code {
        4 => (Reason::DeadlineExceeded, "the deadline passed"),
        12 => (Reason::Unimplemented, "this is not available"),
        14 => (Reason::DependencyUnavailable, "a part that the call needs does not answer"),
        2 | 13 | 15 => (Reason::Internal, "internal error"),
        _ => return None,
    })
}
