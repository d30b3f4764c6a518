//! What one service can recompute of its own, served to ops.
//!
//! A service that has something of value adds [`Checks::server`] to its RPCs and [`SERVICE`] to its foreign services:
//!
//! ```ignore
//! let ledger = move || { let app = Arc::clone(&app); async move { Ok(report_of(&app).await?) } };
//! rpcs.with(Checks::of("wallet").with("ledger", ledger).server())
//! ```
//!
//! Each check is asked for daily, and when an administrator wishes; ops keeps what was answered and sees to it that one
//! replica works at a time. A check reads a moment of the service's data and changes nothing.

use std::{pin::Pin, sync::Arc, time::Duration};

use coreloop_access::Caller;
use coreloop_core::Problem;
use futures::{
    Stream,
    future::BoxFuture,
    stream::{self, StreamExt as _},
};
use tonic::{Request, Response, Status};

use crate::{
    host::refused,
    v1::{
        self, OpsReason,
        integrity_service_server::{IntegrityService, IntegrityServiceServer},
    },
};

/// Full name of the service, for `Module::foreign_services`.
pub const SERVICE: &str = "coreloop.ops.v1.IntegrityService";

/// Time between two messages of a check that goes on; who hears nothing for several times as long may give it up.
pub const BEAT: Duration = Duration::from_secs(5);

/// Most findings that are told.
pub const MOST: usize = 100;

/// What a check saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was looked at, as `entries`.
    pub counts: Vec<(&'static str, i64)>,
    /// What does not fit. None: all is sound.
    pub findings: Vec<Finding>,
}

/// Something that does not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// What, in a word.
    pub what: String,
    /// Where: an account, a receipt, a row.
    pub subject: String,
    /// For operators.
    pub detail: String,
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<Report, Problem>> + Send + Sync>;

/// What a service can recompute. Clones share it.
#[derive(Clone)]
pub struct Checks {
    domain: &'static str,
    checks: Vec<(String, Check)>,
}

impl Checks {
    /// None yet, of the service `domain`.
    #[must_use]
    pub fn of(domain: &'static str) -> Self {
        Self { domain, checks: Vec::new() }
    }

    /// With the check `<domain>.<name>`.
    #[must_use]
    pub fn with<F, Fut>(mut self, name: &str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Report, Problem>> + Send + 'static,
    {
        self.checks.push((format!("{}.{name}", self.domain), Arc::new(move || Box::pin(check()))));
        self
    }

    /// Serves them.
    #[must_use]
    pub fn server(self) -> IntegrityServiceServer<Self> {
        IntegrityServiceServer::new(self)
    }
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|(name, _)| name)).finish()
    }
}

impl From<Report> for v1::IntegrityReport {
    fn from(report: Report) -> Self {
        let count = |(name, value): (&str, i64)| v1::Count { name: name.to_owned(), value };
        let finding = |Finding { what, subject, detail }: Finding| v1::IntegrityFinding { what, subject, detail };
        Self {
            sound: report.findings.is_empty(),
            counts: report.counts.into_iter().map(count).collect(),
            findings: report.findings.into_iter().take(MOST).map(finding).collect(),
        }
    }
}

/// A message every [`BEAT`] until the work has ended, then what it came to.
fn beats(
    work: BoxFuture<'static, Result<Report, Problem>>,
) -> impl Stream<Item = Result<v1::RunCheckResponse, Status>> {
    stream::unfold(Some(work), async |work| {
        let mut work = work?;
        match tokio::time::timeout(BEAT, &mut work).await {
            Ok(Ok(report)) => Some((Ok(v1::RunCheckResponse { report: Some(report.into()) }), None)),
            Ok(Err(problem)) => Some((Err(problem.into()), None)),
            Err(_) => Some((Ok(v1::RunCheckResponse::default()), Some(work))),
        }
    })
}

#[tonic::async_trait]
impl IntegrityService for Checks {
    type RunCheckStream = Pin<Box<dyn Stream<Item = Result<v1::RunCheckResponse, Status>> + Send>>;

    async fn list_checks(
        &self,
        request: Request<v1::ListChecksRequest>,
    ) -> Result<Response<v1::ListChecksResponse>, Status> {
        Caller::of(&request)?.require_machine()?;
        let checks = self.checks.iter().map(|(name, _)| name.clone()).collect();
        Ok(Response::new(v1::ListChecksResponse { checks }))
    }

    async fn run_check(&self, request: Request<v1::RunCheckRequest>) -> Result<Response<Self::RunCheckStream>, Status> {
        Caller::of(&request)?.require_machine()?;
        let asked = &request.get_ref().check;
        let Some((_, check)) = self.checks.iter().find(|(name, _)| name == asked) else {
            return Err(refused(OpsReason::CheckUnknown, "this service has no such check").into());
        };
        Ok(Response::new(beats(check()).boxed()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_goes_on_says_so_and_its_last_word_is_the_report() {
        let work = async {
            // The clock is the test's own: it moves when nothing else can.
            let _over = tokio::time::timeout(BEAT * 5 / 2, std::future::pending::<()>()).await;
            Ok(Report { counts: vec![("rows", 3)], findings: Vec::new() })
        };
        let said: Vec<_> = beats(Box::pin(work)).map(Result::unwrap).collect().await;
        let (last, before) = said.split_last().unwrap();
        assert_eq!(before.len(), 2);
        assert!(before.iter().all(|message| message.report.is_none()));
        let report = last.report.clone().unwrap();
        assert!(report.sound);
        assert_eq!(report.counts.iter().map(|count| count.value).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn what_does_not_fit_is_not_sound_and_no_more_than_a_hundred_is_told() {
        let finding = Finding { what: "gap".into(), ..Finding::default() };
        let report = v1::IntegrityReport::from(Report { counts: Vec::new(), findings: vec![finding; MOST + 1] });
        assert!(!report.sound);
        assert_eq!(report.findings.len(), MOST);
    }
}
