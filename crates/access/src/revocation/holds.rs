//! Calls that stay open: each is told once, and at once, that its token stopped counting.
//!
//! A stream was admitted when it was opened; what its token is worth can end while it is open. Asking for every stream again
//! and again would cost most where nothing happens, so it is the other way round: an open call stands under the ids that a
//! revocation may name, and whoever learns a revocation looks there. That is one look in a sorted map for a revocation, and
//! nothing for an idle call: no task, no timer, about 400 bytes. While no call is open a revocation costs one atomic read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Revocation, Revoked, known::Question};
use crate::{Denied, token::Invalid};

/// What is known of an open call's token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// What a revocation may name.
    pub(crate) question: Question,
    /// First Unix second at which the token is refused, leeway counted.
    pub(crate) until: i64,
    /// Number of the key that signed it.
    pub(crate) key_serial: u32,
    /// The RPC must not go on when revocations cannot be read for long.
    pub(crate) fresh: bool,
}

/// Why a call must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    Revoked = 1,
    Expired = 2,
    Unknown = 3,
    KeyGone = 4,
}

impl Why {
    /// As the gate would answer a call that came now.
    fn denied(code: u8) -> Option<Denied> {
        match code {
            code if code == Self::Revoked as u8 => Some(Denied::TokenRevoked),
            code if code == Self::Expired as u8 => Some(Denied::TokenExpired),
            code if code == Self::Unknown as u8 => Some(Denied::RevocationUnknown),
            code if code == Self::KeyGone as u8 => Some(Denied::TokenInvalid(Invalid::UnknownKey)),
            _ => None,
        }
    }
}

/// One open call.
#[derive(Debug)]
pub(crate) struct Slot {
    serial: u64,
    pub(crate) terms: Terms,
    ended: AtomicU8,
    waker: AtomicWaker,
}

impl Slot {
    /// Ends the call; the first reason counts.
    pub(crate) fn end(&self, why: Why) {
        if self.ended.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.waker.wake();
        }
    }

    /// The ids under which it stands.
    fn ids(&self) -> impl Iterator<Item = Uuid> {
        let Question { token, user, .. } = self.terms.question;
        [Some(token.0), user.map(|(user, _)| user.0), user.map(|(_, session)| session.0)].into_iter().flatten()
    }
}

/// The open calls of a process.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    index: Mutex<Index>,
    len: AtomicUsize,
    serials: AtomicU64,
    opened: Notify,
}

/// Serials keep apart what stands under one id, or ends in one second.
#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<(Uuid, u64), Arc<Slot>>,
    by_end: BTreeMap<(i64, u64), Arc<Slot>>,
}

impl Holds {
    pub(crate) fn add(&self, terms: Terms) -> Arc<Slot> {
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot { serial, terms, ended: AtomicU8::new(0), waker: AtomicWaker::new() });
        let mut index = self.index();
        for id in slot.ids() {
            index.by_id.insert((id, serial), Arc::clone(&slot));
        }
        index.by_end.insert((terms.until, serial), Arc::clone(&slot));
        self.len.store(index.by_end.len(), Ordering::SeqCst);
        drop(index);
        self.opened.notify_one();
        slot
    }

    pub(crate) fn remove(&self, slot: &Slot) {
        let mut index = self.index();
        let gone: Vec<_> = slot.ids().map(|id| index.by_id.remove(&(id, slot.serial))).collect();
        let last = index.by_end.remove(&(slot.terms.until, slot.serial));
        self.len.store(index.by_end.len(), Ordering::SeqCst);
        // A slot may hold the last word of a task: it goes without the lock.
        drop(index);
        drop((gone, last));
    }

    /// Ends what a revocation speaks of.
    pub(crate) fn revoked(&self, revocation: &Revocation) {
        // With the fence of `Hold::new`: whoever opens a call sees the revocation, or we see the call.
        fence(Ordering::SeqCst);
        if self.len.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (id, issued_until) = match revocation.what {
            Revoked::Token(id) => (id.0, None),
            Revoked::Session(id) => (id.0, None),
            Revoked::User { id, issued_until } => (id.0, Some(issued_until)),
        };
        let spoken_of = |slot: &&Arc<Slot>| issued_until.is_none_or(|until| slot.terms.question.issued_at <= until);
        let found: Vec<_> = self
            .index()
            .by_id
            .range((id, 0)..=(id, u64::MAX))
            .map(|(_, slot)| slot)
            .filter(spoken_of)
            .cloned()
            .collect();
        for slot in found {
            slot.end(Why::Revoked);
        }
    }

    /// Ends what is past its time at `now` (Unix seconds).
    pub(crate) fn expire(&self, now: i64) {
        let past: Vec<_> = self.index().by_end.range(..=(now, u64::MAX)).map(|(_, slot)| Arc::clone(slot)).collect();
        for slot in past {
            slot.end(Why::Expired);
        }
    }

    /// All of them, for who must look at each.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        self.index().by_end.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Waits until a call is open.
    pub(crate) async fn any(&self) {
        while self.len() == 0 {
            self.opened.notified().await;
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open call's hold on its admission. Dropped when the call ends.
pub struct Hold {
    slot: Arc<Slot>,
    of: super::Revocations,
}

impl Hold {
    /// A hold that is told of everything from now on, and of a revocation that is known already.
    pub(crate) fn new(of: &super::Revocations, terms: Terms) -> Self {
        let slot = of.holds().add(terms);
        // What is learned after this look finds the slot.
        fence(Ordering::SeqCst);
        if of.knows(&terms.question) {
            slot.end(Why::Revoked);
        }
        Self { slot, of: of.clone() }
    }

    /// Ready with the refusal that a new call with the token would get, once there is one.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Denied> {
        let ended = || Why::denied(self.slot.ended.load(Ordering::Acquire));
        if let Some(denied) = ended() {
            return Poll::Ready(denied);
        }
        self.slot.waker.register(cx.waker());
        ended().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.of.holds().remove(&self.slot);
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("terms", &self.slot.terms).finish_non_exhaustive()
    }
}
