//! A Schema Registry that speaks Confluent's API (chapter 06, item 9).
//!
//! What is written: a fact's file is registered under `<topic>-value`, its imports under their own names, as Confluent's
//! serializer does; once a process, before the first event of its topic. **Until the registry has taken it nothing is
//! published**: the relay waits and asks again, and what waits is in the outbox. What is read: an id that is not known yet is
//! asked for. A registry that is away keeps readers waiting with what they have; what it goes on saying that it does not have,
//! or that is another message, is a dead letter. Nobody waits for another's question: who asks for the same at the same time
//! is given the same answer twice.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use coreloop_eventing::{Encoding, Error, Event, Topic};
use futures::future::BoxFuture;
use prost_reflect::FileDescriptor;
use reqwest::{Method, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{frame, options::RegistryOptions, schema};

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Largest answer.
const MOST_BYTES: usize = 4 << 20;
/// Schemas that are remembered; with more the memory begins anew.
const MOST_KNOWN: usize = 1_024;
/// What the registry does not have it may have in a moment: another of its replicas took it. So long it is waited for, once.
const MOMENT: Duration = Duration::from_secs(5);
/// What it did not have by then is asked for again after this long.
const MISSED: Duration = Duration::from_secs(60);
/// Confluent's code for a schema that is not there.
const NO_SCHEMA: i64 = 40_403;

/// A registry, and what is known of it.
pub(crate) struct Registry {
    http: reqwest::Client,
    base: Url,
    options: RegistryOptions,
    /// What stands before the messages of a topic, by their version.
    written: Mutex<HashMap<(Topic, u32), Bytes>>,
    /// The versions of imports, by their names: a slow registry is asked for each once, however often registering begins anew.
    imports: Mutex<HashMap<String, u32>>,
    /// By id.
    read: Mutex<HashMap<u32, Known>>,
}

/// What is known of a schema.
enum Known {
    /// The full names of its messages, by their places.
    Messages(HashMap<Vec<i32>, String>),
    /// It is no Protobuf, or cannot be read.
    Other,
    /// It was not there: since when, and when it was last asked for.
    Missed { since: Instant, asked: Instant },
}

impl Known {
    fn named(&self, path: &[i32]) -> Named {
        match self {
            Self::Messages(names) => names.get(path).map_or(Named::Other, |name| Named::Message(name.clone())),
            Self::Other => Named::Other,
            Self::Missed { .. } => Named::Nothing,
        }
    }
}

/// What a message is by its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A message of this full name.
    Message(String),
    /// No message at all: of another type, or at a place where none is.
    Other,
    /// Nobody knows: there is no such schema.
    Nothing,
}

/// What the registry refused.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(rename = "error_code", default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// A schema as the registry has it.
#[derive(Deserialize)]
struct Schema {
    #[serde(rename = "schemaType", default)]
    kind: Option<String>,
    schema: String,
}

/// A version of a subject.
#[derive(Deserialize)]
struct Version {
    id: u32,
    version: u32,
}

impl Registry {
    /// The registry of `options`; none where they name none. Connects at first use.
    pub(crate) fn new(options: &RegistryOptions) -> Option<Self> {
        let base = Url::parse(&options.url).ok()?;
        let options = options.clone();
        let (written, imports, read) = (Mutex::default(), Mutex::default(), Mutex::default());
        Some(Self { http: reqwest::Client::new(), base, options, written, imports, read })
    }

