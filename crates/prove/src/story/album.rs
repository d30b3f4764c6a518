//! People with photos, each sent straight to storage and registered, until it is known that it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use coreloop_access::{
    Role,
    testing::Issuer,
    token::{Claims, Subject},
};
use coreloop_core::{SessionId, UserId};
use coreloop_sandbox::{PHOTOS, Photo};
use coreloop_testkit::{Rest, roles};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    ask::DEADLINE,
    journal::{Act, Journal, Said},
    load::part_of,
};

/// What is on an album: four that show different things, and one of which nothing comes (or the first of them again).
const EARNING: [&str; 4] = ["bottle.jpg", "can.png", "jar.webp", "box.jpg"];
const WORTHLESS: [&str; 3] = ["night.jpg", "wall.webp", "bottle.jpg"];
/// Before somebody who did not answer is asked again.
const SOON: Duration = Duration::from_millis(100);
/// What the contract says no with; anything else tells nothing.
const NO: [&str; 5] = ["UPLOAD_NOT_FOUND", "ETAG_MISMATCH", "TYPE_MISMATCH", "SIZE_MISMATCH", "VALIDATION_FAILED"];

/// Somebody who takes photos.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// Who.
    pub(crate) id: Uuid,
    /// Where they may call.
    pub(crate) fronts: Arc<[String]>,
    issuer: Arc<Issuer>,
}

impl Person {
    /// People of a seed, who call at `fronts`.
    pub(crate) fn some(count: u32, seed: u64, fronts: &Arc<[String]>, issuer: &Arc<Issuer>) -> Vec<Self> {
        let mut random = StdRng::seed_from_u64(part_of(seed, 1));
        let one = |_| {
            let id = uuid::Builder::from_random_bytes(random.random()).into_uuid();
            Self { id, fronts: Arc::clone(fronts), issuer: Arc::clone(issuer) }
        };
        (0..count).map(one).collect()
    }

    /// A token of now.
    pub(crate) fn token(&self) -> String {
        let subject = Subject::User { id: UserId(self.id), session: SessionId(self.id) };
        let claims = Claims { subject, ..self.issuer.access(roles::unix_now(), &[Role::Standard]) };
        self.issuer.user_ec.sign(&claims).unwrap_or_default()
    }

    /// A client at a front.
    pub(crate) fn at(&self, front: usize) -> Rest {
        Rest::to(self.fronts[front % self.fronts.len()].as_str()).with_token(self.token())
    }
}

/// Albums under way.
#[derive(Debug)]
pub(crate) struct Albums {
    people: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Albums {
    /// Everybody begins theirs; a photo needs a permit of `pace`.
    pub(crate) fn begin(people: &[Person], seed: u64, journal: &Arc<Journal>, pace: &Arc<Semaphore>) -> Self {
        let mut random = StdRng::seed_from_u64(part_of(seed, 2));
        let (mut albums, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for person in people {
            let album = Album {
                person: person.clone(),
                random: StdRng::seed_from_u64(random.next_u64()),
                journal: Arc::clone(journal),
                stop: Arc::clone(&stop),
            };
            let pace = Arc::clone(pace);
            albums.spawn(async move { album.work(&pace).await });
        }
        Self { people: albums, stop }
    }

    /// Waits until all are done.
    ///
    /// # Errors
    /// When a photo is not registered in time.
    pub(crate) async fn end(mut self, within: Duration) -> Result<()> {
        let all = async {
            while let Some(ended) = self.people.join_next().await {
                ended.expect("an album does not panic");
            }
        };
        let ended = tokio::time::timeout(within, all).await;
        self.stop.store(true, Ordering::SeqCst);
        ended.with_context(|| format!("not every photo was registered within {within:?}"))
    }
}

struct Album {
    person: Person,
    random: StdRng,
    journal: Arc<Journal>,
    stop: Arc<AtomicBool>,
}

impl Album {
    async fn work(mut self, pace: &Semaphore) {
        let worthless = WORTHLESS[self.random.random_range(0..WORTHLESS.len())];
        let mut names: Vec<&'static str> = EARNING.to_vec();
        names.insert(self.random.random_range(1..=EARNING.len()), worthless);
        for (number, name) in names.into_iter().enumerate() {
            let Ok(permit) = pace.acquire().await else { return };
            permit.forget();
            self.take(number, name).await;
        }
    }

    /// Takes a photo and sees it registered; now and then both replicas are told at once, or one again.
    async fn take(&mut self, number: usize, name: &'static str) {
        let user = self.person.id.to_string();
        let key = format!("{user}-{number}");
        let deed = self.journal.note("eco", key, Act::Photo { user, name }, false);
        let Some(photo) = PHOTOS.iter().find(|photo| photo.name == name) else { return };
        let mut front = self.random.random_range(0..self.person.fronts.len());
        let sent = loop {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            match self.send(front, photo).await {
                Ok(sent) => break sent,
                Err(_away) => sleep(SOON).await,
            }
            front += 1;
        };
        if self.random.random_bool(0.2) {
            let both = [self.register(deed, front, &sent), self.register(deed, front + 1, &sent)];
            futures::future::join_all(both).await;
        }
        while self.journal.deed(deed).open() && !self.stop.load(Ordering::SeqCst) {
            self.register(deed, front, &sent).await;
            front += 1;
            sleep(Duration::from_millis(20)).await;
        }
        if self.random.random_bool(0.2) {
            self.register(deed, front, &sent).await;
        }
        while self.journal.deed(deed).open() && !self.stop.load(Ordering::SeqCst) {
            sleep(SOON).await;
            front += 1;
            self.register(deed, front, &sent).await;
        }
    }

    /// Asks for a place and sends the photo there; what is to be registered. Places that nothing came of are nobody's.
    async fn send(&self, front: usize, photo: &Photo) -> Result<Value> {
        let asked = json!({ "mime_type": photo.mime_type, "content_length": photo.bytes.len() });
        let place = self.person.at(front).post("/api/v1/image/presigned", &asked).within(DEADLINE).try_send().await?;
        anyhow::ensure!(place.status == 200, "{}: {}", place.status, place.text());
        let place = place.json();
        let url = place["upload_url"].as_str().context("an address")?;
        let host = url.find("://").context("an address")? + 3;
        let (base, path) = url.split_at(host + url[host..].find('/').context("a path")?);
        let mut call = Rest::to(base).call("PUT".parse()?, path).body(photo.bytes).within(DEADLINE);
        for (name, value) in place["headers"].as_object().into_iter().flatten() {
            call = call.header(name, value.as_str().unwrap_or_default());
        }
        let sent = call.try_send().await?;
        anyhow::ensure!(sent.status == 200, "{}: {}", sent.status, sent.text());
        Ok(json!({ "object_key": place["object_key"], "etag": sent.header("etag") }))
    }

    async fn register(&self, deed: usize, front: usize, sent: &Value) {
        let asked = self.journal.now();
        let call = self.person.at(front).post("/api/v1/image/callback", sent).within(DEADLINE);
        let said = match call.try_send().await {
            Ok(answer) if answer.status == 200 => {
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                match body["image"]["image_id"].as_str() {
                    Some(id) => Said::Taken { id: id.to_owned(), state: 0 },
                    None => Said::Unknown("an empty answer".to_owned()),
                }
            }
            Ok(answer) if NO.contains(&answer.reason().as_str()) => Said::Refused(answer.reason()),
            Ok(answer) => Said::Unknown(format!("{} {}", answer.status, answer.reason())),
            Err(error) => Said::Unknown(format!("{error:#}")),
        };
        self.journal.hear(deed, asked, said);
    }
}
