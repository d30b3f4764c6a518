//! `GetHealth`, `GetDashboard`.

use std::time::Duration;

use coreloop_ops_api::{host::proto_time, v1};
use futures::future::join_all;
use jiff::SignedDuration;
use prost::Message as _;
use redis::AsyncCommands as _;
use serde_json::json;
use tokio::time::Instant;
use tonic::{Code, Request, Response};

use super::{actor, runs::proto_run};
use crate::{App, Error, peers::PATIENCE, queues, runs::INTEGRITY, store};

/// Where the dashboard is kept for a moment (chapter 08).
const CACHE: &str = "admin:stats:cache:v1";

/// How long.
const FRESH_SECS: u64 = 5;

/// Longest time that Redis is waited for; without it the dashboard is put together anew.
const REDIS_PATIENCE: Duration = Duration::from_millis(200);

/// Tells which services of the mesh answer.
///
/// # Errors
/// When the audit cannot be written.
pub async fn get_health(
    app: &App,
    request: Request<v1::GetHealthRequest>,
) -> Result<Response<v1::GetHealthResponse>, Error> {
    let act = (actor(&request)?, "ops.health.get", "");
    let work = async { Ok(health(app).await) };
    let health = app.book().audited(act, json!({}), work, |health| json!({ "up": health.up })).await?;
    Ok(Response::new(health))
}

/// Answers what an operator looks at first.
///
/// # Errors
/// When the database does not answer.
pub async fn get_dashboard(
    app: &App,
    request: Request<v1::GetDashboardRequest>,
) -> Result<Response<v1::GetDashboardResponse>, Error> {
    let act = (actor(&request)?, "ops.dashboard.get", "");
    let work = async {
        if let Some(kept) = kept(app).await {
            return Ok(kept);
        }
        let fresh = dashboard(app).await?;
        keep(app, &fresh).await;
        Ok(fresh)
    };
    Ok(Response::new(app.book().audited(act, json!({}), work, |_| json!({})).await?))
}

async fn health(app: &App) -> v1::GetHealthResponse {
    let asked = app.links.names().into_iter().map(|service| async {
        let began = Instant::now();
        let up = answers(app, &service).await;
        let latency_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        v1::ServiceHealth { service, up, latency_ms }
    });
    let services = join_all(asked).await;
    v1::GetHealthResponse { up: services.iter().all(|service| service.up), services }
}

/// A service that is there knows what it does not serve: any answer of its own will do.
async fn answers(app: &App, service: &str) -> bool {
    let ask = async {
        let request = app.peers.request(v1::ListChecksRequest {}).await?;
        v1::integrity_service_client::IntegrityServiceClient::new(app.peers.link(service)).list_checks(request).await
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => status.code() == Code::Unimplemented,
        Err(_) => false,
    }
}

async fn dashboard(app: &App) -> Result<v1::GetDashboardResponse, Error> {
    let now = app.clock.now();
    let (health, (queues, _)) = tokio::join!(health(app), queues::all(app));
    let subjects = store::runs::subjects(&app.db, INTEGRITY).await?;
    let checks = store::runs::newest(&app.db, INTEGRITY, &subjects).await?;
    let yesterday = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(now);
    Ok(v1::GetDashboardResponse {
        at: Some(proto_time(now)),
        health: Some(health),
        queues,
        checks: checks.into_iter().map(proto_run).collect(),
        acts: store::audits::acts_since(&app.db, yesterday).await?,
    })
}

async fn kept(app: &App) -> Option<v1::GetDashboardResponse> {
    let mut redis = app.redis.clone()?;
    let bytes: Option<Vec<u8>> = tokio::time::timeout(REDIS_PATIENCE, redis.get(CACHE)).await.ok()?.ok()?;
    v1::GetDashboardResponse::decode(bytes?.as_slice()).ok()
}

async fn keep(app: &App, fresh: &v1::GetDashboardResponse) {
    let Some(mut redis) = app.redis.clone() else { return };
    let kept: Result<Result<(), _>, _> =
        tokio::time::timeout(REDIS_PATIENCE, redis.set_ex(CACHE, fresh.encode_to_vec(), FRESH_SECS)).await;
    if !matches!(kept, Ok(Ok(()))) {
        tracing::debug!("the dashboard could not be kept");
    }
}
