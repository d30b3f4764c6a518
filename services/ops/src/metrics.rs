//! Metrics of the domain. What every process reads of the database or its peers is the same in each replica: alert on the
//! largest.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use coreloop_ops_api::v1::Queue;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::alerts::Level;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ran {
    job: String,
    subject: String,
    outcome: &'static str,
}

/// Which check.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Checked {
    check: String,
}

/// Which queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queued {
    queue: String,
}

/// Which queue, and how bad it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alerted {
    queue: String,
    level: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    runs: Family<Ran, Counter>,
    unsound: Family<Checked, Gauge>,
    sound_at: Family<Checked, Gauge>,
    dead: Family<Queued, Gauge>,
    oldest: Family<Queued, Gauge>,
    alert: Family<Alerted, Gauge>,
    unreachable: Gauge,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("ops_runs", "Runs of jobs, by what became of them", self.runs.clone());
        registry.register(
            "ops_check_unsound",
            "1: the last run found what does not fit, or failed",
            self.unsound.clone(),
        );
        registry.register(
            "ops_check_sound_at",
            "Unix seconds of the last run that found all sound",
            self.sound_at.clone(),
        );
        registry.register("ops_dead_letters", "Dead letters of a queue, archived ones too", self.dead.clone());
        registry.register("ops_dead_letters_oldest_age_seconds", "Age of the oldest of them", self.oldest.clone());
        registry.register(
            "ops_dead_letter_alert",
            "1: the queue has so many dead letters, 100 warning and 1,000 critical",
            self.alert.clone(),
        );
        registry.register("ops_services_unreachable", "Services that did not answer ops", self.unreachable.clone());
    }

    /// Counts a run.
    pub fn ran(&self, job: &str, subject: &str, outcome: &'static str) {
        self.runs.get_or_create(&Ran { job: job.to_owned(), subject: subject.to_owned(), outcome }).inc();
    }

    /// Tells no more of checks but these.
    pub fn forget_checks_but(&self, known: &[String]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|check| {
            let keep = known.contains(check);
            if !keep {
                let gone = Checked { check: check.clone() };
                self.unsound.remove(&gone);
                self.sound_at.remove(&gone);
            }
            keep
        });
    }

    /// What the last run of a check that ended came to.
    pub fn checked(&self, check: &str, sound: bool, ended_at: i64) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(check.to_owned());
        let checked = Checked { check: check.to_owned() };
        self.unsound.get_or_create(&checked).set(i64::from(!sound));
        if sound {
            self.sound_at.get_or_create(&checked).set(ended_at);
        }
    }

    /// What the queues have set aside; a queue that was told of before and is empty is not left as it was.
    pub fn queues(&self, queues: &[Queue], now: i64) {
        self.dead.clear();
        self.oldest.clear();
        self.alert.clear();
        for queue in queues {
            let queued = Queued { queue: queue.queue.clone() };
            self.dead.get_or_create(&queued).set(queue.dead + queue.archived);
            let age = queue.oldest_at.map(|at| now - at.seconds).unwrap_or_default();
            self.oldest.get_or_create(&queued).set(age.max(0));
            let worst = Level::of(queue);
            for level in Level::ALL {
                let alerted = Alerted { queue: queue.queue.clone(), level: level.name() };
                self.alert.get_or_create(&alerted).set(i64::from(worst >= Some(level)));
            }
        }
    }

    /// Services that did not answer.
    pub fn unreachable(&self, services: usize) {
        self.unreachable.set(i64::try_from(services).unwrap_or(i64::MAX));
    }
}
