//! Clients: a mixed load under keys, from a seed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Duration, sleep},
};

use crate::{
    ask::{CALLERS, Front},
    journal::{Act, Journal},
    market::{CONVERSIONS, HANDLES, ITEMS, LAST, LIMITED, REWARDS},
    mix::{Kind, Mix},
};

/// How many ask for the same last piece.
const RIVALS: u32 = 8;
/// What a client that takes its time waits before it does something.
const CALM: Duration = Duration::from_millis(500);
/// Times that a deed is asked about before it is left for the end.
const TRIES: u32 = 6;

/// Clients at work. They end when they are told to.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts them.
    pub(crate) fn start(mix: &Mix, seed: u64, front: &Front, journal: &Arc<Journal>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let people: Arc<[String]> = (0..mix.people).map(|_| id(&mut random)).collect();
        let asked: Arc<[AtomicU32]> = (0..=mix.people).map(|_| AtomicU32::new(0)).collect();
        let (stop, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..mix.clients {
            let client = Client {
                number,
                caller: CALLERS[number % CALLERS.len()],
                random: StdRng::seed_from_u64(random.next_u64()),
                people: Arc::clone(&people),
                asked: Arc::clone(&asked),
                kinds: mix.kinds.clone(),
                front: front.clone(),
                journal: Arc::clone(journal),
                next: 0,
                held: Vec::new(),
                over: Vec::new(),
                converted: Vec::new(),
                done: Vec::new(),
                refused: Vec::new(),
            };
            let stop = Arc::clone(&stop);
            clients.spawn(async move { client.work(&stop).await });
        }
        Self { stop, clients }
    }

    /// Tells them to end, and waits until they have.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

/// An id of somebody whom auth need not know.
fn id(random: &mut StdRng) -> String {
    uuid::Builder::from_random_bytes(random.random()).into_uuid().to_string()
}

struct Client {
    number: usize,
    caller: &'static str,
    random: StdRng,
    people: Arc<[String]>,
    /// Times that each of them asked the market, and that somebody asked for a last piece.
    asked: Arc<[AtomicU32]>,
    kinds: Vec<(Kind, u32)>,
    front: Front,
    journal: Arc<Journal>,
    next: u32,
    /// Holds that nobody ended: of this client, with their amounts.
    held: Vec<(String, i64)>,
    /// Holds that somebody did.
    over: Vec<String>,
    /// Conversions that are through, and that nobody took back.
    converted: Vec<String>,
    /// Deeds that have happened.
    done: Vec<usize>,
    /// Deeds that the wallet has refused.
    refused: Vec<usize>,
}

impl Client {
    async fn work(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            if self.front.calm.load(Ordering::SeqCst) {
                sleep(CALM).await;
            }
            match self.kind() {
                Kind::Repeat => self.repeat().await,
                Kind::Insist => self.insist().await,
                Kind::Forge => self.forge().await,
                Kind::Twin => {
                    let kinds = [Kind::Spend, Kind::Spend, Kind::BuyLimited, Kind::Redeem];
                    let kind = kinds[self.random.random_range(0..kinds.len())];
                    let Some(act) = self.act(kind) else { continue };
                    self.twin(act).await;
                }
                Kind::Batch => self.batch(stop).await,
                kind => {
                    let Some(act) = self.act(kind) else { continue };
                    let deed = self.note(act);
                    self.see_through(vec![deed], stop).await;
                }
            }
        }
    }

    fn kind(&mut self) -> Kind {
        let all: u32 = self.kinds.iter().map(|(_, times)| times).sum();
        let mut place = self.random.random_range(0..all.max(1));
        for (kind, times) in &self.kinds {
            if place < *times {
                return *kind;
            }
            place -= times;
        }
        Kind::Grant
    }

    fn person(&mut self) -> String {
        let place = self.random.random_range(0..self.people.len());
        self.people[place].clone()
    }

    fn currency(&mut self) -> i32 {
        if self.random.random_bool(0.6) { 1 } else { 2 }
    }

    fn one_of(&mut self, of: &[&str]) -> String {
        of[self.random.random_range(0..of.len())].to_owned()
    }

    fn spend(&mut self) -> Act {
        Act::Spend { user: self.person(), currency: self.currency(), amount: self.random.random_range(1..60) }
    }

    /// What is to be done; none where there is nothing to do it to.
    fn act(&mut self, kind: Kind) -> Option<Act> {
        Some(match kind {
            Kind::Grant | Kind::ShortGrant => {
                let life = self.random.random_range(1..4);
                let expires_at = (kind == Kind::ShortGrant).then(|| coreloop_testkit::roles::unix_now() + life);
                let (user, currency) = (self.person(), self.currency());
                Act::Grant { user, currency, amount: self.random.random_range(10..100), expires_at }
            }
            Kind::Transfer => {
                let (from, to) = (self.person(), self.person());
                if from == to {
                    return None;
                }
                Act::Transfer { from, to, currency: self.currency(), amount: self.random.random_range(1..40) }
            }
            Kind::Hold | Kind::ShortHold => Act::Hold {
                user: self.person(),
                currency: self.currency(),
                amount: self.random.random_range(2..30),
                ttl_secs: if kind == Kind::Hold { 600 } else { 1 },
            },
            Kind::Capture => {
                let (hold, amount) = self.take_held()?;
                let amount = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..=amount) };
                Act::Capture { hold, amount }
            }
            Kind::Release => Act::Release { hold: self.take_held()?.0 },
            Kind::ReleaseAgain => {
                let place = self.random.random_range(0..self.over.len().max(1));
                Act::Release { hold: self.over.get(place)?.clone() }
            }
            Kind::Reverse => {
                let deed = self.some_done()?;
                let deed = self.journal.deed(deed);
                if !matches!(deed.act, Act::Spend { .. } | Act::Transfer { .. } | Act::Capture { .. }) {
                    return None;
                }
                Act::Reverse { posting: deed.done()?.posting_id.clone(), amount: 0 }
            }
            Kind::Buy => {
                Act::Buy { product: self.one_of(&ITEMS), user: self.person(), limited: false, handle: String::new() }
            }
            Kind::BuyLimited => {
                Act::Buy { product: self.one_of(&LIMITED), user: self.person(), limited: true, handle: String::new() }
            }
            Kind::BuyLast => {
                let round = self.asked[self.people.len()].fetch_add(1, Ordering::SeqCst) / RIVALS;
                let product = format!("last-{}", round % LAST);
                Act::Buy { user: self.person(), product, limited: true, handle: String::new() }
            }
            Kind::Convert => {
                let (product, handle) = (self.one_of(&CONVERSIONS), self.one_of(&HANDLES));
                Act::Buy { user: self.person(), product, limited: false, handle }
            }
            Kind::ChargeBack => Act::ChargeBack { purchase: self.converted.pop()? },
            Kind::Redeem => Act::Redeem { sku: self.one_of(&REWARDS), user: self.person() },
            _ => self.spend(),
        })
    }

    /// The hold that was made first: a short one is over by then, which is as it should be.
    fn take_held(&mut self) -> Option<(String, i64)> {
        if self.held.is_empty() {
            return None;
        }
        let (hold, amount) = self.held.remove(0);
        self.over.push(hold.clone());
        Some((hold, amount))
    }

    fn some_done(&mut self) -> Option<usize> {
        let place = self.random.random_range(0..self.done.len().max(1));
        self.done.get(place).copied()
    }

    /// Clients of different services share their numbers, and so their keys. People have keys of their own, and count all from
    /// one, so that many have the same.
    fn key(&mut self, act: &Act) -> String {
        if let Act::Buy { user, .. } | Act::Redeem { user, .. } = act {
            let place = self.people.iter().position(|person| person == user).unwrap_or_default();
            return self.asked[place].fetch_add(1, Ordering::SeqCst).to_string();
        }
        if let Act::ChargeBack { purchase } = act {
            return format!("back-{purchase}");
        }
        self.next += 1;
        format!("{}-{}", self.number / CALLERS.len(), self.next)
    }

    fn note(&mut self, act: Act) -> usize {
        let key = self.key(&act);
        self.journal.note(self.caller, key, act, false)
    }

    /// Asks until it is known what happened, of any replica, always under the same key.
    async fn see_through(&mut self, deeds: Vec<usize>, stop: &AtomicBool) {
        let mut open = deeds;
        for tried in 0..TRIES {
            let replica = self.random.random_range(0..self.front.replicas.len());
            self.front.ask(&self.journal, replica, &open).await;
            let (journal, done, refused) = (&self.journal, &mut self.done, &mut self.refused);
            let (held, converted) = (&mut self.held, &mut self.converted);
            open.retain(|number| {
                let deed = journal.deed(*number);
                if deed.taken() && !deed.open() {
                    done.push(*number);
                    if let (Some(posting), Act::Hold { amount, .. }) = (deed.done(), &deed.act) {
                        held.push((posting.posting_id.clone(), *amount));
                    }
                    converted.extend(deed.converted().map(str::to_owned));
                } else if !deed.open() && deed.act.of_wallet() {
                    refused.push(*number);
                }
                deed.open()
            });
            if open.is_empty() || (stop.load(Ordering::SeqCst) && tried > 0) {
                return;
            }
            sleep(Duration::from_millis(30 << tried.min(4))).await;
        }
    }

    async fn batch(&mut self, stop: &AtomicBool) {
        let mut deeds = Vec::new();
        for _ in 0..self.random.random_range(2..6) {
            let amount = if self.random.random_bool(0.7) {
                self.random.random_range(1..50)
            } else {
                -self.random.random_range(1..30)
            };
            let act = Act::Batch { user: self.person(), currency: self.currency(), amount };
            deeds.push(self.note(act));
        }
        self.see_through(deeds, stop).await;
    }

    async fn repeat(&mut self) {
        if let Some(deed) = self.some_done() {
            let replica = self.random.random_range(0..self.front.replicas.len());
            self.front.ask(&self.journal, replica, &[deed]).await;
        }
    }

    /// The one that was refused first: what it lacked may be there by now.
    async fn insist(&mut self) {
        if !self.refused.is_empty() {
            let deed = self.refused.remove(0);
            let replica = self.random.random_range(0..self.front.replicas.len());
            self.front.ask(&self.journal, replica, &[deed]).await;
        }
    }

    async fn twin(&mut self, act: Act) {
        let deed = self.note(act);
        let deeds = [deed];
        let asking = (0..self.front.replicas.len()).map(|replica| self.front.ask(&self.journal, replica, &deeds));
        futures::future::join_all(asking).await;
        if self.journal.deed(deed).taken() {
            self.done.push(deed);
        }
    }

    async fn forge(&mut self) {
        let Some(number) = self.some_done() else { return };
        let deed = self.journal.deed(number);
        let act = match deed.act {
            Act::Buy { user, product, .. } => Act::Buy { user, product, limited: false, handle: "forged".to_owned() },
            Act::Redeem { user, sku } => {
                Act::Redeem { user, sku: if sku == "coffee" { "rare" } else { "coffee" }.to_owned() }
            }
            // The payment service's names are its own.
            Act::ChargeBack { .. } => return,
            _ => {
                let (user, currency) = (self.person(), self.currency());
                Act::Grant { user, currency, amount: 1_000_000, expires_at: None }
            }
        };
        let forged = self.journal.note(deed.caller, deed.key, act, true);
        let replica = self.random.random_range(0..self.front.replicas.len());
        self.front.ask(&self.journal, replica, &[forged]).await;
    }
}

/// A seed for one of the parts of a run.
#[must_use]
pub(crate) fn part_of(seed: u64, part: u64) -> u64 {
    StdRng::seed_from_u64(seed.wrapping_add(part.wrapping_mul(0x9e37_79b9_7f4a_7c15))).next_u64()
}
