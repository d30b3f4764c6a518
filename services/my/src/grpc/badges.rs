//! `ListBadges`: of the caller, and of nobody else.

use std::collections::BTreeMap;

use coreloop_access::Caller;
use coreloop_my_api::v1;
use jiff::Timestamp;
use tonic::{Request, Response};

use crate::{
    App, Error,
    badges::{self, Badge, Figures},
    store,
    times::proto_time,
};

/// `ListBadges`.
///
/// # Errors
/// When the database fails.
pub async fn list_badges(
    app: &App,
    request: Request<v1::ListBadgesRequest>,
) -> Result<Response<v1::ListBadgesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let figures = store::people::known(&app.db, user).await?.figures();
    let had: BTreeMap<String, Timestamp> =
        store::badges::of(&app.db, user).await?.into_iter().map(|had| (had.code, had.earned_at)).collect();
    let badges = badges::ALL.iter().map(|badge| proto_badge(badge, &figures, had.get(badge.code))).collect();
    Ok(Response::new(v1::ListBadgesResponse { badges }))
}

fn proto_badge(badge: &Badge, figures: &Figures, earned_at: Option<&Timestamp>) -> v1::Badge {
    v1::Badge {
        code: badge.code.to_owned(),
        name: Some(v1::BadgeName { en: badge.en.to_owned(), ko: badge.ko.to_owned() }),
        counts: badge.counts.word().to_owned(),
        threshold: badge.threshold,
        // What was earned stays, also when a character went.
        progress: if earned_at.is_some() { 1.0 } else { badges::progress(badge, figures) },
        earned_at: earned_at.copied().map(proto_time),
    }
}
