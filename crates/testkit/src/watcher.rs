//! Somebody who watches their session, in each way that a stream can be asked for.

use std::time::Duration;

use bytes::Bytes;
use coreloop_transcode::descriptor;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;
use tonic::{Status, Streaming};

use crate::{
    Persona,
    rest::Open,
    rpc::{self, frame},
    wait::{PATIENCE, within},
};

/// The RPC.
pub const WATCH: &str = "/coreloop.auth.v1.AuthService/WatchSession";
/// Its REST path.
pub const WATCH_PATH: &str = "/api/v1/auth/session/watch";

/// A way to ask for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// gRPC over HTTP/2.
    Grpc,
    /// REST, a JSON line a message.
    Lines,
    /// REST, server-sent events.
    Events,
    /// gRPC-Web, binary.
    Web,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Grpc, Self::Lines, Self::Events, Self::Web];
}

/// What a watch hears next.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A message, as ProtoJSON with proto names.
    Message(Value),
    /// The stream failed, and said so in the way's own form.
    Failed {
        /// gRPC code.
        code: i32,
        /// Reason of the ErrorInfo.
        reason: String,
        /// There is a RetryInfo.
        retry: bool,
    },
    /// The stream ended well.
    Ended,
    /// The connection broke before the stream said how it ended.
    Broken(String),
}

impl Heard {
    /// The message's session.
    ///
    /// # Panics
    /// When it is no message.
    #[must_use]
    #[track_caller]
    pub fn session(&self) -> &Value {
        match self {
            Self::Message(message) => &message["session"],
            other => panic!("no message but {other:?}"),
        }
    }

    /// Why the message was sent.
    ///
    /// # Panics
    /// When it is no message.
    #[must_use]
    #[track_caller]
    pub fn cause(&self) -> &str {
        match self {
            Self::Message(message) => message["cause"].as_str().expect("a cause"),
            other => panic!("no message but {other:?}"),
        }
    }

    /// The stream failed with this code and reason.
    #[must_use]
    pub fn failed_with(&self, wanted: tonic::Code, why: &str) -> bool {
        matches!(self, Self::Failed { code, reason, .. } if *code == wanted as i32 && reason == why)
    }

    fn of(status: &Status) -> Self {
        use tonic_types::StatusExt as _;
        let details = status.get_error_details();
        match details.error_info() {
            Some(info) => Self::Failed {
                code: status.code() as i32,
                reason: info.reason.clone(),
                retry: details.retry_info().is_some(),
            },
            None => Self::Broken(status.to_string()),
        }
    }

