//! `VerifyIntegrity`.

use coreloop_access::Caller;
use coreloop_wallet_api::v1;
use tonic::{Request, Response};

use crate::{App, Error, books::proto_time, integrity::Finding, worker};

/// `VerifyIntegrity`.
///
/// # Errors
/// When the database fails.
pub async fn verify_integrity(
    app: &App,
    request: Request<v1::VerifyIntegrityRequest>,
) -> Result<Response<v1::VerifyIntegrityResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    let began_at = app.clock.now().as_microsecond();
    let report = worker::checked(app).await?;
    Ok(Response::new(v1::VerifyIntegrityResponse {
        sound: report.sound(),
        accounts: report.accounts,
        entries: report.entries,
        findings: report.findings.iter().map(proto_finding).collect(),
        began_at: Some(proto_time(began_at)),
    }))
}

fn proto_finding(finding: &Finding) -> v1::Finding {
    let currency = finding.currency.or(finding.account.map(|(_, currency)| currency)).unwrap_or_default();
    v1::Finding {
        what: finding.what.to_owned(),
        account: finding.account.map(|(owner, _)| owner.to_string()).unwrap_or_default(),
        currency: currency.into(),
        sequence: finding.seq,
        posting_id: finding.posting.map(|id| id.to_string()).unwrap_or_default(),
    }
}
