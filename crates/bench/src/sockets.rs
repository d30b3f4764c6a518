//! Sockets of a mesh in one process (gateway, realtime, auth), what is said to them, and who listens: what P16 and P17 share.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use coreloop_access::{Role, testing::Issuer, token::Claims};
use coreloop_core::{Clock as _, Ids as _, SystemClock, UserId, id::SystemIds};
use coreloop_realtime::{
    Options,
    log::Log,
    message::{Kind, Said},
};
use coreloop_testkit::TestMesh;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use tracing::subscriber::NoSubscriber;

use crate::{
    child::Part,
    line::{Heard, Line, source},
};

/// Sockets of one user: as many as there may be.
pub(crate) const EACH: usize = 8;
/// The longest that anything here is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What stands before the time at which a message was said.
const MARK: &[u8] = b"said=";
/// Handshakes that are under way at the same time, and users to whom something is said at the same time.
const AT_ONCE: usize = 32;

/// Where a started mesh is, as its process prints it in one line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Where {
    gateway: SocketAddr,
    redis: String,
    people: Vec<(UserId, String)>,
}

/// Starts a mesh with so many people, limits off, and tells where it is. It lives as long as what is returned.
///
/// # Errors
/// When no tokens can be made, or something logs already.
pub(crate) async fn start(people: &str) -> Result<(TestMesh, String)> {
    // What a mesh of the test kit logs stays in memory, and a line for each socket would be counted.
    tracing::subscriber::set_global_default(NoSubscriber::default())?;
    let issuer = Arc::new(Issuer::new()?);
    let mesh = TestMesh::builder().modules(&["realtime"]).issuer(Arc::clone(&issuer));
    let mesh = mesh.setting("limit.enabled", false).setting("server.max_waiting", 4_096_i64).start().await;
    let (now, mut tokens) = (mesh.now(), Vec::new());
    for _ in 0..people.parse::<usize>()? {
        let claims = Claims { expires_at: now + 3_600, ..issuer.access(now, &[Role::Standard]) };
        tokens.push((claims.user_id().context("a user")?, issuer.user_ed.sign(&claims)?));
    }
    let gateway = mesh.gateway().trim_start_matches("http://").parse()?;
    let at = Where { gateway, redis: mesh.redis.url(), people: tokens };
    let line = serde_json::to_string(&at)?;
    Ok((mesh, line))
}

/// A mesh in a process of its own, and the writer that says things to its people.
pub(crate) struct Mesh {
    /// Its process.
    pub(crate) part: Part,
    at: Where,
    log: Log,
    began: Instant,
}

impl Mesh {
    /// Starts one with so many people; of each, so many messages are kept for who comes back.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(people: usize, keep_messages: u32) -> Result<Self> {
        let part = Part::start("sockets", &[&people.to_string()])?;
        let at: Where = serde_json::from_str(&part.address)?;
        anyhow::ensure!(at.people.len() == people, "{} of {people} people are there", at.people.len());
        let redis = redis::aio::ConnectionManager::new(redis::Client::open(at.redis.as_str())?).await?;
        let log = Log::new(redis, &Options { keep_messages, ..Options::default() });
        Ok(Self { part, at, log, began: Instant::now() })
    }

    /// Opens the sockets of these people, [`EACH`] of them each, and listens at all.
    ///
    /// # Errors
    /// When one is refused.
    pub(crate) async fn open(&self, people: std::ops::Range<usize>) -> Result<Crowd> {
        let numbers = people.flat_map(|person| std::iter::repeat_n(person, EACH)).enumerate();
        let lines = stream::iter(numbers).map(|(number, person)| self.line(person, number, None));
        let lines: Vec<Line> = lines.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Crowd::of(lines, self.began))
    }

    /// One more socket of a person, at which nobody listens yet.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn line(&self, person: usize, number: usize, room: Option<u32>) -> Result<Line> {
        let (_, token) = self.at.people.get(person).context("a person")?;
        let opened = tokio::time::timeout(PATIENCE, Line::open(self.at.gateway, source(number), token, room));
        opened.await.context("no answer to a handshake")?
    }

    /// When time began, for who listens by themselves.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Says `many` messages of about `size` bytes, as one event, to each of these people.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub(crate) async fn say(&self, people: std::ops::Range<usize>, many: usize, size: usize) -> Result<()> {
        let told = stream::iter(people.map(Ok::<_, anyhow::Error>));
        told.try_for_each_concurrent(AT_ONCE, |person| async move {
            let (user, _) = self.at.people.get(person).context("a person")?;
            let said: Vec<Said> = (0..many).map(|_| message(self.began, size)).collect();
            anyhow::ensure!(self.log.say(*user, SystemIds.uuid(), &said, false).await?, "it was said before");
            Ok(())
        })
        .await
    }
}

