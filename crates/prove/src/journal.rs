//! What the clients asked and what they were told, in memory for the checker and in a file for people.
//!
//! A deed is one act under one key. A reply that did not come, or that does not say what happened, is `Unknown`: the deed
//! is asked about again under its key, and has one truth in the end.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use coreloop_shop_api::v1::PurchaseState;
use coreloop_wallet_api::v1::Posting;
use serde_json::json;

use crate::market::CONVERSIONS;

/// What is asked of the wallet, and of those who move value by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// With the second in which it expires, if it does.
    Grant {
        user: String,
        currency: i32,
        amount: i64,
        expires_at: Option<i64>,
    },
    Spend {
        user: String,
        currency: i32,
        amount: i64,
    },
    Transfer {
        from: String,
        to: String,
        currency: i32,
        amount: i64,
    },
    Hold {
        user: String,
        currency: i32,
        amount: i64,
        ttl_secs: i64,
    },
    Capture {
        hold: String,
        amount: i64,
    },
    Release {
        hold: String,
    },
    Reverse {
        posting: String,
        amount: i64,
    },
    /// One posting of a batch: to the user, or from them below zero.
    Batch {
        user: String,
        currency: i32,
        amount: i64,
    },
    /// By the way of limited packages, or by the plain one with what is paid with.
    Buy {
        user: String,
        product: String,
        limited: bool,
        handle: String,
    },
    Redeem {
        user: String,
        sku: String,
    },
    /// A photo of somebody, who registers it.
    Photo {
        user: String,
        name: &'static str,
    },
    /// The payment service takes back what it had confirmed, by a webhook whose event id is the key.
    ChargeBack {
        purchase: String,
    },
}

impl Act {
    /// It is asked of the wallet itself.
    pub(crate) fn of_wallet(&self) -> bool {
        !matches!(self, Self::Buy { .. } | Self::Redeem { .. } | Self::ChargeBack { .. } | Self::Photo { .. })
    }
}

/// What was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// It has happened.
    Done(Box<Posting>),
    /// It is written down, and so far: a purchase or a redemption.
    Taken {
        /// Its id.
        id: String,
        /// Its state, as its contract numbers it.
        state: i32,
    },
    /// It has not, and why.
    Refused(String),
    /// Nobody said which.
    Unknown(String),
}

/// A reply, or that there was none.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// When it was asked, since the begin.
    pub(crate) asked: Duration,
    /// When it was answered.
    pub(crate) heard: Duration,
    /// What was told.
    pub(crate) said: Said,
}

/// One act under one key, with all that was told about it.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    /// Which service asks.
    pub(crate) caller: &'static str,
    /// Its key.
    pub(crate) key: String,
    /// What it asks.
    pub(crate) act: Act,
    /// The key named something else before: it must be refused, and changes nothing.
    pub(crate) forged: bool,
    /// What was told, in order.
    pub(crate) replies: Vec<Reply>,
}

impl Deed {
    /// The first answer that says it has happened.
    pub(crate) fn done(&self) -> Option<&Posting> {
        self.replies.iter().find_map(|reply| match &reply.said {
            Said::Done(posting) => Some(&**posting),
            _ => None,
        })
    }

    /// It has happened, or is on its way.
    pub(crate) fn taken(&self) -> bool {
        self.replies.iter().any(|reply| matches!(reply.said, Said::Done(_) | Said::Taken { .. }))
    }

    /// The purchase, of a conversion that is through.
    pub(crate) fn converted(&self) -> Option<&str> {
        let Act::Buy { product, .. } = &self.act else { return None };
        let through = i32::from(PurchaseState::Confirmed);
        self.replies.iter().find_map(|reply| match &reply.said {
            Said::Taken { id, state } if *state == through && CONVERSIONS.contains(&product.as_str()) => {
                Some(id.as_str())
            }
            _ => None,
        })
    }

    /// Somebody did not say what happened, at least once.
    pub(crate) fn doubted(&self) -> bool {
        self.replies.is_empty() || self.replies.iter().any(|reply| matches!(reply.said, Said::Unknown(_)))
    }

    /// The last word does not say what happened.
    pub(crate) fn open(&self) -> bool {
        self.replies.last().is_none_or(|reply| matches!(reply.said, Said::Unknown(_)))
    }
}

/// The journal of a run.
#[derive(Debug)]
pub(crate) struct Journal {
    began: Instant,
    deeds: Mutex<Vec<Deed>>,
    answered: AtomicUsize,
    file: Mutex<fs::File>,
}

impl Journal {
    /// An empty journal, also written to `path`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let file = Mutex::new(fs::File::create(path)?);
        Ok(Self { began: Instant::now(), deeds: Mutex::default(), answered: AtomicUsize::new(0), file })
    }

    fn deeds(&self) -> MutexGuard<'_, Vec<Deed>> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the begin.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes that a deed is about to be asked; answers its number.
    pub(crate) fn note(&self, caller: &'static str, key: String, act: Act, forged: bool) -> usize {
        let mut deeds = self.deeds();
        deeds.push(Deed { caller, key, act, forged, replies: Vec::new() });
        deeds.len() - 1
    }

    /// A deed as it stands.
    pub(crate) fn deed(&self, number: usize) -> Deed {
        self.deeds()[number].clone()
    }

    /// All deeds.
    pub(crate) fn all(&self) -> Vec<Deed> {
        self.deeds().clone()
    }

    /// Answers that told something, so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Notes what was told about a deed that was asked at `asked`.
    pub(crate) fn hear(&self, number: usize, asked: Duration, said: Said) {
        let heard = self.now();
        if !matches!(said, Said::Unknown(_)) {
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        let line = {
            let mut deeds = self.deeds();
            let deed = &mut deeds[number];
            deed.replies.push(Reply { asked, heard, said });
            line(number, deed)
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // What is on the screen at the end tells as much.
        let _full_disk = writeln!(file, "{line}");
    }

    /// Notes what was done to the mesh.
    pub(crate) fn blow(&self, what: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _full_disk = writeln!(file, "{}", json!({ "at_ms": ms(self.now()), "blow": what }));
    }
}

fn ms(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// A deed with its newest reply, as a line for people.
pub(crate) fn line(number: usize, deed: &Deed) -> String {
    let said = |reply: &Reply| match &reply.said {
        Said::Done(posting) => format!("done {}", posting.posting_id),
        Said::Taken { id, state } => format!("taken {id}, state {state}"),
        Said::Refused(reason) => format!("refused {reason}"),
        Said::Unknown(why) => format!("unknown ({why})"),
    };
    let newest = deed.replies.last();
    json!({
        "deed": number,
        "caller": deed.caller,
        "key": deed.key,
        "asked": format!("{:?}", deed.act),
        "forged": deed.forged,
        "from_ms": newest.map(|reply| ms(reply.asked)),
        "at_ms": newest.map(|reply| ms(reply.heard)),
        "tries": deed.replies.len(),
        "said": newest.map(said),
    })
    .to_string()
}
