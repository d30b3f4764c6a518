//! The story of chapter 02 at a steady pace: from the moment a photo is registered to what its owner hears of it on the socket. The model's
//! own time, which the sandbox tells of each look, is taken off.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coreloop_sandbox::{PHOTOS, Photo};
use coreloop_testkit::{Answer, Rest, TestMesh};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use crate::{
    child::Part,
    line::{Heard, Line, source},
    report::{Row, quantile},
};

const MODULES: &[&str] = &["image", "scan", "character", "my", "notification", "realtime"];
/// Stories that are counted, those before them that warm up, and how many begin in a second.
const STORIES: usize = 400;
const WARM: usize = 60;
const RATE: u32 = 20;
/// Sign-ups, uploads and handshakes that are under way at the same time.
const AT_ONCE: usize = 8;
/// A message that has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is seen on this photo grants a character.
const PHOTO: &str = "bottle.jpg";

/// Where a started mesh is, as its process prints it in one line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Where {
    gateway: SocketAddr,
    sandbox: String,
    tokens: Vec<String>,
}

/// Starts the mesh of the story with a person for each, limits off, and tells where it is. It lives as long as what is returned.
///
/// # Errors
/// When it has no sandbox.
pub(crate) async fn start() -> Result<(TestMesh, String)> {
    let mesh = TestMesh::builder().modules(MODULES).stand_ins().setting("limit.enabled", false).start().await;
    let people = stream::iter(0..WARM + STORIES).map(|number| {
        let mesh = &mesh;
        async move { mesh.persona(&format!("bench{number}")).await.access_token }
    });
    let tokens = people.buffer_unordered(AT_ONCE).collect().await;
    let at = Where {
        gateway: mesh.gateway().trim_start_matches("http://").parse()?,
        sandbox: mesh.stand_ins.as_ref().context("the sandbox")?.base().to_owned(),
        tokens,
    };
    let line = serde_json::to_string(&at)?;
    Ok((mesh, line))
}

/// A photo that is in storage and not yet registered.
struct Sent {
    object_key: String,
    etag: String,
}

/// What was heard of a story, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// What is on the photo.
    Scan,
    /// The notification of the character that it brought.
    Character,
}

/// When a story began and what was heard of it.
#[derive(Debug, Clone, Copy)]
struct Story {
    began: Instant,
    scan: Option<Instant>,
    character: Option<Instant>,
}

/// The rows.
///
/// # Errors
/// When a step is refused, or a message does not come, or comes twice.
pub(crate) async fn rows() -> Result<Vec<Row>> {
    let part = Part::start("story", &[])?;
    let at: Where = serde_json::from_str(&part.address)?;
    let (mesh, storage) = (Rest::to(format!("http://{}", at.gateway)), Rest::to(at.sandbox.clone()));
    let sending = stream::iter(&at.tokens).map(|token| sent(mesh.with_token(token.as_str()), &storage));
    // In their order: who sent it registers it.
    let photos: Vec<Sent> = sending.buffered(AT_ONCE).try_collect().await?;
    let (says, mut said) = unbounded_channel();
    let _sockets = listening(&at, &says).await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    let (mut stories, mut registering) = (Vec::with_capacity(photos.len()), JoinSet::new());
    for (token, photo) in at.tokens.iter().zip(&photos) {
        pace.tick().await;
        let registered = json!({"object_key": photo.object_key, "etag": photo.etag});
        let call = mesh.with_token(token.as_str()).post("/api/v1/image/callback", &registered);
        stories.push(Story { began: Instant::now(), scan: None, character: None });
        registering.spawn(async move { answered(&call.try_send().await?).map(drop) });
    }
    while let Some(registered) = registering.join_next().await {
        registered??;
    }
    heard(&mut said, &mut stories).await?;
    let looks = looks(&storage).await?;
    let mut model = Vec::new();
    for photo in &photos {
        model.push(*looks.get(&photo.object_key).context("the model did not look at a photo")?);
    }
    let counted = || stories.iter().zip(&model).skip(WARM);
    let of = |told: fn(&Story) -> Option<Instant>| -> Vec<(f64, f64)> {
        let took = |story: &Story| Some(told(story)?.saturating_duration_since(story.began).as_secs_f64() * 1e3);
        counted().filter_map(|(story, model)| Some((took(story)?, *model))).collect()
    };
    Ok(vec![
        row("photo registered → its scan on the socket", &of(|story| story.scan)),
        row("photo registered → the character's notification on the socket", &of(|story| story.character)),
    ])
}