/// A notification, which nothing is put together with, that has the time in its text.
fn message(began: Instant, size: usize) -> Said {
    let now = began.elapsed().as_micros();
    let text = |text: &str| Value::String(text.to_owned());
    let data = [
        ("kind", text("CHARACTER_ACQUIRED")),
        ("notification_id", text("0192f3a4-5b6c-7d8e-9f01-23456789abcd")),
        ("title", text("새 캐릭터를 만났어요")),
        ("body", Value::String(format!("said={now};{}", "x".repeat(size)))),
    ];
    let data = data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Said { kind: Kind::Notification, data, timestamp: SystemClock.now() }
}

/// Listeners, one at each line.
pub(crate) struct Crowd {
    ear: Arc<Ear>,
    listening: JoinSet<()>,
    wanted: u64,
}

/// What they have heard together.
struct Ear {
    began: Instant,
    heard: AtomicU64,
    wanted: AtomicU64,
    ended: AtomicU64,
    timing: AtomicBool,
    /// How long each message took, in microseconds.
    late: Mutex<Vec<u32>>,
    first: OnceLock<Bytes>,
    woken: Notify,
}

impl Crowd {
    /// Listens at these lines; `began` is when the time began that messages tell.
    pub(crate) fn of(lines: Vec<Line>, began: Instant) -> Self {
        let ear = Arc::new(Ear {
            began,
            heard: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            ended: AtomicU64::new(0),
            timing: AtomicBool::new(false),
            late: Mutex::default(),
            first: OnceLock::new(),
            woken: Notify::new(),
        });
        let mut listening = JoinSet::new();
        for line in lines {
            listening.spawn(listen(line, Arc::clone(&ear)));
        }
        Self { ear, listening, wanted: 0 }
    }

    /// How many listen.
    pub(crate) fn len(&self) -> usize {
        self.listening.len()
    }

    /// From now on it counts how long messages take.
    pub(crate) fn time(&self) {
        self.ear.timing.store(true, Ordering::Release);
    }

    /// Waits for so many messages more than before, of all together. To be called before they are said, and awaited after.
    pub(crate) fn will_hear(&mut self, many: u64) -> impl Future<Output = Result<()>> + use<> {
        self.wanted += many;
        self.ear.wanted.store(self.wanted, Ordering::Release);
        let (ear, wanted) = (Arc::clone(&self.ear), self.wanted);
        async move {
            let all = async {
                while ear.heard.load(Ordering::Acquire) < wanted && ear.ended.load(Ordering::Acquire) == 0 {
                    ear.woken.notified().await;
                }
            };
            let _told_by_the_counts = tokio::time::timeout(PATIENCE, all).await;
            let (heard, ended) = (ear.heard.load(Ordering::Acquire), ear.ended.load(Ordering::Acquire));
            anyhow::ensure!(ended == 0, "{ended} sockets ended");
            anyhow::ensure!(heard == wanted, "{heard} messages were heard of {wanted}");
            Ok(())
        }
    }

    /// Sockets that ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ear.ended.load(Ordering::Acquire)
    }

    /// The first message that was heard.
    pub(crate) fn first(&self) -> Option<Bytes> {
        self.ear.first.get().cloned()
    }

    /// How long each message took, in milliseconds.
    pub(crate) fn late(&self) -> Vec<f64> {
        let late = self.ear.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.iter().map(|micros| f64::from(*micros) / 1e3).collect()
    }

    /// Hangs all lines up.
    pub(crate) async fn hang_up(mut self) {
        self.listening.shutdown().await;
    }
}

async fn listen(mut line: Line, ear: Arc<Ear>) {
    while let Ok(Heard::Text(text)) = line.next().await {
        ear.hear(&text);
    }
    ear.ended.fetch_add(1, Ordering::AcqRel);
    ear.woken.notify_one();
}

impl Ear {
    fn hear(&self, text: &Bytes) {
        let Some(said) = said(text) else { return };
        if self.timing.load(Ordering::Acquire) {
            let late = (self.began.elapsed().as_micros() as u64).saturating_sub(said);
            let late = u32::try_from(late).unwrap_or(u32::MAX);
            self.late.lock().unwrap_or_else(PoisonError::into_inner).push(late);
        }
        self.first.get_or_init(|| text.clone());
        if self.heard.fetch_add(1, Ordering::AcqRel) + 1 >= self.wanted.load(Ordering::Acquire) {
            self.woken.notify_one();
        }
    }
}

/// When a message was said, in microseconds; none for what the mesh says of itself.
pub(crate) fn said(text: &[u8]) -> Option<u64> {
    let at = text.windows(MARK.len()).position(|piece| piece == MARK)?;
    let digits = text.get(at + MARK.len()..)?.split(|byte| *byte == b';').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads what is there for a line at which nobody listened, to its end; how many messages it had.
pub(crate) fn caught_up(mut line: Line) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut heard = 0;
        while let Ok(Heard::Text(text)) = line.next().await {
            heard += u64::from(said(&text).is_some());
        }
        heard
    })
}