    fn of_json(error: &Value) -> Self {
        let details = error["details"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| details.iter().find(|d| d["@type"].as_str().is_some_and(|t| t.ends_with(name))).cloned();
        Self::Failed {
            code: error["code"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("a code"),
            reason: of("ErrorInfo").and_then(|info| info["reason"].as_str().map(str::to_owned)).unwrap_or_default(),
            retry: of("RetryInfo").is_some(),
        }
    }
}

/// An open watch.
#[derive(Debug)]
pub struct Watcher {
    way: Way,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Grpc(Box<Streaming<Bytes>>),
    Http(Box<Open>),
    Refused(Option<Heard>),
}

impl Watcher {
    /// Opens a watch of `persona` at `base` with more metadata or headers. What is refused is heard.
    pub async fn open_with(persona: &Persona, base: &str, way: Way, headers: &[(&str, &str)]) -> Self {
        let token = format!("Bearer {}", persona.access_token);
        let inner = match way {
            Way::Grpc => {
                let metadata: Vec<_> = [("authorization", token.as_str())].iter().chain(headers).copied().collect();
                let channel = rpc::channel_from(persona.visitor.source, base);
                match rpc::open(&channel, WATCH, &[], &metadata).await {
                    Ok(stream) => Inner::Grpc(Box::new(stream)),
                    Err(status) => Inner::Refused(Some(Heard::of(&status))),
                }
            }
            _ => Self::over_http(persona, base, way, headers).await,
        };
        Self { way, inner }
    }

    async fn over_http(persona: &Persona, base: &str, way: Way, headers: &[(&str, &str)]) -> Inner {
        let rest = persona.at(base).rest();
        let call = match way {
            Way::Web => rest
                .call(Method::POST, WATCH)
                .header("content-type", "application/grpc-web+proto")
                .header("x-grpc-web", "1")
                .body(frame(&[])),
            Way::Events => rest.get(WATCH_PATH).header("accept", "text/event-stream"),
            _ => rest.get(WATCH_PATH),
        };
        let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        let open = call.open().await;
        if let Some(status) = Status::from_header_map(&open.headers) {
            return Inner::Refused(Some(Heard::of(&status)));
        }
        if open.status != 200 {
            let body: Value = serde_json::from_slice(&open.rest().await.expect("a body")).expect("JSON");
            return Inner::Refused(Some(Heard::of_json(body.get("error").unwrap_or(&body))));
        }
        Inner::Http(Box::new(open))
    }

    /// Opens a watch and hears its first message.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open(persona: &Persona, base: &str, way: Way) -> Self {
        let mut watcher = Self::open_with(persona, base, way, &[]).await;
        let first = watcher.next(PATIENCE).await;
        assert_eq!(first.cause(), "WATCH_CAUSE_OPENED", "{way:?}");
        watcher
    }

    /// What is heard next, heartbeats of the transport left out.
    ///
    /// # Panics
    /// When nothing is, within `deadline`.
    pub async fn next(&mut self, deadline: Duration) -> Heard {
        let way = self.way;
        within(format!("{way:?}: the next message"), deadline, self.hear()).await
    }

    /// How the stream ends, whatever is said before.
    ///
    /// # Panics
    /// When it does not, within `deadline`.
    pub async fn end(&mut self, deadline: Duration) -> Heard {
        let way = self.way;
        within(format!("{way:?}: the end"), deadline, async {
            loop {
                match self.hear().await {
                    Heard::Message(_) => {}
                    end => return end,
                }
            }
        })
        .await
    }

    async fn hear(&mut self) -> Heard {
        match &mut self.inner {
            Inner::Refused(heard) => heard.take().unwrap_or(Heard::Ended),
            Inner::Grpc(stream) => match stream.message().await {
                Ok(Some(message)) => Heard::Message(json(message)),
                Ok(None) => Heard::Ended,
                Err(status) => Heard::of(&status),
            },
            Inner::Http(open) => match self.way {
                Way::Web => web(open).await,
                Way::Events => event(open).await,
                _ => line(open).await,
            },
        }
    }
}

async fn line(open: &mut Open) -> Heard {
    loop {
        return match open.until(b"\n").await {
            // A heartbeat.
            Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
            Ok(Some(line)) => {
                let line: Value = serde_json::from_slice(&line).expect("a line is JSON");
                line.get("error").map_or_else(|| Heard::Message(line["result"].clone()), Heard::of_json)
            }
            Ok(None) => Heard::Ended,
            Err(error) => Heard::Broken(error.to_string()),
        };
    }
}

async fn event(open: &mut Open) -> Heard {
    loop {
        let text = match open.until(b"\n\n").await {
            Ok(Some(event)) => String::from_utf8(event).expect("text"),
            Ok(None) => return Heard::Ended,
            Err(error) => return Heard::Broken(error.to_string()),
        };
        let Some(data) = text.lines().find_map(|line| line.strip_prefix("data:")) else { continue };
        let data: Value = serde_json::from_str(data).expect("data is JSON");
        let failed = text.lines().any(|line| line == "event: error");
        return if failed { Heard::of_json(&data["error"]) } else { Heard::Message(data) };
    }
}

async fn web(open: &mut Open) -> Heard {
    let head = match open.take(5).await {
        Ok(Some(head)) => head,
        Ok(None) => return Heard::Ended,
        Err(error) => return Heard::Broken(error.to_string()),
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let body = open.take(length).await.expect("a whole frame").unwrap_or_default();
    if head[0] & 0x80 == 0 {
        return Heard::Message(json(body.into()));
    }
    let mut trailers = HeaderMap::new();
    for line in String::from_utf8(body).expect("text").lines() {
        let (name, value) = line.split_once(':').expect("a trailer");
        let name: HeaderName = name.trim().parse().expect("a name");
        trailers.append(name, HeaderValue::try_from(value.trim()).expect("a value"));
    }
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() == tonic::Code::Ok => Heard::Ended,
        Some(status) => Heard::of(&status),
        None => Heard::Broken("trailers without a status".to_owned()),
    }
}

fn json(message: Bytes) -> Value {
    let described = descriptor::pool().get_message_by_name("coreloop.auth.v1.WatchSessionResponse");
    let message = DynamicMessage::decode(described.expect("described"), message).expect("a message");
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON")
}
