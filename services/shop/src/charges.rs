//! Charges of items that wait together are one call of the wallet, which makes them one batch of its own: a call each costs
//! both sides more than what it asks for.
//!
//! As everywhere ([`coreloop_db::Grouped`]) there is no timer: who finds a free lane goes at once, alone. Each keeps its own key
//! and answer, and the wallet is told the trace of each, so that its events belong to it. A trace that is recorded has its
//! charge as a call of its own, to be seen.

use std::sync::Arc;

use coreloop_auth_api::machine::Machine;
use coreloop_db::{Grouped, Limits};
use coreloop_service::Call;
use coreloop_wallet_api::v1::{SpendOne, SpendRequest};

use crate::{
    Options,
    wallet::{Taken, take, take_all},
};

/// Most spends of a call (`SpendManyRequest`).
const MOST: usize = 256;
/// Calls for each lane of the database's: one that waits for somebody's wallet keeps nobody else's from theirs for long.
const CALLS: usize = 8;

/// Charges under way that keep further calls from being made: what a call costs both sides, in charges.
const AMPLE: usize = 64;

/// Charges. Clones share the lanes.
#[derive(Debug, Clone)]
pub struct Charges {
    machine: Machine,
    together: Grouped<Charge, Taken>,
}

#[derive(Debug)]
struct Charge {
    spend: SpendRequest,
    call: Option<Arc<Call>>,
}

impl Charges {
    /// Through the machine that the shop is towards the wallet.
    #[must_use]
    pub fn new(machine: Machine, options: &Options) -> Self {
        let (lanes, most) = (options.lanes.saturating_mul(CALLS), options.batch.min(MOST));
        let limits = Limits { lanes, most, queue: options.queue, ample: AMPLE };
        let hand = machine.clone();
        let together = Grouped::new(limits, move |charges: Vec<Charge>, _| {
            let machine = hand.clone();
            Box::pin(async move { all(&machine, charges).await })
        });
        Self { machine, together }
    }

    /// Takes it, with what waits beside it. None where the key named something else before.
    ///
    /// # Errors
    /// When it is not known what has happened.
    pub async fn charge(&self, spend: SpendRequest) -> Taken {
        let call = Call::current();
        if call.as_ref().is_some_and(|call| call.trace.sampled) {
            return take(&self.machine, spend).await;
        }
        self.together.submit(Charge { spend, call }).await?
    }
}

async fn all(machine: &Machine, mut charges: Vec<Charge>) -> Vec<Taken> {
    if charges.len() > 1 {
        return many(machine, charges).await;
    }
    let Some(Charge { spend, call }) = charges.pop() else { return Vec::new() };
    let one = take(machine, spend);
    vec![match call {
        Some(call) => call.scope(one).await,
        None => one.await,
    }]
}

async fn many(machine: &Machine, charges: Vec<Charge>) -> Vec<Taken> {
    let spends = charges.into_iter().map(|Charge { spend, call }| SpendOne {
        spend: Some(spend),
        traceparent: call.as_ref().map(|call| call.trace.header()).unwrap_or_default(),
        request_id: call.and_then(|call| call.request_id.to_str().map(str::to_owned).ok()).unwrap_or_default(),
    });
    take_all(machine, spends.collect()).await
}
