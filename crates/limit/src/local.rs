//! The approximation that holds while Redis does not answer.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};

use crate::{limiter::Measure, plan::Window, script::Budget};

/// Subjects remembered for one window; beyond, those that are idle are forgotten.
const MOST_SUBJECTS: usize = 100_000;

type Bucket = RateLimiter<String, DashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// Local limiters, one for each distinct window. A key names endpoint and subject, so endpoints may share one.
pub(crate) struct Local {
    buckets: HashMap<(NonZeroU32, Duration), Bucket>,
    clock: DefaultClock,
}

impl Local {
    pub(crate) fn new<'a>(windows: impl Iterator<Item = &'a Window>) -> Self {
        let mut buckets = HashMap::new();
        for window in windows {
            let Some(quota) = Quota::with_period(window.per / window.max.get()) else { continue };
            buckets.entry((window.max, window.per)).or_insert_with(|| {
                RateLimiter::keyed(quota.allow_burst(window.max)).with_middleware::<StateInformationMiddleware>()
            });
        }
        Self { buckets, clock: DefaultClock::default() }
    }

    /// Decides a call. Unlike the script, a call that a later window refuses has drawn from the earlier ones.
    pub(crate) fn decide(&self, budgets: &[Budget<'_>]) -> Measure {
        let mut tightest: Option<Measure> = None;
        for budget in budgets {
            for window in budget.windows {
                let Some(bucket) = self.buckets.get(&(window.max, window.per)) else { continue };
                if bucket.len() > MOST_SUBJECTS {
                    bucket.retain_recent();
                    bucket.shrink_to_fit();
                }
                let measure = match bucket.check_key(&budget.key) {
                    Ok(state) => measure(window, state.remaining_burst_capacity()),
                    Err(not_until) => return refusal(window, not_until.wait_time_from(self.clock.now())),
                };
                if tightest.as_ref().is_none_or(|known| measure.remaining < known.remaining) {
                    tightest = Some(measure);
                }
            }
        }
        tightest.unwrap_or(Measure {
            admitted: true,
            limit: 0,
            remaining: 0,
            reset: Duration::ZERO,
            wait: Duration::ZERO,
        })
    }
}

fn refusal(window: &Window, wait: Duration) -> Measure {
    Measure { admitted: false, limit: window.max.get(), remaining: 0, reset: wait, wait }
}

fn measure(window: &Window, remaining: u32) -> Measure {
    let reset = window.per / window.max.get();
    Measure { admitted: true, limit: window.max.get(), remaining, reset, wait: Duration::ZERO }
}
