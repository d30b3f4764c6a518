//! What administrators do about fraud: rules, what they met, whom they refuse nothing.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_facts::Act;
use coreloop_shop_api::v1::{self, Category, FraudKind, FraudRule, FraudSubject};
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{App, Error, store::fraud, time};

/// Name of the list in its page tokens.
const HITS: &str = "shop.fraud_hits";
/// Most payment handles that a rule lets through.
const MOST_METHODS: i32 = 100;

/// `ListFraudRules`.
///
/// # Errors
/// When the database fails.
pub async fn list_fraud_rules(
    app: &App,
    request: Request<v1::ListFraudRulesRequest>,
) -> Result<Response<v1::ListFraudRulesResponse>, Error> {
    Caller::of(&request)?.require_user()?;
    Ok(Response::new(v1::ListFraudRulesResponse { rules: fraud::rules(&app.db).await? }))
}

/// `UpsertFraudRule`.
///
/// # Errors
/// `VALIDATION_FAILED` for what no rule is.
pub async fn upsert_fraud_rule(
    app: &App,
    request: Request<v1::UpsertFraudRuleRequest>,
) -> Result<Response<v1::UpsertFraudRuleResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let rule = request.into_inner().rule.unwrap_or_default();
    check(&rule)?;
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    if let Some((before, after)) = fraud::upsert(&mut tx, &rule, by.0, now).await? {
        let act = Act { by, subject: &rule.rule_id, reason: "", before: before.as_ref(), after: Some(&after) };
        app.acts.tell(&mut tx, &act, now).await?;
    }
    tx.commit().await?;
    tracing::info!(rule = rule.rule_id, mode = rule.mode, by = %by, "a rule against fraud was changed");
    Ok(Response::new(v1::UpsertFraudRuleResponse { rule: Some(rule) }))
}

fn check(rule: &FraudRule) -> Result<(), Error> {
    let methods = rule.kind() == FraudKind::Methods;
    if methods && rule.subject() == FraudSubject::Handle {
        return Err(Error::invalid("rule.subject", "a handle is one payment method"));
    }
    if methods && rule.most > MOST_METHODS {
        return Err(Error::invalid("rule.most", "must be at most 100 payment handles"));
    }
    if rule.category() == Category::Item && (methods || rule.subject() == FraudSubject::Handle) {
        return Err(Error::invalid("rule.category", "items are not paid with payment handles"));
    }
    Ok(())
}

/// `ListFraudHits`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_fraud_hits(
    app: &App,
    request: Request<v1::ListFraudHitsRequest>,
) -> Result<Response<v1::ListFraudHitsResponse>, Error> {
    Caller::of(&request)?.require_user()?;
    let asked = request.get_ref();
    let user: Option<Uuid> = asked.user_id.as_deref().and_then(|id| id.parse().ok());
    let size = page::size(asked.page_size);
    let before: Option<i64> = page::decode(HITS, &asked.page_token)?;
    let mut hits = fraud::hits(&app.db, user, before.unwrap_or(i64::MAX), size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = hits.len() > most;
    hits.truncate(most);
    let next = hits.last().filter(|_| more).map(|hit| page::encode(HITS, &hit.sequence));
    Ok(Response::new(v1::ListFraudHitsResponse { hits, next_page_token: next.unwrap_or_default() }))
}

/// `ExcuseFromFraud`.
///
/// # Errors
/// When the database fails.
pub async fn excuse_from_fraud(
    app: &App,
    request: Request<v1::ExcuseFromFraudRequest>,
) -> Result<Response<v1::ExcuseFromFraudResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let user: Uuid = asked.user_id.parse().map_err(|_| Error::invalid("user_id", "must be the id of a user"))?;
    let now = app.clock.now();
    let until = time::later(now, u32::try_from(asked.for_secs).unwrap_or_default());
    let mut tx = coreloop_db::begin(&app.db).await?;
    let (before, after) = fraud::excuse(&mut tx, user, until, (&asked.reason, by.0), now).await?;
    let act =
        Act { by, subject: &user.to_string(), reason: &asked.reason, before: before.as_ref(), after: Some(&after) };
    app.acts.tell(&mut tx, &act, now).await?;
    tx.commit().await?;
    tracing::info!(user_id = %user, by = %by, secs = asked.for_secs, "excused from the rules against fraud");
    Ok(Response::new(v1::ExcuseFromFraudResponse { until: Some(time::proto(until)) }))
}
