//! `ListAds`, `ClickAd`, `GetAdUnlocks`, `PutAd`.

use coreloop_access::Caller;
use coreloop_rewards_api::v1;
use jiff_sqlx::ToSqlx as _;
use tonic::{Request, Response};

use super::parse::{Violations, proto_grant};
use crate::{
    App, Error, acts,
    ads::{self, day},
    store::ads::{self as store, Ad},
    times::{parse, proto_time},
};

/// Most ads that are shown.
const MOST: i64 = 50;

/// `ListAds`: each with a token for the caller.
///
/// # Errors
/// When the database fails.
pub async fn list_ads(app: &App, request: Request<v1::ListAdsRequest>) -> Result<Response<v1::ListAdsResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let now = app.clock.now();
    let shown = store::shown(&app.db, user.0, day(now), now, MOST).await?;
    let ads = shown.into_iter().map(|(ad, rewarded_today)| {
        let (token, expires) = ads::token(app, user, &ad.id);
        v1::ShownAd {
            ad: Some(proto_ad(ad)),
            token,
            token_expires_at: Some(prost_types::Timestamp { seconds: expires, nanos: 0 }),
            rewarded_today,
        }
    });
    Ok(Response::new(v1::ListAdsResponse { ads: ads.collect() }))
}

/// `ClickAd`.
///
/// # Errors
/// As the contract lists.
pub async fn click_ad(app: &App, request: Request<v1::ClickAdRequest>) -> Result<Response<v1::ClickAdResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let clicked = ads::click(app, user, &asked.ad_id, &asked.token).await?;
    Ok(Response::new(v1::ClickAdResponse {
        points: clicked.ad.points,
        slots: clicked.ad.slots,
        points_left_today: app.options.ad_daily_points.saturating_sub(clicked.today),
        slots_today: clicked.slots,
        grant: clicked.grant.map(proto_grant),
    }))
}

/// `GetAdUnlocks`.
///
/// # Errors
/// When the database fails.
pub async fn get_ad_unlocks(
    app: &App,
    request: Request<v1::GetAdUnlocksRequest>,
) -> Result<Response<v1::GetAdUnlocksResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    let mut wrong = Violations::default();
    let user = wrong.user("user_id", &request.get_ref().user_id);
    wrong.none()?;
    let slots = store::unlocked(&app.db, user.0, day(app.clock.now())).await?;
    Ok(Response::new(v1::GetAdUnlocksResponse { slots }))
}

/// `PutAd`.
///
/// # Errors
/// Fields that break their rules.
pub async fn put_ad(app: &App, request: Request<v1::PutAdRequest>) -> Result<Response<v1::PutAdResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let (starts_at, ends_at) =
        (parse("starts_at", asked.starts_at.as_ref())?, parse("ends_at", asked.ends_at.as_ref())?);
    let mut wrong = Violations::default();
    if starts_at.zip(ends_at).is_some_and(|(starts, ends)| ends <= starts) {
        wrong.add("ends_at", "must be after starts_at");
    }
    if asked.points == 0 && asked.slots == 0 {
        wrong.add("points", "must be above zero where no slots are unlocked");
    }
    wrong.none()?;
    let ad = Ad {
        id: asked.ad_id,
        title: asked.title,
        url: asked.url,
        points: asked.points,
        slots: asked.slots,
        state: i16::try_from(asked.state).unwrap_or_default(),
        starts_at: starts_at.map(|at| at.to_sqlx()),
        ends_at: ends_at.map(|at| at.to_sqlx()),
    };
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let kept = store::put(&mut tx, &ad, &format!("user:{by}"), now).await?;
    acts::changed(app, &mut tx, by, ("ads", &kept.id), now).await?;
    tx.commit().await?;
    tracing::info!(ad_id = kept.id, by = %by, "an ad was put");
    Ok(Response::new(v1::PutAdResponse { ad: Some(proto_ad(kept)) }))
}

fn proto_ad(ad: Ad) -> v1::Ad {
    v1::Ad {
        ad_id: ad.id,
        title: ad.title,
        url: ad.url,
        points: ad.points,
        slots: ad.slots,
        state: ad.state.into(),
        starts_at: ad.starts_at.map(|at| proto_time(at.to_jiff())),
        ends_at: ad.ends_at.map(|at| proto_time(at.to_jiff())),
    }
}