/// A row of what each story took, and the model of it, in milliseconds.
fn row(what: &str, took: &[(f64, f64)]) -> Row {
    let mut beyond: Vec<f64> = took.iter().map(|(all, model)| (all - model).max(0.0)).collect();
    let (mut all, mut model): (Vec<f64>, Vec<f64>) = took.iter().copied().unzip();
    let p95 = quantile(&mut beyond, 0.95);
    Row {
        id: "story",
        what: format!("{what}, beyond the model's own time, p95"),
        measured: format!("{p95:.0} ms"),
        aim: "≤ 150 ms",
        met: p95 <= 150.0,
        detail: format!(
            "{} stories at {RATE}/s, none lost or doubled; median {:.0} ms, worst {:.0} ms; with the model p95 {:.0} ms, \
             the model alone p95 {:.0} ms, median {:.0} ms; the whole mesh and the sandbox in one process",
            took.len(),
            quantile(&mut beyond, 0.5),
            quantile(&mut beyond, 1.0),
            quantile(&mut all, 0.95),
            quantile(&mut model, 0.95),
            quantile(&mut model, 0.5),
        ),
    }
}

/// Asks for a place and sends the photo there.
async fn sent(mesh: Rest, storage: &Rest) -> Result<Sent> {
    let photo: &'static Photo = PHOTOS.iter().find(|photo| photo.name == PHOTO).context("the sample photo")?;
    let announced = json!({"mime_type": photo.mime_type, "content_length": photo.bytes.len()});
    let place = answered(&mesh.post("/api/v1/image/presigned", &announced).try_send().await?)?;
    let text = |name: &str| place.get(name).and_then(Value::as_str).with_context(|| format!("{name} in {place}"));
    let path = text("upload_url")?.strip_prefix(storage.base()).context("the storage is another")?;
    let mut call = storage.call(Method::PUT, path).body(photo.bytes);
    for (name, value) in place.get("headers").and_then(Value::as_object).context("headers")? {
        call = call.header(name, value.as_str().unwrap_or_default());
    }
    let kept = call.try_send().await?;
    anyhow::ensure!(kept.status == 200, "storage answers {}: {}", kept.status, kept.text());
    Ok(Sent { object_key: text("object_key")?.to_owned(), etag: kept.header("etag").to_owned() })
}

/// The body of an answer that is a yes.
fn answered(answer: &Answer) -> Result<Value> {
    anyhow::ensure!(answer.status == 200, "refused with {}: {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}

type Said = (usize, Told, Instant);

/// Opens a socket for each person and tells what is heard there of their story.
async fn listening(at: &Where, says: &UnboundedSender<Said>) -> Result<JoinSet<()>> {
    let opening = stream::iter(at.tokens.iter().enumerate());
    let opening = opening.map(|(number, token)| Line::open(at.gateway, source(number), token, None));
    let lines: Vec<Line> = opening.buffered(AT_ONCE).try_collect().await?;
    let mut listening = JoinSet::new();
    for (number, mut line) in lines.into_iter().enumerate() {
        let says = says.clone();
        listening.spawn(async move {
            while let Ok(Heard::Text(text)) = line.next().await {
                let at = Instant::now();
                if let Some(told) = told(&text) {
                    let _nobody_listens_any_more = says.send((number, told, at));
                }
            }
        });
    }
    Ok(listening)
}

/// What a message tells of the story; none when it is about something else.
fn told(text: &[u8]) -> Option<Told> {
    let message: Value = serde_json::from_slice(text).ok()?;
    let data = |name: &str| message.get("data").and_then(|data| data.get(name)).and_then(Value::as_str);
    match message.get("type").and_then(Value::as_str)? {
        "scan_update" if data("status") == Some("COMPLETED") => Some(Told::Scan),
        "notification" if data("kind").is_some_and(|kind| kind.ends_with("CHARACTER_ACQUIRED")) => {
            Some(Told::Character)
        }
        _ => None,
    }
}

/// Hears what is said until both messages of every story have come.
async fn heard(said: &mut UnboundedReceiver<Said>, stories: &mut [Story]) -> Result<()> {
    let mut missing = 2 * stories.len();
    while missing > 0 {
        let Ok(next) = tokio::time::timeout(PATIENCE, said.recv()).await else {
            anyhow::bail!("{missing} messages of {} stories did not come", stories.len());
        };
        let (number, told, at) = next.context("nobody listens")?;
        let story = stories.get_mut(number).context("a story that nobody began")?;
        let place = match told {
            Told::Scan => &mut story.scan,
            Told::Character => &mut story.character,
        };
        anyhow::ensure!(place.replace(at).is_none(), "{told:?} came twice");
        missing -= 1;
    }
    Ok(())
}

/// How long the model looked at each photo, in milliseconds, by the key of its object.
async fn looks(sandbox: &Rest) -> Result<HashMap<String, f64>> {
    let answer = answered(&sandbox.get("/_sandbox/looks").try_send().await?)?;
    let looks = answer.get("looks").and_then(Value::as_array).context("looks")?;
    let look = |look: &Value| {
        // A path is the bucket and the key, and every key begins so.
        let path = look.get("path")?.as_str()?;
        let key = path.get(path.find("uploads/")?..)?;
        Some((key.to_owned(), look.get("micros")?.as_f64()? / 1e3))
    };
    Ok(looks.iter().filter_map(look).collect())
}
