//! Log lines: one JSON object each, with the fields of chapter 08, or text for people.
//!
//! The fields of the call come from [`coreloop_service::Call`], so a line costs no span. Every key of the chapter is always
//! there, empty outside a call, because those who search logs should not have to ask whether a key exists.

use std::{
    fmt::{self, Write as _},
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use coreloop_service::Call;
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::options::LogFormat;

/// Where lines go, each in one write. It is written to by whoever logs: it should not wait.
pub type Sink = Arc<Mutex<dyn Write + Send>>;

/// Writes each event as a line.
pub struct Lines {
    format: LogFormat,
    sink: Sink,
}

impl Lines {
    /// Lines of `format` to `sink`.
    #[must_use]
    pub fn new(format: LogFormat, sink: Sink) -> Self {
        Self { format, sink }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let call = Call::current();
        let (level, logger) = (*event.metadata().level(), event.metadata().target());
        let mut line = match self.format {
            LogFormat::Json => json(level, logger, &fields, call.as_deref()),
            LogFormat::Text => text(level, logger, &fields, call.as_deref()).replace(['\n', '\r'], " "),
        };
        line.push('\n');
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere to say that lines cannot be written.
        let _unwritten = sink.write_all(line.as_bytes());
    }
}

/// The line that tells how many were dropped.
pub(crate) fn dropped(format: LogFormat, lines: u64) -> String {
    let fields = Fields { message: "lines of the log were dropped".to_owned(), others: vec![("lines", lines.into())] };
    let mut line = match format {
        LogFormat::Json => json(Level::WARN, module_path!(), &fields, None),
        LogFormat::Text => text(Level::WARN, module_path!(), &fields, None),
    };
    line.push('\n');
    line
}

/// A line says when it was written, also under a test's own clock.
fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "logs follow the machine's time, not the domain's")]
    jiff::Timestamp::now()
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // `log` records bridged from other crates bring their own names along.
        if !field.name().starts_with("log.") {
            self.others.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // Microseconds of a millisecond are as fine as it gets.
        self.put(field, ((value * 1000.0).round() / 1000.0).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.put(field, value.into()),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            let _infallible = write!(text, ": {error}");
            source = error.source();
        }
        self.put(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.put(field, format!("{value:?}").into()),
        }
    }
}

/// Written by hand into one buffer, in the order of the chapter: a map of a line costs more than the line.
fn json(level: Level, logger: &str, fields: &Fields, call: Option<&Call>) -> String {
    let mut line = String::with_capacity(640);
    let target = call.map(|call| call.target.as_ref());
    let trace = call.map(|call| (call.trace.trace_id_hex(), call.trace.span_id_hex())).unwrap_or_default();
    let _infallible = write!(line, "{{\"timestamp\":\"{}\"", now());
    let texts = [
        ("level", level.as_str()),
        ("logger", logger),
        ("message", fields.message.as_str()),
        ("trace_id", &trace.0),
        ("request_id", call.map_or("", |call| call.request_id.to_str().unwrap_or(""))),
        ("span_id", &trace.1),
        ("domain", target.map_or("", |target| &target.domain)),
        ("service", target.map_or("", |target| &target.service)),
        ("user_id", call.and_then(Call::user_id).unwrap_or("")),
        ("method", target.map_or("", |target| &target.method)),
        ("path", call.map_or("", Call::path)),
    ];
    for (key, text) in texts {
        name(&mut line, key);
        quote(&mut line, text);
    }
    // Given by the event or absent: no other line has them.
    const OWN: [&str; 2] = ["duration_ms", "status"];
    for key in OWN {
        name(&mut line, key);
        match fields.others.iter().find(|(given, _)| *given == key) {
            Some((_, value)) => value_of(&mut line, value),
            None => line.push_str("null"),
        }
    }
    let taken = |key: &str| key == "timestamp" || OWN.contains(&key) || texts.iter().any(|(taken, _)| *taken == key);
    for (key, value) in fields.others.iter().filter(|(key, _)| !taken(key)) {
        name(&mut line, key);
        value_of(&mut line, value);
    }
    line.push('}');
    line
}

/// Names of fields are identifiers of ours: nothing in them needs escaping.
fn name(line: &mut String, key: &str) {
    line.push_str(",\"");
    line.push_str(key);
    line.push_str("\":");
}

fn value_of(line: &mut String, value: &Value) {
    match value {
        Value::String(text) => quote(line, text),
        other => drop(write!(line, "{other}")),
    }
}

fn quote(line: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        line.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
        return;
    }
    line.push('"');
    line.push_str(text);
    line.push('"');
}

fn text(level: Level, logger: &str, fields: &Fields, call: Option<&Call>) -> String {
    let mut line = format!("{:.3} {level:>5} {logger}: {}", now(), fields.message);
    for (key, value) in &fields.others {
        let _infallible = match value {
            Value::String(text) => write!(line, " {key}={text}"),
            other => write!(line, " {key}={other}"),
        };
    }
    if let Some(call) = call {
        let _infallible = write!(line, " path={} request_id={}", call.path(), call.request_id.to_str().unwrap_or(""));
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_service::{Target, Trace};
    use serde_json::Map;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn lines(format: LogFormat, work: impl FnOnce()) -> String {
        let sink = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Lines::new(format, sink.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = sink.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_every_key_of_the_chapter_in_order() {
        let trace = Trace { trace_id: [1; 16], span_id: [2; 8], parent: None, sampled: false };
        let target = Target { domain: "auth".into(), service: "S".into(), method: "M".into(), path: "/S/M".into() };
        let call = Arc::new(Call::new("request-1".parse().unwrap(), trace, Arc::new(target), None));
        call.identify("user-1");
        let text = lines(LogFormat::Json, || {
            Arc::clone(&call)
                .within(|| tracing::info!(target: "t", status = "OK", duration_ms = 1.5, extra = 7, "said"));
        });
        let line: Map<String, Value> = serde_json::from_str(text.trim()).unwrap();
        let keys: Vec<&str> = line.keys().map(String::as_str).collect();
        let chapter = "timestamp level logger message trace_id request_id span_id domain service user_id method path \
                       duration_ms status extra";
        assert_eq!(keys, chapter.split_whitespace().collect::<Vec<_>>());
        assert_eq!(line["trace_id"], "01".repeat(16));
        assert_eq!(line["user_id"], "user-1");
        assert_eq!(line["duration_ms"], 1.5);
    }

    #[test]
    fn the_path_is_the_template_once_the_route_is_known() {
        let trace = Trace { trace_id: [1; 16], span_id: [2; 8], parent: None, sampled: false };
        let target = Target { path: "unknown".into(), ..Target::default() };
        let call = Arc::new(Call::new("request-1".parse().unwrap(), trace, Arc::new(target), None));
        let say = || lines(LogFormat::Json, || Arc::clone(&call).within(|| tracing::info!("said")));
        assert!(say().contains("\"path\":\"unknown\""));
        call.routed("/tokens/{jti}".into());
        assert!(say().contains("\"path\":\"/tokens/{jti}\""));
    }

    #[test]
    fn control_characters_cannot_forge_a_line() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = lines(format, || tracing::warn!(evil = "a\nb\"c\r", "mess\nage"));
            assert_eq!(text.split(['\n', '\r']).filter(|line| !line.is_empty()).count(), 1, "{text}");
        }
    }
}
