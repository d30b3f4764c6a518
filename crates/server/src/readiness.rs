//! The readiness checks of a process: bounded in time, kept for a moment, all asked at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use coreloop_service::{Check, Component};
use tokio::{sync::Mutex, time::Instant};

const AGAIN: Duration = Duration::from_millis(20);

/// Asks the checks when somebody asks it, at most once in `keep`. Nothing runs while nobody does.
#[derive(Clone)]
pub(crate) struct Checks(Arc<Inner>);

struct Inner {
    checks: Vec<Check>,
    timeout: Duration,
    keep: Duration,
    draining: AtomicBool,
    last: Mutex<Option<(Instant, Arc<[Component]>)>>,
}

impl Checks {
    pub(crate) fn new(checks: Vec<Check>, timeout: Duration, keep: Duration) -> Self {
        let inner = Inner { checks, timeout, keep, draining: AtomicBool::new(false), last: Mutex::new(None) };
        Self(Arc::new(inner))
    }

    /// From now on the process is not ready, whatever the checks say.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }

    /// What each part of the process says, and that it stops when it does.
    pub(crate) async fn components(&self) -> Vec<Component> {
        let mut components = self.outcome().await.to_vec();
        if self.draining() {
            components
                .push(Component { name: "process".to_owned(), trouble: Some("the process is stopping".to_owned()) });
        }
        components
    }

    /// Whether the module `name` can serve: its own checks (`name/…`) and those of the process. Copies nothing: thousands
    /// may watch.
    pub(crate) async fn module_ready(&self, name: &str) -> bool {
        let own = |component: &&Component| match component.name.split_once('/') {
            Some((module, _)) => module == name || module == "process",
            None => true,
        };
        !self.draining() && self.outcome().await.iter().filter(own).all(Component::ready)
    }

    /// Those that ask while the checks run wait for the same outcome.
    async fn outcome(&self) -> Arc<[Component]> {
        let mut last = self.0.last.lock().await;
        let fresh = last.as_ref().filter(|(at, components)| at.elapsed() < self.keep(components));
        if let Some((_, components)) = fresh {
            return Arc::clone(components);
        }
        let looks = self.0.checks.iter().map(|check| self.look(check));
        let components: Arc<[Component]> = futures::future::join_all(looks).await.into();
        report(last.as_ref().map(|(_, before)| &**before), &components);
        *last = Some((Instant::now(), Arc::clone(&components)));
        components
    }

    /// Trouble is looked at again sooner, so that its end is seen.
    fn keep(&self, components: &[Component]) -> Duration {
        if components.iter().all(Component::ready) { self.0.keep } else { self.0.keep.min(AGAIN) }
    }

    async fn look(&self, check: &Check) -> Component {
        let trouble = match tokio::time::timeout(self.0.timeout, check.look()).await {
            Ok(outcome) => outcome.err(),
            Err(_) => Some("no answer in time".to_owned()),
        };
        Component { name: check.name.clone(), trouble }
    }
}

/// One line when a part goes away and one when it is back.
fn report(before: Option<&[Component]>, now: &[Component]) {
    for component in now {
        let was_ready = before.is_none_or(|before| before.iter().any(|c| c.name == component.name && c.ready()));
        match &component.trouble {
            Some(trouble) if was_ready => tracing::warn!(part = component.name, trouble, "part is not ready"),
            None if !was_ready => tracing::info!(part = component.name, "part is ready again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn checks_are_bounded_kept_and_by_module() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let good = Check::new("auth/postgres", move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let hung = Check::new("wallet/redis", std::future::pending);
        let checks = Checks::new(vec![good, hung], Duration::from_millis(800), Duration::from_millis(500));
        let components = checks.components().await;
        assert_eq!(components.iter().map(Component::ready).collect::<Vec<_>>(), [true, false]);
        assert!(checks.module_ready("auth").await);
        assert!(!checks.module_ready("wallet").await);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_millis(501)).await;
        assert!(checks.module_ready("auth").await);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        checks.drain();
        assert!(!checks.module_ready("auth").await);
    }
}