    /// The longest that one question takes.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.options.timeout_ms)
    }

    /// What is to stand before each payload: nothing before one that is not binary. `named` says what a topic is called at the
    /// broker.
    pub(crate) async fn prefixes(
        &self,
        events: &[Event],
        named: impl Fn(&Topic) -> String,
    ) -> Result<Vec<Bytes>, Error> {
        let mut prefixes = Vec::with_capacity(events.len());
        for event in events {
            prefixes.push(match event.encoding {
                Encoding::Json => Bytes::new(),
                Encoding::Protobuf => self.prefix(event, &named).await?,
            });
        }
        Ok(prefixes)
    }

    async fn prefix(&self, event: &Event, named: impl Fn(&Topic) -> String) -> Result<Bytes, Error> {
        let kind = (event.topic.clone(), event.version);
        if let Some(prefix) = held(&self.written).get(&kind) {
            return Ok(prefix.clone());
        }
        let prefix = self.register(event, &format!("{}-value", named(&event.topic))).await?;
        held(&self.written).insert(kind, prefix.clone());
        Ok(prefix)
    }

    async fn register(&self, event: &Event, subject: &str) -> Result<Bytes, Error> {
        let name = event.topic.message(event.version).unwrap_or_default();
        let message = coreloop_transcode::descriptor::pool().get_message_by_name(&name);
        let message = message.ok_or_else(|| Error::Name(event.topic.to_string()))?;
        let place = message.parent_file().messages().position(|one| one == message);
        let place = place.and_then(|place| i32::try_from(place).ok()).ok_or(Error::Name(name))?;
        let Version { id, .. } = self.version(subject.to_owned(), message.parent_file()).await?;
        Ok(frame::prefix(id, &[place]))
    }

    /// The version of `subject` that is `file`, registered if it may be; its imports come first.
    fn version(&self, subject: String, file: FileDescriptor) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(async move {
            let imports = schema::imports(coreloop_transcode::descriptor::pool(), &file);
            let text = schema::text(file.file_descriptor_proto(), &imports);
            let mut references = Vec::new();
            for import in imports.into_iter().filter(|import| !schema::known(import)) {
                let name = import.name().to_owned();
                let version = self.import(&name, import).await?;
                references.push(json!({ "name": name, "subject": name, "version": version }));
            }
            let asked = json!({ "schemaType": "PROTOBUF", "schema": text, "references": references });
            let path = ["subjects", &subject];
            let found = match self.ask(Method::POST, &path, Some(&asked)).await? {
                (StatusCode::NOT_FOUND, _) if self.options.auto_register => {
                    let path = ["subjects", &subject, "versions"];
                    self.must(&subject, self.ask(Method::POST, &path, Some(&asked)).await?)?;
                    tracing::info!(subject, "a schema is registered");
                    self.ask(Method::POST, &["subjects", &subject], Some(&asked)).await?
                }
                found => found,
            };
            serde_json::from_value(self.must(&subject, found)?).map_err(|error| Error::Broker(error.into()))
        })
    }

    async fn import(&self, name: &str, file: FileDescriptor) -> Result<u32, Error> {
        if let Some(version) = held(&self.imports).get(name) {
            return Ok(*version);
        }
        let Version { version, .. } = self.version(name.to_owned(), file).await?;
        held(&self.imports).insert(name.to_owned(), version);
        Ok(version)
    }

    /// What was answered about `subject`. Refused, it may lack an import that it had: all are asked for again.
    fn must(&self, subject: &str, answer: (StatusCode, Value)) -> Result<Value, Error> {
        must(subject, answer).inspect_err(|_| held(&self.imports).clear())
    }

    /// What the message at `path` of a schema is called.
    pub(crate) async fn message(&self, id: u32, path: &[i32]) -> Result<Named, Error> {
        if let Some(named) = self.named(id, path) {
            return Ok(named);
        }
        let mut known = self.fetch(id).await?;
        let named = known.named(path);
        let mut read = held(&self.read);
        if let (Known::Missed { since, .. }, Some(Known::Missed { since: first, .. })) = (&mut known, read.get(&id)) {
            *since = *first;
        }
        let early = matches!(known, Known::Missed { since, .. } if since.elapsed() < MOMENT);
        if read.len() >= MOST_KNOWN {
            read.clear();
        }
        read.insert(id, known);
        if early { Err(Error::Broker(format!("the schema registry has no schema {id} yet").into())) } else { Ok(named) }
    }

    fn named(&self, id: u32, path: &[i32]) -> Option<Named> {
        let read = held(&self.read);
        let known = read.get(&id).filter(|known| match known {
            Known::Missed { since, asked } => asked.duration_since(*since) >= MOMENT && asked.elapsed() <= MISSED,
            _ => true,
        })?;
        Some(known.named(path))
    }

    async fn fetch(&self, id: u32) -> Result<Known, Error> {
        let answer = self.ask(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        // Another code is another's answer: of a proxy, or to a wrong address.
        if answer.0 == StatusCode::NOT_FOUND && answer.1.get("error_code").and_then(Value::as_i64) == Some(NO_SCHEMA) {
            let now = Instant::now();
            return Ok(Known::Missed { since: now, asked: now });
        }
        let schema: Schema = serde_json::from_value(must(&format!("schema {id}"), answer)?)
            .map_err(|error| Error::Broker(error.into()))?;
        Ok(match schema.kind.as_deref() {
            Some("PROTOBUF") => schema::messages(&schema.schema).map_or(Known::Other, Known::Messages),
            _ => Known::Other,
        })
    }

    /// Asks the registry. What it answers is JSON, or null.
    async fn ask(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<(StatusCode, Value), Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url).timeout(self.patience()).header("accept", CONTENT_TYPE);
        if !self.options.username.is_empty() {
            request = request.basic_auth(&self.options.username, Some(self.options.password.expose_secret()));
        }
        if let Some(body) = body {
            request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
        }
        let mut answer = request.send().await.map_err(away)?;
        let (status, mut said) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(away)? {
            if said.len() + piece.len() > MOST_BYTES {
                return Err(Error::Broker("the schema registry answers too much".into()));
            }
            said.extend_from_slice(&piece);
        }
        Ok((status, serde_json::from_slice(&said).unwrap_or_default()))
    }
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was answered about `what`, unless it was refused.
fn must(what: &str, (status, said): (StatusCode, Value)) -> Result<Value, Error> {
    if status.is_success() {
        return Ok(said);
    }
    let refusal: Refusal =
        serde_json::from_value(said).unwrap_or(Refusal { code: 0, message: "no more is said".to_owned() });
    Err(Error::Broker(format!("the schema registry refuses {what}: {status}: {refusal}").into()))
}

/// No timeout of the broker: fewer events at once would not help.
fn away(error: reqwest::Error) -> Error {
    Error::Broker(format!("the schema registry is away: {}", error.without_url()).into())
}
